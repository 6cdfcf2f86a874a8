// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <cosaga.hpp>
#include <cosaga/detail/notification_rows.hpp>
#include <cosaga/webhook/signature.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <map>

namespace {

using namespace programs;
namespace asio = boost::asio;
using state = cosaga::notification_state;

enum program { payment_service, bakery, florist };
constexpr program all_programs[] = {payment_service, bakery, florist};
constexpr char const* names[] = {"payment_service", "bakery", "florist"};

constexpr char payments_made[] = "SELECT count(*) FROM payments";
constexpr char nothing_pending[] = "SELECT coalesce(sum(prepared + ready), 0) = 0 FROM cosaga_queues";
constexpr char orders_booked[] = "SELECT count(DISTINCT order_number) FROM payments";

/// The programs of examples/webhook with their files in a folder of their own.
class webhook_system {
    temporary_folder folder_; // first: the names below are in it

public:
    webhook_system()
    {
        std::string merchants;
        for (auto const who : {bakery, florist}) {
            auto const secret = cosaga::webhook_secret::make().reveal();
            write_file(secret_of(who), secret);
            merchants += std::string{R"({"name":")"} + names[who] + R"(","url":"http://127.0.0.1:)" + ports_[who] + R"(/hooks","secret":")" + secret + "\"}\n";
        }
        write_file(folder_ / "merchants.jsonl", merchants);
    }

    std::string database(program who) const { return folder_ / (std::string{names[who]} + ".db"); }
    std::string errors() const { return read_file(folder_ / "errors"); }

    /// @param payments to be made altogether, one after each pause, half of them to each merchant.
    std::unique_ptr<child> start(program who, std::int64_t payments)
    {
        if (who == payment_service)
            return start({COSAGA_WEBHOOK_PAYMENT_SERVICE, "--db", database(who), "--port", ports_[who], "--merchants",
                folder_ / "merchants.jsonl", "--payments", std::to_string(payments), "--pause-ms", "10"});
        std::vector<std::string> command{COSAGA_WEBHOOK_MERCHANT, "--name", names[who], "--db", database(who), "--port", ports_[who],
            "--secret", secret_of(who), "--ask", "http://127.0.0.1:" + ports_[payment_service] + "/payments/" + names[who],
            "--orders", std::to_string((payments + 1) / 2)};
        if (who == bakery)
            command.push_back("--lossy");
        return start(command);
    }
    std::unique_ptr<child> start(std::vector<std::string> const& command)
    {
        return std::make_unique<child>(command, folder_ / "output", folder_ / "errors", null_input());
    }

    /// The state of each notice that was made to a merchant; nothing for one that is forgotten.
    std::vector<std::optional<state>> notices(program merchant) const
    {
        auto const sql = "SELECT notice FROM payments WHERE merchant = '" + std::string{names[merchant]} + "' ORDER BY order_number";
        auto const made = query(database(payment_service), sql.c_str());
        asio::io_context io{1};
        cosaga::system_environment env{io.get_executor()};
        cosaga::sqlite_store store{env, database(payment_service)};
        std::vector<std::optional<state>> found;
        auto look = [&](cosaga::sqlite_transaction& tx) {
            cosaga::detail::notification_rows<cosaga::sqlite_transaction> const rows{cosaga::notifier_options{}};
            for (auto const& row : made) {
                auto const n = rows.find(tx, *cosaga::message_id::parse(row.front()));
                found.push_back(n ? std::optional{n->state} : std::nullopt);
            }
        };
        auto done = asio::co_spawn(io, store.transact(look), asio::use_future);
        io.run();
        done.get();
        return found;
    }

private:
    static std::string unused_port()
    {
        auto const endpoint = unused_endpoint();
        return endpoint.substr(endpoint.rfind(':') + 1);
    }
    std::string secret_of(program who) const { return folder_ / (std::string{names[who]} + ".secret"); }

    std::string const ports_[3] = {unused_port(), unused_port(), unused_port()};
};

/// Kills the programs at random instants while payments are made, and starts them again.
class killer {
public:
    killer(webhook_system& system, std::uint64_t seed) : system_{system}, random_{seed}
    {
        for (auto const who : all_programs)
            start(who);
    }

    /// Goes on until that many processes died by its hand.
    void kill(std::uint64_t times)
    {
        auto const unit = time_to_book();
        while (kills_ < times && !testing::Test::HasFailure()) {
            rest(below(1 + static_cast<std::uint64_t>(unit.count())));
            auto const victims = choose();
            for (auto const who : victims) {
                EXPECT_EQ(running_[who]->wait(0us), std::nullopt) << names[who] << ": " << system_.errors();
                EXPECT_EQ(running_[who]->end(SIGKILL), was_killed) << system_.errors();
                ++kills_;
            }
            if (below(16) == 0)
                rest(below(2'500)); // so long that notices are given up
            else if (below(4) == 0)
                rest(below(30));
            for (auto const who : victims)
                start(who);
        }
    }

    /// Lets all that was paid be told or given up, and the merchants ask for the rest. @return how many payments were made.
    std::int64_t finish()
    {
        for (auto const& [who, process] : running_)
            EXPECT_EQ(process->end(SIGKILL), was_killed) << names[who] << ": " << system_.errors();
        auto const made = std::stoll(query(system_.database(payment_service), payments_made).front().front());
        payments_ = made;
        for (auto const who : all_programs)
            start(who);
        wait_for(system_.database(payment_service), nothing_pending, 1);
        wait_for(system_.database(bakery), orders_booked, (made + 1) / 2);
        wait_for(system_.database(florist), orders_booked, made / 2);
        for (auto const& [who, process] : running_)
            EXPECT_EQ(process->end(SIGTERM), exited_with_0) << names[who] << ": " << system_.errors();
        return made;
    }

private:
    std::vector<program> choose()
    {
        switch (below(8)) {
        case 0: return {payment_service, bakery};
        case 1: return {florist, bakery};
        case 2:
        case 3: return {bakery};
        case 4: return {florist};
        default: return {payment_service};
        }
    }

    // Some times what it takes from their start to the first payment that is booked, so that kills fall before, within and after a
    // delivery, sanitizers or not.
    std::chrono::milliseconds time_to_book()
    {
        auto const begin = std::chrono::steady_clock::now();
        wait_for(system_.database(bakery), orders_booked, 1);
        auto const took = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
        return std::clamp<std::chrono::milliseconds>(3 * took, 200ms, 1500ms);
    }

    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    static void rest(std::uint64_t milliseconds) { static_cast<void>(::poll(nullptr, 0, static_cast<int>(milliseconds))); }
    void start(program who) { running_[who] = system_.start(who, payments_); }

    webhook_system& system_;
    std::mt19937_64 random_;
    std::uint64_t kills_ = 0;
    std::int64_t payments_ = 10'000; // more than are made meanwhile
    std::map<program, std::unique_ptr<child>> running_;
};

TEST(webhook_crash, forgets_and_doubles_nothing_when_any_program_is_killed_again_and_again)
{
    auto const seed = from_environment("COSAGA_CRASH_SEED", std::random_device{}());
    auto const kills = from_environment("COSAGA_CRASH_KILLS", std::min(COSAGA_CRASH_KILLS, 100));
    std::cout << "COSAGA_CRASH_SEED=" << seed << " COSAGA_CRASH_KILLS=" << kills << std::endl;
    webhook_system system;
    std::int64_t made = 0;
    {
        killer k{system, seed};
        k.kill(kills);
        made = k.finish();
    }
    EXPECT_GT(made, 0);
    for (auto const who : {bakery, florist}) {
        auto const paid = "SELECT order_number, cents FROM payments WHERE merchant = '" + std::string{names[who]} + "' ORDER BY 1, 2";
        EXPECT_EQ(query(system.database(who), "SELECT order_number, cents FROM payments ORDER BY 1, 2"),
            query(system.database(payment_service), paid.c_str()))
            << names[who] << " has booked what was paid, once";
        auto const notices = system.notices(who);
        auto const count = [&](std::optional<state> s) { return std::count(notices.begin(), notices.end(), s); };
        EXPECT_EQ(count(std::nullopt), 0) << "forgotten";
        EXPECT_EQ(count(state::pending), 0);
        EXPECT_GT(count(state::delivered), 0);
        auto const told_by = query(system.database(who), "SELECT told_by FROM payments ORDER BY order_number");
        ASSERT_EQ(told_by.size(), notices.size());
        std::size_t asked = 0;
        for (std::size_t i = 0; i < notices.size(); ++i) {
            bool const was_asked = told_by[i].front() == "asking";
            EXPECT_TRUE(!was_asked || notices[i] == state::given_up) << "order " << i + 1 << " was asked for, but its notice counts as delivered";
            asked += was_asked;
        }
        std::cout << names[who] << ": " << notices.size() << " notices, " << count(state::delivered) << " delivered, " << count(state::given_up)
                  << " given up; " << asked << " learnt by asking" << std::endl;
    }
}

TEST(webhook_programs, refuse_wrong_arguments_with_their_usage_and_exit_code_2)
{
    std::vector<std::vector<std::string>> const commands{
        {COSAGA_WEBHOOK_PAYMENT_SERVICE, "--db", "x", "--port", "1", "--merchants", "x", "--payments", "1"},
        {COSAGA_WEBHOOK_PAYMENT_SERVICE, "--db", "x", "--port", "1", "--merchants", "x", "--payments", "-1", "--pause-ms", "1"},
        {COSAGA_WEBHOOK_MERCHANT, "--name", "x"},
        {COSAGA_WEBHOOK_MERCHANT, "--name", "x", "--db", "x", "--port", "70000", "--secret", "x", "--ask", "x", "--orders", "1"},
    };
    for (auto const& command : commands) {
        webhook_system system;
        EXPECT_EQ(system.start(command)->wait(enough), exited_with_2) << testing::PrintToString(command);
        auto const name = std::filesystem::path{command[0]}.filename().string();
        EXPECT_THAT(system.errors(), testing::HasSubstr("usage: " + name + " --"));
    }
}

} // namespace
