// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Sells seats, rooms or cars, as many in each city as it has, and takes them back. Runs until SIGTERM or SIGINT, and may be killed
// at any time.
#include "travel.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <cstdint>
#include <string>

namespace {

using namespace travel;

constexpr char usage[] = "--sells flight|hotel|car --db FILE --listen ENDPOINT --agency ENDPOINT --in-each-city N";

// Nothing here knows of sagas, or keeps a booking or a cancellation from being made twice: only the participant does.
constexpr char stock_schema[] = "CREATE TABLE IF NOT EXISTS stock (city TEXT PRIMARY KEY, capacity INTEGER NOT NULL, free INTEGER NOT NULL)";
constexpr char ledger_schema[] = "CREATE TABLE IF NOT EXISTS ledger (number INTEGER PRIMARY KEY AUTOINCREMENT, trip TEXT NOT NULL,"
                                 " city TEXT NOT NULL, change INTEGER NOT NULL)";

std::int64_t change_stock(auto& tx, std::string const& trip, std::string const& city, std::int64_t change)
{
    tx.execute("UPDATE stock SET free = free + ? WHERE city = ?", change, city);
    tx.execute("INSERT INTO ledger (trip, city, change) VALUES (?, ?, ?)", trip, city, change);
    return tx.template query<std::int64_t>("SELECT max(number) FROM ledger").front();
}

template <class Book, class Cancel>
void sell(auto& supplier, std::int64_t capacity)
{
    supplier.template handle<Book>([capacity](auto& tx, Book const& b) {
        tx.execute("INSERT OR IGNORE INTO stock VALUES (?, ?, ?)", b.city, capacity, capacity);
        if (tx.template query<std::int64_t>("SELECT free FROM stock WHERE city = ?", b.city).front() == 0)
            throw cosaga::refusal("sold out in " + b.city);
        return booking{change_stock(tx, b.trip, b.city, -1)};
    });
    supplier.template handle<Cancel>([](auto& tx, Cancel const& c) { change_stock(tx, c.trip, c.city, +1); });
}

asio::awaitable<void> run(auto& node)
{
    auto prepare = [](auto& tx) {
        tx.execute(stock_schema);
        tx.execute(ledger_schema);
    };
    co_await node.transact(prepare);
    co_await node.run();
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("travel_supplier", usage, 1, [&] {
        arguments const given{argc, argv, {"--sells", "--db", "--listen", "--agency", "--in-each-city"}};
        auto const& name = given["--sells"];
        auto const capacity = number_in(given, "--in-each-city", 0);

        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::zeromq_transport transport{environment,
            {.service = name, .listen = {given["--listen"]}, .routes = {{answers_topic, agency_name, {given["--agency"]}}}}};
        cosaga::node node{store, transport, {.service = name}};
        cosaga::saga_participant supplier{node.get_outbox(), {.topic = name}};
        if (name == "flight")
            sell<book_flight, cancel_flight>(supplier, capacity);
        else if (name == "hotel")
            sell<book_room, cancel_room>(supplier, capacity);
        else if (name == "car")
            sell<rent_car, return_car>(supplier, capacity);
        else
            throw usage_error{"nobody sells a '" + name + "'"};
        node.attach(supplier);
        auto stopped = asio::co_spawn(io, run(node), asio::use_future);
        io.run();
        stopped.get();
        return 0;
    });
}
