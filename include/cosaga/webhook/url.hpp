// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cosaga {

/// An absolute `http` or `https` URL, taken apart.
struct webhook_url {
    bool secure = true;      ///< `https`
    std::string host;        ///< in lower case; an IPv6 address without its brackets
    std::uint16_t port = 443;
    std::string target;      ///< path and query, as they stand; begins with a slash

    /// For the header `Host`: with brackets, and with the port unless it is the usual one.
    std::string authority() const;
    /// Scheme and authority: what errors and reports call the destination by. A path may hold a token of its owner.
    std::string origin() const;
};

/// Takes a URL apart, strictly (RFC 3986, ASCII only).
/// @throws system_error `errc::bad_argument` that says what is wrong, without the URL: another scheme, user and password, a fragment, a host that
/// is neither a name nor an address, a port beyond 65535, more than 2048 bytes, or a character that belongs percent-encoded (so also any
/// space, line break or control character).
webhook_url parse_webhook_url(std::string_view text);

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_url.ipp>
#endif
