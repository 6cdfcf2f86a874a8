// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "two_services.hpp"

#include <cosaga/notifier.hpp>
#include <cosaga/state_sources.hpp>

#include <stdexcept>

namespace {

using namespace cosaga_tests;
using cosaga::message_id;
using cosaga::message_state;
using cosaga::state_answer;
using cosaga::state_query;

struct refusing_sink {
    asio::awaitable<cosaga::attempt_result> deliver(std::string const&, cosaga::message const&)
    {
        throw std::runtime_error{"shut"};
        co_return cosaga::attempt_result{};
    }
    void check(std::string const&) {}
};

/// A warehouse that asks a shop what became of things.
struct asking_back : ::testing::Test {
    asking_back()
    {
        shop.options.ledgers = {{.topic = "orders"}};
        shop.boot();
        fence.emplace(*shop.store);
        warehouse.options.reply_topic = "replies";
        warehouse.boot();
        warehouse.node->consume<order>("orders", "warehouse", [this](auto&, order const& o) {
            if (o.id == refused)
                throw std::runtime_error{"no room"};
        });
        notifier.emplace(shop.node->get_outbox(), sink,
            cosaga::notifier_options{.schedule = {.retries = cosaga::schedule::list({1s})}});
        shop.node->attach(*notifier);
    }

    void start()
    {
        std::vector<cosaga::state_source> sources{own, cosaga::message_states{*shop.store}, cosaga::half_message_states{*shop.store},
            cosaga::transaction_states{*fence}, cosaga::saga_states{*shop.store}, cosaga::notification_states{*notifier}};
        shop.node->respond<state_query>("states", "shop", cosaga::state_answerer{std::move(sources)});
        run(env, warehouse.node->start());
        run(env, shop.node->start());
        env.run_for(1s);
    }

    state_answer ask(state_query const& q) { return run(env, warehouse.node->request<state_answer>("states", q, 5s)); }
    state_answer ask(std::string of, message_id const& id, std::string service = {})
    {
        state_query q;
        q.of = std::move(of);
        q.id = id.to_string();
        q.service = std::move(service);
        return ask(q);
    }

    /// The query about an order, as who has the message puts it.
    state_query place(std::string id, cosaga::duration delay = {})
    {
        cosaga::message m;
        m.topic = "orders";
        auto work = [&](auto& tx) {
            m.id = tx.send("orders", order{id, 100}, {.delay = delay});
            m.time = tx.now();
        };
        run(env, shop.node->transact(work));
        env.run_for(1s);
        return state_query::of_message(m, "warehouse");
    }

    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport network{env, {.routes = {{.topic = "orders", .consumer = "warehouse"},
                                               {.topic = "states", .consumer = "shop"},
                                               {.topic = "replies", .consumer = "warehouse"}}}};
    service shop{env, network, "shop"};
    service warehouse{env, network, "warehouse"};
    cosaga::state_source own = [](state_query const&) -> asio::awaitable<std::optional<state_answer>> { co_return std::nullopt; };
    refusing_sink sink;
    std::optional<cosaga::notifier<memory_node::outbox_type, refusing_sink>> notifier;
    std::optional<cosaga::fence<cosaga::memory_store>> fence;
    std::string refused;
};

TEST_F(asking_back, a_message_is_pending_until_it_is_delivered)
{
    start();
    auto const q = place("late", 10min);
    auto a = ask(q);
    EXPECT_EQ(a.of, "message");
    EXPECT_EQ(a.state, "pending");
    EXPECT_FALSE(a.next_attempt.empty());
    env.run_for(11min);
    EXPECT_EQ(ask(q).state, "delivered");
    auto without_time = q;
    without_time.time_us = 0;
    without_time.of.clear();
    EXPECT_EQ(ask(without_time).state, "delivered");
    without_time.id = message_id::from_foreign("x", "y").to_string();
    EXPECT_EQ(ask(without_time).state, "unknown");
}

TEST_F(asking_back, a_message_that_waits_to_be_sent_is_pending)
{
    start();
    run(env, shop.node->get_outbox().stop());
    std::vector<state_query> asked;
    for (int i = 0; i < 1100; ++i)
        asked.push_back(place("o" + std::to_string(i)));
    EXPECT_EQ(ask(asked.front()).state, "pending");
    EXPECT_EQ(ask(asked.back()).state, "pending");
}

TEST_F(asking_back, a_message_that_the_ledger_would_know_was_not_sent)
{
    start();
    auto q = place("o1");
    q.id = message_id::first_of(env.now()).to_string();
    EXPECT_EQ(ask(q).state, "not_sent");
    q.time_us = 1; // older than the ledger
    EXPECT_EQ(ask(q).state, "unknown");
    q.time_us = -1;
    EXPECT_EQ(ask(q).state, "unknown");
    q.topic = "no such topic";
    EXPECT_EQ(ask(q).state, "unknown");
    q.id = "no id";
    EXPECT_EQ(ask(q).state, "unknown");
    auto read = [](auto& tx) { return tx.ledgers(); };
    EXPECT_EQ(run(env, shop.store->transact(read)), std::vector<std::string>{"outbox/orders"}) << "asking changes nothing";
}

TEST_F(asking_back, a_parked_message_is_told_with_the_reason)
{
    start();
    cosaga::message_row row;
    row.content.id = message_id::from_foreign("test", "1");
    row.content.topic = "orders";
    row.attempts = 3;
    row.last_error = "refused";
    auto q = state_query::of_message(row.content, "warehouse");
    auto work = [&](auto& tx) {
        tx.append({cosaga::queue_side::outbox, "orders", "warehouse"}, message_state::dead, std::span<cosaga::message_row>{&row, 1});
    };
    run(env, shop.store->transact(work));
    auto const a = ask(q);
    EXPECT_EQ(a.state, "parked");
    EXPECT_EQ(a.reason, "refused");
    EXPECT_EQ(a.attempts, 3u);
    q.consumer = "another";
    EXPECT_EQ(ask(q).state, "unknown");
}

TEST_F(asking_back, half_messages_are_told_to_who_names_their_service)
{
    start();
    auto const id = [](char const* name) { return message_id::from_foreign("test", name); };
    auto work = [&](auto& tx) {
        cosaga::message_row row;
        row.content.id = id("open");
        cosaga::queue_name const queue{cosaga::queue_side::inbox, std::string{cosaga::half_messages_topic}, "payments"};
        tx.append(queue, message_state::prepared, std::span<cosaga::message_row>{&row, 1});
        auto const scope = cosaga::detail::half_messages_scope("payments");
        auto const done = id("done");
        auto const undone = id("undone");
        tx.insert_marks(scope, {&done, 1}, cosaga::mark{cosaga::fence_marks::committed});
        tx.insert_marks(scope, {&undone, 1}, cosaga::mark{cosaga::fence_marks::rolled_back});
    };
    run(env, shop.store->transact(work));
    EXPECT_EQ(ask("half_message", id("open"), "payments").state, "pending");
    EXPECT_EQ(ask("half_message", id("done"), "payments").state, "committed");
    EXPECT_EQ(ask("half_message", id("undone"), "payments").state, "rolled_back");
    EXPECT_EQ(ask("", id("done"), "payments").of, "half_message");
    EXPECT_EQ(ask("half_message", id("never"), "payments").state, "unknown");
    EXPECT_EQ(ask("half_message", id("open"), "others").state, "unknown");
}

TEST_F(asking_back, a_transaction_is_decided_by_asking_for_it_by_name)
{
    start();
    cosaga::message_id_generator ids{env};
    auto const committed = ids();
    auto const never = ids();
    auto local = [](auto& tx) { tx.put("payments", "p", "1"); };
    run(env, fence->run(committed, local));
    EXPECT_EQ(ask("transaction", committed).state, "committed");
    EXPECT_EQ(ask("", never).state, "unknown");
    EXPECT_EQ(ask("transaction", never).state, "rolled_back");
    EXPECT_THROW(run(env, fence->run(never, local)), boost::system::system_error) << "it was told that it never would";
}

TEST_F(asking_back, a_saga_is_told_from_its_store_whoever_runs_it)
{
    start();
    auto work = [](auto& tx) {
        cosaga::saga_row row;
        row.id = "order 1";
        tx.insert_saga(row);
        row.id = "order 2";
        row.state = cosaga::saga_state::undone;
        row.reason = "sold out";
        tx.insert_saga(row);
    };
    run(env, shop.store->transact(work));
    state_query q;
    q.of = "saga";
    q.id = "order 1";
    EXPECT_EQ(ask(q).state, "running");
    q.id = "order 2";
    EXPECT_EQ(ask(q).state, "undone");
    EXPECT_EQ(ask(q).reason, "sold out");
    q.of.clear();
    EXPECT_EQ(ask(q).of, "saga");
    q.of = "message";
    EXPECT_EQ(ask(q).state, "unknown");
    q.of = "saga";
    q.id = std::string(cosaga::max_saga_id + 1, 'x');
    EXPECT_EQ(ask(q).state, "unknown");
}

TEST_F(asking_back, a_notification_is_told_by_its_notifier)
{
    start();
    order const o{"o1", 1};
    auto const id = run(env, notifier->notify("merchant", o));
    EXPECT_EQ(ask("notification", id).state, "pending");
    env.run_for(1min);
    auto const a = ask("", id);
    EXPECT_EQ(a.of, "notification");
    EXPECT_EQ(a.state, "given_up");
    EXPECT_EQ(a.attempts, 2u);
    EXPECT_NE(a.reason.find("shut"), std::string::npos);
}

TEST_F(asking_back, a_source_of_ones_own_answers_first)
{
    own = [](state_query const& q) -> asio::awaitable<std::optional<state_answer>> {
        if (q.subject != "order 17")
            co_return std::nullopt;
        state_answer a;
        a.of = "order";
        a.state = "shipped";
        a.fact = R"({"on":"monday"})";
        co_return a;
    };
    start();
    state_query q;
    q.subject = "order 17";
    EXPECT_EQ(ask(q).state, "shipped");
    EXPECT_EQ(ask(q).fact, R"({"on":"monday"})");
    q.subject = "order 18";
    EXPECT_EQ(ask(q).state, "unknown");
}

} // namespace
