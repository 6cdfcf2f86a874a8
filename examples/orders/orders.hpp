// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "../program.hpp"

#include <cosaga.hpp>

#include <boost/describe/class.hpp>

#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What the programs of this example share: the bodies of their messages, their tables, and how they talk.
namespace orders {

namespace asio = boost::asio;
using namespace examples;

// --- bodies ----------------------------------------------------------------------------------------------------------

struct item {
    std::string product_id;
    std::string seller_id;
    std::int64_t price_cents = 0;
    std::int64_t freight_cents = 0;
};
BOOST_DESCRIBE_STRUCT(item, (), (product_id, seller_id, price_cents, freight_cents))

struct payment {
    std::string type;
    std::int64_t installments = 0;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(payment, (), (type, installments, cents))

/// A line of the input.
struct order {
    std::string order_id;
    std::string customer_id;
    std::string status;
    std::string purchased_at;
    std::vector<item> items;
    std::vector<payment> payments;
};
BOOST_DESCRIBE_STRUCT(order, (), (order_id, customer_id, status, purchased_at, items, payments))

/// To the warehouse, on topic "orders". Its key is the customer, whose orders are shipped in the order of their
/// numbers: 1, 2, 3...
struct order_placed {
    std::string order_id;
    std::string customer_id;
    std::int64_t number = 0;
    std::int64_t cents = 0; ///< of all items
    std::vector<item> items;

    static constexpr std::string_view reconciled[] = {"order_id", "number", "cents"}; // see examples/reconcile
};
BOOST_DESCRIBE_STRUCT(order_placed, (), (order_id, customer_id, number, cents, items))

/// The warehouse's answer, on topic "shipped".
struct shipped {
    std::string order_id;
};
BOOST_DESCRIBE_STRUCT(shipped, (), (order_id))

inline std::int64_t cents_of(std::vector<item> const& items)
{
    return std::accumulate(items.begin(), items.end(), std::int64_t{0},
        [](std::int64_t sum, item const& i) { return sum + i.price_cents + i.freight_cents; });
}

inline std::int64_t cents_of(std::vector<payment> const& payments)
{
    return std::accumulate(payments.begin(), payments.end(), std::int64_t{0},
        [](std::int64_t sum, payment const& p) { return sum + p.cents; });
}

// --- tables ----------------------------------------------------------------------------------------------------------

/// Of the order service. `answers` counts the `shipped` messages that were applied: a second one is a doubled effect.
inline constexpr std::initializer_list<char const*> orders_schema{
    "CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, number INTEGER NOT NULL,"
    " cents INTEGER NOT NULL, paid_cents INTEGER NOT NULL, answers INTEGER NOT NULL DEFAULT 0)",
    "CREATE UNIQUE INDEX IF NOT EXISTS orders_of_customer ON orders (customer_id, number)",
    "CREATE INDEX IF NOT EXISTS orders_unanswered ON orders (answers) WHERE answers = 0"};

/// Of the warehouse. Nothing here keeps a shipment from being doubled: only the consumer does, and the audit looks.
inline constexpr std::initializer_list<char const*> shipments_schema{
    "CREATE TABLE IF NOT EXISTS shipments (seq INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL,"
    " customer_id TEXT NOT NULL, number INTEGER NOT NULL, cents INTEGER NOT NULL)"};

template <class Transaction>
void create_tables(Transaction& tx, std::initializer_list<char const*> schema)
{
    for (auto const* statement : schema)
        tx.execute(statement);
}

// --- transport -------------------------------------------------------------------------------------------------------

/// How both services talk: each listens for messages of the other, and sends one topic to one consumer there.
inline cosaga::zeromq_options transport_of(
    arguments const& given, std::string service, std::string topic, std::string consumer)
{
    cosaga::zeromq_options options;
    options.service = std::move(service);
    options.listen.push_back(given["--listen"]);
    options.routes.push_back({std::move(topic), std::move(consumer), {given["--connect"]}});
    return options;
}

} // namespace orders
