// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/webhook/http.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace cosaga {

/// Answers one request, which lives until it completes.
using webhook_handler = std::function<asio::awaitable<webhook_answer>(webhook_request const& request)>;

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

} // namespace cosaga
