// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/strand_timer.hpp>
#include <cosaga/detail/webhook_connection.hpp>
#include <cosaga/detail/webhook_server.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/endpoint.hpp>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <openssl/ssl.h>

#include <chrono>
#include <exception>
#include <utility>

namespace cosaga {

namespace detail {

inline webhook_endpoint_options checked(webhook_endpoint_options options)
{
    auto const require = [](bool valid, char const* what) {
        if (!valid)
            throw make_error(errc::bad_configuration, std::string{"webhook_endpoint_options::"} + what);
    };
    boost::system::error_code ec;
    auto const address = asio::ip::make_address(options.address, ec);
    require(!ec, "address is not an IPv4 or IPv6 address");
    require(options.certificate_file.empty() == options.key_file.empty(), "certificate_file and key_file are needed together");
    require(options.max_connections >= 1 && options.max_connections <= 65536, "max_connections must be from 1 to 65536");
    require(options.max_header >= 256 && options.max_header <= std::size_t{1} << 20, "max_header must be from 256 to 1048576");
    require(options.max_body <= std::size_t{1} << 30, "max_body must be at most 1073741824");
    bool const positive = options.request_limit > duration::zero() && options.idle_limit > duration::zero()
                       && options.answer_limit > duration::zero() && options.grace >= duration::zero();
    require(positive, "the limits of time must be positive");
    if (!address.is_loopback() && options.certificate_file.empty() && !options.insecure)
        throw make_error(errc::insecure_endpoint, "webhook_endpoint: " + options.address
                                                      + " is reachable by others: set certificate_file and key_file, or insecure");
    return options;
}

inline asio::ssl::context make_server_tls(webhook_endpoint_options const& options)
{
    asio::ssl::context tls{asio::ssl::context::tls_server};
    SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
    boost::system::error_code ec;
    tls.use_certificate_chain_file(options.certificate_file, ec);
    if (!ec)
        tls.use_private_key_file(options.key_file, asio::ssl::context::pem, ec);
    if (ec)
        throw make_error(errc::bad_configuration, "webhook_endpoint: the certificate or its key cannot be used: " + ec.message());
    return tls;
}

} // namespace detail

struct webhook_endpoint::state {
    using tcp = asio::ip::tcp;

    state(environment& e, webhook_endpoint_options o)
        : server{std::make_shared<detail::webhook_server>(e, detail::checked(std::move(o)), detail::strand_of(e.get_executor()))}
    {
        if (!server->options.certificate_file.empty())
            server->tls.emplace(detail::make_server_tls(server->options));
    }

    void listen()
    {
        auto const& options = server->options;
        tcp::endpoint const at{asio::ip::make_address(options.address), options.port};
        boost::system::error_code ec;
        auto& acceptor = server->acceptor;
        acceptor.open(at.protocol(), ec);
        if (!ec)
            acceptor.set_option(tcp::acceptor::reuse_address{true}, ec);
        if (!ec)
            acceptor.bind(at, ec);
        if (!ec)
            acceptor.listen(asio::socket_base::max_listen_connections, ec);
        if (ec)
            throw make_error(errc::transport_failed,
                "webhook_endpoint: " + options.address + ':' + std::to_string(options.port) + ": " + ec.message());
        server->port = acceptor.local_endpoint().port();
    }

    static asio::awaitable<void> accept(std::shared_ptr<detail::webhook_server> server)
    {
        while (!server->stopping) {
            if (server->connections.size() >= server->options.max_connections) {
                co_await server->room.wait();
                continue;
            }
            boost::system::error_code ec;
            tcp::socket socket{server->strand};
            co_await server->acceptor.async_accept(socket, asio::redirect_error(asio::use_awaitable, ec));
            if (server->stopping)
                co_return;
            if (ec) { // too many files are open, for one
                server->env->report("webhook endpoint: accept: " + ec.message());
                co_await server->env->sleep_for(std::chrono::milliseconds{100});
                continue;
            }
            socket.set_option(tcp::no_delay{true}, ec);
            server->accepted.fetch_add(1, std::memory_order_relaxed);
            auto const connection = std::make_shared<detail::webhook_connection>(server, std::move(socket));
            connection->start();
        }
    }

    static void close(detail::webhook_server& server)
    {
        server.stopping = true;
        boost::system::error_code ec;
        server.acceptor.close(ec);
        server.room.notify();
    }

    static void abort_all(detail::webhook_server& server)
    {
        for (auto* const c : server.connections)
            c->abort();
    }

    static asio::awaitable<void> stop(std::shared_ptr<detail::webhook_server> server)
    {
        close(*server);
        for (auto* const c : server->connections)
            c->stop_if_idle();
        detail::strand_timer timer{*server->env, server->strand};
        timer.arm(server->options.grace, [server] { abort_all(*server); });
        while (server->accepting || !server->connections.empty())
            co_await server->ended.wait();
    }

    std::shared_ptr<detail::webhook_server> server;
};

COSAGA_DECL webhook_endpoint::webhook_endpoint(environment& env, webhook_endpoint_options options)
    : state_{std::make_shared<state>(env, std::move(options))}
{
}

COSAGA_DECL webhook_endpoint::~webhook_endpoint()
{
    detail::post_to(state_->server->strand, [server = state_->server] {
        state::close(*server);
        state::abort_all(*server);
    });
}

COSAGA_DECL void webhook_endpoint::serve(std::string path, handler f)
{
    if (!path.starts_with('/') || !f)
        throw make_error(errc::bad_argument, "webhook_endpoint::serve: needs a path that begins with a slash, and a handler");
    if (!state_->server->handlers.try_emplace(path, std::move(f)).second)
        throw make_error(errc::bad_argument, "webhook_endpoint::serve: " + path + " is served already");
}

COSAGA_DECL void webhook_endpoint::start()
{
    state_->listen();
    auto const& server = state_->server;
    server->accepting = true;
    detail::spawn_on(server->strand, state::accept(server), [server](std::exception_ptr e) {
        server->accepting = false;
        server->ended.notify();
        if (e)
            server->env->report("webhook endpoint: " + detail::describe(e));
    });
}

COSAGA_DECL asio::awaitable<void> webhook_endpoint::stop()
{
    return detail::run_on(state_->server->strand, state::stop(state_->server));
}

COSAGA_DECL std::uint16_t webhook_endpoint::port() const noexcept
{
    return state_->server->port;
}

COSAGA_DECL webhook_endpoint_counters webhook_endpoint::counters() const noexcept
{
    auto const& s = *state_->server;
    return {s.accepted, s.answered, s.refused, s.broken};
}

} // namespace cosaga
