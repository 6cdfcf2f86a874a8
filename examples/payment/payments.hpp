// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "../program.hpp"

#include <cosaga.hpp>

#include <boost/describe/class.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

// What the programs of this example share.
namespace payments {

namespace asio = boost::asio;
using namespace examples;

/// The names by which the programs know each other.
inline constexpr char payment_service_name[] = "payment_service";
inline constexpr char coordinator_name[] = "coordinator";
inline constexpr char bookkeeper_name[] = "bookkeeper";

/// A line of the input, an entry of the ledger, and the body of a message on topic "payments".
struct payment {
    std::string payment_id; ///< the same payment has the same, also when it is asked for twice
    std::string account;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(payment, (), (payment_id, account, cents))

/// What both sides come to; printed in the same words by both.
struct balance {
    std::int64_t count = 0;
    std::int64_t cents = 0;

    std::string to_string() const { return std::to_string(count) + " payments, " + std::to_string(cents) + " cents"; }
    friend bool operator==(balance const&, balance const&) = default;
};
BOOST_DESCRIBE_STRUCT(balance, (), (count, cents))

/// @throws std::exception that says what is wrong with the line.
inline payment parse_payment(std::string_view line)
{
    constexpr std::size_t longest = 255; // what a key of a message may have
    constexpr std::int64_t most_cents = 1'000'000'000'000;
    auto p = cosaga::json_codec::decode<payment>(line);
    if (p.payment_id.empty() || p.payment_id.size() > longest)
        throw std::runtime_error{"payment_id needs 1 to 255 bytes"};
    if (p.account.empty() || p.account.size() > longest)
        throw std::runtime_error{"account needs 1 to 255 bytes"};
    if (p.cents <= 0 || p.cents > most_cents)
        throw std::runtime_error{"cents are out of range"};
    return p;
}

} // namespace payments
