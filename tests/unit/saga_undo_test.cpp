// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// In which order sagas are undone, and what that costs.
#include "saga_services.hpp"

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;

/// Two branches whose steps end in turn: a1 b1 a2 b2, and then the business says no.
struct an_undone_saga : saga_services {
    an_undone_saga()
    {
        define([](context& s, order o) -> asio::awaitable<receipt> {
            co_await mark(s, "before");
            auto const a = [](context& b) -> asio::awaitable<void> {
                co_await mark(b, "a1");
                co_await b.sleep_for(2s);
                co_await mark(b, "a2");
            };
            auto const c = [](context& b) -> asio::awaitable<void> {
                co_await b.sleep_for(1s);
                co_await mark(b, "b1");
                co_await b.sleep_for(2s);
                co_await mark(b, "b2");
            };
            co_await s.all(a, c);
            co_await mark(s, "behind");
            co_await refuse(s);
            co_return receipt{o.id, ""};
        });
    }
    bool was_undone(std::string const& name) { return get(name) == "released"; }
};

TEST_F(an_undone_saga, undoes_branches_in_the_reverse_order_of_completion)
{
    shop.begin();
    begin();
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(undone, (strings{"behind", "b2", "a2", "b1", "a1", "before"}));
}

TEST_F(an_undone_saga, waits_for_a_compensation_that_fails)
{
    undo_fails = [&](std::string const& name) {
        if (name == "b2")
            throw std::runtime_error{"not now"};
    };
    shop.begin();
    begin();
    env.run_for(1min);
    EXPECT_TRUE(was_undone("behind"));
    EXPECT_FALSE(was_undone("a2"));
    undo_fails = nullptr;
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_TRUE(was_undone("a2"));
}

TEST_F(an_undone_saga, undoes_branches_at_the_same_time_if_it_is_told_to)
{
    shop.settings.undo_branches_together = true;
    undo_fails = [&](std::string const& name) {
        if (name == "b2")
            throw std::runtime_error{"not now"};
    };
    shop.begin();
    begin();
    env.run_for(1min);
    EXPECT_TRUE(was_undone("behind"));
    EXPECT_TRUE(was_undone("a2"));
    EXPECT_TRUE(was_undone("a1"));
    EXPECT_FALSE(was_undone("b2"));
    EXPECT_FALSE(was_undone("b1"));     // each branch in its own order
    EXPECT_FALSE(was_undone("before")); // behind which all of them are
    shop.restart();
    env.run_for(1min);
    EXPECT_FALSE(was_undone("b1"));
    undo_fails = nullptr;
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(undone.back(), "before");
    EXPECT_EQ(std::count(undone.begin(), undone.end(), "a1"), 1);
    EXPECT_EQ(std::count(undone.begin(), undone.end(), "behind"), 1);
}

TEST_F(an_undone_saga, can_have_one_branch_skipped_while_the_other_goes_on)
{
    shop.settings.undo_branches_together = true;
    undo_fails = [&](std::string const& name) {
        if (name == "b2")
            throw std::runtime_error{"never"};
    };
    shop.begin();
    begin();
    env.run_for(1min);
    EXPECT_EQ(shop.engine->counters().stuck, 1u);
    std::string const step = "2.1.4";
    run(env, shop.engine->skip("o1", step, "was never there"));
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_FALSE(was_undone("b2"));
    EXPECT_TRUE(was_undone("b1"));
    EXPECT_TRUE(was_undone("before"));
    EXPECT_EQ(shop.engine->counters().stuck, 0u);
}

// participants that have given up

struct a_parked_command : saga_services {
    a_parked_command()
    {
        define([this](context& s, order o) -> asio::awaitable<receipt> {
            auto const paid = co_await s.call<charge>("payments", o.id, o.cents).undo<pay_back>(o.id);
            if (refuses)
                co_await refuse(s);
            co_return receipt{o.id, paid.reference};
        });
        bank.settings.consumer.retries = cosaga::schedule::list({1s});
        bank.fails = bank.undo_fails = [this](std::string const&) {
            if (broken)
                throw std::runtime_error{"the ledger is locked"};
        };
        bank.begin();
        shop.begin();
    }
    bool broken = true;
    bool refuses = false;
};

TEST_F(a_parked_command, is_sent_again_when_an_operator_says_so)
{
    begin();
    env.run_for(1h);
    EXPECT_EQ(bank.part->counters().dead, 1u);
    broken = false;
    env.run_for(1h);
    EXPECT_EQ(find().state, saga_state::running);
    run(env, shop.engine->retry("o1"));
    EXPECT_EQ(result().reference, "ref-o1");
}

TEST_F(a_parked_command, is_sent_again_until_the_saga_is_undone)
{
    refuses = true;
    bank.fails = nullptr;
    begin();
    env.run_for(1h);
    EXPECT_EQ(shop.engine->counters().stuck, 1u);
    auto const dead = bank.part->counters().dead;
    EXPECT_GE(dead, 4u); // after 0, 5, 15 and 35 minutes
    EXPECT_LE(dead, 5u);
    broken = false;
    EXPECT_EQ(failed().code, errc::saga_undone);
    EXPECT_EQ(std::count(bank.calls.begin(), bank.calls.end(), "pay_back o1"), static_cast<std::ptrdiff_t>(2 * dead + 1));
    EXPECT_EQ(bank.get("o1"), "paid back");
}

TEST_F(a_parked_command, is_compensated_at_once_when_an_operator_says_so)
{
    refuses = true;
    bank.fails = nullptr;
    begin();
    env.run_for(1min);
    EXPECT_EQ(bank.part->counters().dead, 1u);
    broken = false;
    run(env, shop.engine->retry("o1"));
    env.run_for(1s);
    EXPECT_EQ(find().state, saga_state::undone);
}

} // namespace
