// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// What a saga must not do, and what becomes of one that does; changed code; ends without an end.
#include "saga_services.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;
using kit = storage_kits::memory_kit;

struct a_replay : saga_services {
    /// Lets a saga run with one body for a while, and then with another.
    template <class Before, class After>
    void change(Before before, After after)
    {
        define(before);
        shop.begin();
        begin();
        env.run_for(1min);
        shop.end();
        shop.registers = nullptr;
        define(after);
        shop.begin();
        env.run_for(1h);
    }
    void expect_paused(std::string_view part)
    {
        EXPECT_EQ(find().state, saga_state::paused);
        EXPECT_TRUE(contains(find().reason, part)) << find().reason;
        EXPECT_TRUE(undone.empty());
        EXPECT_EQ(find().owner, "");
    }
};

auto steps_then_sleep(strings names)
{
    return [names](a_replay::context& s, order o) -> asio::awaitable<receipt> {
        for (auto const& name : names)
            co_await a_replay::mark(s, name);
        co_await s.sleep_for(1h);
        co_return receipt{o.id, "done"};
    };
}

TEST_F(a_replay, of_a_step_with_another_name_pauses_the_saga_and_shows_both)
{
    change(steps_then_sleep({"a", "b"}), steps_then_sleep({"a", "c"}));
    expect_paused("step 2 is step 'c' in the code, and the journal has step 'b'");
}

TEST_F(a_replay, of_other_arguments_pauses_the_saga)
{
    auto const with = [](std::string argument) {
        return [argument](context& s, order o) -> asio::awaitable<receipt> {
            auto const work = [&](transaction&) {};
            co_await s.step("a", work).undo<release>(argument);
            co_await s.sleep_for(1h);
            co_return receipt{o.id, ""};
        };
    };
    change(with("x"), with("y"));
    expect_paused("step 'a' with other arguments");
}

TEST_F(a_replay, of_another_verb_pauses_the_saga)
{
    change(steps_then_sleep({"a", "b"}), [](context& s, order o) -> asio::awaitable<receipt> {
        co_await mark(s, "a");
        co_await s.receive<customer_reply>("b");
        co_return receipt{o.id, ""};
    });
    expect_paused("step 2 is receive 'b' in the code, and the journal has step 'b'");
}

TEST_F(a_replay, of_fewer_steps_pauses_the_saga)
{
    change(steps_then_sleep({"a", "b"}), [](context& s, order o) -> asio::awaitable<receipt> {
        co_await mark(s, "a");
        co_return receipt{o.id, ""};
    });
    expect_paused("the body ended where the journal goes on with step 2");
}

TEST_F(a_replay, of_a_value_that_has_become_another_pauses_the_saga)
{
    change(
        [](context& s, order o) -> asio::awaitable<receipt> {
            s.random();
            co_await s.sleep_for(1h);
            co_return receipt{o.id, ""};
        },
        [](context& s, order o) -> asio::awaitable<receipt> {
            s.now();
            co_await s.sleep_for(1h);
            co_return receipt{o.id, ""};
        });
    expect_paused("'now' in the code, and the journal has 'random'");
}

TEST_F(a_replay, that_does_not_match_cannot_be_swallowed)
{
    change(steps_then_sleep({"a", "b"}), [](context& s, order o) -> asio::awaitable<receipt> {
        for (auto const* const name : {"x", "y", "z"})
            try {
                co_await mark(s, name);
            } catch (...) {
            }
        co_return receipt{o.id, "swallowed"};
    });
    expect_paused("step 1 is step 'x'");
    EXPECT_EQ(get("y"), std::nullopt);
}

TEST_F(a_replay, that_was_paused_goes_on_with_the_right_code_or_is_undone)
{
    change(steps_then_sleep({"a", "b"}), steps_then_sleep({"a", "c"}));
    expect_paused("mismatch");
    run(env, shop.engine->resume("o1"));
    env.run_for(1s);
    expect_paused("mismatch");
    shop.end();
    shop.registers = nullptr;
    define(steps_then_sleep({"a", "b"}));
    shop.begin();
    run(env, shop.engine->resume("o1"));
    EXPECT_EQ(result().reference, "done");
}

TEST_F(a_replay, that_was_paused_can_be_cancelled)
{
    change(steps_then_sleep({"a", "b"}), steps_then_sleep({"a", "c"}));
    run(env, shop.engine->cancel("o1", "no use"));
    EXPECT_TRUE(contains(failed().what, "no use"));
    EXPECT_EQ(undone, (strings{"b", "a"}));
}

TEST_F(a_replay, takes_the_way_of_a_patch_from_where_it_is)
{
    auto const before = [](context& s, order o) -> asio::awaitable<receipt> {
        co_await mark(s, "old");
        co_await s.sleep_for(2h);
        co_return receipt{o.id, "old"};
    };
    auto const after = [](context& s, order o) -> asio::awaitable<receipt> {
        std::string way = "old";
        if (s.patched("new name")) {
            co_await mark(s, "new");
            way = "new";
        } else {
            co_await mark(s, "old");
        }
        co_await s.sleep_for(2h);
        co_return receipt{o.id, way + (s.patched("new name") ? " new" : " old")};
    };
    change(before, after);
    begin("o2");
    env.run_for(1min);
    shop.restart();
    EXPECT_EQ(result("o1").reference, "old old");
    EXPECT_EQ(result("o2").reference, "new new");
}

TEST_F(a_replay, needs_code_of_its_version)
{
    define(steps_then_sleep({"a"}), 1);
    shop.begin();
    begin();
    env.run_for(1min);
    shop.end();
    shop.registers = nullptr;
    define(steps_then_sleep({"other"}), 2);
    shop.begin();
    env.run_for(2h);
    EXPECT_EQ(find().state, saga_state::running);
    EXPECT_EQ(find().reason, "no process here has registered saga 'place order' version 1");
    EXPECT_TRUE(reported("version 1"));
    begin("o2");
    EXPECT_EQ(find("o2").version, 2u);
    EXPECT_EQ(result("o2").reference, "done");
    shop.end();
    define(steps_then_sleep({"a"}), 1);
    shop.begin();
    EXPECT_EQ(result("o1").reference, "done");
    begin("o3");
    EXPECT_EQ(find("o3").version, 2u);
}

TEST_F(a_replay, of_a_journal_from_newer_code_pauses_the_saga)
{
    define(steps_then_sleep({"a"}));
    shop.begin();
    begin();
    env.run_for(1min);
    shop.end();
    auto store = shop.kit.open(env);
    auto work = [](auto& tx) {
        cosaga::journal_entry e;
        e.kind = 999;
        tx.append_journal("o1", tx.find_saga("o1")->epoch, {&e, 1});
        tx.wake_saga("o1", tx.now());
    };
    run(env, store->transact(work));
    store.reset();
    shop.begin();
    env.run_for(1s);
    expect_paused("unknown kind 999: it was written by a newer version");
}

// misuse

struct a_misuse : a_replay {
    template <class Body>
    void expect(Body body, std::string_view part)
    {
        define(body);
        shop.begin();
        begin();
        env.run_for(1min);
        expect_paused(part);
    }
};

TEST_F(a_misuse, of_two_verbs_at_a_time_is_detected)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            using namespace asio::experimental::awaitable_operators;
            co_await (s.sleep_for(1s) && s.sleep_for(1s));
            co_return receipt{o.id, ""};
        },
        "'sleep' was called while step 1, sleep 'sleep', is not over");
}

TEST_F(a_misuse, of_the_context_around_a_branch_is_detected)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            auto const wrong = [&](context&) -> asio::awaitable<void> { co_await mark(s, "a"); };
            co_await s.all(wrong, wrong);
            co_return receipt{o.id, ""};
        },
        "'a' was called while step 1, all 'all', is not over");
}

TEST_F(a_misuse, of_a_verb_that_is_not_awaited_is_detected)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            static_cast<void>(s.sleep_for(1s));
            co_return receipt{o.id, ""};
        },
        "step 1, sleep 'sleep', was called and not awaited");
}

TEST_F(a_misuse, of_a_compensation_that_is_not_registered_is_detected_before_the_step)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            auto const work = [](transaction& tx) { kit::put(tx, "a", "done"); };
            co_await s.step("a", work).undo<pay_back>("a");
            co_return receipt{o.id, ""};
        },
        "the compensation 'pay_back' of step 1, step 'a', is not registered here");
    EXPECT_EQ(get("a"), std::nullopt);
}

TEST_F(a_misuse, of_a_result_that_cannot_be_encoded_rolls_the_step_back)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            auto const work = [](transaction& tx) {
                kit::put(tx, "a", "done");
                return std::nan("");
            };
            co_await s.step("a", work);
            co_return receipt{o.id, ""};
        },
        "cannot succeed");
    EXPECT_EQ(get("a"), std::nullopt);
}

TEST_F(a_misuse, of_exceptions_pauses_instead_of_undoing)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            co_await mark(s, "a");
            throw std::logic_error{"a bug"};
            co_return receipt{o.id, ""};
        },
        "the body threw: a bug");
}

TEST_F(a_misuse, of_the_journal_as_a_log_meets_its_limit)
{
    shop.settings.max_entries = 50;
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            for (;;)
                co_await mark(s, "a");
            co_return receipt{o.id, ""};
        },
        "limit exceeded: the journal has");
}

TEST_F(a_misuse, of_the_journal_as_a_file_meets_its_limit)
{
    shop.settings.max_bytes = 10'000;
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            auto const work = [](transaction&) { return std::string(3000, 'x'); };
            for (;;)
                co_await s.step("a", work);
            co_return receipt{o.id, ""};
        },
        "limit exceeded: the journal has 5 entries and");
}

struct one_step_more {
    a_replay::context* saga;
    ~one_step_more() { static_cast<void>(saga->sleep_for(1s)); }
};

TEST_F(a_misuse, of_a_verb_behind_the_end_of_the_body_is_detected)
{
    expect(
        [](context& s, order o) -> asio::awaitable<receipt> {
            one_step_more const last{&s};
            co_await mark(s, "a");
            co_return receipt{o.id, ""};
        },
        "step 2, sleep 'sleep', was called and not awaited");
}

TEST_F(a_misuse, of_names_and_ids_is_told_at_once)
{
    define(steps_then_sleep({"a"}));
    shop.begin();
    order const o{"o1", 1};
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->begin("unknown", "o1", o)); }).code, errc::saga_unregistered);
    EXPECT_EQ(failure_of([&] { begin(""); }).code, errc::bad_argument);
    EXPECT_EQ(failure_of([&] { begin(std::string(256, 'x')); }).code, errc::bad_argument);
    EXPECT_EQ(failure_of([&] { begin("o1", 1, {.deadline = 0s}); }).code, errc::bad_argument);
    EXPECT_EQ(failure_of([&] { run(env, shop.engine->result<receipt>("none")); }).code, errc::not_found);
    EXPECT_EQ(failure_of([&] { shop.engine->define<order>("place order", 1, steps_then_sleep({})); }).code, errc::bad_configuration);
    shop.settings.lease = 1ms;
    shop.end();
    EXPECT_EQ(failure_of([&] { shop.begin(); }).code, errc::bad_configuration);
    shop.settings.lease = 30s;
}

// the end without an end

struct noisy {
    ~noisy() { log->push_back(name); }
    strings* log;
    std::string name;
};

TEST_F(a_replay, destroys_the_body_where_it_waits_and_undoes_nothing)
{
    strings log;
    define([&](context& s, order o) -> asio::awaitable<receipt> {
        noisy const outer{&log, "outer"};
        auto const branch = [&](context& b) -> asio::awaitable<void> {
            noisy const inner{&log, "inner"};
            try {
                co_await b.sleep_for(1h);
            } catch (...) {
                log.push_back("caught");
            }
        };
        co_await s.all(branch, branch);
        co_return receipt{o.id, "done"};
    });
    shop.begin();
    begin();
    env.run_for(1s);
    shop.end();
    EXPECT_EQ(log, (strings{"inner", "inner", "outer"}));
    shop.begin();
    EXPECT_EQ(result().reference, "done");
    EXPECT_TRUE(undone.empty());
}

TEST_F(a_replay, begins_again_with_another_input_and_an_empty_journal)
{
    shop.settings.max_entries = 30;
    define([](context& s, order o) -> asio::awaitable<receipt> {
        for (int i = 0; i < 8; ++i)
            co_await mark(s, "a" + std::to_string(o.cents) + std::to_string(i));
        auto const work = [](transaction&) {};
        for (int i = 0; i < 8; ++i)
            co_await s.step("nothing to undo", work);
        auto const said = co_await s.receive<customer_reply>("reply");
        if (o.cents < 2) {
            order const next{o.id, o.cents + 1};
            co_await s.continue_as_new(next);
        }
        if (said.agreed)
            throw cosaga::refusal("the customer agreed");
        co_return receipt{o.id, "done " + std::to_string(o.cents)};
    });
    shop.begin();
    begin("o1", 1);
    run(env, shop.engine->send("o1", "reply", customer_reply{false}));
    run(env, shop.engine->send("o1", "reply", customer_reply{true}));
    EXPECT_EQ(failed().code, errc::saga_undone);
    ASSERT_EQ(undone.size(), 16u); // those of the first run, too, and last
    EXPECT_EQ(undone.front(), "a27");
    EXPECT_EQ(undone.back(), "a10");
}

} // namespace
