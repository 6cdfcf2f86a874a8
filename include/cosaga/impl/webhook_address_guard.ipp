// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/address_guard.hpp>

#include <boost/system/error_code.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <span>
#include <system_error>

namespace cosaga {

namespace detail {

struct ipv4_network {
    std::uint32_t base;
    unsigned prefix;
};

constexpr std::uint32_t ipv4(std::uint32_t a, std::uint32_t b, std::uint32_t c) noexcept
{
    return a << 24 | b << 16 | c << 8;
}

inline constexpr ipv4_network special_ipv4[] = {
    {ipv4(0, 0, 0), 8},       // this network, unspecified
    {ipv4(10, 0, 0), 8},      // private
    {ipv4(100, 64, 0), 10},   // carrier-grade NAT
    {ipv4(127, 0, 0), 8},     // loopback
    {ipv4(169, 254, 0), 16},  // link-local
    {ipv4(172, 16, 0), 12},   // private
    {ipv4(192, 0, 0), 24},    // IETF protocol assignments
    {ipv4(192, 0, 2), 24},    // documentation
    {ipv4(192, 31, 196), 24}, // AS112
    {ipv4(192, 52, 193), 24}, // AMT
    {ipv4(192, 88, 99), 24},  // 6to4 relay
    {ipv4(192, 168, 0), 16},  // private
    {ipv4(192, 175, 48), 24}, // AS112
    {ipv4(198, 18, 0), 15},   // benchmarking
    {ipv4(198, 51, 100), 24}, // documentation
    {ipv4(203, 0, 113), 24},  // documentation
    {ipv4(224, 0, 0), 4},     // multicast
    {ipv4(240, 0, 0), 4},     // reserved, broadcast
};

// Of 2000::/3; what is outside is not public.
struct ipv6_network {
    unsigned char base[4];
    unsigned prefix;
};
inline constexpr ipv6_network special_ipv6[] = {
    {{0x20, 0x01, 0x00, 0x00}, 23}, // IETF protocol assignments: Teredo, benchmarking, ORCHID
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, // documentation
    {{0x20, 0x02, 0x00, 0x00}, 16}, // 6to4: an IPv4 address follows
    {{0x3f, 0xff, 0x00, 0x00}, 20}, // documentation
};

inline bool same_prefix(std::span<unsigned char const> a, std::span<unsigned char const> b, unsigned bits) noexcept
{
    std::size_t const whole = bits / 8;
    if (!std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(whole), b.begin()))
        return false;
    unsigned const rest = bits % 8;
    return rest == 0 || (a[whole] >> (8 - rest)) == (b[whole] >> (8 - rest));
}

inline bool is_public_v4(std::uint32_t address) noexcept
{
    return std::none_of(std::begin(special_ipv4), std::end(special_ipv4),
        [&](ipv4_network const& n) { return (address >> (32 - n.prefix)) == (n.base >> (32 - n.prefix)); });
}

inline bool is_public_v6(boost::asio::ip::address_v6::bytes_type const& address) noexcept
{
    return address[0] >> 5 == 1
        && std::none_of(std::begin(special_ipv6), std::end(special_ipv6),
            [&](ipv6_network const& n) { return same_prefix(address, n.base, n.prefix); });
}

} // namespace detail

COSAGA_DECL bool is_public(boost::asio::ip::address const& address)
{
    return address.is_v4() ? detail::is_public_v4(address.to_v4().to_uint()) : detail::is_public_v6(address.to_v6().to_bytes());
}

COSAGA_DECL address_network::address_network(std::string_view text)
{
    auto const slash = text.find('/');
    boost::system::error_code ec;
    base_ = boost::asio::ip::make_address(std::string{text.substr(0, slash)}, ec);
    auto const length = slash == std::string_view::npos ? std::string_view{} : text.substr(slash + 1);
    auto const parsed = std::from_chars(length.data(), length.data() + length.size(), prefix_);
    bool const valid = !ec && !length.empty() && parsed.ec == std::errc{} && parsed.ptr == length.data() + length.size()
                    && prefix_ <= (base_.is_v4() ? 32u : 128u);
    if (!valid)
        throw make_error(errc::bad_argument, "address_network: '" + std::string{text} + "' is not like 10.0.0.0/8 or fd00::/8");
}

COSAGA_DECL bool address_network::contains(boost::asio::ip::address const& address) const
{
    if (address.is_v4() != base_.is_v4())
        return false;
    if (address.is_v4())
        return detail::same_prefix(address.to_v4().to_bytes(), base_.to_v4().to_bytes(), prefix_);
    return detail::same_prefix(address.to_v6().to_bytes(), base_.to_v6().to_bytes(), prefix_);
}

COSAGA_DECL address_guard::address_guard(std::vector<std::string> const& allowed)
{
    for (auto const& text : allowed)
        allowed_.emplace_back(text);
}

COSAGA_DECL bool address_guard::permits(boost::asio::ip::address const& address) const
{
    return is_public(address)
        || std::any_of(allowed_.begin(), allowed_.end(), [&](address_network const& n) { return n.contains(address); });
}

} // namespace cosaga
