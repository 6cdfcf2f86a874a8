// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <map>

namespace {

using namespace programs;

/// Kills the programs at random instants while orders flow, and starts them again.
class killer {
public:
    killer(orders_system& system, order_book const& book, std::uint64_t seed)
        : system_{system}, book_{book}, random_{seed}
    {
        start_warehouse();
        start_orders();
    }

    /// Goes on until that many processes died by its hand.
    void kill(std::uint64_t times)
    {
        auto const unit = time_to_ship(std::chrono::microseconds{60s} / std::max<std::uint64_t>(times, 1));
        while (kills_ < times && !testing::Test::HasFailure()) {
            feed_for(random_span(below(4) == 0 ? 4 * unit : unit));
            auto const victims = below(8);
            if (victims < 4)
                kill(orders_);
            if (victims > 2)
                kill(warehouse_);
            if (below(4) == 0) // mostly at once, since the other one is busy most when this one comes back
                static_cast<void>(::poll(nullptr, 0, static_cast<int>(below(30))));
            if (victims > 2)
                start_warehouse();
            if (victims < 4)
                start_orders();
        }
    }

    /// Lets both services finish all orders.
    void finish()
    {
        orders_->end(SIGKILL);
        write_file(system_.input, book_.lines());
        orders_ = system_.start_orders();
        EXPECT_EQ(orders_->wait(enough), exited_with_0) << system_.errors();
        EXPECT_EQ(warehouse_->end(SIGTERM), exited_with_0) << system_.errors();
    }

private:
    static constexpr std::size_t orders_a_step = 2;
    static constexpr auto step = 1ms;
    static constexpr std::size_t given_again = 100; // the last ones, when the order service starts

    // Twice what the programs take from their start to the first shipment, so that kills fall before, within and after
    // it on any machine, sanitizers or not; at most `most`, so that the test has an end.
    std::chrono::microseconds time_to_ship(std::chrono::microseconds most)
    {
        auto const start = std::chrono::steady_clock::now();
        feed_for(5ms);
        wait_for(system_.warehouse_db, "SELECT count(*) FROM shipments", 1);
        auto const took = std::chrono::ceil<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
        return std::min(std::max<std::chrono::microseconds>(2 * took, 100ms), most);
    }

    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    std::chrono::microseconds random_span(std::chrono::microseconds most)
    {
        return std::chrono::microseconds{below(1 + static_cast<std::uint64_t>(most.count()))};
    }

    // Orders that are given and then lost with the process come again with the last input.
    void feed_for(std::chrono::microseconds span)
    {
        for (; span > 0us; span -= step) {
            auto const last = std::min(next_ + orders_a_step, book_.size());
            if (pipe_->try_write(book_.lines(next_, last)))
                next_ = last;
            EXPECT_EQ(orders_->wait(std::min<std::chrono::microseconds>(span, step)), std::nullopt) << system_.errors();
        }
    }

    void kill(std::unique_ptr<child> const& process)
    {
        EXPECT_EQ(process->end(SIGKILL), was_killed) << system_.errors();
        ++kills_;
    }

    void start_orders()
    {
        pipe_ = std::make_unique<input_pipe>();
        next_ -= std::min(next_, given_again);
        orders_ = system_.start_orders({"--input", "-"}, pipe_->read_end());
    }

    void start_warehouse() { warehouse_ = system_.start_warehouse(); }

    orders_system& system_;
    order_book const& book_;
    std::mt19937_64 random_;
    std::uint64_t kills_ = 0;
    std::size_t next_ = 0;
    std::unique_ptr<input_pipe> pipe_;
    std::unique_ptr<child> warehouse_;
    std::unique_ptr<child> orders_;
};

// Asks the databases themselves: the audit is one of the programs under test.
void expect_order_per_key(orders_system const& system)
{
    std::map<std::string, std::int64_t> last;
    for (auto const& row : query(system.warehouse_db, "SELECT customer_id, number FROM shipments ORDER BY seq"))
        ASSERT_EQ(std::stoll(row[1]), ++last[row[0]]) << "of " << row[0];
}

TEST(orders_crash, loses_and_doubles_nothing_when_either_program_is_killed_again_and_again)
{
    auto const seed = from_environment("COSAGA_CRASH_SEED", std::random_device{}());
    auto const kills = from_environment("COSAGA_CRASH_KILLS", COSAGA_CRASH_KILLS);
    std::cout << "COSAGA_CRASH_SEED=" << seed << " COSAGA_CRASH_KILLS=" << kills << std::endl;

    order_book const book{seed, 150 * kills + 100};
    orders_system system;
    {
        killer k{system, book, seed};
        k.kill(kills);
        auto const flowed = query(system.warehouse_db, "SELECT count(*) FROM shipments").front().front();
        std::cout << flowed << " of " << book.size() << " orders were shipped between kills" << std::endl;
        EXPECT_NE(flowed, "0");
        k.finish();
    }

    auto const count = static_cast<std::int64_t>(book.size());
    audit_report const expected{count, count, 0, 0, book.cents(), book.cents(), 0};
    auto const [report, ending] = system.audit();
    EXPECT_EQ(report, expected);
    EXPECT_EQ(ending, exited_with_0);
    expect_order_per_key(system);
    EXPECT_EQ(query(system.warehouse_db, "SELECT count(DISTINCT order_id) FROM shipments").front().front(),
        std::to_string(count));
    EXPECT_EQ(query(system.orders_db, "SELECT count(*) FROM orders WHERE answers <> 1").front().front(), "0");
}

} // namespace
