// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "two_services.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <algorithm>

namespace {

using namespace cosaga_tests;
using cosaga::errc;
using cosaga::message_state;

struct outbox : two_services {};

template <class F>
cosaga::errc code_of(F f)
{
    try {
        f();
    } catch (boost::system::system_error const& e) {
        return static_cast<errc>(e.code().value());
    }
    return errc{};
}

TEST_F(outbox, sends_what_a_committed_transaction_staged)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    place("a");
    env.run_until([&] { return times["a"] == 1; });
    env.poll();
    EXPECT_EQ(warehouse.table("shipments"), (std::map<std::string, std::string>{{"a", "100"}}));
}

TEST_F(outbox, sends_what_names_a_destination_for_the_first_time_while_it_starts)
{
    using namespace asio::experimental::awaitable_operators;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        SCOPED_TRACE(seed);
        cosaga::testing::virtual_environment other_env{seed};
        cosaga::memory_transport other_network{other_env, {.routes = {{.topic = "orders", .consumer = "warehouse"}}}};
        service other{other_env, other_network, "shop"};
        auto subscription = other_network.subscribe("orders", "warehouse");
        auto work = [](auto& tx) { tx.send("orders", order{"a", 100}); };
        run(other_env, other.node->start() && other.node->transact(work));
        other_env.run_for(1min);
        EXPECT_EQ(other.count(outgoing, message_state::ready), 1u);
        EXPECT_EQ(run(other_env, subscription.receive(1)).size(), 1u);
    }
}

TEST_F(outbox, sends_nothing_of_a_transaction_that_threw)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    auto work = [](auto& tx) {
        tx.put("orders", "a", "placed");
        tx.send("orders", order{"a", 100});
        throw std::runtime_error{"changed my mind"};
    };
    EXPECT_THROW(run(env, shop.node->transact(work)), std::runtime_error);
    env.run_for(1min);
    EXPECT_TRUE(shop.table("orders").empty());
    EXPECT_TRUE(times.empty());
}

TEST_F(outbox, sends_nothing_of_a_group_whose_commit_failed)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    env.run_for(1s);
    shop.store->fail_next_commits(1);
    EXPECT_EQ(code_of([&] { place("a"); }), errc::store_failed);
    env.run_for(1min);
    EXPECT_TRUE(times.empty());
}

TEST_F(outbox, is_woken_by_the_commit_and_not_by_its_poll)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    env.run_for(1min + 1234567us);
    auto const before = env.steady_now();
    place("a");
    env.run_until([&] { return times["a"] == 1; });
    EXPECT_LT(env.steady_now() - before, 100ms);
}

TEST_F(outbox, removes_acknowledged_rows)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    for (int i = 0; i < 20; ++i)
        place(std::to_string(i));
    env.run_for(1s);
    EXPECT_EQ(times.size(), 20u);
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 0u);
}

TEST_F(outbox, keeps_messages_until_the_consumer_is_there)
{
    run(env, shop.node->start());
    place("a");
    env.run_for(24h);
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 1u);
    ship_everything();
    run(env, warehouse.node->start());
    env.run_for(1s);
    EXPECT_EQ(times["a"], 1);
}

TEST_F(outbox, sends_what_an_earlier_run_of_the_process_left)
{
    place("a"); // not started: stored only
    shop.boot();
    ship_everything();
    run(env, warehouse.node->start());
    run(env, shop.node->start());
    env.run_for(1s);
    EXPECT_EQ(times["a"], 1);
}

TEST_F(outbox, relays_a_topic_that_was_first_used_before_the_start)
{
    place("a");
    ship_everything();
    run(env, warehouse.node->start());
    run(env, shop.node->start());
    place("b");
    env.run_for(1s);
    EXPECT_EQ(times["a"], 1);
    EXPECT_EQ(times["b"], 1);
}

TEST_F(outbox, drains_a_backlog_larger_than_its_window_in_order)
{
    shop.options.relay.window_messages = 16;
    shop.boot();
    run(env, shop.node->start());
    std::vector<std::string> placed;
    for (int i = 0; i < 500; ++i) {
        placed.push_back(std::to_string(i));
        place(placed.back(), {.key = "k"});
    }
    ship_everything();
    run(env, warehouse.node->start());
    env.run_for(10s);
    EXPECT_EQ(shipped, placed);
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 0u);
}

TEST_F(outbox, takes_new_messages_while_it_drains_a_backlog)
{
    shop.options.relay.window_messages = 8;
    shop.boot();
    run(env, shop.node->start());
    for (int i = 0; i < 100; ++i)
        place("old" + std::to_string(i), {.key = "k"});
    ship_everything();
    run(env, warehouse.node->start());
    for (int i = 0; i < 100; ++i)
        place("new" + std::to_string(i), {.key = "k"});
    env.run_for(10s);
    EXPECT_EQ(shipped.size(), 200u);
    EXPECT_EQ(std::set<std::string>(shipped.begin(), shipped.end()).size(), 200u);
    EXPECT_EQ(shipped.front(), "old0");
    EXPECT_EQ(shipped.back(), "new99");
}

TEST_F(outbox, gives_each_consumer_of_a_topic_its_own_copy_and_a_dead_one_holds_back_only_itself)
{
    int mailed = 0;
    warehouse.node->consume<order>("news", "mail", [&](auto&, order const&) { ++mailed; });
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    for (int i = 0; i < 10; ++i) {
        auto work = [](auto& tx) { tx.send("news", order{"a", 1}); };
        run(env, shop.node->transact(work));
    }
    env.run_for(1min);
    EXPECT_EQ(mailed, 10);
    EXPECT_EQ(shop.count({cosaga::queue_side::outbox, "news", "mail"}, message_state::ready), 0u);
    EXPECT_EQ(shop.count({cosaga::queue_side::outbox, "news", "archive"}, message_state::ready), 10u);
}

TEST_F(outbox, refuses_a_topic_without_a_route_and_rolls_back)
{
    auto work = [](auto& tx) {
        tx.put("orders", "a", "placed");
        tx.send("nowhere", order{"a", 1});
    };
    EXPECT_EQ(code_of([&] { run(env, shop.node->transact(work)); }), errc::no_route);
    EXPECT_TRUE(shop.table("orders").empty());
}

TEST_F(outbox, refuses_a_message_over_the_limits)
{
    auto work = [](auto& tx) { tx.send("orders", order{std::string(2 << 20, 'x'), 1}); };
    EXPECT_EQ(code_of([&] { run(env, shop.node->transact(work)); }), errc::limit_exceeded);
    auto negative = [](auto& tx) { tx.send("orders", order{}, {.delay = -1s}); };
    EXPECT_EQ(code_of([&] { run(env, shop.node->transact(negative)); }), errc::bad_argument);
}

TEST_F(outbox, refuses_to_be_made_without_a_service_name_or_window)
{
    EXPECT_EQ(code_of([&] { memory_node{*shop.store, network, {.service = ""}}; }), errc::bad_configuration);
    EXPECT_EQ(code_of([&] {
        memory_node{*shop.store, network, {.service = "shop", .relay = {.window_messages = 0}}};
    }), errc::bad_configuration);
}

TEST_F(outbox, a_delayed_message_is_not_visible_before_its_time)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    place("a", {.delay = 1h});
    place("b");
    auto const sent_at = env.steady_now();
    env.run_for(59min);
    EXPECT_EQ(shipped, std::vector<std::string>{"b"});
    env.run_until([&] { return times["a"] == 1; });
    auto const took = env.steady_now() - sent_at;
    EXPECT_GE(took, 1h - 1s);
    EXPECT_LT(took, 1h + 10s);
}

TEST_F(outbox, a_delayed_message_survives_restarts)
{
    place("a", {.delay = 1h});
    shop.boot();
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    env.run_for(30min);
    shop.restart();
    env.run_for(2h); // due while nobody relays
    EXPECT_EQ(times["a"], 0);
    run(env, shop.node->start());
    env.run_for(10s);
    EXPECT_EQ(times["a"], 1);
}

TEST_F(outbox, a_delayed_message_that_is_committed_while_another_becomes_due_is_not_left_to_the_poll)
{
    ship_everything();
    shop.options.relay.poll_interval = 1h;
    shop.boot();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    env.run_for(1s);
    auto const place_after = [&](cosaga::duration span, std::string id) -> asio::awaitable<void> {
        co_await env.sleep_for(span);
        auto const body = order{std::move(id), 100};
        auto work = [&](auto& tx) { tx.send("orders", body, {.delay = 20ms}); };
        co_await shop.node->transact(work);
    };
    // The order of what happens at one instant is random: in some rounds both are in one group.
    for (int n = 0; n < 200; ++n) {
        auto const second = std::to_string(n) + " second";
        asio::co_spawn(env.get_executor(), place_after(0ms, std::to_string(n)), asio::detached);
        asio::co_spawn(env.get_executor(), place_after(20ms, second), asio::detached);
        env.run_for(1s);
        ASSERT_EQ(times[second], 1);
    }
}

TEST_F(outbox, a_receipt_is_acknowledged_when_the_consumer_has_applied)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    auto work = [](auto& tx) { return tx.send_with_receipt("orders", order{"a", 1}); };
    auto const receipt = run(env, shop.node->transact(work));
    run(env, receipt.acknowledged());
    EXPECT_EQ(times["a"], 1);
    run(env, receipt.acknowledged()); // and stays so
}

TEST_F(outbox, a_receipt_waits_for_every_destination)
{
    warehouse.node->consume<order>("news", "mail", [](auto&, order const&) {});
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    auto work = [](auto& tx) { return tx.send_with_receipt("news", order{"a", 1}); };
    auto const receipt = run(env, shop.node->transact(work));
    bool acknowledged = false;
    asio::co_spawn(env.get_executor(), receipt.acknowledged(), [&](std::exception_ptr) { acknowledged = true; });
    env.run_for(1min);
    EXPECT_FALSE(acknowledged);
    auto archive = network.subscribe("news", "archive");
    auto const batch = run(env, archive.receive(10));
    archive.acknowledge({batch.front().tag});
    env.run_for(1s);
    EXPECT_TRUE(acknowledged);
}

TEST_F(outbox, who_waits_for_a_receipt_is_told_when_the_outbox_is_destroyed)
{
    auto work = [](auto& tx) { return tx.send_with_receipt("orders", order{"a", 1}); };
    auto const receipt = run(env, shop.node->transact(work));
    std::exception_ptr told;
    asio::co_spawn(env.get_executor(), receipt.acknowledged(), [&](std::exception_ptr e) { told = e; });
    env.run_for(1s);
    shop.node.reset();
    env.run_for(1s);
    ASSERT_TRUE(told);
    EXPECT_THROW(std::rethrow_exception(told), boost::system::system_error);
}

TEST_F(outbox, a_receipt_outlives_the_window_of_the_relay)
{
    shop.options.relay.window_messages = 2;
    shop.boot();
    run(env, shop.node->start());
    std::vector<cosaga::receipt> receipts;
    for (int i = 0; i < 20; ++i) {
        auto work = [](auto& tx) { return tx.send_with_receipt("orders", order{"a", 1}); };
        receipts.push_back(run(env, shop.node->transact(work)));
    }
    ship_everything();
    run(env, warehouse.node->start());
    for (auto const& r : receipts)
        run(env, r.acknowledged());
    EXPECT_EQ(times["a"], 20);
}

TEST_F(outbox, several_coroutines_may_wait_for_a_receipt_and_one_may_stop_waiting)
{
    run(env, shop.node->start());
    auto work = [](auto& tx) { return tx.send_with_receipt("orders", order{"a", 1}); };
    auto receipt = run(env, shop.node->transact(work));
    int acknowledged = 0;
    bool aborted = false;
    auto const count = [&](std::exception_ptr e) { acknowledged += e ? 0 : 1; };
    asio::cancellation_signal signal;
    asio::co_spawn(env.get_executor(), receipt.acknowledged(), count);
    asio::co_spawn(env.get_executor(), receipt.acknowledged(),
        asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { aborted = e != nullptr; }));
    asio::co_spawn(env.get_executor(), receipt.acknowledged(), count);
    receipt = {}; // who waits keeps what is needed
    env.run_for(1s);
    signal.emit(asio::cancellation_type::terminal);
    env.run_for(1s);
    EXPECT_TRUE(aborted);
    EXPECT_EQ(acknowledged, 0);
    ship_everything();
    run(env, warehouse.node->start());
    env.run_for(1min);
    EXPECT_EQ(acknowledged, 2);
    signal.emit(asio::cancellation_type::terminal); // too late, and harmless
}

TEST_F(outbox, who_waits_for_a_receipt_is_told_when_the_outbox_stops)
{
    run(env, shop.node->start());
    auto work = [](auto& tx) { return tx.send_with_receipt("orders", order{"a", 1}); };
    auto const receipt = run(env, shop.node->transact(work));
    errc seen{};
    asio::co_spawn(env.get_executor(), receipt.acknowledged(),
        [&](std::exception_ptr e) { seen = code_of([&] { std::rethrow_exception(e); }); });
    run(env, shop.node->stop());
    env.run_for(1s);
    EXPECT_EQ(seen, errc::transport_closed);
    EXPECT_EQ(code_of([&] { run(env, receipt.acknowledged()); }), errc::transport_closed);
}

TEST_F(outbox, a_rejected_message_becomes_a_dead_letter_that_can_be_redriven)
{
    auto rejecting = network.subscribe("orders", "warehouse");
    network.start();
    run(env, shop.node->start());
    auto work = [](auto& tx) { return tx.send_with_receipt("orders", order{"a", 1}); };
    auto const receipt = run(env, shop.node->transact(work));
    auto const batch = run(env, rejecting.receive(1));
    rejecting.reject(batch.front().tag, "do not want it");
    EXPECT_EQ(code_of([&] { run(env, receipt.acknowledged()); }), errc::dead_lettered);
    env.run_for(1s);
    cosaga::dead_letters parked{*shop.store};
    auto const letters = run(env, parked.list({}, 10));
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0].row.last_error, "do not want it");
    EXPECT_EQ(letters[0].queue, outgoing);
    EXPECT_TRUE(run(env, parked.redrive(letters[0].row.content.id)));
    auto const again = run(env, rejecting.receive(1));
    EXPECT_EQ(again.front().content.id, batch.front().content.id);
    rejecting.acknowledge({again.front().tag});
    env.run_for(1s);
    EXPECT_TRUE(run(env, parked.list({}, 10)).empty());
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 0u);
}

TEST_F(outbox, a_message_that_fails_is_retried_on_the_schedule_and_then_parked)
{
    shop.options.relay.retries = cosaga::schedule::list({1s, 10s, 100s});
    shop.boot();
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    network.fail_next(3, "line is down");
    auto const start = env.steady_now();
    place("a");
    env.run_until([&] { return times["a"] == 1; });
    EXPECT_GE(env.steady_now() - start, 111s);
    EXPECT_LT(env.steady_now() - start, 112s);
    network.fail_next(100, "line is cut");
    place("b");
    env.run_for(1h);
    EXPECT_EQ(times["b"], 0);
    cosaga::dead_letters parked{*shop.store};
    auto const letters = run(env, parked.list({.reason_contains = "line is cut"}, 10));
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0].row.attempts, 4u);
}

TEST_F(outbox, a_retry_schedule_goes_on_after_a_restart)
{
    shop.options.relay.retries = cosaga::schedule::list({1h, 10h});
    shop.boot();
    ship_everything();
    run(env, warehouse.node->start());
    network.fail_next(1, "line is down");
    run(env, shop.node->start());
    place("a");
    env.run_for(10min);
    shop.restart();
    run(env, shop.node->start());
    env.run_for(49min);
    EXPECT_EQ(times["a"], 0);
    env.run_for(2min);
    EXPECT_EQ(times["a"], 1);
}

TEST_F(outbox, tells_what_is_pending_and_how_old_it_is)
{
    run(env, shop.node->start());
    place("a");
    place("b", {.delay = 2h});
    env.run_for(1h);
    auto const status = run(env, shop.node->get_outbox().status());
    ASSERT_EQ(status.size(), 1u);
    EXPECT_EQ(status[0].queue, outgoing);
    EXPECT_EQ(status[0].pending, 1u);
    EXPECT_EQ(status[0].delayed, 1u);
    EXPECT_EQ(status[0].dead, 0u);
    ASSERT_TRUE(status[0].oldest_age);
    EXPECT_GE(*status[0].oldest_age, 1h);
    ship_everything();
    run(env, warehouse.node->start());
    env.run_for(3h);
    auto const later = run(env, shop.node->get_outbox().status());
    EXPECT_EQ(later[0].pending, 0u);
    EXPECT_FALSE(later[0].oldest_age);
    EXPECT_EQ(later[0].counters.sent, 2u);
}

TEST_F(outbox, goes_on_when_the_store_fails_for_a_while)
{
    ship_everything();
    run(env, shop.node->start());
    run(env, warehouse.node->start());
    place("a");
    shop.store->fail_next_commits(5);
    env.run_for(1min);
    place("b");
    env.run_for(1min);
    EXPECT_EQ(times["a"], 1);
    EXPECT_EQ(times["b"], 1);
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 0u);
}

} // namespace
