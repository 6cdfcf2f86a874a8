// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>

namespace cosaga {

/// What became of one attempt to deliver a notification.
enum class attempt_outcome : std::uint8_t {
    delivered, ///< the receiver has it
    failed,    ///< it may have it or not: to be tried again
    gone,      ///< the receiver wants nothing any more: the destination is disabled
};

/// The result of one attempt.
struct attempt_result {
    attempt_outcome outcome = attempt_outcome::failed;
    std::uint32_t status = 0;                    ///< of HTTP; 0 where there is none
    std::string reason{};                        ///< why not delivered, for people; never a secret
    std::optional<duration> retry_after{};       ///< the receiver asks not to be tried again before
};

/// By what way notifications reach their destinations.
///
/// | expression                   | type                              | meaning |
/// |------------------------------|-----------------------------------|---------|
/// | `s.deliver(destination, m)`  | `asio::awaitable<attempt_result>` | tries once, for no longer than a limit of its own. What it throws counts as failed. Many at the same time; each can be cancelled |
/// | `s.check(destination)`       | `void`                            | throws `errc::bad_argument` for a destination that can never be reached |
///
/// A destination is a text that the sink understands: the URL of a webhook, the name of a consumer.
template <class S>
concept notification_sink = requires(S& s, std::string const& destination, message const& m) {
    { s.deliver(destination, m) } -> std::same_as<asio::awaitable<attempt_result>>;
    s.check(destination);
};

} // namespace cosaga
