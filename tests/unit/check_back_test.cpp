// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "transaction_services.hpp"

namespace {

using namespace cosaga_tests;
using doubles = std::vector<double>;
using strings = std::vector<std::string>;

struct check_back : transaction_services {
    check_back() { begin_all(); }

    /// The checks came at these seconds; none earlier, and none more than a moment later.
    static void expect_times(doubles const& found, doubles const& expected)
    {
        ASSERT_EQ(found.size(), expected.size());
        for (std::size_t i = 0; i < found.size(); ++i) {
            EXPECT_GE(found[i], expected[i]) << "check " << i;
            EXPECT_LT(found[i], expected[i] + 0.01) << "check " << i;
        }
    }
    // 6 s, then after 30, 60, 120 and 240 s, then every 300 s.
    static doubles backing_off(std::size_t most)
    {
        doubles times;
        for (double at = 6, wait = 30; times.size() < most; at += wait, wait = std::min(wait * 2, 300.0))
            times.push_back(at);
        return times;
    }

    void answer_with(std::function<asio::awaitable<transaction_outcome>(cosaga::message_id)> f) { shop.resource->checker = std::move(f); }
    void throw_at_checks()
    {
        answer_with([](cosaga::message_id) -> asio::awaitable<transaction_outcome> {
            throw std::runtime_error{"no connection"};
            co_return transaction_outcome::unknown;
        });
    }
    void hang_at_checks()
    {
        answer_with([this](cosaga::message_id) -> asio::awaitable<transaction_outcome> {
            co_await env.sleep_for(24h * 365);
            co_return transaction_outcome::commit;
        });
    }
    cosaga::message half_with(std::string const& id, cosaga::check_options const& checks)
    {
        auto m = shop_client.half(id);
        m.headers.push_back({std::string{cosaga::detail::half_checks_header}, cosaga::detail::to_text(checks)});
        return m;
    }
    /// Parks nothing before the last check and its answer, and all at `parked` seconds.
    void expect_parked_at(cosaga::steady_time since, double parked, std::string const& why)
    {
        auto const when = since + cosaga::duration{static_cast<std::int64_t>(parked * 1e6)};
        env.run_for(when - 1ms - env.steady_now());
        EXPECT_EQ(coordinator.count(message_state::dead), 0u);
        env.run_for(100ms);
        auto const dead = coordinator.rows(message_state::dead);
        ASSERT_EQ(dead.size(), 1u);
        EXPECT_EQ(dead.front().last_error, why);
        EXPECT_EQ(coordinator.counters().parked, 1u);
        env.run_for(2h);
    }
};

TEST_F(check_back, that_finds_the_transaction_running_comes_again_at_a_fixed_interval)
{
    int asked = 0;
    answer_with([&](cosaga::message_id) -> asio::awaitable<transaction_outcome> {
        ++asked;
        co_return asked < 8 ? transaction_outcome::ongoing : transaction_outcome::commit;
    });
    auto const begun = env.steady_now();
    shop_client.store("a");
    env.run_for(1h);
    expect_times(check_times(begun), {6, 36, 66, 96, 126, 156, 186, 216});
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(coordinator.counters().checks, 8u);
}

TEST_F(check_back, backs_off_when_the_service_cannot_say_and_parks_after_the_last_answer)
{
    answer_checks(transaction_outcome::unknown);
    auto const begun = env.steady_now();
    shop_client.store("a");
    expect_parked_at(begun, backing_off(15).back(), "undecided after 15 check-backs: the service could not say");
    expect_times(check_times(begun), backing_off(15));
    EXPECT_EQ(coordinator.counters().checks, 15u);
}

TEST_F(check_back, of_a_checker_that_throws_is_as_if_there_were_no_answer)
{
    throw_at_checks();
    auto const begun = env.steady_now();
    shop_client.store("a");
    expect_parked_at(begun, backing_off(15).back() + 10, "undecided after 15 check-backs: no answer");
    expect_times(check_times(begun), backing_off(15));
    EXPECT_TRUE(reported("a check-back for shop was not answered: no connection"));
}

TEST_F(check_back, of_a_checker_that_hangs_is_as_if_there_were_no_answer)
{
    hang_at_checks();
    auto const begun = env.steady_now();
    shop_client.store("a");
    expect_parked_at(begun, backing_off(15).back() + 10, "undecided after 15 check-backs: no answer");
    expect_times(check_times(begun), backing_off(15));
}

TEST_F(check_back, of_a_service_that_never_answers_is_as_if_there_were_no_answer)
{
    shop.end();
    auto listener = shop_client.transport().subscribe(cosaga::checks_topic, "shop");
    doubles times;
    auto const begun = env.steady_now();
    auto const listen = [](auto& self, auto& from, auto& seen, auto since) -> asio::awaitable<void> {
        for (;;) {
            auto const batch = co_await from.receive(10);
            for (auto const& d : batch) {
                seen.push_back(static_cast<double>((self.env.steady_now() - since).count()) / 1e6);
                from.acknowledge(std::vector<std::uint64_t>(1, d.tag));
            }
        }
    };
    bool ended = false;
    asio::co_spawn(env.get_executor(), listen(*this, listener, times, begun), [&](std::exception_ptr) { ended = true; });
    shop_client.store("a");
    expect_parked_at(begun, backing_off(15).back() + 10, "undecided after 15 check-backs: no answer");
    expect_times(times, backing_off(15));
    listener.close();
    env.run_until([&] { return ended; });
}

TEST_F(check_back, is_not_counted_while_the_service_is_away)
{
    auto const a = shop_client.store("a");
    shop_client.store("b");
    commit_silently(a, "a");
    shop.end();
    env.run_for(12h);
    auto const waiting = coordinator.rows(message_state::prepared);
    ASSERT_EQ(waiting.size(), 2u);
    for (auto const& row : waiting)
        EXPECT_EQ(row.attempts, 0u);
    EXPECT_EQ(coordinator.counters().checks, 0u);
    shop.begin();
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(coordinator.counters().rolled_back, 1u);
    EXPECT_EQ(coordinator.counters().checks, 2u);
}

TEST_F(check_back, is_answered_by_a_service_that_has_sent_nothing_since_its_start)
{
    auto const a = shop_client.store("a");
    commit_silently(a, "a");
    shop.restart();
    env.run_for(7s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(check_back, follows_what_the_message_says_about_checks)
{
    answer_checks(transaction_outcome::unknown);
    auto const begun = env.steady_now();
    shop_client.store(half_with("a", {.first = 1s, .interval = 2s, .cap = 5s, .most = 5}));
    expect_parked_at(begun, 17, "undecided after 5 check-backs: the service could not say");
    expect_times(check_times(begun), {1, 3, 7, 12, 17});
}

TEST_F(check_back, of_a_message_of_send_follows_its_options)
{
    answer_checks(transaction_outcome::unknown);
    shop.resource->takes = 10s;
    auto const begun = env.steady_now();
    start_sending("a", {.checks = cosaga::check_options{.first = 2s, .interval = 3s, .cap = 3s, .most = 10}});
    env.run_for(1min);
    expect_times(check_times(begun), {2, 5, 8});
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(check_back, waits_for_an_answer_that_takes_longer_than_the_interval)
{
    answer_with([this](cosaga::message_id) -> asio::awaitable<transaction_outcome> {
        co_await env.sleep_for(5s);
        co_return transaction_outcome::unknown;
    });
    auto const begun = env.steady_now();
    shop_client.store(half_with("a", {.first = 1s, .interval = 1s, .cap = 1s, .most = 3}));
    env.run_for(1h);
    expect_times(check_times(begun), {1, 7, 13});
    EXPECT_EQ(coordinator.count(message_state::dead), 1u);
    EXPECT_EQ(coordinator.counters().checks, 3u);
}

TEST_F(check_back, counts_on_after_restarts_of_coordinator_and_service)
{
    answer_checks(transaction_outcome::unknown);
    shop_client.store("a");
    std::size_t checks = 0;
    for (int i = 0; i < 40; ++i) {
        env.run_for(2min + 7s);
        checks += shop.resource->checked.size();
        coordinator.restart();
        shop.restart();
        answer_checks(transaction_outcome::unknown);
    }
    env.run_for(1h);
    checks += shop.resource->checked.size();
    EXPECT_EQ(checks, 15u);
    ASSERT_EQ(coordinator.count(message_state::dead), 1u);
    EXPECT_EQ(coordinator.rows(message_state::dead).front().attempts, 15u);
}

TEST_F(check_back, that_cannot_be_written_down_comes_once_more)
{
    answer_checks(transaction_outcome::unknown);
    shop_client.store(half_with("a", {.first = 1s, .interval = 1s, .cap = 1s, .most = 3}));
    coordinator.store->fail_next_commits(3);
    env.run_for(1h);
    EXPECT_EQ(coordinator.count(message_state::dead), 1u);
    EXPECT_EQ(coordinator.rows(message_state::dead).front().attempts, 3u);
    EXPECT_GE(shop.resource->checked.size(), 3u);
    EXPECT_LE(shop.resource->checked.size(), 6u);
}

TEST_F(check_back, finds_1000_lost_commits_within_one_interval)
{
    std::set<std::string> committed;
    for (int n = 0; n < 1000; ++n) {
        auto const id = std::to_string(n);
        commit_silently(shop_client.store(id), id);
        committed.insert(id);
    }
    auto const checks = cosaga::check_options{};
    env.run_for(checks.first + checks.interval);
    auto const arrived = warehouse.orders();
    EXPECT_EQ(arrived.size(), committed.size());
    EXPECT_EQ((std::set<std::string>{arrived.begin(), arrived.end()}), committed);
}

TEST_F(check_back, takes_no_more_places_than_there_are)
{
    coordinator.settings.checks_in_flight = 4;
    coordinator.restart();
    hang_at_checks();
    for (int i = 0; i < 20; ++i)
        shop_client.store(std::to_string(i));
    for (std::size_t round = 1; round <= 5; ++round) {
        env.run_for(round == 1 ? 7s : 10s + 60ms);
        EXPECT_EQ(shop.resource->checked.size(), 4 * round);
    }
}

TEST_F(check_back, of_one_service_is_not_delayed_by_another_that_is_away)
{
    raw_client bank{env, hub, "bank"};
    for (int i = 0; i < 300; ++i)
        bank.store(std::to_string(i));
    auto const begun = env.steady_now();
    auto const a = shop_client.store("a");
    commit_silently(a, "a");
    env.run_for(1min);
    ASSERT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_LT(warehouse.all.front().at - begun, 6s + 100ms);
    EXPECT_EQ(coordinator.count(message_state::prepared, "bank"), 300u);
}

TEST_F(check_back, is_not_delayed_by_another_that_hangs)
{
    std::set<cosaga::message_id> hanging;
    for (int i = 0; i < 20; ++i)
        hanging.insert(shop_client.store("hangs"));
    auto const a = shop_client.store("a");
    commit_silently(a, "a");
    answer_with([&](cosaga::message_id id) -> asio::awaitable<transaction_outcome> {
        if (hanging.contains(id))
            co_await env.sleep_for(24h);
        auto const outcome = co_await shop.resource->marks.check(id);
        co_return outcome;
    });
    env.run_for(6s + 100ms);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(check_back, waits_for_a_place_only_until_what_hangs_has_had_its_time)
{
    shop.settings.checks_at_once = 2;
    shop.restart();
    std::set<cosaga::message_id> hanging;
    for (int i = 0; i < 4; ++i)
        hanging.insert(shop_client.store("hangs"));
    auto const a = shop_client.store("a");
    commit_silently(a, "a");
    answer_with([&](cosaga::message_id id) -> asio::awaitable<transaction_outcome> {
        if (hanging.contains(id))
            co_await env.sleep_for(24h);
        auto const outcome = co_await shop.resource->marks.check(id);
        co_return outcome;
    });
    env.run_for(21s);
    EXPECT_TRUE(warehouse.all.empty());
    env.run_for(2s); // twice 8 s after the first check
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_TRUE(reported("a check-back for shop was not answered in time"));
}

TEST_F(check_back, of_a_stranger_is_not_answered)
{
    auto const a = shop_client.store("a");
    raw_client stranger{env, hub, "stranger"};
    stranger.publish(stranger.check(a));
    env.run_for(1s);
    EXPECT_TRUE(shop.resource->checked.empty());
    EXPECT_TRUE(reported("a check-back of 'stranger' was not answered: it is no coordinator of shop"));
    EXPECT_EQ(coordinator.count(message_state::prepared), 1u);
}

TEST_F(check_back, that_makes_no_sense_is_not_answered)
{
    raw_client impostor{env, hub, "coordinator"};
    auto m = impostor.check(cosaga::message_id{});
    m.payload = "no id";
    impostor.publish(m);
    m.payload = std::string(100'000, 'x');
    impostor.publish(m);
    m = impostor.check(cosaga::message_id{});
    m.type = "cosaga.commit";
    impostor.publish(m);
    env.run_for(1s);
    EXPECT_TRUE(shop.resource->checked.empty());
    EXPECT_EQ(env.reports().size(), 3u);
    EXPECT_TRUE(reported("what is no check-back came from 'coordinator' to shop"));
}

TEST_F(check_back, about_a_transaction_that_never_was_says_rollback_and_changes_nothing)
{
    raw_client second_coordinator{env, hub, "coordinator"}; // asks about what the first does not know
    auto const id = shop_client.half("a").id;
    second_coordinator.publish(second_coordinator.check(id));
    env.run_for(1s);
    EXPECT_EQ(shop.resource->checked.size(), 1u);
    EXPECT_EQ(coordinator.counters().refused, 1u);
    EXPECT_EQ(coordinator.counters().rolled_back, 0u);
    EXPECT_TRUE(reported("no such half message"));
}

TEST_F(check_back, comes_when_it_is_due_although_the_clock_was_set_back)
{
    auto const a = shop_client.store("a");
    commit_silently(a, "a");
    env.jump_wall_clock(-1min);
    env.run_for(7s);
    EXPECT_TRUE(warehouse.all.empty()) << "what must survive a restart goes by the wall clock";
    env.run_for(1min);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(check_back, stops_with_checks_under_way)
{
    hang_at_checks();
    for (int i = 0; i < 200; ++i)
        shop_client.store(std::to_string(i));
    env.run_for(7s);
    EXPECT_EQ(shop.resource->checked.size(), 64u);
    shop.end();
    coordinator.end();
    coordinator.begin();
    EXPECT_EQ(coordinator.count(message_state::prepared), 200u);
    coordinator.end(); // with checks for nobody
    coordinator.begin();
    shop.begin();
    env.run_for(1h);
    EXPECT_EQ(coordinator.count(message_state::prepared), 0u);
    EXPECT_TRUE(warehouse.all.empty());
}

} // namespace
