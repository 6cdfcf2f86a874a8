// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/webhook/endpoint_options.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

class webhook_connection;

/// What the connections of an endpoint have in common, on its strand.
struct webhook_server {
    webhook_server(environment& e, webhook_endpoint_options o, asio::any_io_executor s)
        : env{&e}, options{std::move(o)}, strand{std::move(s)}, acceptor{strand}, room{strand}, ended{strand}
    {
    }

    /// The handler for a path: of the path itself, else of the longest folder that it is in.
    webhook_handler const* find(std::string_view target) const
    {
        auto const path = target.substr(0, target.find('?'));
        if (auto const exact = handlers.find(path); exact != handlers.end())
            return &exact->second;
        for (auto end = path.rfind('/'); end != std::string_view::npos; end = end == 0 ? std::string_view::npos : path.rfind('/', end - 1))
            if (auto const folder = handlers.find(path.substr(0, end + 1)); folder != handlers.end())
                return &folder->second;
        return nullptr;
    }

    environment* env;
    webhook_endpoint_options options;
    asio::any_io_executor strand;
    std::map<std::string, webhook_handler, std::less<>> handlers;
    std::optional<asio::ssl::context> tls;
    asio::ip::tcp::acceptor acceptor;
    std::set<webhook_connection*> connections;
    event room;  ///< for a connection
    event ended; ///< of the accepting, or of a connection
    bool accepting = false;
    bool stopping = false;
    std::atomic<std::uint16_t> port = 0;
    std::atomic<std::uint64_t> accepted = 0;
    std::atomic<std::uint64_t> answered = 0;
    std::atomic<std::uint64_t> refused = 0;
    std::atomic<std::uint64_t> broken = 0;
};

} // namespace cosaga::detail
