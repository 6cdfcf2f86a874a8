// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/webhook/http.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace cosaga {

struct webhook_endpoint_options {
    std::string address = "127.0.0.1"; ///< to listen at; one that is not of loopback needs TLS, or `insecure`
    std::uint16_t port = 0;            ///< 0: the system chooses
    std::string certificate_file{};    ///< chain (PEM); with it, connections are TLS 1.2 or later
    std::string key_file{};            ///< of the certificate (PEM)
    /// Lets everybody in who reaches the address, and reads and answers in the clear: behind a proxy that ends TLS.
    bool insecure = false;

    std::size_t max_connections = 256; ///< 1 to 65536; others wait to be accepted
    std::size_t max_header = std::size_t{16} << 10; ///< bytes of a request's header, 256 to 1048576; beyond: 431
    std::size_t max_body = std::size_t{2} << 20;    ///< bytes; beyond: 413
    duration request_limit = std::chrono::seconds{10}; ///< for a request to arrive, with TLS before the first
    duration idle_limit = std::chrono::seconds{15};    ///< for the next request on a connection to begin
    duration answer_limit = std::chrono::seconds{30};  ///< for the handler and the answer; then the handler is cancelled
    duration grace = std::chrono::seconds{5};          ///< for what runs when the endpoint is stopped; then it is cancelled
};

struct webhook_endpoint_counters {
    std::uint64_t connections = 0; ///< accepted
    std::uint64_t answered = 0;    ///< requests that a handler has answered
    std::uint64_t refused = 0;     ///< malformed, over a limit, or for a path that nobody serves
    std::uint64_t broken = 0;      ///< connections that ended in the middle, by an error or a limit
};

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
    using handler = std::function<asio::awaitable<webhook_answer>(webhook_request const& request)>;

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
