// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/message.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// A request as any HTTP server has it.
struct webhook_request {
    std::string method = "POST";
    std::string target = "/";      ///< path and query, as they stand in the request line
    std::vector<header> headers{}; ///< names in any case
    std::string body{};            ///< the very bytes that came

    /// The value of the first header of that name (given in lower case), or nothing (an empty view).
    std::string_view find_header(std::string_view name) const noexcept;
};

/// What to answer.
struct webhook_answer {
    std::uint32_t status = 200;
    std::string body{};
    std::string content_type = "text/plain; charset=utf-8";
    std::vector<header> headers{}; ///< others: `allow`, `retry-after`
    /// For the own log: what the other side is not told. Never a secret.
    std::string detail{};
};

/// How a message is written into a request.
enum class webhook_format : std::uint8_t {
    structured, ///< a CloudEvent in JSON, `application/cloudevents+json`: all of it is signed
    binary,     ///< the payload as the body, and headers `ce-...`, which are not signed
    plain,      ///< the payload as the body, and nothing of the message beside it
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_http.ipp>
#endif
