// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// A message handed to a publisher, with a number of the caller's own.
struct envelope {
    std::uint64_t tag = 0;
    message content;
};

/// What became of a published message.
enum class verdict : std::uint8_t {
    accepted, ///< the next party has taken responsibility for it
    failed,   ///< not delivered this time: publish it again after a while
    rejected, ///< refused for good
};

/// The end of one `publish`.
struct settlement {
    std::uint64_t tag = 0;
    verdict result = verdict::accepted;
    std::string reason;  ///< why, unless accepted
    message content;     ///< handed back, unless accepted
};

/// A message that a subscription received.
struct delivery {
    std::uint64_t tag = 0;      ///< names it towards its subscription
    message content;
    std::uint32_t attempt = 1;  ///< how many times it has come, as far as the transport knows
    std::string sender;         ///< the service that sent it: its authenticated key or its declared name
};

/// Sends messages of one topic to one named consumer.
///
/// | expression            | type                                      | meaning |
/// |-----------------------|-------------------------------------------|---------|
/// | `p.publish(batch)`    | `void`                                    | takes the envelopes, in order; never blocks. How much is outstanding is bounded by the caller |
/// | `p.settled()`         | `asio::awaitable<std::vector<settlement>>`| one or more outcomes, in any order; `errc::transport_closed` after `close` |
/// | `p.close()`           | `void`                                    | forgets what is outstanding: it is never settled |
///
/// Messages of one key arrive in the order of publishing; when one fails, all later ones of its key that are
/// outstanding fail too, so that none overtakes it. A peer that is away holds its messages back and settles
/// nothing; when it is there again they are sent again, so a message may arrive more than once.
/// One coroutine at a time waits in `settled`; the other members may be called from any thread.
template <class P>
concept publisher = std::movable<P> && requires(P& p, std::vector<envelope> batch) {
    p.publish(std::move(batch));
    { p.settled() } -> std::same_as<asio::awaitable<std::vector<settlement>>>;
    p.close();
};

/// Receives messages of one topic as one instance of a named consumer.
///
/// | expression             | type                                     | meaning |
/// |------------------------|------------------------------------------|---------|
/// | `s.receive(most)`      | `asio::awaitable<std::vector<delivery>>` | 1 to `most` deliveries; `errc::transport_closed` after `close`. Cancelled, it loses none |
/// | `s.acknowledge(tags)`  | `void`                                   | settles them as accepted |
/// | `s.retry(d, delay)`    | `void`                                   | gives the delivery back: it comes again after `delay`, and later messages of its key only after it |
/// | `s.reject(tag, reason)`| `void`                                   | settles it as rejected |
/// | `s.close()`            | `void`                                   | what was not acknowledged comes again, here or elsewhere |
///
/// What is received and not yet settled is bounded; a consumer that does not settle slows down its senders.
/// One coroutine at a time waits in `receive`; the other members may be called from any thread.
template <class S>
concept subscription = std::movable<S>
                    && requires(S& s, std::size_t most, std::vector<std::uint64_t> tags, delivery d, duration delay,
                           std::uint64_t tag, std::string reason) {
    { s.receive(most) } -> std::same_as<asio::awaitable<std::vector<delivery>>>;
    s.acknowledge(std::move(tags));
    s.retry(std::move(d), delay);
    s.reject(tag, std::move(reason));
    s.close();
};

/// Carries messages between services: at least once, in order per key, with acknowledgement by the next party.
///
/// | expression                      | type                       | meaning |
/// |---------------------------------|----------------------------|---------|
/// | `t.consumers_of(topic)`         | `std::vector<std::string>` | who has to get each message of the topic; empty when no route is declared |
/// | `t.open_publisher(topic, name)` | `publisher_type`           | throws `errc::no_route` for a destination that is not declared |
/// | `t.subscribe(topic, name)`      | `subscription_type`        | another instance when called again, here or elsewhere: the instances share the messages |
/// | `t.start()`                     | `void`                     | lets messages in; call it when the first subscriptions are made |
/// | `t.close()`                     | `asio::awaitable<void>`    | sends the last acknowledgements, then closes everything |
/// | `t.limits()`                    | `message_limits const&`    | what it carries; larger messages are rejected |
/// | `t.get_environment()`           | `environment&`             | |
template <class T>
concept transport = publisher<typename T::publisher_type> && subscription<typename T::subscription_type>
                 && requires(T& t, T const& c, std::string_view topic, std::string_view name) {
    { t.consumers_of(topic) } -> std::same_as<std::vector<std::string>>;
    { t.open_publisher(topic, name) } -> std::same_as<typename T::publisher_type>;
    { t.subscribe(topic, name) } -> std::same_as<typename T::subscription_type>;
    t.start();
    { t.close() } -> std::same_as<asio::awaitable<void>>;
    { c.limits() } -> std::same_as<message_limits const&>;
    { t.get_environment() } -> std::same_as<environment&>;
};

} // namespace cosaga
