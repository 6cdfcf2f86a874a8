// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/webhook_dates.hpp>
#include <cosaga/message.hpp>
#include <cosaga/webhook/http.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// A message as an HTTP body with its headers.
struct webhook_content {
    std::string content_type;
    std::vector<header> headers; ///< names in lower case, values of visible ASCII
    std::string body;
};

/// Writes a message (CloudEvents 1.0, HTTP binding and JSON format).
/// @throws system_error `errc::bad_argument` that names the attribute, for one without type or source, a control character, a header whose
/// name is not of lower-case letters and digits or is that of another attribute.
webhook_content to_webhook_content(message const& m, webhook_format format);

/// Reads a message: structured, binary, or the plain body (then without type and source). Its id is not set, its topic neither.
/// @throws system_error `errc::malformed_data`, `errc::limit_exceeded` (for the payload and all attributes).
message from_webhook_content(webhook_request const& r, message_limits const& limits);

/// The media type without parameters, in lower case.
std::string media_type_of(std::string_view content_type);

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_content.ipp>
#endif
