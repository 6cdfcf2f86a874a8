// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/simulated_zeromq_link.hpp>
#include <cosaga/detail/simulated_zeromq_socket.hpp>
#include <cosaga/detail/zeromq_socket.hpp>
#include <cosaga/error.hpp>
#include <cosaga/testing/host.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <functional>
#include <memory>
#include <utility>

namespace cosaga::testing {

/// Sockets for a `zeromq_transport` on a simulated host: its own code and protocol, over connections that the world makes suffer.
///
/// @code
/// zeromq_options options;
/// options.listen = {"tcp://warehouse:7000"}; // the name of the host
/// options.insecure = true;
/// zeromq_transport transport{h.get_environment(), options, std::make_unique<simulated_zeromq>(h)};
/// @endcode
/// A connection is ordered and reliable while it lives. Partitions and `network_faults::loss` and `delay` only make it slow, until
/// heartbeats are missing; `network_faults::reset` and crashes end it, and what was on the way in either direction is lost.
/// Each end finds out at its own time, and the next connection has another routing id. There is no CURVE: options with it are
/// refused with `errc::bad_configuration`.
class simulated_zeromq final : public cosaga::detail::zeromq_context {
public:
    explicit simulated_zeromq(host& h) : host_{&h}
    {
        h.get_network().listen(h.number(), cosaga::detail::simulated_kernel_port, [](packet const&) {});
    }

    std::unique_ptr<cosaga::detail::zeromq_socket> make_socket(
        int type, asio::any_io_executor executor, std::function<void()> on_change) override
    {
        if (type != ZMQ_DEALER && type != ZMQ_ROUTER)
            throw make_error(errc::bad_configuration, "simulated_zeromq: there is no CURVE in a simulation");
        return std::make_unique<cosaga::detail::simulated_zeromq_socket>(
            *host_, type, std::move(executor), std::move(on_change));
    }

private:
    host* host_;
};

} // namespace cosaga::testing
