// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Books trips: a flight, a room and a car each, or none of them. Ends when all trips of its input have come to an end. It may be
// killed at any time: started again with the same input, it goes on where it was.
#include "../line_reader.hpp"
#include "travel.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace travel;
using namespace std::chrono_literals;

constexpr char usage[] = "--db FILE --listen ENDPOINT --flight ENDPOINT --hotel ENDPOINT --car ENDPOINT --input FILE|- [--pause-ms N]";

using agency_node = cosaga::node<cosaga::sqlite_store, cosaga::zeromq_transport>;
using saga = cosaga::saga_context<agency_node::outbox_type>;

constexpr cosaga::duration patience = 2s;
constexpr cosaga::duration second_thoughts = 100ms; // a day, of a real agency

/// Nothing here keeps documents from being issued twice: only the saga does.
constexpr char schema[] = "CREATE TABLE IF NOT EXISTS documents (trip TEXT NOT NULL, flight INTEGER NOT NULL, room INTEGER NOT NULL, car INTEGER NOT NULL)";

/// What undoes their issue.
struct void_documents {
    std::string trip;
};
BOOST_DESCRIBE_STRUCT(void_documents, (), (trip))

/// A flight, a room and a car, or nothing.
asio::awaitable<itinerary> book_trip(saga& s, trip t)
{
    auto const flight = [&](saga& b) { return b.call<book_flight>("flight", t.id, t.city).undo<cancel_flight>(t.id, t.city).within(patience); };
    auto const room = [&](saga& b) { return b.call<book_room>("hotel", t.id, t.city).undo<cancel_room>(t.id, t.city).within(patience); };
    auto const car = [&](saga& b) { return b.call<rent_car>("car", t.id, t.city).undo<return_car>(t.id, t.city).within(patience); };
    auto const booked = co_await s.all(flight, room, car);

    co_await s.sleep_for(second_thoughts); // until then somebody may call `saga_engine::cancel`

    auto const& [seat, bed, wheels] = booked;
    itinerary const i{seat.number, bed.number, wheels.number};
    co_await s.step("issue documents", [&](auto& tx) {
        tx.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", t.id, i.flight, i.room, i.car);
    }).undo<void_documents>(t.id);
    co_return i;
}

class agency {
public:
    agency(agency_node& n, arguments const& given, cosaga::duration pause)
        : node_{n},
          sagas_{n.get_outbox(), {.reply_topic = answers_topic}},
          input_{n.get_store().get_environment().get_executor(), given["--input"]},
          pause_{pause}
    {
        sagas_.define<trip>("book trip", 1, book_trip);
        sagas_.compensate<void_documents>([](auto& tx, void_documents const& v) { tx.execute("DELETE FROM documents WHERE trip = ?", v.trip); });
        node_.attach(sagas_);
    }

    asio::awaitable<void> run()
    {
        auto prepare = [](auto& tx) { tx.execute(schema); };
        co_await node_.transact(prepare);
        co_await node_.run(book_all());
    }

private:
    asio::awaitable<void> book_all()
    {
        std::vector<std::string> trips;
        for (;;) {
            auto const line = co_await input_.next();
            if (!line)
                break;
            auto const t = cosaga::json_codec::decode<trip>(line->text);
            auto const is_new = co_await sagas_.begin("book trip", t.id, t);
            trips.push_back(t.id);
            if (is_new)
                co_await node_.get_store().get_environment().sleep_for(pause_);
        }
        for (auto const& id : trips)
            co_await print_outcome(id);
    }

    asio::awaitable<void> print_outcome(std::string id)
    {
        try {
            auto const i = co_await sagas_.result<itinerary>(id);
            std::printf("%s: flight %lld, room %lld, car %lld\n", id.c_str(), static_cast<long long>(i.flight),
                static_cast<long long>(i.room), static_cast<long long>(i.car));
        } catch (boost::system::system_error const& e) {
            if (e.code() != cosaga::errc::saga_undone)
                throw;
            std::printf("%s: %s\n", id.c_str(), e.what());
        }
        std::fflush(stdout);
    }

    agency_node& node_;
    cosaga::saga_engine<agency_node::outbox_type> sagas_;
    line_reader input_;
    cosaga::duration pause_;
};

/// Where the suppliers are, and where they answer.
cosaga::zeromq_options transport_of(arguments const& given)
{
    cosaga::zeromq_options options;
    options.service = agency_name;
    options.listen.push_back(given["--listen"]);
    for (std::string const supplier : {"flight", "hotel", "car"})
        options.routes.push_back({supplier, supplier, {given["--" + supplier]}});
    return options;
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("travel_agency", usage, 1, [&] {
        arguments const given{argc, argv, {"--db", "--listen", "--flight", "--hotel", "--car", "--input"}, {"--pause-ms"}};
        cosaga::duration const pause = std::chrono::milliseconds{number_in(given, "--pause-ms", 0)};
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::zeromq_transport transport{environment, transport_of(given)};
        agency_node node{store, transport, {.service = agency_name}};
        agency program{node, given, pause};
        auto ended = asio::co_spawn(io, program.run(), asio::use_future);
        io.run();
        ended.get();
        return 0;
    });
}
