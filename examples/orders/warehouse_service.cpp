// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Records a shipment for each order that is placed, and answers it, until SIGTERM or SIGINT.
// It may be killed at any time: each order has one shipment all the same.
#include "orders.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

namespace {

using namespace orders;

constexpr char usage[] = "--db FILE --listen ENDPOINT --connect ENDPOINT";

template <class Node>
asio::awaitable<void> serve(Node& node)
{
    auto const ship = [](auto& tx, order_placed const& o) {
        tx.execute("INSERT INTO shipments (order_id, customer_id, number, cents) VALUES (?, ?, ?, ?)", o.order_id,
            o.customer_id, o.number, o.cents);
        tx.send("shipped", shipped{o.order_id}, {.key = o.customer_id});
    };
    node.template consume<order_placed>("orders", "warehouse", ship, {.ledger_retention = std::chrono::days{30}});
    auto prepare = [](auto& tx) { create_tables(tx, shipments_schema); };
    co_await node.transact(prepare);
    co_await node.run();
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("warehouse_service", usage, 1, [&] {
        arguments const given{argc, argv, {"--db", "--listen", "--connect"}};
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::zeromq_transport transport{environment, transport_of(given, "warehouse_service", "shipped", "orders")};
        cosaga::node node{store, transport, {.service = "warehouse_service"}};
        auto stopped = asio::co_spawn(io, serve(node), asio::use_future);
        io.run();
        stopped.get();
        return 0;
    });
}
