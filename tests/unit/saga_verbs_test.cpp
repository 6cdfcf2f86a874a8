// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "saga_services.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;
using kit = storage_kits::memory_kit;

struct a_verb : saga_services {
    void begin_all()
    {
        bank.begin();
        shop.begin();
    }
    template <class Event>
    void send(std::string const& name, Event const& e)
    {
        run(env, shop.engine->send("o1", name, e));
    }
};

// call

struct a_call : a_verb {
    a_call()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            co_await mark(s, "first");
            auto const paid = co_await s.call<charge>("payments", o.id, o.cents).undo<pay_back>(o.id);
            if (refuses_later)
                co_await refuse(s);
            co_return receipt{o.id, paid.reference};
        });
    }
    bool refuses_later = false;
};

TEST_F(a_call, is_carried_out_by_a_participant)
{
    begin_all();
    begin();
    EXPECT_EQ(result().reference, "ref-o1");
    EXPECT_EQ(bank.get("o1"), "paid 100");
    EXPECT_EQ(bank.calls, (strings{"charge o1"}));
    EXPECT_EQ(journal(), (strings{"begun", "1 done first", "2 intended charge", "2 answered: success payment", "ended"}));
}

TEST_F(a_call, that_is_refused_undoes_what_ran_before)
{
    bank.fails = [](std::string const&) { throw cosaga::refusal("no funds"); };
    begin_all();
    begin();
    auto const f = failed();
    EXPECT_EQ(f.code, errc::saga_undone);
    EXPECT_TRUE(contains(f.what, "no funds")) << f.what;
    EXPECT_EQ(find().reason, cosaga::refusal("no funds").what()) << "what the participant has thrown, and nothing twice";
    EXPECT_EQ(get("first"), "released");
    EXPECT_EQ(bank.calls, (strings{"charge o1"})); // what was refused is not paid back
}

TEST_F(a_call, is_undone_by_the_participant)
{
    refuses_later = true;
    begin_all();
    begin();
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(bank.get("o1"), "paid back");
    EXPECT_EQ(bank.calls, (strings{"charge o1", "pay_back o1"}));
    EXPECT_EQ(get("first"), "released");
}

TEST_F(a_call, has_one_effect_however_often_its_messages_come)
{
    refuses_later = true;
    begin_all();
    shop.transport->duplicate_next(5);
    bank.transport->duplicate_next(5);
    bank.transport->drop_acknowledgements_next(3);
    begin();
    EXPECT_EQ(failed().code, errc::saga_undone);
    env.run_for(1min);
    EXPECT_EQ(bank.calls, (strings{"charge o1", "pay_back o1"}));
}

TEST_F(a_call, waits_for_a_participant_that_is_away)
{
    shop.begin();
    begin();
    env.run_for(1h);
    EXPECT_EQ(shop.engine->counters().active, 0u); // it has left the memory
    EXPECT_EQ(find().state, saga_state::running);
    bank.begin();
    EXPECT_EQ(result().reference, "ref-o1");
}

TEST_F(a_call, that_is_not_answered_in_time_is_undone_and_its_late_action_refused)
{
    shop.registers = nullptr;
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const paid = co_await s.call<charge>("payments", o.id, o.cents).undo<pay_back>(o.id).within(30s);
        co_return receipt{o.id, paid.reference};
    });
    int times = 0;
    bank.fails = [&](std::string const&) {
        if (++times <= 20)
            throw std::runtime_error{"the ledger is locked"};
    };
    begin_all();
    begin();
    auto const begun = env.steady_now();
    auto const f = failed();
    EXPECT_EQ(f.code, errc::saga_undone);
    EXPECT_TRUE(contains(f.what, "no answer to step 1, call 'charge', in time")) << f.what;
    EXPECT_LT(env.steady_now() - begun, 40s);
    env.run_for(24h);
    EXPECT_EQ(bank.get("o1"), std::nullopt);
    EXPECT_EQ(bank.calls.back(), "charge o1"); // it never came to paying back
}

TEST_F(a_call, that_is_ongoing_is_asked_again)
{
    int times = 0;
    bank.fails = [&](std::string const&) {
        if (++times <= 3)
            throw cosaga::still_ongoing{10s};
    };
    begin_all();
    auto const begun = env.steady_now();
    begin();
    EXPECT_EQ(result().reference, "ref-o1");
    EXPECT_EQ(bank.calls.size(), 4u);
    EXPECT_GE(env.steady_now() - begun, 30s);
    EXPECT_LT(env.steady_now() - begun, 35s);
}

TEST_F(a_call, without_a_route_pauses_the_saga)
{
    shop.registers = nullptr;
    define([](context& s, order o) -> asio::awaitable<receipt> {
        co_await s.call<charge>("elsewhere", o.id, o.cents);
        co_return receipt{};
    });
    begin_all();
    begin();
    env.run_for(1s);
    EXPECT_EQ(find().state, saga_state::paused);
    EXPECT_TRUE(contains(find().reason, "elsewhere")) << find().reason;
}

// effect

struct an_effect : a_verb {
    an_effect()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            auto const f = [this](cosaga::message_id key) -> asio::awaitable<std::string> {
                used.push_back(key);
                co_await env.sleep_for(takes);
                if (fails)
                    fails();
                co_return "booked";
            };
            auto const booked = co_await s.effect("book", f).undo<call_off>(o.id).within(1min);
            if (refuses_later)
                co_await refuse(s);
            co_return receipt{o.id, booked};
        });
    }
    std::vector<cosaga::message_id> used;
    cosaga::duration takes = 10ms;
    std::function<void()> fails;
    bool refuses_later = false;
};

TEST_F(an_effect, happens_outside_and_has_a_key)
{
    shop.begin();
    begin();
    EXPECT_EQ(result().reference, "booked");
    EXPECT_EQ(used.size(), 1u);
    EXPECT_EQ(journal(), (strings{"begun", "1 intended book", "1 done book", "ended"}));
}

TEST_F(an_effect, is_tried_again_with_the_same_key_also_after_a_restart)
{
    fails = [] { throw std::runtime_error{"no connection"}; };
    shop.begin();
    begin();
    env.run_for(5s);
    fails = nullptr;
    shop.restart();
    EXPECT_EQ(result().reference, "booked");
    EXPECT_GE(used.size(), 3u);
    EXPECT_EQ(std::set(used.begin(), used.end()).size(), 1u);
}

TEST_F(an_effect, that_is_refused_is_not_undone)
{
    fails = [] { throw cosaga::refusal("full"); };
    shop.begin();
    begin();
    EXPECT_TRUE(contains(failed().what, "full"));
    EXPECT_TRUE(undone.empty());
}

TEST_F(an_effect, that_may_have_happened_is_undone)
{
    takes = 2min; // longer than the saga has patience
    shop.begin();
    begin();
    auto const f = failed();
    EXPECT_TRUE(contains(f.what, "did not succeed in time")) << f.what;
    EXPECT_EQ(undone, (strings{"call off o1"}));
    EXPECT_EQ(keys.size(), 1u);
}

TEST_F(an_effect, is_cancelled_with_its_saga_and_undone)
{
    takes = 50s;
    shop.begin();
    begin();
    env.run_for(1s);
    run(env, shop.engine->cancel("o1", "changed my mind"));
    EXPECT_TRUE(contains(failed().what, "changed my mind"));
    EXPECT_EQ(undone, (strings{"call off o1"}));
}

TEST_F(an_effect, has_a_time_of_grace_when_the_engine_stops)
{
    takes = 5s;
    shop.begin();
    begin();
    env.run_for(1s);
    shop.restart();
    EXPECT_EQ(result().reference, "booked");
    EXPECT_TRUE(undone.empty());
}

// time

TEST_F(a_verb, sleeps_over_restarts_and_out_of_memory)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        co_await s.sleep_for(24h);
        co_return receipt{o.id, "awake"};
    });
    shop.begin();
    begin();
    auto const begun = env.steady_now();
    env.run_for(11h);
    EXPECT_EQ(shop.engine->counters().active, 0u);
    shop.restart();
    EXPECT_EQ(result().reference, "awake");
    EXPECT_GE(env.steady_now() - begun, 24h);
    EXPECT_LT(env.steady_now() - begun, 24h + 3s);
}

TEST_F(a_verb, gives_the_same_time_chance_and_ids_again)
{
    std::set<std::string> seen;
    define([&](context& s, order o) -> asio::awaitable<receipt> {
        auto const at = s.now();
        auto const n = s.random();
        auto const id = s.uuid();
        auto text = std::to_string(at.time_since_epoch().count()) + " " + std::to_string(n) + " " + id.to_string();
        seen.insert(text);
        co_await s.sleep_for(1min);
        co_return receipt{o.id, text + (s.now() >= at + 1min ? " later" : " early")};
    });
    shop.begin();
    begin();
    env.run_for(30s);
    shop.restart();
    auto const r = result();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(r.reference, *seen.begin() + " later");
}

// events

struct an_event : a_verb {
    an_event()
    {
        define([](context& s, order o) -> asio::awaitable<receipt> {
            auto const first = co_await s.receive<customer_reply>("reply");
            auto const second = co_await s.receive<customer_reply>("reply", 1h);
            co_return receipt{o.id, std::string{first.agreed ? "yes" : "no"} + (!second ? " late" : second->agreed ? " yes" : " no")};
        });
    }
};

TEST_F(an_event, is_received_once_and_in_order)
{
    shop.begin();
    begin();
    send("reply", customer_reply{true});
    send("other", customer_reply{false});
    send("reply", customer_reply{false});
    EXPECT_EQ(result().reference, "yes no");
}

TEST_F(an_event, wakes_a_saga_that_has_left_the_memory)
{
    shop.begin();
    begin();
    env.run_for(1h);
    EXPECT_EQ(shop.engine->counters().active, 0u);
    send("reply", customer_reply{true});
    env.run_for(1s);
    EXPECT_EQ(journal().back(), "2 intended reply");
    shop.restart();
    send("reply", customer_reply{true});
    EXPECT_EQ(result().reference, "yes yes");
}

TEST_F(an_event, may_come_too_late)
{
    shop.begin();
    begin();
    send("reply", customer_reply{true});
    auto const since = env.steady_now();
    env.run_for(30min);
    shop.restart();
    EXPECT_EQ(result().reference, "yes late");
    EXPECT_GE(env.steady_now() - since, 1h);
    EXPECT_LT(env.steady_now() - since, 1h + 3s);
    EXPECT_EQ(failure_of([&] { send("reply", customer_reply{true}); }).code, errc::saga_ended);
}

TEST_F(an_event, needs_a_saga)
{
    shop.begin();
    EXPECT_EQ(failure_of([&] { send("reply", customer_reply{true}); }).code, errc::not_found);
}

// branches

TEST_F(a_verb, runs_branches_at_the_same_time)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const slow = [](context& b) -> asio::awaitable<std::string> {
            co_await b.sleep_for(2s);
            co_await mark(b, "slow");
            co_return "slow";
        };
        auto const quick = [](context& b) -> asio::awaitable<void> {
            co_await b.sleep_for(1s);
            co_await mark(b, "quick");
        };
        auto const both = co_await s.all(slow, quick);
        std::vector<std::string> const names{"x", "y", "z"};
        auto const each = [](context& b, std::string const& name) -> asio::awaitable<std::string> {
            co_await mark(b, name);
            co_return name;
        };
        auto const three = co_await s.all_of(names, each);
        co_return receipt{o.id, std::get<0>(both) + three.at(0) + three.at(1) + three.at(2)};
    });
    shop.begin();
    auto const begun = env.steady_now();
    begin();
    EXPECT_EQ(result().reference, "slowxyz");
    EXPECT_LT(env.steady_now() - begun, 3s);
    EXPECT_EQ(get("quick"), "done");
}

TEST_F(a_verb, stops_the_other_branches_of_all_when_one_fails)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const fails = [](context& b) -> asio::awaitable<void> {
            co_await b.sleep_for(1s);
            co_await refuse(b);
        };
        auto const goes_on = [](context& b) -> asio::awaitable<void> {
            co_await mark(b, "early");
            co_await b.sleep_for(10s);
            co_await mark(b, "never");
        };
        try {
            co_await s.all(goes_on, fails);
        } catch (boost::system::system_error const&) {
        }
        co_await mark(s, "plan b");
        co_return receipt{o.id, "plan b"};
    });
    shop.begin();
    begin();
    EXPECT_EQ(result().reference, "plan b");
    env.run_for(1min);
    EXPECT_EQ(get("early"), "done");
    EXPECT_EQ(get("never"), std::nullopt);
}

TEST_F(a_verb, undoes_the_branches_that_any_does_not_need)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const slow = [](context& b) -> asio::awaitable<std::string> {
            co_await mark(b, "slow");
            co_await b.sleep_for(10s);
            co_return "slow";
        };
        auto const quick = [](context& b) -> asio::awaitable<std::int64_t> {
            co_await mark(b, "quick");
            co_await b.sleep_for(1s);
            co_return 7;
        };
        auto const first = co_await s.any(slow, quick);
        auto const slow_is = [](transaction& tx) { return *kit::get(tx, "slow"); };
        auto const seen = co_await s.step("look", slow_is);
        co_await s.sleep_for(1min);
        co_return receipt{o.id, std::to_string(first.index()) + " " + std::to_string(std::get<1>(first)) + " " + seen};
    });
    shop.begin();
    begin();
    env.run_for(5s);
    shop.restart();
    EXPECT_EQ(result().reference, "1 7 released");
    EXPECT_EQ(get("quick"), "done");
    EXPECT_EQ(undone, (strings{"slow"}));
}

TEST_F(a_verb, races_an_event_against_the_time)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const event = [](context& b) -> asio::awaitable<void> { co_await b.receive<customer_reply>("reply"); };
        auto const time = [](context& b) -> asio::awaitable<void> { co_await b.sleep_for(1h); };
        auto const first = co_await s.any(event, time);
        co_return receipt{o.id, first.index() == 0 ? "event" : "time"};
    });
    shop.begin();
    begin("o1");
    begin("o2");
    run(env, shop.engine->send("o2", "reply", customer_reply{true}));
    EXPECT_EQ(result("o2").reference, "event");
    EXPECT_EQ(result("o1").reference, "time");
}

TEST_F(a_verb, fails_when_all_branches_of_any_do)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const fails = [](context& b) -> asio::awaitable<void> { co_await refuse(b); };
        co_await s.any(fails, fails);
        co_return receipt{o.id, ""};
    });
    shop.begin();
    begin();
    EXPECT_EQ(failed().code, errc::saga_undone);
}

// children

struct a_child : a_verb {
    a_child()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            co_await mark(s, "parent");
            auto const r = co_await s.child<receipt>("pack", o);
            if (refuses_later)
                co_await refuse(s);
            co_return receipt{o.id, "packed " + r.reference};
        });
        auto const before = shop.registers;
        shop.registers = [this, before](engine_type& e) {
            before(e);
            e.define<order>("pack", 1, [this](context& s, order o) -> asio::awaitable<receipt> {
                co_await mark(s, "packed");
                co_await s.sleep_for(takes);
                if (refuses)
                    co_await refuse(s);
                co_return receipt{o.id, "in a box"};
            });
        };
    }
    cosaga::duration takes = 1s;
    bool refuses = false;
    bool refuses_later = false;
};

TEST_F(a_child, gives_its_result_to_its_parent)
{
    takes = 1h;
    shop.begin();
    begin();
    env.run_for(1min);
    EXPECT_EQ(shop.engine->counters().active, 0u);
    shop.restart();
    EXPECT_EQ(result().reference, "packed in a box");
    EXPECT_EQ(find("o1/2").state, saga_state::done);
}

TEST_F(a_child, that_is_undone_has_its_parent_undone)
{
    refuses = true;
    shop.begin();
    begin();
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(get("packed"), "released");
    EXPECT_EQ(get("parent"), "released");
    EXPECT_EQ(find("o1/2").state, saga_state::undone);
}

TEST_F(a_child, is_cancelled_with_its_parent)
{
    takes = 1h;
    shop.begin();
    begin();
    env.run_for(1min);
    run(env, shop.engine->cancel("o1", "too slow"));
    EXPECT_TRUE(contains(failed().what, "too slow"));
    EXPECT_EQ(find("o1/2").state, saga_state::undone);
    EXPECT_EQ(undone, (strings{"packed", "parent"}));
}

} // namespace
