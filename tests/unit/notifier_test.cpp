// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "notification_services.hpp"

#include <cmath>

namespace {

using namespace cosaga_tests;
using doubles = std::vector<double>;

struct notifier : notification_services {
    notifier() { bank.begin(); }
};

TEST_F(notifier, delivers_at_once_and_remembers_it)
{
    auto const begun = env.steady_now();
    auto const id = notify("shop", {.key = "k1"});
    env.run_for(1s);
    expect_times(times("shop", begun), {0});
    auto const& m = sink().all.front().content;
    EXPECT_EQ(m.id, id);
    EXPECT_EQ(m.type, "paid");
    EXPECT_EQ(m.key, "k1");
    EXPECT_EQ(m.source, "bank");
    EXPECT_EQ(m.topic, "cosaga.notifications");
    EXPECT_EQ(m.payload, R"({"id":"p1","cents":100})");
    auto const n = find(id);
    EXPECT_EQ(n.state, notification_state::delivered);
    EXPECT_EQ(n.destination, "shop");
    EXPECT_EQ(n.attempts, 1u);
    ASSERT_EQ(n.history.size(), 1u);
    EXPECT_EQ(n.history.front().outcome, attempt_outcome::delivered);
    EXPECT_EQ(n.history.front().status, 200u);
    EXPECT_FALSE(n.next);
    EXPECT_EQ(notifier().counters().delivered, 1u);
}

TEST_F(notifier, notifies_if_and_only_if_the_transaction_commits)
{
    auto throwing = [](auto& tx) {
        tx.notify("shop", paid{"p1", 1});
        throw std::runtime_error{"no"};
    };
    EXPECT_THROW(run(env, notifier().transact(throwing)), std::runtime_error);
    env.run_for(1min);
    EXPECT_TRUE(sink().all.empty());
    auto committing = [](auto& tx) {
        storage_kits::memory_kit::put(tx, "p1", "paid");
        return tx.notify("shop", paid{"p1", 1});
    };
    auto const id = run(env, notifier().transact(committing));
    env.run_for(1s);
    EXPECT_EQ(sink().attempts_at("shop"), 1u);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_EQ(bank.get("p1"), "paid");
}

TEST_F(notifier, is_adopted_by_a_transaction_of_another_pattern)
{
    auto work = [&](auto& tx) { notifier().adopt(tx).notify("shop", paid{"p1", 1}); };
    run(env, bank.node->transact(work));
    run(env, bank.store->transact(work));
    env.run_for(1s);
    EXPECT_EQ(sink().attempts_at("shop"), 2u);
}

void expect_preset(notification_services& at, notification_schedule const& s, std::size_t attempts, double total)
{
    at.sink().answer("shop", {failed()});
    auto const begun = at.env.steady_now();
    auto const id = at.notify("shop", {.schedule = s});
    doubles expected;
    double sum = 0;
    for (auto const d : s.retries.delays()) {
        expected.push_back(sum);
        sum += static_cast<double>(d.count()) / 1e6;
    }
    expected.push_back(sum);
    EXPECT_EQ(expected.size(), attempts);
    EXPECT_EQ(sum, total);
    at.env.run_for(24h * 8);
    at.expect_times(at.times("shop", begun), expected);
    auto const n = at.find(id);
    EXPECT_EQ(n.state, notification_state::given_up);
    EXPECT_EQ(n.attempts, attempts);
    EXPECT_EQ(n.history.size(), attempts);
    EXPECT_EQ(n.reason, "given up: no attempt is left: Service Unavailable");
    EXPECT_EQ(at.notifier().counters().given_up, 1u);
}

TEST_F(notifier, tries_fifteen_times_in_a_day_to_the_second)
{
    expect_preset(*this, notification_schedule::fifteen_in_a_day(), 15, 24 * 3600 + 3 * 60 + 45);
}

TEST_F(notifier, tries_eight_times_in_a_day_to_the_second)
{
    expect_preset(*this, notification_schedule::eight_in_a_day(), 8, 24 * 3600 + 24 * 60);
}

TEST_F(notifier, tries_as_the_standard_webhooks_propose_to_the_second)
{
    expect_preset(*this, notification_schedule::standard_webhooks(), 10, 75 * 3600 + 35 * 60 + 5);
}

TEST_F(notifier, keeps_jitter_within_its_bounds)
{
    bank.settings.breaker_failures = 1'000'000;
    bank.restart();
    auto const schedule = notification_schedule::fifteen_in_a_day(0.25);
    bool varies = false;
    for (int i = 0; i < 50; ++i)
        notify("shop" + std::to_string(i), {.schedule = schedule});
    for (int i = 0; i < 50; ++i)
        sink().answer("shop" + std::to_string(i), {failed()});
    sink().all.clear();
    env.run_for(1s);
    env.run_for(25h);
    for (int i = 0; i < 50; ++i) {
        auto const found = times("shop" + std::to_string(i), cosaga::steady_time{});
        ASSERT_GE(found.size(), 14u);
        auto const delays = schedule.retries.delays();
        auto const off = 15 - found.size();
        for (std::size_t k = 1; k < found.size(); ++k) {
            auto const full = static_cast<double>(delays[k - 1 + off].count()) / 1e6;
            auto const delay = found[k] - found[k - 1];
            EXPECT_GE(delay, full * 0.75 - 0.01);
            EXPECT_LE(delay, full + 0.01);
            varies = varies || std::abs(delay - full) > full * 0.1;
        }
    }
    EXPECT_TRUE(varies);
}

} // namespace
