// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "../program.hpp"

#include <cosaga.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/describe/class.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

// Two services in one program, and what their operators use to look after them.
namespace reconcile {

namespace asio = boost::asio;
using namespace examples;
using cosaga::difference_kind;
using cosaga::ledger_difference;
using cosaga::ledger_record;

/// What the shop tells the warehouse. Both ledgers keep the id and the amount.
struct order {
    std::string order_id;
    std::int64_t cents = 0;

    static constexpr std::string_view reconciled[] = {"order_id", "cents"};
};
BOOST_DESCRIBE_STRUCT(order, (), (order_id, cents))

/// How a pair of services is set up.
struct setup {
    std::string shop_file;
    std::string warehouse_file;
    std::string shop = "shop";                                ///< the service that sends
    std::string endpoints = "ipc://" + shop_file;             ///< and a suffix
    cosaga::duration grace = std::chrono::milliseconds{200};  ///< in production: longer than a message takes
};

/// The field of a record, as text.
inline std::string field(ledger_record const& r, std::string_view name)
{
    return std::string{r.fields.find(name).value_or("?")};
}

/// Both services, from one start to the next stop.
struct services {
    using node_type = cosaga::node<cosaga::sqlite_store, cosaga::zeromq_transport>;

    explicit services(setup const& s)
        : shop_store{environment, s.shop_file},
          warehouse_store{environment, s.warehouse_file},
          shop_transport{environment,
              {.service = s.shop, .listen = {s.endpoints + ".a"},
                  .routes = {{"orders", "warehouse", {s.endpoints + ".b"}}, {"orders.reconcile", "warehouse", {s.endpoints + ".b"}}}}},
          warehouse_transport{environment,
              {.service = "warehouse", .listen = {s.endpoints + ".b"}, .routes = {{"orders.replies", s.shop, {s.endpoints + ".a"}}}}},
          shop{shop_store, shop_transport, {.service = s.shop, .ledgers = {{.topic = "orders"}}, .reply_topic = "orders.replies"}},
          warehouse{warehouse_store, warehouse_transport, {.service = "warehouse"}},
          orders{shop, {.topic = "orders", .participant = "warehouse", .requests = "orders.reconcile", .grace = s.grace,
                           .most_differences = 1'000'000, .listed = 1'000'000}}
    {
        warehouse.respond<cosaga::reconciliation_request>("orders.reconcile", "warehouse",
            cosaga::reconciliation_answerer{warehouse_store, "orders", "warehouse", {.grace = s.grace}});
    }

    /// Runs `body` between start and stop.
    template <class Body>
    void run(Body body)
    {
        auto done = asio::co_spawn(io, start_and_stop(body), asio::use_future);
        io.run();
        done.get();
    }

    template <class Body>
    asio::awaitable<void> start_and_stop(Body& body)
    {
        co_await warehouse.start();
        co_await shop.start();
        co_await body(*this);
        co_await shop.stop();
        co_await warehouse.stop();
    }

    asio::io_context io{1};
    cosaga::system_environment environment{io.get_executor()};
    cosaga::sqlite_store shop_store;
    cosaga::sqlite_store warehouse_store;
    cosaga::zeromq_transport shop_transport;
    cosaga::zeromq_transport warehouse_transport;
    node_type shop;
    node_type warehouse;
    cosaga::reconciler<node_type> orders;
};

struct row {
    std::string order_id;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(row, (), (order_id, cents))

/// A ledger is as right as its database; who deletes business rows by hand does not think of it. This makes the ledger say again what the
/// business table says. @return how many records it had to change.
inline asio::awaitable<std::size_t> true_up(cosaga::sqlite_store& store, std::string ledger, std::string query)
{
    std::size_t corrected = 0;
    auto work = [&](auto& tx) {
        std::unordered_map<std::string, std::int64_t> rows;
        for (auto& r : tx.template query<row>(query))
            rows.emplace(std::move(r.order_id), r.cents);
        std::vector<cosaga::ledger_position> gone;
        std::vector<ledger_record> changed;
        cosaga::ledger_range const everything{{}, {cosaga::time_point::max(), {}}};
        for (auto& r : tx.read_records(ledger, everything, 100'000'000)) {
            auto const found = rows.find(field(r, "order_id"));
            if (found == rows.end()) {
                gone.push_back(r.position());
                continue;
            }
            cosaga::ledger_fields now;
            r.fields.each([&](std::string_view name, std::string_view value) {
                now.add(name, name == "cents" ? std::to_string(found->second) : std::string{value});
            });
            if (r.fields == now)
                continue;
            r.fields = std::move(now);
            changed.push_back(std::move(r));
        }
        tx.erase_records(ledger, gone);
        tx.record(ledger, changed);
        corrected = gone.size() + changed.size();
    };
    co_await store.transact(work);
    co_return corrected;
}

/// What a run has found, as a table.
inline void print(cosaga::reconciliation_report const& report)
{
    constexpr std::size_t shown = 12;
    std::map<difference_kind, std::size_t> kinds;
    for (auto const& d : report.listed)
        ++kinds[d.kind()];
    std::printf("  %-24s %8zu\n  %-24s %8zu\n  %-24s %8zu\n", "missing at the warehouse", kinds[difference_kind::missing_at_participant],
        "missing at the shop", kinds[difference_kind::missing_at_initiator], "other amount", kinds[difference_kind::digest_differs]);
    if (!report.listed.empty())
        std::printf("  %-36s  %-34s %12s %12s\n", "message", "order", "shop", "warehouse");
    for (std::size_t i = 0; i < std::min(shown, report.listed.size()); ++i) {
        auto const& d = report.listed[i];
        std::printf("  %-36s  %-34s %12s %12s\n", d.id().to_string().c_str(), field(d.here ? *d.here : *d.there, "order_id").c_str(),
            d.here ? field(*d.here, "cents").c_str() : "-", d.there ? field(*d.there, "cents").c_str() : "-");
    }
    if (report.listed.size() > shown)
        std::printf("  ... and %zu more\n", report.listed.size() - shown);
    std::printf("  %s %llu round trips, %llu bytes.\n", report.to_string().c_str(), static_cast<unsigned long long>(report.round_trips),
        static_cast<unsigned long long>(report.bytes));
}

} // namespace reconcile
