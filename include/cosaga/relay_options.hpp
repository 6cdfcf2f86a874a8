// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/schedule.hpp>

#include <cstddef>
#include <cstdint>

namespace cosaga {

struct relay_options {
    std::size_t window_messages = 8192;               ///< of one destination in memory, >= 1
    std::size_t window_bytes = std::size_t{16} << 20; ///< the same in bytes; one message may exceed it
    schedule retries{};                               ///< for messages that fail; then a dead letter
    duration poll_interval = std::chrono::seconds{5}; ///< safety net for rows that no commit here told of
};

/// What a relay did since it started.
struct relay_counters {
    std::uint64_t sent = 0;     ///< messages acknowledged by the destination
    std::uint64_t retried = 0;  ///< failed attempts that will be repeated
    std::uint64_t dead = 0;     ///< messages parked as dead letters
};

} // namespace cosaga
