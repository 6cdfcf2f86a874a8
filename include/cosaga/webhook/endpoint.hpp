// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/webhook/endpoint_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace cosaga {

/// A small HTTP/1.1 server for webhooks and questions.
///
/// @code
/// webhook_endpoint endpoint{env, {.port = 8080}};
/// endpoint.serve("/hooks/payments", [&](webhook_request const& r) { return payments.receive(r, settle); });
/// node.attach(endpoint);
/// @endcode
/// Its connections and handlers run on one strand of the environment, whose executor must belong to an `asio::io_context`. A handler
/// that throws is reported to the environment and answered with 500.
/// @par Thread safety
/// `port` and `counters` from any thread; the rest from one at a time. See `component`; destroying it cuts off what is running.
class webhook_endpoint final : public component {
public:
    using handler = webhook_handler;

    /// @throws system_error `errc::bad_configuration` for options outside their ranges, or a certificate or key that cannot be used;
    /// `errc::insecure_endpoint` for an address beyond loopback without TLS or `insecure`.
    webhook_endpoint(environment& env, webhook_endpoint_options options);
    ~webhook_endpoint() override;

    /// Answers requests for a path, by any method; call it before `start`.
    /// @param path begins with a slash. If it ends with one, for all paths that begin with it, unless a longer one is served.
    /// @throws system_error `errc::bad_argument`
    void serve(std::string path, handler f);

    /// Binds and accepts.
    /// @throws system_error `errc::transport_failed` that names the address.
    void start() override;

    /// Accepts nothing new, and resumes when what is running has ended.
    asio::awaitable<void> stop() override;

    /// Where it listens, once it was started.
    std::uint16_t port() const noexcept;

    webhook_endpoint_counters counters() const noexcept;

private:
    struct state;
    std::shared_ptr<state> state_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_endpoint.ipp>
#endif
