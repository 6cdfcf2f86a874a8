// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "notification_services.hpp"

#include <cmath>

namespace {

using namespace cosaga_tests;
using doubles = std::vector<double>;

struct a_notifier : notification_services {
    a_notifier() { bank.begin(); }
};

TEST_F(a_notifier, delivers_at_once_and_remembers_it)
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

TEST_F(a_notifier, notifies_if_and_only_if_the_transaction_commits)
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

TEST_F(a_notifier, is_adopted_by_a_transaction_of_another_pattern)
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

TEST_F(a_notifier, tries_fifteen_times_in_a_day_to_the_second)
{
    expect_preset(*this, notification_schedule::fifteen_in_a_day(), 15, 24 * 3600 + 3 * 60 + 45);
}

TEST_F(a_notifier, tries_eight_times_in_a_day_to_the_second)
{
    expect_preset(*this, notification_schedule::eight_in_a_day(), 8, 24 * 3600 + 24 * 60);
}

TEST_F(a_notifier, tries_as_the_standard_webhooks_propose_to_the_second)
{
    expect_preset(*this, notification_schedule::standard_webhooks(), 10, 75 * 3600 + 35 * 60 + 5);
}

TEST_F(a_notifier, keeps_jitter_within_its_bounds)
{
    auto const schedule = notification_schedule::fifteen_in_a_day(0.25);
    auto const delays = schedule.retries.delays();
    auto const shop = [](int i) { return "shop" + std::to_string(i); };
    for (int i = 0; i < 50; ++i) {
        sink().answer(shop(i), {failed()});
        notify(shop(i), {.schedule = schedule});
    }
    env.run_for(25h);
    double least = 1;
    double most = 0;
    for (int i = 0; i < 50; ++i) {
        auto const found = times(shop(i), cosaga::steady_time{});
        ASSERT_EQ(found.size(), 15u);
        for (std::size_t k = 1; k < found.size(); ++k) {
            auto const part = (found[k] - found[k - 1]) / (static_cast<double>(delays[k - 1].count()) / 1e6);
            least = std::min(least, part);
            most = std::max(most, part);
        }
    }
    EXPECT_GE(least, 0.75);
    EXPECT_LT(least, 0.77);
    EXPECT_GT(most, 0.98);
    EXPECT_LE(most, 1.001);
}

TEST_F(a_notifier, waits_before_the_first_attempt_if_it_is_told_to)
{
    auto const begun = env.steady_now();
    auto const id = notify("shop", {.delay = 10s});
    notify("late", {.delay = 10s, .schedule = notification_schedule{.first = 15s}});
    EXPECT_EQ(find(id).state, notification_state::pending);
    EXPECT_EQ(find(id).next, env.now() + 10s);
    env.run_for(1min);
    expect_times(times("shop", begun), {10});
    expect_times(times("late", begun), {25});
}

TEST_F(a_notifier, counts_the_delay_from_the_end_of_the_attempt)
{
    sink().hang("shop");
    auto const begun = env.steady_now();
    notify("shop", {.schedule = notification_schedule{.retries = cosaga::schedule::list({5s, 100s})}});
    env.run_for(10min);
    expect_times(times("shop", begun), {0, 20, 135});
}

TEST_F(a_notifier, tries_on_an_exponential_schedule_with_a_cap)
{
    sink().answer("shop", {failed()});
    auto const begun = env.steady_now();
    auto const retries = cosaga::schedule::exponential({.first = 10s, .factor = 3, .cap = 1min, .attempts = 5, .jitter = 0});
    auto const id = notify("shop", {.schedule = notification_schedule{.retries = retries}});
    env.run_for(1h);
    expect_times(times("shop", begun), {0, 10, 40, 100, 160});
    EXPECT_EQ(find(id).state, notification_state::given_up);
}

TEST_F(a_notifier, gives_up_at_the_deadline)
{
    sink().answer("shop", {failed()});
    auto const begun = env.steady_now();
    auto plan = notification_schedule::fifteen_in_a_day();
    plan.deadline = 1h;
    auto const id = notify("shop", {.schedule = plan});
    env.run_for(2min);
    bank.restart(); // it is remembered when the first attempt was
    env.run_for(24h);
    expect_times(times("shop", begun), {0, 15, 45, 225, 825, 2025});
    auto const n = find(id);
    EXPECT_EQ(n.state, notification_state::given_up);
    EXPECT_EQ(n.reason, "given up: the next attempt would be after the deadline: Service Unavailable");
}

TEST_F(a_notifier, resumes_the_schedule_where_it_was_after_restarts)
{
    sink().answer("shop", {failed()});
    auto const begun = env.steady_now();
    auto const id = notify("shop", {.schedule = notification_schedule::fifteen_in_a_day()});
    env.run_for(5min);
    EXPECT_EQ(find(id).attempts, 4u);
    for (int i = 0; i < 3; ++i) {
        bank.restart();
        env.run_for(1min);
    }
    bank.end();
    env.run_for(1h); // two attempts would have been due
    bank.begin();
    auto const back = static_cast<double>((env.steady_now() - begun).count()) / 1e6;
    env.run_for(25h);
    expect_times(times("shop", begun), {0, 15, 45, 225, back, back + 1200, back + 3000, back + 4800, back + 6600, back + 10200, back + 21000,
        back + 31800, back + 42600, back + 64200, back + 85800});
    EXPECT_EQ(find(id).state, notification_state::given_up);
    EXPECT_EQ(find(id).attempts, 15u);
}

TEST_F(a_notifier, makes_an_attempt_again_that_was_interrupted)
{
    sink().hang("shop");
    auto const id = notify("shop");
    env.run_for(1s);
    bank.end();
    sink().mend("shop");
    bank.begin();
    env.run_for(1s);
    EXPECT_EQ(sink().attempts_at("shop"), 2u);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_EQ(find(id).attempts, 1u);
}

TEST_F(a_notifier, lets_attempts_end_when_it_is_stopped)
{
    sink().take("shop", 3s);
    auto const id = notify("shop");
    env.run_for(1s);
    bank.restart();
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_EQ(sink().attempts_at("shop"), 1u);
}

TEST_F(a_notifier, finds_what_was_made_while_it_was_not_running)
{
    bank.end();
    bank.begin();
    run(env, notifier().stop());
    auto const id = notify("shop");
    env.run_for(1h);
    EXPECT_TRUE(sink().all.empty());
    bank.restart();
    env.run_for(1s);
    EXPECT_EQ(find(id).state, notification_state::delivered);
}

TEST_F(a_notifier, waits_as_long_as_it_is_asked_to)
{
    auto busy = failed(429, "Too Many Requests");
    busy.retry_after = 10min;
    sink().answer("shop", {busy, delivered()});
    auto const begun = env.steady_now();
    notify("shop");
    env.run_for(1s);
    auto const other = notify("shop"); // waits too
    EXPECT_EQ(notifier().counters().held_back, 1u);
    env.run_for(1s);
    EXPECT_EQ(find(other).attempts, 0u);
    env.run_for(1h);
    expect_times(times("shop", begun), {0, 600, 600});
}

TEST_F(a_notifier, waits_no_longer_than_the_cap)
{
    auto busy = failed(503, "later");
    busy.retry_after = 24h * 365;
    sink().answer("shop", {busy, delivered()});
    auto const begun = env.steady_now();
    notify("shop");
    env.run_for(2h);
    expect_times(times("shop", begun), {0, 3600});
}

TEST_F(a_notifier, follows_the_schedule_if_it_is_asked_for_a_shorter_pause)
{
    auto busy = failed(503, "later");
    busy.retry_after = 1s;
    sink().answer("shop", {busy, delivered()});
    auto const begun = env.steady_now();
    notify("shop");
    env.run_for(2h);
    expect_times(times("shop", begun), {0, 5});
}

TEST_F(a_notifier, disables_a_destination_that_wants_nothing_any_more)
{
    sink().answer("shop", {failed(), gone()});
    auto const first = notify("shop");
    auto const waiting = notify("shop", {.delay = 1h});
    env.run_for(1min);
    EXPECT_EQ(find(first).reason, "given up: the destination wants nothing any more: Gone");
    EXPECT_EQ(find(first).history.back().status, 410u);
    EXPECT_EQ(find(waiting).reason, "given up: the destination is disabled");
    auto const counters = notifier().counters();
    EXPECT_EQ(counters.disabled, 1u);
    EXPECT_EQ(counters.given_up, 2u);

    bank.restart(); // it is remembered
    auto const later = notify("shop");
    env.run_for(24h);
    EXPECT_EQ(find(later).state, notification_state::given_up);
    EXPECT_EQ(sink().attempts_at("shop"), 2u);
    auto const all = run(env, notifier().destinations());
    ASSERT_EQ(all.size(), 1u);
    EXPECT_TRUE(all.front().disabled);
    EXPECT_EQ(all.front().given_up, 3u);

    sink().mend("shop");
    EXPECT_TRUE(run(env, notifier().enable("shop")));
    EXPECT_FALSE(run(env, notifier().enable("shop")));
    auto const fresh = notify("shop");
    env.run_for(1s);
    EXPECT_EQ(find(fresh).state, notification_state::delivered);
    EXPECT_EQ(find(later).state, notification_state::given_up);
    EXPECT_EQ(run(env, notifier().restart_all("shop")), 3u);
    env.run_for(1s);
    for (auto const& id : {first, waiting, later})
        EXPECT_EQ(find(id).state, notification_state::delivered);
}

TEST_F(a_notifier, shows_a_disabled_destination_as_a_dead_letter_that_enables_it)
{
    sink().answer("shop", {gone(), delivered()});
    notify("shop");
    env.run_for(1s);
    cosaga::dead_letters dead{*bank.store};
    cosaga::dead_letter_filter const filter{.topic = std::string{cosaga::disabled_destinations_topic}};
    auto const parked = run(env, dead.list(filter, 10));
    ASSERT_EQ(parked.size(), 1u);
    EXPECT_EQ(parked.front().queue.consumer, "shop");
    EXPECT_EQ(parked.front().row.last_error, "it wants nothing any more: Gone");
    EXPECT_EQ(run(env, dead.redrive(filter)), 1u);
    auto const id = notify("shop");
    env.run_for(1min);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_FALSE(run(env, notifier().destinations()).front().disabled);
}

TEST_F(a_notifier, gives_up_a_long_queue_of_a_disabled_destination)
{
    sink().answer("shop", {gone()});
    auto work = [](auto& tx) {
        for (int i = 0; i < 3000; ++i)
            tx.notify("shop", paid{std::to_string(i), i});
    };
    run(env, notifier().transact(work));
    env.run_for(10s);
    EXPECT_EQ(list("shop", notification_state::given_up).size(), 3000u);
    EXPECT_EQ(sink().attempts_at("shop"), 1u);
    EXPECT_EQ(notifier().counters().given_up, 3000u);
}

cosaga::message_id given_up(notification_services& at, std::string const& to, std::string const& why)
{
    at.sink().answer(to, {failed(500, why)});
    auto const id = at.notify(to, {.schedule = notification_schedule{.retries = cosaga::schedule::list({1s})}});
    at.env.run_for(1min);
    EXPECT_EQ(at.find(id).state, notification_state::given_up);
    at.sink().mend(to);
    return id;
}

TEST_F(a_notifier, starts_again_what_was_given_up)
{
    auto const id = given_up(*this, "shop", "no");
    EXPECT_TRUE(run(env, notifier().restart(id)));
    env.run_for(1s);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_EQ(find(id).attempts, 1u);
    EXPECT_FALSE(run(env, notifier().restart(id)));
    EXPECT_FALSE(run(env, notifier().restart(cosaga::message_id{})));
}

TEST_F(a_notifier, starts_again_by_destination_and_reason)
{
    auto const a = given_up(*this, "shop1", "oven is cold");
    auto const b = given_up(*this, "shop1", "no staff");
    auto const c = given_up(*this, "shop2", "oven is hot");
    EXPECT_EQ(run(env, notifier().restart_all("shop1", "oven")), 1u);
    env.run_for(1s);
    EXPECT_EQ(find(a).state, notification_state::delivered);
    EXPECT_EQ(find(b).state, notification_state::given_up);
    EXPECT_EQ(run(env, notifier().restart_all("")), 2u);
    env.run_for(1s);
    EXPECT_EQ(find(b).state, notification_state::delivered);
    EXPECT_EQ(find(c).state, notification_state::delivered);
}

TEST_F(a_notifier, starts_many_again_once_even_if_they_are_given_up_again)
{
    sink().answer("shop", {gone()});
    auto work = [](auto& tx) {
        for (int i = 0; i < 1000; ++i)
            tx.notify("shop", paid{std::to_string(i), i});
    };
    run(env, notifier().transact(work));
    env.run_for(10s);
    EXPECT_EQ(run(env, notifier().restart_all("shop")), 1000u);
    env.run_for(10s);
    EXPECT_EQ(list("shop", notification_state::given_up).size(), 1000u);
}

TEST_F(a_notifier, takes_back_what_dead_letters_have_redriven)
{
    auto const a = given_up(*this, "shop", "no");
    auto const b = given_up(*this, "shop", "no");
    cosaga::dead_letters dead{*bank.store};
    EXPECT_EQ(run(env, dead.list({.topic = notifier().topic()}, 10)).size(), 2u);
    EXPECT_TRUE(run(env, dead.redrive(a)));
    EXPECT_EQ(find(a).state, notification_state::pending);
    EXPECT_TRUE(run(env, dead.redrive(b)));
    env.run_for(11s);
    EXPECT_EQ(find(a).state, notification_state::delivered);
    EXPECT_EQ(find(b).state, notification_state::delivered);
    EXPECT_EQ(find(b).attempts, 1u);
}

TEST_F(a_notifier, makes_one_of_its_own_id_once)
{
    auto const own = cosaga::message_id::from_foreign("bank", "payment 1");
    sink().answer("shop", {failed(), failed(), delivered()});
    auto const plan = notification_schedule{.retries = cosaga::schedule::list({10s})};
    EXPECT_EQ(notify("shop", {.id = own, .schedule = plan}), own);
    notify("shop", {.id = own, .schedule = plan});
    env.run_for(1min);
    EXPECT_EQ(find(own).state, notification_state::given_up);
    notify("shop", {.id = own, .schedule = plan});
    env.run_for(1min);
    EXPECT_EQ(sink().attempts_at("shop"), 2u);
    EXPECT_TRUE(run(env, notifier().restart(own)));
    env.run_for(1min);
    EXPECT_EQ(find(own).state, notification_state::delivered);
    notify("shop", {.id = own, .schedule = plan});
    env.run_for(1min);
    EXPECT_EQ(sink().attempts_at("shop"), 3u);
}

TEST_F(a_notifier, counts_what_throws_as_failed)
{
    sink().throw_at("shop");
    auto const id = notify("shop");
    env.run_for(1s);
    auto const n = find(id);
    EXPECT_EQ(n.state, notification_state::pending);
    EXPECT_EQ(n.reason, "no connection");
    EXPECT_EQ(n.attempts, 1u);
    EXPECT_EQ(n.next, n.history.front().time + 5s);
    sink().mend("shop");
    env.run_for(10s);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_EQ(find(id).history.size(), 2u);
}

TEST_F(a_notifier, ends_an_attempt_that_hangs)
{
    sink().hang("shop");
    auto const id = notify("shop");
    env.run_for(14900ms);
    EXPECT_EQ(sink().now, 1);
    env.run_for(200ms);
    EXPECT_EQ(sink().now, 0); // cancelled
    auto const n = find(id);
    EXPECT_EQ(n.reason, "no answer within 15 s");
    EXPECT_EQ(n.history.front().latency, 15s);
}

TEST_F(a_notifier, goes_on_though_a_sink_does_not_end_when_it_is_cancelled)
{
    sink().behaviours["shop"] = [this](cosaga::message const&) -> asio::awaitable<attempt_result> {
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        co_await env.sleep_for(1h);
        co_return delivered();
    };
    auto const begun = env.steady_now();
    auto const id = notify("shop", {.schedule = notification_schedule{.retries = cosaga::schedule::list({10s, 10s})}});
    env.run_for(2min);
    expect_times(times("shop", begun), {0, 25, 50});
    EXPECT_EQ(find(id).state, notification_state::given_up);
    EXPECT_EQ(notifier().counters().in_flight, 3u);
    env.run_for(2h); // who says "delivered" now comes too late
    EXPECT_EQ(find(id).state, notification_state::given_up);
    sink().hang("other");
    notify("other");
    bank.end();
}

TEST_F(a_notifier, refuses_what_can_never_be_delivered)
{
    auto const code = [&](std::string const& to, cosaga::notification_options const& o) {
        return failure_of([&] { notify(to, o); }).code;
    };
    EXPECT_EQ(code("bad shop", {}), errc::bad_argument);
    EXPECT_EQ(code("", {}), errc::bad_argument);
    EXPECT_EQ(code(std::string(2049, 'x'), {}), errc::bad_argument);
    EXPECT_EQ(code("a\nb", {}), errc::bad_argument);
    EXPECT_EQ(code("shop", {.delay = -1s}), errc::bad_argument);
    EXPECT_EQ(code("shop", {.delay = 24h * 400}), errc::bad_argument);
    EXPECT_EQ(code("shop", {.delay = 24h * 10}), errc::bad_argument); // it would be forgotten at once
    EXPECT_EQ(code("shop", {.schedule = notification_schedule{.first = -1s}}), errc::bad_argument);
    auto const for_ever = cosaga::schedule::exponential({.attempts = cosaga::schedule::unlimited});
    EXPECT_EQ(code("shop", {.schedule = notification_schedule{.retries = for_ever}}), errc::bad_argument);
    cosaga::header const reserved{"cosagaschedule", "x"};
    EXPECT_EQ(code("shop", {.headers = {&reserved, 1}}), errc::bad_argument);
    std::string const key(1000, 'k');
    EXPECT_EQ(code("shop", {.key = key}), errc::limit_exceeded);
    EXPECT_EQ(failure_of([&] { list("shop", notification_state::delivered); }).code, errc::bad_argument);
    EXPECT_TRUE(run(env, notifier().destinations()).empty());
}

TEST_F(a_notifier, refuses_options_that_cannot_work)
{
    auto const code = [&](cosaga::notifier_options o) {
        return failure_of([&] { cosaga::notifier made{bank.node->get_outbox(), sink(), std::move(o)}; });
    };
    EXPECT_EQ(code({.attempt_timeout = 0s}).code, errc::bad_configuration);
    EXPECT_EQ(code({.in_flight = 1}).code, errc::bad_configuration);
    EXPECT_EQ(code({.breaker_open = 2min}).code, errc::bad_configuration);
    auto const forgetful = code({.retention = 24h});
    EXPECT_EQ(forgetful.code, errc::bad_configuration);
    EXPECT_TRUE(contains(forgetful.what, "may take 153 h, but deliveries are remembered for 24 h only")) << forgetful.what;
    EXPECT_EQ(code({}).code, errc{});
}

TEST_F(a_notifier, forgets_deliveries_after_the_retention)
{
    auto const id = notify("shop");
    env.run_for(24h * 13);
    notify("shop");
    env.run_for(1s);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    env.run_for(24h * 2);
    notify("shop");
    env.run_for(1s);
    EXPECT_FALSE(run(env, notifier().find(id)));
}

TEST_F(a_notifier, loses_nothing_when_the_store_fails)
{
    auto const first = notify("shop");
    env.run_for(1s);
    bank.kit.break_commits();
    sink().take("shop", 1s);
    bank.kit.mend_commits();
    auto const second = notify("shop");
    bank.kit.break_commits();
    env.run_for(1min);
    EXPECT_GE(sink().attempts_at("shop"), 1u);
    EXPECT_TRUE(reported("the store is full"));
    bank.kit.mend_commits();
    env.run_for(10min);
    EXPECT_EQ(find(first).state, notification_state::delivered);
    EXPECT_EQ(find(second).state, notification_state::delivered);
}

TEST_F(a_notifier, can_be_stopped_while_the_store_fails)
{
    sink().take("shop", 500ms);
    auto const id = notify("shop");
    env.run_for(100ms);
    bank.kit.break_commits();
    env.run_for(10min);
    auto const begun = env.steady_now();
    run(env, notifier().stop());
    EXPECT_LT(env.steady_now() - begun, 6s);
    bank.kit.mend_commits();
    bank.restart();
    env.run_for(1s);
    EXPECT_EQ(find(id).state, notification_state::delivered);
    EXPECT_EQ(sink().attempts_at("shop"), 2u); // that it was delivered could not be stored
}

TEST_F(a_notifier, gives_up_at_once_what_is_pending_where_nothing_is_wanted)
{
    notify("shop");
    env.run_for(1s);
    int n = 0;
    sink().behaviours["shop"] = [&](cosaga::message const&) -> asio::awaitable<attempt_result> {
        bool const says_gone = n++ == 0;
        cosaga::duration const span = says_gone ? 100ms : 200ms;
        co_await env.sleep_for(span);
        auto result = says_gone ? gone() : failed();
        co_return result;
    };
    auto work = [](auto& tx) {
        for (int i = 0; i < 1000; ++i)
            tx.notify("shop", paid{"p", i}, {.delay = 1h * (i % 2)});
    };
    run(env, notifier().transact(work));
    env.run_for(1s);
    EXPECT_EQ(list("shop", notification_state::given_up).size(), 1000u);
    EXPECT_EQ(sink().attempts_at("shop"), 3u);
}

TEST_F(a_notifier, lists_what_is_pending_and_what_was_given_up)
{
    sink().answer("shop", {failed()});
    for (int i = 0; i < 5; ++i)
        notify("shop", {.delay = 1h * (5 - i)});
    auto const page = run(env, notifier().list("shop", notification_state::pending, 0, 3));
    ASSERT_EQ(page.size(), 3u);
    auto const rest = run(env, notifier().list("shop", notification_state::pending, page.back().position, 3));
    EXPECT_EQ(rest.size(), 2u);
    EXPECT_EQ(rest.front().destination, "shop");
    EXPECT_TRUE(list("shop", notification_state::given_up).empty());
    auto const all = run(env, notifier().destinations());
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all.front().pending, 5u);
}

TEST_F(a_notifier, keeps_what_was_said_in_many_attempts_within_bounds)
{
    sink().answer("shop", {failed(500, std::string(5000, 'x') + "\nforged")});
    auto const often = cosaga::schedule::exponential({.first = 1min, .factor = 1, .cap = 1min, .attempts = 100, .jitter = 0});
    auto const id = notify("shop", {.schedule = notification_schedule{.retries = often}});
    auto const begun = env.now();
    env.run_for(24h);
    auto const n = find(id);
    EXPECT_EQ(n.attempts, 100u);
    EXPECT_EQ(n.history.size(), 32u);
    EXPECT_EQ(n.history.front().time, begun);
    EXPECT_EQ(n.history.back().time, begun + 99min);
    cosaga::dead_letters dead{*bank.store};
    auto const parked = run(env, dead.list({.topic = notifier().topic()}, 10));
    EXPECT_LT(parked.front().row.last_error.size(), 9000u);
}

TEST_F(a_notifier, shares_a_store_with_another_of_another_name)
{
    scripted_sink other_sink{&env};
    cosaga::notifier other{bank.node->get_outbox(), other_sink, {.name = "webhooks"}};
    EXPECT_EQ(other.topic(), "cosaga.notifications.webhooks");
    other.start();
    other_sink.answer("shop", {gone()});
    paid const body{"p1", 1};
    auto const id = run(env, other.notify("shop", body));
    auto const mine = notify("shop");
    env.run_for(1min);
    EXPECT_EQ(other_sink.all.size(), 1u);
    EXPECT_EQ(sink().all.size(), 1u);
    EXPECT_FALSE(run(env, notifier().find(id)));
    EXPECT_EQ(find(mine).state, notification_state::delivered);
    EXPECT_FALSE(run(env, notifier().destinations()).front().disabled);
    run(env, other.stop());
}

TEST_F(a_notifier, is_left_alone_by_the_outbox)
{
    sink().answer("shop", {failed()});
    notify("shop");
    bank.restart();
    env.run_for(1min);
    EXPECT_TRUE(run(env, bank.node->get_outbox().status()).empty());
    EXPECT_FALSE(reported("stay in the table"));
}

TEST_F(a_notifier, notices_that_the_clock_was_set)
{
    auto const id = notify("shop", {.delay = 10h});
    env.run_for(1min);
    env.jump_wall_clock(10h);
    env.run_for(11s);
    EXPECT_EQ(find(id).state, notification_state::delivered);
}

// The same over each store.
template <class Kit>
struct a_notifier_on : basic_notification_services<Kit> {
    a_notifier_on() { this->bank.begin(); }
};
using kits = ::testing::Types<storage_kits::memory_kit, storage_kits::sqlite_kit>;
TYPED_TEST_SUITE(a_notifier_on, kits);

TYPED_TEST(a_notifier_on, keeps_its_promises_over_a_restart)
{
    auto& at = *this;
    at.sink().answer("closed", {gone()});
    at.sink().answer("broken", {failed()});
    auto const plan = notification_schedule{.retries = cosaga::schedule::list({10s, 20s})};
    std::vector<cosaga::message_id> fine;
    for (int i = 0; i < 40; ++i)
        fine.push_back(at.notify("shop" + std::to_string(i % 7)));
    auto const closed = at.notify("closed");
    auto const broken = at.notify("broken", {.schedule = plan});
    at.env.run_for(5s);
    at.bank.restart();
    for (auto const& id : fine)
        EXPECT_EQ(at.find(id).state, notification_state::delivered);
    EXPECT_EQ(at.find(closed).state, notification_state::given_up);
    EXPECT_EQ(at.find(broken).attempts, 1u);
    at.env.run_for(1min);
    EXPECT_EQ(at.find(broken).attempts, 3u);
    EXPECT_EQ(at.find(broken).state, notification_state::given_up);
    at.bank.restart();
    auto const again = at.notify("closed");
    EXPECT_EQ(at.find(again).state, notification_state::given_up);
    at.sink().mend("closed");
    at.sink().mend("broken");
    EXPECT_TRUE(run(at.env, at.notifier().enable("closed")));
    EXPECT_EQ(run(at.env, at.notifier().restart_all("")), 3u);
    at.env.run_for(1s);
    for (auto const& id : {closed, broken, again})
        EXPECT_EQ(at.find(id).state, notification_state::delivered);
    EXPECT_TRUE(at.env.reports().empty()) << at.env.reports().front();
}

} // namespace
