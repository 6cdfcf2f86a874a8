// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// The addresses that have a prefix in common: `10.0.0.0/8`, `::1/128`.
class address_network {
public:
    /// @throws system_error `errc::bad_argument` that names the text.
    explicit address_network(std::string_view text);

    /// Addresses of the other family, IPv4-mapped ones included, are never in it.
    bool contains(boost::asio::ip::address const& address) const;

private:
    boost::asio::ip::address base_;
    unsigned prefix_ = 0;
};

/// False for every address that does not lead to the public internet, or that may lead elsewhere than it says.
///
/// Not public are, after the IANA registries of special-purpose addresses: unspecified, loopback, private, link-local (which metadata
/// services of clouds use), unique-local, carrier-grade NAT, multicast, broadcast, benchmarking, documentation and reserved addresses; of
/// IPv6 all but 2000::/3, and of that IETF protocol assignments with Teredo, documentation, and 6to4. IPv4-mapped, IPv4-compatible
/// and NAT64 addresses are outside 2000::/3.
bool is_public(boost::asio::ip::address const& address);

/// Decides to which addresses a connection may go: public ones, and those of the networks that are allowed.
class address_guard {
public:
    address_guard() = default;
    /// @param allowed networks in addition to the public addresses. @throws as `address_network`.
    explicit address_guard(std::vector<std::string> const& allowed);

    bool permits(boost::asio::ip::address const& address) const;

private:
    std::vector<address_network> allowed_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_address_guard.ipp>
#endif
