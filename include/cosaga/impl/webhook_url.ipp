// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_text.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/url.hpp>

#include <boost/asio/ip/address_v6.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace cosaga {

namespace detail {

[[noreturn]] inline void refuse_url(char const* why)
{
    throw make_error(errc::bad_argument, std::string{"webhook URL: "} + why);
}

// Labels of letters, digits, hyphens and underscores, as resolvers take them; no empty one, so no dot at the end either.
inline bool is_host_name(std::string_view host) noexcept
{
    if (host.empty() || host.size() > 253)
        return false;
    while (true) {
        auto const label = host.substr(0, host.find('.'));
        bool const valid = !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-'
                        && std::all_of(label.begin(), label.end(), [](char c) { return is_alphanumeric(c) || c == '-' || c == '_'; });
        if (!valid)
            return false;
        if (label.size() == host.size())
            return true;
        host.remove_prefix(label.size() + 1);
    }
}

inline std::string parse_url_host(std::string_view text)
{
    if (!text.starts_with('[')) {
        if (!is_host_name(text))
            refuse_url("the host is neither a name (ASCII, no dot at its end) nor an address");
        return to_lower_ascii(text);
    }
    boost::system::error_code ec;
    auto const inner = std::string{text.substr(1, text.size() - 2)};
    auto const address = boost::asio::ip::make_address_v6(inner, ec);
    if (!text.ends_with(']') || ec || inner.find('%') != std::string::npos)
        refuse_url("the host in brackets is not an IPv6 address");
    return address.to_string();
}

inline std::uint16_t parse_url_port(std::string_view text)
{
    std::uint16_t port = 0;
    auto const parsed = std::from_chars(text.data(), text.data() + text.size(), port);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size() || port == 0)
        refuse_url("the port is not a number from 1 to 65535");
    return port;
}

inline void check_url_characters(std::string_view text)
{
    constexpr std::string_view allowed = "-._~:/?[]@!$&'()*+,;=%#";
    bool const valid = std::all_of(text.begin(), text.end(),
        [&](char c) { return is_alphanumeric(c) || allowed.find(c) != std::string_view::npos; });
    if (!valid)
        refuse_url("it has a character that must be percent-encoded");
    if (text.find('#') != std::string_view::npos)
        refuse_url("it has a fragment (#), which is never sent");
}

} // namespace detail

COSAGA_DECL webhook_url parse_webhook_url(std::string_view text)
{
    constexpr std::string_view https = "https://";
    constexpr std::string_view http = "http://";
    if (text.size() > 2048)
        detail::refuse_url("it is longer than 2048 bytes");
    webhook_url url;
    auto const scheme = detail::to_lower_ascii(text.substr(0, https.size()));
    url.secure = scheme == https;
    if (!url.secure && !scheme.starts_with(http))
        detail::refuse_url("it does not begin with https:// (or http://, where that is allowed)");
    text.remove_prefix(url.secure ? https.size() : http.size());
    detail::check_url_characters(text);

    auto const authority = text.substr(0, std::min(text.find_first_of("/?"), text.size()));
    auto const rest = text.substr(authority.size());
    if (authority.find('@') != std::string_view::npos)
        detail::refuse_url("it has a user name or password; a request is signed instead");
    auto const colon = authority.find(':', authority.starts_with('[') ? std::min(authority.find(']'), authority.size()) : 0);
    url.host = detail::parse_url_host(authority.substr(0, colon));
    url.port = url.secure ? 443 : 80;
    if (colon != std::string_view::npos)
        url.port = detail::parse_url_port(authority.substr(colon + 1));
    if (!rest.starts_with('/'))
        url.target = "/";
    url.target += rest;
    return url;
}

COSAGA_DECL std::string webhook_url::authority() const
{
    auto text = host.find(':') == std::string::npos ? host : '[' + host + ']';
    if (port != (secure ? 443 : 80))
        text += ':' + std::to_string(port);
    return text;
}

COSAGA_DECL std::string webhook_url::origin() const
{
    return (secure ? "https://" : "http://") + authority();
}

} // namespace cosaga
