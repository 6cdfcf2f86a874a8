// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <zmq.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// True for endpoints that no other machine can reach.
inline bool is_loopback(std::string_view endpoint)
{
    if (endpoint.starts_with("ipc://") || endpoint.starts_with("inproc://"))
        return true;
    constexpr std::string_view tcp = "tcp://";
    if (!endpoint.starts_with(tcp))
        return false;
    endpoint.remove_prefix(tcp.size());
    auto const host = endpoint.substr(0, endpoint.rfind(':'));
    if (host == "localhost" || host == "[::1]")
        return true;
    return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

inline void check_range(char const* name, std::size_t value, std::size_t least, std::size_t most)
{
    if (value < least || value > most)
        throw make_error(errc::bad_configuration, std::string{"zeromq_options::"} + name + " is "
                                                      + std::to_string(value) + "; it must be from "
                                                      + std::to_string(least) + " to " + std::to_string(most));
}

inline void check_endpoint(std::string const& endpoint, zeromq_options const& options)
{
    if (!options.curve && !options.insecure && !is_loopback(endpoint))
        throw make_error(errc::insecure_endpoint,
            "zeromq_transport: " + endpoint
                + " is reachable by others: set zeromq_options::curve with the allowed keys, or insecure");
}

inline void check_key(std::string const& key, std::string const& whose)
{
    std::array<std::uint8_t, 32> bytes{};
    if (key.size() != 40 || !zmq_z85_decode(bytes.data(), key.c_str()))
        throw make_error(errc::bad_configuration, "zeromq_transport: " + whose + " is not 40 characters of Z85");
}

inline void check_curve(zeromq_options const& options)
{
    auto const& curve = *options.curve;
    check_key(curve.own.public_key, "the public key in curve.own");
    check_key(curve.own.secret_key, "the secret key in curve.own");
    if (!options.listen.empty() && curve.allowed.empty())
        throw make_error(errc::bad_configuration,
            "zeromq_transport: listening with curve needs the keys of the clients in curve.allowed");
    for (auto const& client : curve.allowed) {
        if (client.service.empty())
            throw make_error(
                errc::bad_configuration, "zeromq_transport: a client in curve.allowed has no service name");
        check_key(client.public_key, "the public key of the client '" + client.service + "'");
    }
}

/// The options, if they make sense.
inline zeromq_options checked(zeromq_options options)
{
    check_range("window_messages", options.window_messages, 1, 65536);
    check_range("window_bytes", options.window_bytes, 1, std::size_t{1} << 32);
    check_range("batch_messages", options.batch_messages, 1, 1024);
    check_range("batch_bytes", options.batch_bytes, 1, std::size_t{64} << 20);
    check_range("max_peers", options.max_peers, 1, 65536);
    check_range("max_flows", options.max_flows, 1, 65536);
    check_range("service", options.service.size(), 1, options.limits.name);
    if (options.curve)
        check_curve(options);
    for (auto const& endpoint : options.listen)
        check_endpoint(endpoint, options);
    for (auto const& route : options.routes) {
        auto const name = "the route of '" + route.topic + "' to '" + route.consumer + "'";
        if (route.endpoints.empty() || route.topic.size() > options.limits.name
            || route.consumer.size() > options.limits.name)
            throw make_error(
                errc::bad_configuration, "zeromq_transport: " + name + " has no endpoint or too long a name");
        for (auto const& endpoint : route.endpoints)
            check_endpoint(endpoint, options);
        if (options.curve)
            check_key(route.server_key, "server_key of " + name);
        else if (!route.server_key.empty())
            throw make_error(
                errc::bad_configuration, "zeromq_transport: " + name + " has a server_key, but curve is not set");
    }
    return options;
}

} // namespace cosaga::detail
