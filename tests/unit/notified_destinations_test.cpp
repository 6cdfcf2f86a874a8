// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A destination that refuses or hangs delays no other, and is not tried in vain.
#include "notification_services.hpp"

#include <boost/asio/detached.hpp>

#include <malloc.h>

#include <cmath>
#include <cstdio>

namespace {

using namespace cosaga_tests;

struct notified_destinations : notification_services {
    notified_destinations() { bank.begin(); }

    void notify_many(std::string const& to, int n, cosaga::notification_options const& o = {})
    {
        auto work = [&](auto& tx) {
            for (int i = 0; i < n; ++i)
                tx.notify(to, paid{std::to_string(i), i}, o);
        };
        run(env, notifier().transact(work));
    }
    /// Seconds between attempts at a destination.
    std::vector<double> gaps(std::string const& to) const
    {
        auto at = times(to, cosaga::steady_time{});
        std::vector<double> found;
        for (std::size_t i = 1; i < at.size(); ++i)
            found.push_back(std::round((at[i] - at[i - 1]) * 100) / 100);
        return found;
    }
};

TEST_F(notified_destinations, that_refuse_are_tried_with_one_at_a_time_after_a_while)
{
    sink().answer("shop", {failed()});
    notify_many("shop", 1000);
    env.run_for(4min);
    // Five in a row, then one after 5, 10, 20, 40, 60, 60 seconds.
    EXPECT_EQ(gaps("shop"), (std::vector<double>{0, 0, 0, 0, 5, 10, 20, 40, 60, 60}));
    EXPECT_EQ(notifier().counters().held_back, 1u);
    EXPECT_EQ(sink().most, 1);
}

TEST_F(notified_destinations, that_are_back_get_everything_that_waited)
{
    sink().answer("shop", {failed()});
    notify_many("shop", 1000);
    env.run_for(10min);
    sink().take("shop", 100ms);
    env.run_for(61s + 100ms * (1000 / 8 + 10));
    EXPECT_EQ(notifier().counters().delivered, 1000u);
    EXPECT_EQ(sink().most, 8);
    EXPECT_EQ(notifier().counters().held_back, 0u);
}

TEST_F(notified_destinations, that_never_come_back_have_everything_given_up_in_time)
{
    sink().answer("shop", {failed()});
    auto plan = notification_schedule::fifteen_in_a_day();
    plan.deadline = 1h;
    notify_many("shop", 5000, {.schedule = plan});
    env.run_for(1h + 30min);
    EXPECT_EQ(notifier().counters().given_up, 5000u);
    EXPECT_LT(sink().attempts_at("shop"), 110u);
    auto const all = list("shop", notification_state::given_up);
    ASSERT_EQ(all.size(), 5000u);
    EXPECT_EQ(std::count_if(all.begin(), all.end(), [](auto const& n) {
        return n.attempts == 0 && n.reason == "given up: its time was over while its destination was held back";
    }) > 4800, true);
}

TEST_F(notified_destinations, have_limits_that_are_reached_step_by_step)
{
    sink().take("shop", 1s);
    notify_many("shop", 100);
    std::vector<int> at_a_time;
    for (int i = 0; i < 6; ++i) {
        env.run_for(500ms);
        at_a_time.push_back(sink().now);
        env.run_for(500ms);
    }
    EXPECT_EQ(at_a_time, (std::vector<int>{1, 2, 4, 8, 8, 8}));
}

TEST_F(notified_destinations, share_a_limit_of_all)
{
    bank.settings.in_flight = 10;
    bank.restart();
    for (int i = 0; i < 50; ++i) {
        sink().take("shop" + std::to_string(i), 1s);
        notify("shop" + std::to_string(i));
    }
    env.run_for(10s);
    EXPECT_EQ(sink().most, 5); // of no one is anything known
    EXPECT_EQ(notifier().counters().delivered, 50u);
    for (int i = 0; i < 50; ++i)
        notify("shop" + std::to_string(i));
    sink().most = 0;
    env.run_for(10s);
    EXPECT_EQ(sink().most, 10);
    EXPECT_EQ(notifier().counters().delivered, 100u);
}

TEST_F(notified_destinations, that_work_are_not_delayed_by_any_number_that_hang)
{
    bank.settings.in_flight = 20;
    bank.restart();
    notify("fine");
    env.run_for(1s);
    for (int i = 0; i < 200; ++i) {
        sink().hang("bad" + std::to_string(i));
        sink().hang("hangs" + std::to_string(i));
        notify("hangs" + std::to_string(i));
    }
    auto const begun = env.steady_now();
    for (int i = 0; i < 10; ++i) {
        sink().all.clear();
        notify("fine");
        auto const since = env.steady_now();
        env.run_for(5s);
        expect_times(times("fine", since), {0});
    }
    EXPECT_EQ(env.steady_now() - begun, 50s);
}

TEST_F(notified_destinations, with_long_queues_share_with_others)
{
    bank.settings.in_flight = 12;
    bank.settings.in_flight_per_destination = 4;
    bank.restart();
    notify("fine");
    for (int i = 0; i < 6; ++i) {
        sink().take("slow" + std::to_string(i), 1s);
        notify_many("slow" + std::to_string(i), 1000);
    }
    env.run_for(20s);
    EXPECT_EQ(sink().most, 12);
    sink().all.clear();
    for (int i = 0; i < 10; ++i)
        notify("fine");
    env.run_for(2100ms); // the others want 24 attempts of a second, 12 at a time
    EXPECT_GE(sink().attempts_at("fine"), 1u);
    env.run_for(10s);
    EXPECT_EQ(sink().attempts_at("fine"), 10u);
}

TEST_F(notified_destinations, are_forgotten_with_what_was_pending)
{
    // 100,000 destinations, each once: memory is for what is pending.
    auto const used = [] { return static_cast<double>(::mallinfo2().uordblks); };
    auto const round = [&](int from) {
        for (int i = from; i < from + 50'000; i += 100) {
            auto work = [&](auto& tx) {
                for (int n = i; n < i + 100; ++n)
                    tx.notify("shop" + std::to_string(n), paid{"p", n});
            };
            run(env, notifier().transact(work));
            env.run_for(100ms);
            sink().all.clear();
        }
        env.run_for(10s);
    };
    round(0);
    auto const before = used();
    round(50'000);
    // What the store in memory has of them: a queue and a mark each.
    EXPECT_LT((used() - before) / 50'000, 1400.0);
    EXPECT_EQ(notifier().counters().delivered, 100'000u);
}

struct many_destinations : notified_destinations {
    static constexpr int destinations = 2000;
    static constexpr int per_second = 1000;
    static constexpr int producers = 16;

    std::string name(int i) const { return "shop" + std::to_string(i); }

    many_destinations()
    {
        for (int i = 0; i < destinations; ++i) {
            if (i % 20 == 7)
                sink().hang(name(i));
            else if (i % 20 == 13)
                sink().answer(name(i), {failed()});
            else
                sink().behaviours[name(i)] = [this](cosaga::message const& m) -> asio::awaitable<attempt_result> {
                    co_await env.sleep_for(20ms + 1ms * (env.random() % 100));
                    auto const delay = env.now() - m.time;
                    delays.push_back(static_cast<double>(delay.count()) / 1e6);
                    co_return delivered();
                };
        }
    }

    // One of `producers`, which take turns.
    static asio::awaitable<void> load(many_destinations& self, int number, int seconds, int& running)
    {
        auto const begun = self.env.steady_now();
        for (int k = number; k < seconds * per_second; k += producers) {
            co_await self.env.sleep_until(begun + k * cosaga::duration{1s} / per_second);
            auto work = [&](auto& tx) {
                tx.notify(self.name(static_cast<int>(self.env.random() % destinations)), paid{std::to_string(k), k});
            };
            co_await self.notifier().transact(work);
        }
        --running;
    }

    std::vector<double> delays;
};

TEST_F(many_destinations, that_are_healthy_are_notified_in_time_while_others_hang_and_refuse)
{
    int running = producers;
    std::size_t in_flight = 0;
    for (int i = 0; i < producers; ++i)
        asio::co_spawn(env.get_executor(), load(*this, i, 300, running), asio::detached);
    while (running > 0) {
        env.run_for(1s);
        sink().all.clear();
        in_flight = std::max(in_flight, notifier().counters().in_flight);
    }
    env.run_for(1s);
    std::sort(delays.begin(), delays.end());
    ASSERT_GT(delays.size(), 260'000u);
    auto const at = [&](double p) { return delays[static_cast<std::size_t>(p * static_cast<double>(delays.size() - 1))]; };
    RecordProperty("p50_ms", static_cast<int>(at(0.5) * 1000));
    RecordProperty("p99_ms", static_cast<int>(at(0.99) * 1000));
    RecordProperty("longest_ms", static_cast<int>(at(1) * 1000));
    RecordProperty("in_flight", static_cast<int>(in_flight));
    std::printf("healthy destinations: delay p50 %.3f s, p99 %.3f s, longest %.3f s; in flight at most %zu\n", at(0.5), at(0.99), at(1), in_flight);
    EXPECT_LT(at(0.99), 1.0);
    EXPECT_LT(in_flight, 512u);
}

} // namespace
