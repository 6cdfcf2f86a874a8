// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <iterator>
#include <map>
#include <set>

namespace {

using namespace programs;
using testing::HasSubstr;

enum program { agency, flight, hotel, car };
constexpr program all_programs[] = {agency, flight, hotel, car};
constexpr program suppliers[] = {flight, hotel, car};
constexpr char const* names[] = {"agency", "flight", "hotel", "car"};

constexpr std::size_t trips_to_each_city = 40;
constexpr std::int64_t in_each_city[] = {0, 38, 32, 35}; // so some are refused by each

constexpr char trips_begun[] = "SELECT count(*) FROM cosaga_sagas";
constexpr char trips_booked[] = "SELECT count(*) FROM documents";
constexpr char all_ended[] = "SELECT count(*) = 0 FROM cosaga_sagas WHERE state < 4";
constexpr char nothing_left[] = "SELECT count(*) = 0 FROM cosaga_messages";

/// The programs of examples/travel with their files in a folder of their own.
class travel_system {
    temporary_folder folder_; // first: the names below are in it

public:
    std::string const input = folder_ / "trips.jsonl";

    std::string database(program who) const { return folder_ / (std::string{names[who]} + ".db"); }
    /// What all programs have written to standard error.
    std::string errors() const { return read_file(folder_ / "errors"); }
    /// What all programs have written to standard output.
    std::string output() const { return read_file(folder_ / "output"); }

    /// Of so many trips that each city has a few travellers too many.
    static std::string lines(std::size_t trips)
    {
        std::string lines;
        for (std::size_t n = 0; n < trips; ++n)
            lines += R"({"id":"trip-)" + std::to_string(n + 1) + R"(","city":"city-)" + std::to_string(n / trips_to_each_city) + "\"}\n";
        return lines;
    }
    void write_input(std::size_t trips) const { write_file(input, lines(trips)); }

    std::unique_ptr<child> start_agency(std::string const& from, int standard_input)
    {
        return start({COSAGA_TRAVEL_AGENCY, "--db", database(agency), "--listen", endpoints_[agency], "--flight", endpoints_[flight],
                         "--hotel", endpoints_[hotel], "--car", endpoints_[car], "--input", from, "--pause-ms", "30"},
            standard_input);
    }
    std::unique_ptr<child> start(program who)
    {
        if (who == agency)
            return start_agency(input, null_input());
        return start({COSAGA_TRAVEL_SUPPLIER, "--sells", names[who], "--db", database(who), "--listen", endpoints_[who], "--agency",
            endpoints_[agency], "--in-each-city", std::to_string(in_each_city[who])});
    }
    std::unique_ptr<child> start_report(std::vector<std::string> const& arguments)
    {
        std::filesystem::remove(folder_ / "output");
        std::vector<std::string> command{COSAGA_TRAVEL_REPORT, "--agency", database(agency)};
        command.insert(command.end(), arguments.begin(), arguments.end());
        return start(command);
    }
    std::unique_ptr<child> start_report()
    {
        return start_report({"--flight", database(flight), "--hotel", database(hotel), "--car", database(car)});
    }
    std::unique_ptr<child> start(std::vector<std::string> const& command, int standard_input = null_input())
    {
        return std::make_unique<child>(command, folder_ / "output", folder_ / "errors", standard_input);
    }

private:
    std::string const endpoints_[4] = {unused_endpoint(), unused_endpoint(), unused_endpoint(), unused_endpoint()};
};

/// Kills the programs at random instants while trips are booked, and starts them again.
class killer {
public:
    killer(travel_system& system, std::uint64_t seed) : system_{system}, random_{seed}
    {
        system_.write_input(20'000); // more than are begun meanwhile
        for (auto const who : all_programs)
            start(who);
    }

    /// Goes on until that many processes died by its hand.
    void kill(std::uint64_t times)
    {
        auto const unit = time_to_book();
        bool was_away = false;
        while (kills_ < times && !testing::Test::HasFailure()) {
            rest(below(1 + static_cast<std::uint64_t>(unit.count())));
            auto const victims = choose();
            for (auto const who : victims) {
                EXPECT_EQ(running_[who]->wait(0us), std::nullopt) << names[who] << ": " << system_.errors();
                EXPECT_EQ(running_[who]->end(SIGKILL), was_killed) << system_.errors();
                ++kills_;
            }
            if (victims.front() != agency && (below(32) == 0 || (!was_away && kills_ > times / 2))) {
                rest(2'500); // so long that trips time out
                was_away = true;
            } else if (below(4) == 0)
                rest(below(100));
            for (auto const who : victims)
                start(who);
        }
    }

    /// Lets all trips that were begun come to their end, and all messages, answers that come late included. @return how many trips they are.
    std::size_t finish()
    {
        for (auto const& [who, process] : running_)
            EXPECT_EQ(process->end(SIGKILL), was_killed) << names[who] << ": " << system_.errors();
        auto const begun = std::stoull(query(system_.database(agency), trips_begun).front().front());
        input_pipe pipe; // the agency goes on until its input ends
        running_[agency] = system_.start_agency("-", pipe.read_end());
        for (auto const who : suppliers)
            start(who);
        pipe.write(system_.lines(begun));
        wait_for(system_.database(agency), all_ended, 1);
        for (auto const who : {flight, hotel, car, agency})
            wait_for(system_.database(who), nothing_left, 1);
        pipe.close();
        EXPECT_EQ(running_[agency]->wait(enough), exited_with_0) << system_.errors();
        for (auto const who : suppliers)
            EXPECT_EQ(running_[who]->end(SIGTERM), exited_with_0) << names[who] << ": " << system_.errors();
        return begun;
    }

private:
    std::vector<program> choose()
    {
        switch (below(10)) {
        case 0: return {agency, flight, hotel, car};
        case 1: return {hotel, agency};
        case 2: return {car, flight};
        case 3: return {flight};
        case 4:
        case 5: return {hotel};
        case 6: return {car};
        default: return {agency};
        }
    }

    // What it takes from the start to the first trip that is booked, so that kills fall before, within and after a trip on any
    // machine, sanitizers or not; within limits, so that the test has an end.
    std::chrono::milliseconds time_to_book()
    {
        auto const begin = std::chrono::steady_clock::now();
        wait_for(system_.database(agency), trips_booked, 1);
        auto const took = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
        return std::clamp<std::chrono::milliseconds>(took, 250ms, 1500ms);
    }

    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    static void rest(std::uint64_t milliseconds) { static_cast<void>(::poll(nullptr, 0, static_cast<int>(milliseconds))); }
    void start(program who) { running_[who] = system_.start(who); }

    travel_system& system_;
    std::mt19937_64 random_;
    std::uint64_t kills_ = 0;
    std::map<program, std::unique_ptr<child>> running_;
};

/// What each supplier did, by trip: `-1` a booking, `1` its cancellation, in order.
std::map<std::string, std::vector<std::string>> read_effects(travel_system const& system, program supplier)
{
    std::map<std::string, std::vector<std::string>> found;
    for (auto const& row : query(system.database(supplier), "SELECT trip, change FROM ledger ORDER BY number"))
        found[row[0]].push_back(row[1]);
    return found;
}

std::vector<std::string> column(std::string const& database, char const* sql)
{
    std::vector<std::string> found;
    for (auto const& row : query(database, sql))
        found.push_back(row.front());
    return found;
}

void expect_stock_adds_up(travel_system const& system, program supplier)
{
    auto const rows = query(system.database(supplier),
        "SELECT city, capacity, free, (SELECT coalesce(sum(change), 0) FROM ledger WHERE ledger.city = stock.city) FROM stock");
    for (auto const& row : rows) {
        EXPECT_EQ(std::stoll(row[1]), in_each_city[supplier]);
        EXPECT_EQ(std::stoll(row[2]), in_each_city[supplier] + std::stoll(row[3])) << names[supplier] << " in " << row[0];
        EXPECT_GE(std::stoll(row[2]), 0) << names[supplier] << " in " << row[0];
    }
}

/// Every trip has its documents once and is booked at all three, or has none and is booked at none.
void expect_all_or_none(travel_system const& system, std::size_t trips)
{
    auto const documents = column(system.database(agency), "SELECT trip FROM documents");
    std::set<std::string> const booked{documents.begin(), documents.end()};
    EXPECT_EQ(booked.size(), documents.size()) << "documents were issued twice";
    std::vector<std::string> const once{"-1"};
    std::vector<std::string> const and_cancelled{"-1", "1"};
    for (auto const who : suppliers) {
        auto effects = read_effects(system, who);
        for (std::size_t n = 1; n <= trips; ++n) {
            auto const trip = "trip-" + std::to_string(n);
            auto const done = effects.extract(trip);
            if (booked.contains(trip))
                EXPECT_TRUE(done && done.mapped() == once) << trip << " is booked, but not at the " << names[who];
            else
                EXPECT_TRUE(!done || done.mapped() == and_cancelled) << trip << " is not booked, but at the " << names[who];
        }
        EXPECT_TRUE(effects.empty()) << effects.begin()->first << " is unknown";
        expect_stock_adds_up(system, who);
    }
}

TEST(travel_crash, books_each_trip_at_all_three_or_at_none_when_any_program_is_killed_again_and_again)
{
    auto const seed = from_environment("COSAGA_CRASH_SEED", std::random_device{}());
    auto const kills = from_environment("COSAGA_CRASH_KILLS", std::min(COSAGA_CRASH_KILLS, 100));
    std::cout << "COSAGA_CRASH_SEED=" << seed << " COSAGA_CRASH_KILLS=" << kills << std::endl;
    travel_system system;
    std::size_t trips = 0;
    {
        killer k{system, seed};
        k.kill(kills);
        trips = k.finish();
    }
    expect_all_or_none(system, trips);
    auto const count = [&](char const* sql) { return column(system.database(agency), sql).front(); };
    auto const refused = count("SELECT count(*) FROM cosaga_sagas WHERE reason LIKE '%sold out%'");
    auto const timed_out = count("SELECT count(*) FROM cosaga_sagas WHERE reason LIKE '%in time%'");
    std::cout << trips << " trips, " << count(trips_booked) << " booked, " << refused << " refused, " << timed_out << " timed out" << std::endl;
    EXPECT_NE(count(trips_booked), "0");
    EXPECT_EQ(system.start_report()->wait(enough), exited_with_0) << system.output() << system.errors();
    for (auto const who : all_programs)
        EXPECT_EQ(column(system.database(who), nothing_left).front(), "1") << names[who] << ": nothing is undelivered or parked";
}

TEST(travel_programs, book_trips_until_rooms_run_out_and_show_each_as_a_timeline)
{
    travel_system system;
    system.write_input(trips_to_each_city);
    std::vector<std::unique_ptr<child>> running;
    for (auto const who : suppliers)
        running.push_back(system.start(who));
    EXPECT_EQ(system.start(agency)->wait(enough), exited_with_0) << system.errors();
    EXPECT_EQ(system.start(agency)->wait(enough), exited_with_0) << "again, when all have ended: " << system.errors();
    EXPECT_THAT(system.output(), HasSubstr("sold out in city-0"));
    for (auto const& supplier : running)
        EXPECT_EQ(supplier->end(SIGTERM), exited_with_0) << system.errors();
    expect_all_or_none(system, trips_to_each_city);
    EXPECT_EQ(column(system.database(agency), trips_booked).front(), std::to_string(in_each_city[hotel]));

    EXPECT_EQ(system.start_report({"--trip", "trip-1"})->wait(enough), exited_with_0) << system.errors();
    for (auto const* const part : {"the saga", "branch 1.0", "branch 1.1", "branch 1.2", "book_flight", "book_room", "rent_car", "issue documents"})
        EXPECT_THAT(system.output(), HasSubstr(part));
    EXPECT_EQ(system.start_report()->wait(enough), exited_with_0) << system.errors();
    EXPECT_THAT(system.output(), HasSubstr("All agree"));
}

TEST(travel_programs, report_suppliers_that_do_not_agree_with_the_agency)
{
    travel_system system;
    system.write_input(1);
    {
        std::vector<std::unique_ptr<child>> running;
        for (auto const who : suppliers)
            running.push_back(system.start(who));
        EXPECT_EQ(system.start(agency)->wait(enough), exited_with_0) << system.errors();
    }
    query(system.database(hotel), "DELETE FROM ledger");
    EXPECT_EQ(system.start_report()->wait(enough), exited_with_1) << system.output();
    EXPECT_THAT(system.output(), HasSubstr("They do not agree."));
}

TEST(travel_programs, refuse_wrong_arguments_with_their_usage_and_exit_code_2)
{
    std::string const e = "tcp://127.0.0.1:1";
    travel_system const files; // of no interest
    std::vector<std::vector<std::string>> const commands{
        {COSAGA_TRAVEL_AGENCY, "--db", "x", "--listen", e, "--flight", e, "--hotel", e, "--car", e},
        {COSAGA_TRAVEL_AGENCY, "--db", "x", "--listen", e, "--flight", e, "--hotel", e, "--car", e, "--input", "-", "--pause-ms", "-1"},
        {COSAGA_TRAVEL_SUPPLIER, "--sells", "train", "--db", files.database(agency), "--listen", e, "--agency", e, "--in-each-city", "1"},
        {COSAGA_TRAVEL_REPORT, "--agency", "x", "--flight", "x", "--hotel", "x"},
    };
    for (auto const& command : commands) {
        travel_system system;
        EXPECT_EQ(system.start(command)->wait(enough), exited_with_2) << testing::PrintToString(command);
        auto const name = std::filesystem::path{command[0]}.filename().string();
        EXPECT_THAT(system.errors(), HasSubstr("usage: " + name + " --"));
    }
}

} // namespace
