// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>
#include <cosaga/transport/handles.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// Says that the named consumer has to get each message of the topic.
struct memory_route {
    std::string topic;
    std::string consumer;
};

struct memory_transport_options {
    std::string service = "service";    ///< the declared name that receivers see as `delivery.sender`
    std::vector<memory_route> routes{}; ///< where messages from here go
    message_limits limits{};
    std::size_t window_messages = 1024;               ///< of one publisher at one subscription, not settled; >= 1
    std::size_t window_bytes = std::size_t{16} << 20; ///< the same in bytes; a single message may exceed it
};

/// Carries messages within one process, for tests and for services that live together.
///
/// Nothing is serialised. Messages wait at their publisher until a subscription has room for them.
/// @par Thread safety
/// every member may be called from any thread.
class memory_transport {
public:
    using publisher_type = publisher_handle;
    using subscription_type = subscription_handle;

    /// A network of its own.
    explicit memory_transport(environment& env, memory_transport_options options = {});
    /// Another service on the network of `other`, with its own name, routes and end.
    memory_transport(memory_transport& other, environment& env, memory_transport_options options = {});
    memory_transport(memory_transport const&) = delete;
    memory_transport& operator=(memory_transport const&) = delete;
    ~memory_transport();

    std::vector<std::string> consumers_of(std::string_view topic) const;
    publisher_type open_publisher(std::string_view topic, std::string_view consumer);
    subscription_type subscribe(std::string_view topic, std::string_view consumer);
    void start();
    asio::awaitable<void> close();
    message_limits const& limits() const noexcept;
    environment& get_environment() noexcept;

    /// The next `n` messages published here fail with that reason. What fails with them, being of their key, does not count.
    void fail_next(std::size_t n, std::string reason = "fault injected");
    /// The next `n` messages that leave here arrive twice.
    void duplicate_next(std::size_t n);
    /// The next `n` acknowledgements of messages from here are lost, so that these come again.
    void drop_acknowledgements_next(std::size_t n);

private:
    struct state;
    std::unique_ptr<state> state_;
};

static_assert(transport<memory_transport>);

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/memory_transport.ipp>
#endif
