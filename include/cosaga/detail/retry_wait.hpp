// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>

namespace cosaga::detail {

/// How long a row whose earlier attempts failed must still wait. Never longer than its schedule says: the wall clock by which
/// `due_at` was written may have been put back since.
inline duration wait_of(message_row const& row, schedule const& retries, time_point now)
{
    if (row.attempts == 0)
        return duration::zero();
    return std::clamp(row.due_at - now, duration::zero(), retries.delay_without_end(row.attempts, 0));
}

} // namespace cosaga::detail
