// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Compensation that does not succeed, confirmation, operators, deadlines, and several processes on one store.
#include "saga_services.hpp"

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;
using kit = storage_kits::memory_kit;

struct an_operator : saga_services {
    /// Marks a and b, sleeps for an hour, and refuses if told so.
    void define_sleeper()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            co_await mark(s, "a");
            co_await mark(s, "b");
            co_await s.sleep_for(takes);
            if (refuses)
                throw cosaga::refusal("no");
            co_return receipt{o.id, "done"};
        });
    }
    cosaga::duration takes = 1h;
    bool refuses = false;
};

TEST_F(an_operator, cancels_a_saga)
{
    define_sleeper();
    shop.begin();
    begin();
    env.run_for(10min);
    run(env, shop.engine->cancel("o1", "ordered twice"));
    auto const f = failed();
    EXPECT_EQ(f.code, errc::saga_undone);
    EXPECT_TRUE(contains(f.what, "ordered twice"));
    EXPECT_EQ(undone, (strings{"b", "a"}));
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->cancel("o1", "")); }).code, errc::saga_ended);
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->cancel("none", "")); }).code, errc::not_found);
}

TEST_F(an_operator, can_rely_on_what_became_of_a_cancellation)
{
    takes = 0s;
    define_sleeper();
    shop.begin();
    int cancelled = 0;
    for (int i = 0; i < 300; ++i) {
        auto const id = "o" + std::to_string(i);
        auto const steps = env.random() % 40;
        begin(id);
        std::size_t n = 0;
        env.run_until([&] { return ++n > steps; });
        auto const f = failure_of([&] { run(env, shop.engine->cancel(id, "changed my mind")); });
        EXPECT_TRUE(f.what.empty() || f.code == errc::saga_ended) << f.what;
        EXPECT_EQ(failed(id).code, f.what.empty() ? errc::saga_undone : errc{}) << id;
        cancelled += f.what.empty();
    }
    EXPECT_GT(cancelled, 10);
    EXPECT_LT(cancelled, 290);
}

TEST_F(an_operator, cancels_a_saga_that_swallows_everything)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        for (int i = 0; i < 100; ++i)
            try {
                co_await mark(s, "a");
                co_await s.sleep_for(1h);
            } catch (...) {
            }
        co_return receipt{o.id, "swallowed"};
    });
    shop.begin();
    begin();
    env.run_for(1s);
    run(env, shop.engine->cancel("o1", "stop"));
    EXPECT_TRUE(contains(failed().what, "stop"));
}

TEST_F(an_operator, sees_that_a_saga_is_stuck_and_that_it_gets_on)
{
    takes = 1s;
    refuses = true;
    bool broken = true;
    undo_fails = [&](std::string const& what) {
        if (broken && what == "b")
            throw std::runtime_error{"the table is locked"};
    };
    define_sleeper();
    shop.begin();
    begin();
    env.run_for(1h);
    EXPECT_EQ(find().state, saga_state::compensating);
    EXPECT_EQ(find().reason, "stuck: compensation of step 2, 'b', failed: the table is locked");
    EXPECT_EQ(shop.engine->counters().stuck, 1u);
    EXPECT_TRUE(reported("stuck"));
    EXPECT_GE(undone.size(), 50u); // still tried
    EXPECT_LE(undone.size(), 150u);
    shop.restart();
    env.run_for(1min);
    EXPECT_EQ(shop.engine->counters().stuck, 1u);
    broken = false;
    env.run_for(2min);
    EXPECT_EQ(find().state, saga_state::undone);
    EXPECT_TRUE(contains(find().reason, "no")) << find().reason;
    EXPECT_EQ(shop.engine->counters().stuck, 0u);
    EXPECT_EQ(get("a"), "released");
    EXPECT_EQ(get("b"), "released");
}

TEST_F(an_operator, has_a_compensation_tried_again_at_once)
{
    takes = 1s;
    refuses = true;
    shop.settings.undo_retries = cosaga::schedule::list({1h});
    bool broken = true;
    undo_fails = [&](std::string const&) {
        if (broken)
            throw std::runtime_error{"the table is locked"};
    };
    define_sleeper();
    shop.begin();
    begin();
    env.run_for(1min);
    EXPECT_EQ(undone, (strings{"b"}));
    broken = false;
    run(env, shop.engine->retry("o1"));
    env.run_for(2s);
    EXPECT_EQ(find().state, saga_state::undone);
}

TEST_F(an_operator, skips_a_compensation_with_a_reason)
{
    takes = 1s;
    refuses = true;
    undo_fails = [&](std::string const& what) {
        if (what == "b")
            throw std::runtime_error{"never"};
    };
    define_sleeper();
    shop.begin();
    begin();
    env.run_for(10min);
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->skip("o1", "7", "")); }).code, errc::not_found);
    run(env, shop.engine->skip("o1", "2", "done by hand"));
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(get("a"), "released");
    EXPECT_EQ(get("b"), "done");
    bool found = false;
    for (auto const& e : run(env, shop.engine->journal("o1")))
        found = found || (e.what == "skip" && e.step == "2/undo" && e.detail == "done by hand");
    EXPECT_TRUE(found);
}

TEST_F(an_operator, cannot_skip_what_is_not_being_undone)
{
    define_sleeper();
    shop.begin();
    begin();
    env.run_for(1s);
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->skip("o1", "1", "")); }).code, errc::bad_argument);
}

TEST_F(an_operator, finishes_a_saga_as_it_is)
{
    define_sleeper();
    shop.begin();
    begin("o1");
    begin("o2");
    env.run_for(1s);
    run(env, shop.engine->finish("o1", saga_state::undone, "shop closed"));
    EXPECT_TRUE(contains(failed().what, "shop closed"));
    env.run_for(5s);
    EXPECT_EQ(shop.engine->counters().active, 1u);
    EXPECT_EQ(get("a"), "done");
    EXPECT_TRUE(undone.empty());
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->finish("o2", saga_state::running, "")); }).code, errc::bad_argument);
    EXPECT_EQ(result("o2").reference, "done");
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->finish("o2", saga_state::done, "")); }).code, errc::saga_ended);
}

TEST_F(an_operator, lists_sagas)
{
    define_sleeper();
    shop.begin();
    for (auto const* const id : {"o3", "o1", "o2"})
        begin(id);
    auto const all = run(env, shop.engine->list(saga_state::running, "", 2));
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].id, "o1");
    EXPECT_EQ(all[1].id, "o2");
    EXPECT_EQ(run(env, shop.engine->list(saga_state::running, "o2", 2)).size(), 1u);
}

TEST_F(an_operator, finds_ended_sagas_until_the_retention_is_over)
{
    takes = 1s;
    define_sleeper();
    shop.settings.retention = 24h;
    shop.begin();
    begin();
    result();
    env.run_for(23h);
    EXPECT_EQ(find().state, saga_state::done);
    env.run_for(2h);
    EXPECT_EQ(failure_of([&] { result(); }).code, errc::not_found);
    EXPECT_TRUE(journal().empty());
}

TEST_F(an_operator, does_not_find_thousands_that_ended_at_one_time_for_longer_than_the_retention)
{
    takes = 1h;
    define_sleeper();
    shop.settings.retention = 24h;
    shop.begin();
    for (int i = 0; i < 2500; ++i)
        begin("o" + std::to_string(i));
    env.run_for(2h);
    EXPECT_EQ(run(env, shop.engine->list(saga_state::done, "", 3000)).size(), 2500u);
    env.run_for(23h + 10s + 1s); // a third of the lease, and a little
    EXPECT_EQ(run(env, shop.engine->list(saga_state::done, "", 3000)).size(), 0u);
}

// deadlines

TEST_F(an_operator, is_not_needed_when_a_saga_has_a_deadline)
{
    define_sleeper();
    shop.begin();
    auto const begun = env.steady_now();
    begin("o1", 100, {.deadline = 30min});
    env.run_for(10min);
    shop.restart();
    EXPECT_TRUE(contains(failed().what, "the deadline of the saga has passed"));
    EXPECT_LT(env.steady_now() - begun, 31min);
    EXPECT_EQ(undone, (strings{"b", "a"}));
}

TEST_F(an_operator, sees_a_saga_paused_whose_attempts_are_used_up)
{
    int times = 0;
    define([&](context& s, order o) -> asio::awaitable<receipt> {
        auto const work = [&](transaction&) {
            if (++times <= 3)
                throw std::runtime_error{"the network"};
        };
        auto const twice = cosaga::schedule::list({1s, 1s});
        co_await s.step("a", work).retry(twice);
        co_return receipt{o.id, "done"};
    });
    shop.begin();
    begin();
    env.run_for(1h);
    EXPECT_EQ(find().state, saga_state::paused);
    EXPECT_EQ(find().reason, "step 1, step 'a', has failed 3 times: the network");
    EXPECT_EQ(shop.engine->counters().paused, 1u);
    run(env, shop.engine->resume("o1"));
    EXPECT_EQ(result().reference, "done");
}

TEST_F(an_operator, sees_a_step_time_out)
{
    define([&](context& s, order o) -> asio::awaitable<receipt> {
        co_await mark(s, "a");
        auto const work = [&](transaction&) { throw std::runtime_error{"the network"}; };
        co_await s.step("b", work).within(20s);
        co_return receipt{o.id, "done"};
    });
    shop.begin();
    begin();
    EXPECT_TRUE(contains(failed().what, "did not succeed in time: the network"));
    EXPECT_EQ(undone, (strings{"a"}));
}

// try, confirm, cancel

struct a_confirmation : an_operator {
    a_confirmation()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            co_await s.call<charge>("payments", o.id + "x", 1).confirm<capture>(o.id + "x").undo<pay_back>(o.id + "x");
            co_await s.call<charge>("payments", o.id + "y", 1).confirm<capture>(o.id + "y").undo<pay_back>(o.id + "y");
            if (refuses)
                throw cosaga::refusal("no");
            co_return receipt{o.id, "confirmed"};
        });
        bank.begin();
    }
};

TEST_F(a_confirmation, follows_when_all_tries_have_succeeded)
{
    shop.begin();
    begin();
    EXPECT_EQ(result().reference, "confirmed");
    EXPECT_EQ(bank.calls, (strings{"charge o1x", "charge o1y", "capture o1x", "capture o1y"}));
    EXPECT_EQ(bank.get("o1y"), "captured");
}

TEST_F(a_confirmation, does_not_follow_when_one_is_refused)
{
    bank.fails = [](std::string const& id) {
        if (id == "o1y")
            throw cosaga::refusal("no funds");
    };
    shop.begin();
    begin();
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(bank.calls, (strings{"charge o1x", "charge o1y", "pay_back o1x"}));
}

TEST_F(a_confirmation, never_turns_back)
{
    bool broken = true;
    bank.undo_fails = [&](std::string const&) {
        if (broken)
            throw std::runtime_error{"the ledger is locked"};
    };
    shop.begin();
    begin();
    env.run_for(1min);
    EXPECT_EQ(find().state, saga_state::confirming);
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->cancel("o1", "too late")); }).code, errc::saga_ended);
    shop.restart();
    env.run_for(10min);
    EXPECT_TRUE(contains(find().reason, "stuck: no answer of the participant of payments to 1/confirm")) << find().reason;
    broken = false;
    EXPECT_EQ(result().reference, "confirmed");
    EXPECT_EQ(shop.engine->counters().stuck, 0u);
}

TEST_F(a_confirmation, that_is_refused_is_asked_for_again)
{
    int times = 0;
    bank.undo_fails = [&](std::string const&) {
        if (++times <= 2)
            throw cosaga::refusal("not now");
    };
    shop.begin();
    begin();
    EXPECT_EQ(result().reference, "confirmed");
}

// several processes

struct two_shops : an_operator {
    two_shops()
    {
        shop.settings.instance = "one";
        define_sleeper();
        shop.begin();
        second = std::make_unique<engine_type>(shop.node->get_outbox(), cosaga::saga_options{.instance = "two"});
        shop.registers(*second);
        second->start();
    }
    ~two_shops() override
    {
        run(env, second->stop());
        shop.end();
    }
    std::unique_ptr<engine_type> second;
};

TEST_F(two_shops, run_a_saga_in_one_of_them)
{
    takes = 5s;
    for (int i = 0; i < 20; ++i)
        begin("o" + std::to_string(i));
    for (int i = 0; i < 20; ++i)
        EXPECT_EQ(result("o" + std::to_string(i)).reference, "done");
    EXPECT_EQ(shop.engine->counters().done + second->counters().done, 20u);
    EXPECT_EQ(shop.engine->counters().steps + second->counters().steps, 40u);
    EXPECT_EQ(shop.engine->counters().lost + second->counters().lost, 0u);
}

TEST_F(two_shops, wait_for_results_of_each_other)
{
    takes = 5s;
    begin();
    EXPECT_EQ(run(env, second->result<receipt>("o1")).reference, "done");
}

TEST_F(two_shops, take_over_from_each_other_when_a_lease_ends)
{
    takes = 8s; // it stays in memory
    begin();
    env.run_for(1s);
    EXPECT_TRUE(find().owner.starts_with("one#"));
    auto const take = [](auto& tx) { // as if the first had been away for longer than its lease
        auto row = *tx.find_saga("o1");
        row.lease_until = row.due_at = tx.now();
        tx.update_saga(row, row.epoch);
        EXPECT_EQ(tx.claim_sagas("thief", tx.now(), tx.now() + 1min, 10).size(), 1u);
    };
    run(env, shop.store->transact(take));
    env.run_for(30s);
    EXPECT_EQ(find().owner, "thief");
    EXPECT_EQ(find().state, saga_state::running); // the first has slept, and could not go on
    EXPECT_EQ(shop.engine->counters().lost, 1u);
    EXPECT_EQ(result().reference, "done");
    EXPECT_EQ(shop.engine->counters().steps + second->counters().steps, 2u);
}

TEST_F(two_shops, pass_news_to_each_other)
{
    begin();
    env.run_for(1s);
    run(env, second->cancel("o1", "from elsewhere"));
    EXPECT_TRUE(contains(failed().what, "from elsewhere"));
}

// transactions

TEST_F(an_operator, begins_sagas_and_sends_events_inside_transactions)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const said = co_await s.receive<customer_reply>("reply");
        co_return receipt{o.id, said.agreed ? "yes" : "no"};
    });
    shop.begin();
    auto const work = [&](transaction& tx) {
        EXPECT_TRUE(shop.engine->begin_in(tx, "place order", "o1", order{"o1", 1}));
        shop.engine->send_in(tx, "o1", "reply", customer_reply{true});
        kit::put(tx, "order", "placed");
    };
    auto const failing = [&](transaction& tx) {
        work(tx);
        throw std::runtime_error{"no"};
    };
    EXPECT_THROW(run(env, shop.node->transact(failing)), std::runtime_error);
    env.run_for(5s);
    EXPECT_FALSE(run(env, shop.engine->find("o1")));
    run(env, shop.node->transact(work));
    EXPECT_EQ(result().reference, "yes");
    EXPECT_EQ(get("order"), "placed");
}

TEST_F(an_operator, sees_sagas_go_on_when_the_store_fails_for_a_while)
{
    takes = 5s;
    define_sleeper();
    shop.begin();
    begin();
    env.run_for(1s);
    shop.kit.break_commits();
    env.run_for(1min);
    shop.kit.mend_commits();
    EXPECT_EQ(result().reference, "done");
}

} // namespace
