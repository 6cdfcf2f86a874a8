// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "saga_services.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;
using kit = storage_kits::memory_kit;

struct a_saga : saga_services {
    /// Three local steps, each with its compensation; the step named in `refuses` says no.
    auto three_steps()
    {
        return [this](context& s, order o) -> asio::awaitable<receipt> {
            std::string all;
            for (auto const* const name : {"a", "b", "c"}) {
                auto const work = [&](transaction& tx) {
                    ran.push_back(name);
                    if (fails)
                        fails(name);
                    kit::put(tx, o.id + name, "done");
                    return std::string{name};
                };
                all += co_await s.step(name, work).undo<release>(o.id + name);
            }
            co_return receipt{o.id, all};
        };
    }
    void refuse(std::string step)
    {
        fails = [step](std::string const& name) {
            if (name == step)
                throw cosaga::refusal("no " + name);
        };
    }

    strings ran; // rolled back ones included
    std::function<void(std::string const&)> fails;
};

TEST_F(a_saga, runs_its_steps_once_and_gives_its_result)
{
    define(three_steps());
    shop.begin();
    EXPECT_TRUE(begin());
    EXPECT_EQ(result(), (receipt{"o1", "abc"}));
    EXPECT_EQ(ran, (strings{"a", "b", "c"}));
    EXPECT_EQ(get("o1a"), "done");
    EXPECT_EQ(find().state, saga_state::done);
    EXPECT_EQ(find().owner, "");
    EXPECT_EQ(journal(), (strings{"begun", "1 done a", "2 done b", "3 done c", "ended"}));
    auto const c = shop.engine->counters();
    EXPECT_EQ(c.begun, 1u);
    EXPECT_EQ(c.done, 1u);
    EXPECT_EQ(c.steps, 3u);
    EXPECT_EQ(c.replayed, 0u);
    EXPECT_EQ(c.active, 0u);
}

TEST_F(a_saga, is_begun_once)
{
    define(three_steps());
    shop.begin();
    EXPECT_TRUE(begin());
    EXPECT_FALSE(begin());
    result();
    EXPECT_FALSE(begin());
    env.run_for(1min);
    EXPECT_EQ(ran.size(), 3u);
    EXPECT_EQ(failure_of([&] { begin("o1", 200); }).code, errc::saga_conflict);
}

TEST_F(a_saga, is_undone_in_reverse_order_when_a_step_is_refused)
{
    define(three_steps());
    refuse("c");
    shop.begin();
    begin();
    auto const f = failed();
    EXPECT_EQ(f.code, errc::saga_undone);
    EXPECT_TRUE(contains(f.what, "no c")) << f.what;
    EXPECT_EQ(undone, (strings{"o1b", "o1a"}));
    EXPECT_EQ(get("o1a"), "released");
    EXPECT_EQ(get("o1b"), "released");
    EXPECT_EQ(get("o1c"), std::nullopt);
    EXPECT_EQ(find().state, saga_state::undone);
    EXPECT_EQ(journal(), (strings{"begun", "1 done a", "2 done b", "3 failed c", "compensating", "2/undo undone b", "1/undo undone a", "ended"}));
    EXPECT_EQ(shop.engine->counters().undone, 1u);
}

TEST_F(a_saga, tries_a_step_again_that_fails_for_a_while)
{
    define(three_steps());
    int times = 0;
    fails = [&](std::string const& name) {
        if (name == "b" && ++times <= 3)
            throw std::runtime_error{"the network"};
    };
    shop.begin();
    begin();
    EXPECT_EQ(result().reference, "abc");
    EXPECT_EQ(ran, (strings{"a", "b", "b", "b", "b", "c"}));
    EXPECT_EQ(shop.engine->counters().retried, 3u);
}

TEST_F(a_saga, goes_on_where_it_was_after_a_restart)
{
    define(three_steps());
    bool broken = true;
    fails = [&](std::string const& name) {
        if (broken && name == "c")
            throw std::runtime_error{"the network"};
    };
    shop.begin();
    begin();
    env.run_for(5s);
    broken = false;
    ran.clear();
    shop.restart();
    EXPECT_EQ(result(), (receipt{"o1", "abc"}));
    EXPECT_EQ(ran, (strings{"c"}));
    EXPECT_EQ(shop.engine->counters().replayed, 2u);
    EXPECT_TRUE(undone.empty());
}

struct the_commits_of_sagas : a_saga {
    the_commits_of_sagas()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            for (auto const* const name : {"a", "b", "c", "d", "e"}) {
                co_await mark(s, name);
                ran.push_back(o.id);
            }
            co_return receipt{o.id, "done"};
        });
        shop.begin();
        env.run_for(500ms);
        shop.kit.disk.fail_commits([this] {
            ++commits;
            return false;
        });
    }
    ~the_commits_of_sagas() override { shop.kit.disk.fail_commits(nullptr); }

    std::size_t commits = 0;
};

TEST_F(the_commits_of_sagas, are_those_of_their_steps)
{
    constexpr std::size_t sagas = 20;
    for (std::size_t i = 1; i <= sagas; ++i) {
        begin("o" + std::to_string(i));
        env.run_until([&] { return ran.size() == 5 * i; });
    }
    EXPECT_EQ(commits, 5 * sagas);
    env.run_until([&] { return shop.engine->counters().done == sagas; });
    EXPECT_EQ(commits, 5 * sagas + 1) << "the end of the last one";
}

TEST_F(the_commits_of_sagas, do_not_wait_for_others_when_somebody_waits_for_the_end)
{
    auto const before = env.now();
    begin();
    result();
    EXPECT_LT(env.now() - before, 10ms);
}

TEST_F(a_saga, that_cannot_be_stored_was_never_begun)
{
    define(three_steps());
    shop.begin();
    env.run_for(1s);
    shop.kit.disk.fail_commits([] { return true; });
    EXPECT_EQ(failure_of([&] { begin(); }).code, errc::store_failed);
    shop.kit.disk.fail_commits(nullptr);
    env.run_for(1min);
    EXPECT_EQ(shop.engine->counters().active, 0u);
    EXPECT_THROW(find(), std::runtime_error);
    ran.clear();
    EXPECT_TRUE(begin());
    EXPECT_EQ(result().reference, "abc");
    EXPECT_EQ(ran, (strings{"a", "b", "c"}));
}

TEST_F(a_saga, whose_first_step_fails_for_a_while_is_begun_all_the_same)
{
    define(three_steps());
    bool broken = true;
    fails = [&](std::string const&) {
        if (broken)
            throw std::runtime_error{"the network"};
    };
    shop.begin();
    EXPECT_TRUE(begin());
    EXPECT_EQ(journal(), strings{"begun"});
    broken = false;
    EXPECT_EQ(result().reference, "abc");
}

TEST_F(a_saga, that_only_waits_is_begun)
{
    define([](context& s, order o) -> asio::awaitable<receipt> {
        auto const reply = co_await s.receive<customer_reply>("reply");
        co_return receipt{o.id, reply.agreed ? "yes" : "no"};
    });
    shop.begin();
    EXPECT_TRUE(begin());
    EXPECT_EQ(find().state, saga_state::running);
}

TEST_F(a_saga, that_ends_without_a_step_is_begun)
{
    define([](context&, order o) -> asio::awaitable<receipt> { co_return receipt{o.id, "at once"}; });
    shop.begin();
    EXPECT_TRUE(begin());
    EXPECT_EQ(result().reference, "at once");
    EXPECT_EQ(journal(), (strings{"begun", "ended"}));
    EXPECT_FALSE(begin());
    EXPECT_EQ(failure_of([&] { begin("o1", 200); }).code, errc::saga_conflict);
    EXPECT_EQ(shop.engine->counters().lost, 0u);
    EXPECT_EQ(shop.engine->counters().active, 0u);
}

TEST_F(a_saga, that_is_begun_twice_at_the_same_time_is_begun_once)
{
    using namespace asio::experimental::awaitable_operators;
    define(three_steps());
    shop.begin();
    order const o{"o1", 100};
    auto& sagas = *shop.engine;
    auto const [first, second] = run(env, sagas.begin("place order", "o1", o) && sagas.begin("place order", "o1", o));
    EXPECT_NE(first, second);
    EXPECT_EQ(result().reference, "abc");
    EXPECT_EQ(find().state, saga_state::done);
    EXPECT_EQ(get("o1c"), "done");
}

} // namespace
