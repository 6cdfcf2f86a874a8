// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>
#include <cosaga/transport/handles.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

namespace detail {
class zeromq_context;
} // namespace detail

/// Carries messages over ZeroMQ, without a broker: senders connect to the services that consume.
///
/// A message is settled when the consumer has acknowledged it; until then the sender keeps it, and sends it again after
/// a lost connection unless the receiver says that it still holds it. What is outstanding is bounded by a window for
/// each publisher and subscription.
///
/// @code
/// system_environment env{io.get_executor()};
/// zeromq_options options;
/// options.service = "shop";
/// options.listen = {"tcp://127.0.0.1:7000"};
/// options.routes = {{"orders", "warehouse", {"tcp://127.0.0.1:7001"}}};
/// zeromq_transport transport{env, options};
/// @endcode
/// The environment's executor must belong to an `asio::io_context`. ZeroMQ's own I/O runs on one thread of the transport.
/// @par Thread safety
/// every member may be called from any thread.
class zeromq_transport {
public:
    using publisher_type = publisher_handle;
    using subscription_type = subscription_handle;

    /// @throws system_error `errc::bad_configuration` for options outside their ranges or that contradict each other,
    /// `errc::insecure_endpoint` for an endpoint beyond loopback with neither `curve` nor `insecure`.
    zeromq_transport(environment& env, zeromq_options options);
    /// The same over other sockets: see testing/simulated_zeromq.hpp.
    zeromq_transport(environment& env, zeromq_options options, std::unique_ptr<detail::zeromq_context> context);
    zeromq_transport(zeromq_transport const&) = delete;
    zeromq_transport& operator=(zeromq_transport const&) = delete;

    /// Drops what is still to be sent, as a crash would; nothing is lost by that.
    ~zeromq_transport();

    std::vector<std::string> consumers_of(std::string_view topic) const;

    /// @throws system_error `errc::no_route` for a destination that is not declared, `errc::transport_failed` for an
    /// endpoint that libzmq does not understand, `errc::transport_closed`.
    publisher_type open_publisher(std::string_view topic, std::string_view consumer);

    /// @throws system_error `errc::bad_configuration` without an endpoint to listen on, `errc::transport_closed`.
    subscription_type subscribe(std::string_view topic, std::string_view consumer);

    /// Binds the endpoints. Called again, it does nothing.
    /// @throws system_error `errc::transport_failed` that names the endpoint.
    void start();

    /// What `start` has bound, with the ports that the system chose.
    std::vector<std::string> endpoints() const;

    /// Sends the last acknowledgements, then closes everything; waits at most `zeromq_options::linger`.
    /// @par Cancellation
    /// has no effect.
    asio::awaitable<void> close();

    message_limits const& limits() const noexcept;
    environment& get_environment() noexcept;
    zeromq_counters counters() const;

private:
    struct state;
    std::unique_ptr<state> state_;
};

static_assert(transport<zeromq_transport>);

/// Makes a key pair for `zeromq_curve::own`.
curve_key_pair make_curve_key_pair();

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/zeromq_transport.ipp>
#endif
