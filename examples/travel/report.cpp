// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Says what became of all trips, at the agency and at each supplier, and whether they agree; or shows one trip's saga as a timeline.
// Exit code 1 if they do not agree.
#include "timeline.hpp"
#include "travel.hpp"

#include <cosaga/transport/memory.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace travel;

constexpr char usage[] = "--agency FILE (--trip ID | --flight FILE --hotel FILE --car FILE)";
constexpr char const* suppliers[] = {"flight", "hotel", "car"};

asio::awaitable<std::vector<cosaga::saga_info>> all_sagas(auto& sagas)
{
    std::vector<cosaga::saga_info> all;
    for (auto const state : {cosaga::saga_state::running, cosaga::saga_state::compensating, cosaga::saga_state::confirming,
             cosaga::saga_state::paused, cosaga::saga_state::done, cosaga::saga_state::undone})
        for (std::string after;;) {
            auto const page = co_await sagas.list(state, after);
            if (page.empty())
                break;
            all.insert(all.end(), page.begin(), page.end());
            after = page.back().id;
        }
    co_return all;
}

char const* to_string(cosaga::saga_state s)
{
    switch (s) {
    case cosaga::saga_state::done: return "booked";
    case cosaga::saga_state::undone: return "undone";
    case cosaga::saga_state::paused: return "paused";
    default: return "running";
    }
}

struct effects {
    std::string trip;
    std::int64_t count = 0;
    std::int64_t change = 0;
};
BOOST_DESCRIBE_STRUCT(effects, (), (trip, count, change))

/// What a supplier did for each trip; a trip of which it knows nothing is missing.
asio::awaitable<std::map<std::string, std::string>> read_supplier(cosaga::environment& env, std::string path)
{
    cosaga::sqlite_store store{env, path};
    std::map<std::string, std::string> found;
    auto look = [&](auto& tx) {
        auto const rows = tx.template query<effects>("SELECT trip, count(*) AS count, sum(change) AS change FROM ledger GROUP BY trip");
        for (auto const& r : rows)
            found[r.trip] = r.count == 1 && r.change == -1 ? "booked" : r.count == 2 && r.change == 0 ? "cancelled" : "WRONG";
        auto const sold = tx.template query<std::int64_t>(
            "SELECT count(*) FROM stock s WHERE free < 0 OR free <> capacity + (SELECT coalesce(sum(change), 0) FROM ledger l WHERE l.city = s.city)");
        if (sold.front() != 0)
            found["the stock"] = "WRONG";
    };
    co_await store.transact(look);
    co_await store.close();
    co_return found;
}

/// @return whether all agree.
bool print_table(std::vector<cosaga::saga_info> const& sagas, std::map<std::string, std::string> (&at)[3])
{
    struct kind {
        std::size_t trips = 0;
        std::string example;
    };
    std::map<std::vector<std::string>, kind> kinds;
    for (auto const& s : sagas) {
        std::vector<std::string> row{to_string(s.state)};
        for (auto& supplier : at) {
            auto const found = supplier.extract(s.id);
            row.push_back(found ? found.mapped() : "-");
        }
        auto& k = kinds[row];
        ++k.trips;
        if (k.example.empty())
            k.example = s.id + (s.reason.empty() ? "" : ": " + s.reason);
    }
    bool agreed = true;
    std::printf("%-10s%-11s%-11s%-11s%6s  %s\n", "agency", "flight", "hotel", "car", "trips", "for example");
    for (auto const& [row, k] : kinds) {
        std::printf("%-10s%-11s%-11s%-11s%6zu  %s\n", row[0].c_str(), row[1].c_str(), row[2].c_str(), row[3].c_str(), k.trips, k.example.c_str());
        for (std::size_t i = 1; i < row.size(); ++i)
            agreed = agreed && (row[0] == "booked" ? row[i] == "booked" : row[0] == "undone" && (row[i] == "cancelled" || row[i] == "-"));
    }
    for (std::size_t i = 0; i < std::size(at); ++i)
        for (auto const& [trip, what] : at[i]) { // what the agency does not know
            std::printf("%s: %s at the %s, and nothing at the agency\n", trip.c_str(), what.c_str(), suppliers[i]);
            agreed = false;
        }
    std::puts(agreed ? "All agree: each trip is booked at all three, or at none." : "They do not agree.");
    return agreed;
}

asio::awaitable<int> report(cosaga::environment& env, arguments const& given)
{
    cosaga::sqlite_store store{env, given["--agency"]};
    cosaga::memory_transport transport{env}; // nothing is sent
    cosaga::node node{store, transport, {.service = agency_name}};
    cosaga::saga_engine sagas{node.get_outbox(), {}}; // not started: it reads
    bool agreed = true;
    if (given.has("--trip")) {
        auto const found = co_await sagas.find(given["--trip"]);
        if (!found)
            throw std::runtime_error{"the agency does not know " + given["--trip"]};
        auto const journal = co_await sagas.journal(given["--trip"]);
        std::printf("%s, '%s' version %u, %s\n", found->id.c_str(), found->name.c_str(), found->version, to_string(found->state));
        std::fputs(timeline(journal).c_str(), stdout);
    } else {
        std::map<std::string, std::string> at[3];
        for (std::size_t i = 0; i < std::size(at); ++i)
            at[i] = co_await read_supplier(env, given[std::string{"--"} + suppliers[i]]);
        auto const all = co_await all_sagas(sagas);
        agreed = print_table(all, at);
    }
    co_await store.close();
    co_return agreed ? 0 : 1;
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("travel_report", usage, 1, [&] {
        arguments const given{argc, argv, {"--agency"}, {"--trip", "--flight", "--hotel", "--car"}};
        for (std::string const supplier : suppliers)
            if (!given.has("--trip") && !given.has("--" + supplier))
                throw usage_error{"--" + supplier + " is missing"};
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        auto ended = asio::co_spawn(io, report(environment, given), asio::use_future);
        io.run();
        return ended.get();
    });
}
