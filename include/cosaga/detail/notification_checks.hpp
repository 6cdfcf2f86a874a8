// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/notification_text.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/notification_options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

// What a notifier refuses.
namespace cosaga::detail {

/// A notification that is delivered late must not be forgotten at once.
/// @throws system_error `code`, with both figures.
inline void require_remembered(notifier_options const& o, notification_schedule const& s, duration delay, errc code)
{
    auto const lasts = std::min(delay + s.first, 2 * longest_notification) + s.lasts();
    if (lasts < o.retention)
        return;
    auto const hours = [](duration d) { return std::to_string(std::chrono::ceil<std::chrono::hours>(d).count()) + " h"; };
    throw make_error(code, "notifier: a notification may take " + hours(lasts) + ", but deliveries are remembered for " + hours(o.retention)
                               + " only: raise notifier_options::retention, or give the schedule a deadline");
}

/// @throws system_error `errc::bad_configuration`, `errc::bad_argument`
inline notifier_options checked(notifier_options o)
{
    auto const refuse_if = [](bool wrong, std::string const& why) {
        if (wrong)
            throw make_error(errc::bad_configuration, "notifier: " + why);
    };
    refuse_if(o.name.size() > 200, "the name has more than 200 bytes");
    refuse_if(o.attempt_timeout <= duration::zero(), "attempt_timeout must be greater than 0");
    refuse_if(o.in_flight < 2 || o.in_flight_per_destination == 0, "needs in_flight of at least 2, and in_flight_per_destination of at least 1");
    refuse_if(o.breaker_failures == 0 || o.breaker_open <= duration::zero() || o.breaker_cap < o.breaker_open,
        "needs breaker_failures and breaker_open greater than 0, and breaker_cap >= breaker_open");
    refuse_if(o.retry_after_cap < duration::zero() || o.look_interval <= duration::zero(),
        "needs a retry_after_cap that is not negative, and look_interval greater than 0");
    require_valid(o.schedule, "notifier");
    require_remembered(o, o.schedule, duration::zero(), errc::bad_configuration);
    return o;
}

/// @throws system_error `errc::bad_argument`
inline void require_valid(std::string const& destination, notification_options const& options, notifier_options const& own)
{
    constexpr std::size_t longest_destination = 2048;
    auto const refuse_if = [](bool wrong, std::string const& why) {
        if (wrong)
            throw make_error(errc::bad_argument, "notify: " + why);
    };
    refuse_if(destination.empty() || destination.size() > longest_destination, "a destination has 1 to 2,048 bytes");
    refuse_if(one_line(destination, longest_destination) != destination, "a destination has no control characters");
    refuse_if(options.delay < duration::zero() || options.delay > longest_notification, "the delay must be from 0 to 366 days");
    for (auto const& h : options.headers)
        refuse_if(h.name.starts_with("cosaga"), "the header name '" + h.name + "' is reserved");
    if (options.schedule)
        require_valid(*options.schedule, "notify");
    require_remembered(own, options.schedule.value_or(own.schedule), options.delay, errc::bad_argument);
}

} // namespace cosaga::detail
