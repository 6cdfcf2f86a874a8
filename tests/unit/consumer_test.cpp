// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "two_services.hpp"

#include <algorithm>

namespace {

using namespace cosaga_tests;
using cosaga::errc;
using cosaga::message_state;

struct consumer : two_services {
    void start()
    {
        run(env, shop.node->start());
        run(env, warehouse.node->start());
    }

    std::vector<cosaga::located_row> parked()
    {
        cosaga::dead_letters letters{*warehouse.store};
        return run(env, letters.list({}, 100));
    }

    // Sends a message as another program might, past the outbox.
    void inject(cosaga::message m)
    {
        auto publisher = network.open_publisher("orders", "warehouse");
        std::vector<cosaga::envelope> batch;
        batch.push_back({1, std::move(m)});
        publisher.publish(std::move(batch));
        auto const settled = run(env, publisher.settled());
        ASSERT_EQ(settled.front().result, cosaga::verdict::accepted);
        env.run_for(1s);
    }

    cosaga::message well_formed(std::string id)
    {
        cosaga::message m;
        m.id = ids();
        m.time = env.now();
        m.topic = "orders";
        m.type = "order";
        m.source = "shop";
        m.content_type = "application/json";
        m.payload = cosaga::json_codec::encode(order{std::move(id), 100});
        return m;
    }

    cosaga::message_id_generator ids{env};
};

TEST_F(consumer, applies_a_message_that_comes_several_times_once)
{
    ship_everything();
    start();
    network.duplicate_next(3);
    place("a");
    place("b");
    place("c");
    env.run_for(10s);
    EXPECT_EQ(shipped.size(), 3u);
    EXPECT_EQ(warehouse.table("shipments").size(), 3u);
    EXPECT_EQ(warehouse.node->consumers().front()->counters().applied, 3u);
    EXPECT_EQ(warehouse.node->consumers().front()->counters().duplicates, 3u);
}

TEST_F(consumer, drops_a_message_that_was_applied_before_a_restart)
{
    ship_everything();
    run(env, warehouse.node->start());
    auto const m = well_formed("a");
    inject(m);
    warehouse.restart();
    ship_everything();
    run(env, warehouse.node->start());
    inject(m);
    EXPECT_EQ(times["a"], 1);
}

TEST_F(consumer, two_instances_share_the_messages_and_apply_each_once)
{
    ship_everything();
    ship_everything();
    start();
    network.duplicate_next(50);
    for (int i = 0; i < 100; ++i)
        place(std::to_string(i), {.key = std::to_string(i % 7)});
    env.run_for(10s);
    EXPECT_EQ(shipped.size(), 100u);
    EXPECT_EQ(warehouse.table("shipments").size(), 100u);
}

TEST_F(consumer, keeps_the_order_of_a_key)
{
    ship_everything();
    start();
    std::vector<std::string> placed;
    for (int i = 0; i < 200; ++i) {
        placed.push_back(std::to_string(i));
        place(placed.back(), {.key = "k"});
    }
    env.run_for(10s);
    EXPECT_EQ(shipped, placed);
}

TEST_F(consumer, a_throwing_handler_undoes_its_own_message_only_and_is_tried_again)
{
    failures["b"] = 2;
    int told = 0;
    shop.node->consume<order>("shipped", "shop", [&](auto&, order const&) { ++told; });
    ship_everything({.retries = cosaga::schedule::list({1s, 1s, 1s})});
    start();
    auto three = [](auto& tx) {
        for (auto const* id : {"a", "b", "c"})
            tx.send("orders", order{id, 100});
    };
    run(env, shop.node->transact(three));
    env.run_for(500ms);
    EXPECT_EQ(warehouse.table("shipments"), (std::map<std::string, std::string>{{"a", "100"}, {"c", "100"}}));
    EXPECT_EQ(warehouse.count(incoming, message_state::ready), 1u);
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 0u) << "the sender is not held up";
    env.run_for(10s);
    EXPECT_EQ(times["b"], 3);
    EXPECT_EQ(warehouse.table("shipments").at("b"), "100");
    EXPECT_EQ(warehouse.count(incoming, message_state::ready), 0u);
    EXPECT_EQ(told, 0) << "what a failed attempt sent must not leave";
}

TEST_F(consumer, what_a_handler_sends_leaves_with_its_commit)
{
    std::vector<std::string> told;
    shop.node->consume<order>("shipped", "shop", [&](auto&, order const& o) { told.push_back(o.id); });
    warehouse.node->consume<order>("orders", "warehouse", [](auto& tx, order const& o) { tx.send("shipped", o); });
    start();
    network.duplicate_next(2);
    place("a");
    env.run_for(10s);
    EXPECT_EQ(told, std::vector<std::string>{"a"});
}

TEST_F(consumer, is_parked_when_its_schedule_ends_and_can_be_redriven)
{
    failures["a"] = 3;
    ship_everything({.retries = cosaga::schedule::list({1s, 1s})});
    start();
    place("a");
    env.run_for(1min);
    EXPECT_EQ(times["a"], 3);
    auto const letters = parked();
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0].queue, incoming);
    EXPECT_EQ(letters[0].row.last_error, "no box for a");
    EXPECT_EQ(letters[0].row.attempts, 3u);
    EXPECT_TRUE(warehouse.table("shipments").empty());
    cosaga::dead_letters all{*warehouse.store};
    EXPECT_EQ(run(env, all.redrive(cosaga::dead_letter_filter{.topic = "orders"})), 1u);
    env.run_for(1s);
    EXPECT_EQ(times["a"], 4);
    EXPECT_EQ(warehouse.table("shipments").at("a"), "100");
    EXPECT_TRUE(parked().empty());
}

TEST_F(consumer, a_purged_dead_letter_is_gone)
{
    failures["a"] = 100;
    failures["b"] = 100;
    ship_everything({.retries = cosaga::schedule::list({1s})});
    start();
    place("a");
    place("b");
    env.run_for(1min);
    auto const letters = parked();
    ASSERT_EQ(letters.size(), 2u);
    cosaga::dead_letters all{*warehouse.store};
    EXPECT_TRUE(run(env, all.purge(letters[0].row.content.id)));
    EXPECT_FALSE(run(env, all.purge(letters[0].row.content.id)));
    EXPECT_FALSE(run(env, all.redrive(letters[0].row.content.id)));
    EXPECT_EQ(run(env, all.purge(cosaga::dead_letter_filter{.reason_contains = "no such reason"})), 0u);
    EXPECT_EQ(run(env, all.purge(cosaga::dead_letter_filter{})), 1u);
    EXPECT_TRUE(parked().empty());
}

TEST_F(consumer, redriving_what_dies_again_ends)
{
    ship_everything({.retries = cosaga::schedule::list({1s})});
    start();
    for (int i = 0; i < 300; ++i) {
        auto m = well_formed("x");
        m.type = "unheard of";
        inject(m);
    }
    cosaga::dead_letters all{*warehouse.store};
    EXPECT_EQ(run(env, all.redrive(cosaga::dead_letter_filter{})), 300u);
    env.run_for(1min);
    EXPECT_EQ(run(env, all.list({}, 1000)).size(), 300u);
}

TEST_F(consumer, a_failing_message_holds_back_its_own_key_only)
{
    failures["a1"] = 2;
    ship_everything({.retries = cosaga::schedule::list({10s, 10s, 10s})});
    start();
    for (auto const* id : {"a1", "a2", "b1", "a3", "b2"})
        place(id, {.key = std::string_view{id, 1}});
    env.run_for(5s);
    place("a4", {.key = "a"});
    env.run_for(1s);
    EXPECT_EQ(shipped, (std::vector<std::string>{"b1", "b2"}));
    env.run_for(1min);
    std::erase_if(shipped, [](auto const& id) { return id.front() == 'b'; });
    EXPECT_EQ(shipped, (std::vector<std::string>{"a1", "a2", "a3", "a4"}));
}

TEST_F(consumer, messages_held_behind_a_failing_one_keep_their_order_over_a_restart)
{
    failures["1"] = 1;
    ship_everything({.retries = cosaga::schedule::list({1h, 1h})});
    start();
    for (auto const* id : {"1", "2", "3"})
        place(id, {.key = "k"});
    env.run_for(1s);
    warehouse.restart();
    ship_everything({.retries = cosaga::schedule::list({1h, 1h})});
    run(env, warehouse.node->start());
    place("4", {.key = "k"});
    env.run_for(2h);
    EXPECT_EQ(shipped, (std::vector<std::string>{"1", "2", "3", "4"}));
}

TEST_F(consumer, parks_at_once_what_it_cannot_decode_or_does_not_know)
{
    ship_everything();
    start();
    auto garbled = well_formed("a");
    garbled.payload = "{\"id\": 7";
    auto unknown = well_formed("b");
    unknown.type = "invoice";
    auto binary = well_formed("c");
    binary.content_type = "application/x-unknown";
    auto elsewhere = well_formed("d");
    elsewhere.topic = "shipped";
    for (auto const& m : {garbled, unknown, binary, elsewhere})
        inject(m);
    EXPECT_TRUE(times.empty());
    auto const letters = parked();
    ASSERT_EQ(letters.size(), 4u);
    EXPECT_NE(letters[0].row.last_error.find("undecodable body"), std::string::npos);
    EXPECT_NE(letters[1].row.last_error.find("unknown type 'invoice'"), std::string::npos);
    EXPECT_NE(letters[2].row.last_error.find("application/x-unknown"), std::string::npos);
    EXPECT_NE(letters[3].row.last_error.find("wrong topic 'shipped'"), std::string::npos);
    EXPECT_EQ(letters[0].row.content.payload, garbled.payload) << "kept as it came";
}

TEST_F(consumer, parks_what_is_older_than_its_memory_of_messages)
{
    ship_everything({.retention = 48h});
    start();
    auto const old = well_formed("a");
    env.run_for(49h);
    inject(old);
    inject(well_formed("b"));
    EXPECT_EQ(shipped, std::vector<std::string>{"b"});
    ASSERT_EQ(parked().size(), 1u);
    EXPECT_NE(parked()[0].row.last_error.find("older than the retention"), std::string::npos);
}

TEST_F(consumer, forgets_messages_after_the_retention)
{
    ship_everything({.retention = 48h});
    start();
    auto const old = well_formed("a");
    inject(old);
    env.run_for(49h);
    inject(well_formed("b"));
    auto find = [&](auto& tx) { return find_mark(tx, "inbox/orders/warehouse", old.id).has_value(); };
    EXPECT_FALSE(run(env, warehouse.store->transact(find)));
}

TEST_F(consumer, refuses_a_retention_shorter_than_its_retries)
{
    auto const make = [&] {
        ship_everything({.retries = cosaga::schedule::list({24h, 24h}), .retention = 24h});
    };
    try {
        make();
        FAIL() << "it was accepted";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::bad_configuration);
        EXPECT_NE(std::string{e.what()}.find("86400 s"), std::string::npos) << e.what();
        EXPECT_NE(std::string{e.what()}.find("172800 s"), std::string::npos) << e.what();
    }
    EXPECT_THROW(ship_everything({.batch = 0}), boost::system::system_error);
}

TEST_F(consumer, repeats_a_batch_whose_commit_failed_and_lets_nothing_overtake_it)
{
    ship_everything();
    start();
    env.run_for(1s);
    warehouse.store->fail_next_commits(3, errc::store_full);
    std::vector<std::string> placed;
    for (int i = 0; i < 50; ++i) {
        placed.push_back(std::to_string(i));
        place(placed.back(), {.key = "k"});
    }
    env.run_for(1min);
    EXPECT_EQ(warehouse.table("shipments").size(), 50u);
    // What failed commits rolled back was seen by the handler too: the last 50 are those that count.
    ASSERT_GE(shipped.size(), 50u);
    auto const seen_last = [&](std::string const& id) {
        return std::find(shipped.rbegin(), shipped.rend(), id) - shipped.rbegin();
    };
    for (std::size_t i = 1; i < placed.size(); ++i)
        EXPECT_GT(seen_last(placed[i - 1]), seen_last(placed[i]));
    EXPECT_EQ(parked().size(), 0u);
    EXPECT_FALSE(env.reports().empty());
}

TEST_F(consumer, a_store_failure_inside_the_handler_costs_the_message_no_attempt)
{
    int failing = 3;
    warehouse.node->consume<order>("orders", "warehouse",
        [&](auto& tx, order const& o) {
            if (failing-- > 0)
                throw cosaga::make_error(errc::store_full, "disk");
            tx.put("shipments", o.id, "shipped");
        },
        {.retries = cosaga::schedule::list({1s})});
    start();
    place("a");
    env.run_for(1min);
    EXPECT_EQ(warehouse.table("shipments").size(), 1u);
    EXPECT_TRUE(parked().empty());
}

struct handler_of_both {
    std::vector<std::string>* seen;
    void operator()(auto&, order const& o) { seen->push_back("order " + o.id); }
    void operator()(auto&, refund const& r) { seen->push_back("refund " + r.id); }
};

TEST_F(consumer, handles_several_types_of_one_topic)
{
    std::vector<std::string> seen;
    warehouse.node->consume<order, refund>("orders", "warehouse", handler_of_both{&seen});
    start();
    auto both = [](auto& tx) {
        tx.send("orders", order{"a", 1}, {.key = "a"});
        tx.send("orders", refund{"a"}, {.key = "a"});
    };
    run(env, shop.node->transact(both));
    env.run_for(1s);
    EXPECT_EQ(seen, (std::vector<std::string>{"order a", "refund a"}));
}

TEST_F(consumer, shows_the_message_to_a_handler_that_asks_for_it)
{
    cosaga::message seen;
    warehouse.node->consume<order>(
        "orders", "warehouse", [&](auto&, order const&, cosaga::message const& m) { seen = m; });
    start();
    cosaga::header const headers[] = {{"subject", "new order"}, {"traceparent", "00-1-2-01"}};
    place("a", {.key = "k", .headers = headers});
    env.run_for(1s);
    EXPECT_EQ(seen.source, "shop");
    EXPECT_EQ(seen.key, "k");
    EXPECT_EQ(seen.type, "order");
    EXPECT_EQ(seen.subject(), "new order");
    EXPECT_EQ(seen.traceparent(), "00-1-2-01");
}

TEST_F(consumer, prepares_with_a_coroutine_before_the_transaction_and_not_for_duplicates)
{
    int prepared = 0;
    auto const look_up = [&](order const& o) -> asio::awaitable<std::string> {
        co_await env.sleep_for(1s);
        ++prepared;
        co_return "address of " + o.id;
    };
    warehouse.node->consume<order>("orders", "warehouse", look_up,
        [](auto& tx, order const& o, std::string const& address) { tx.put("shipments", o.id, address); });
    start();
    auto const before = env.steady_now();
    auto many = [](auto& tx) {
        for (int i = 0; i < 50; ++i)
            tx.send("orders", order{std::to_string(i), 1});
    };
    run(env, shop.node->transact(many));
    env.run_until([&] { return prepared == 50; });
    EXPECT_LT(env.steady_now() - before, 5s) << "one after another";
    env.run_for(1s);
    EXPECT_EQ(warehouse.table("shipments").at("7"), "address of 7");
    auto const m = well_formed("again");
    inject(m);
    env.run_for(5s);
    inject(m);
    env.run_for(5s);
    EXPECT_EQ(prepared, 51);
}

TEST_F(consumer, a_preparation_that_throws_is_retried_like_the_handler)
{
    int attempts = 0;
    auto const look_up = [&](order const&) -> asio::awaitable<int> {
        co_await env.sleep_for(1ms);
        if (++attempts < 3)
            throw std::runtime_error{"directory is down"};
        co_return attempts;
    };
    warehouse.node->consume<order>("orders", "warehouse", look_up,
        [](auto& tx, order const& o, int n) { tx.put("shipments", o.id, std::to_string(n)); },
        {.retries = cosaga::schedule::list({1s, 1s, 1s})});
    start();
    place("a");
    env.run_for(1min);
    EXPECT_EQ(warehouse.table("shipments").at("a"), "3");
}

TEST_F(consumer, stopping_cancels_a_preparation_that_outlasts_the_grace_time)
{
    auto const hang = [&](order const&) -> asio::awaitable<int> {
        co_await env.sleep_for(1000h);
        co_return 1;
    };
    warehouse.node->consume<order>("orders", "warehouse", hang, [](auto&, order const&, int) {}, {.grace = 5s});
    start();
    place("a");
    env.run_for(1s);
    auto const before = env.steady_now();
    run(env, warehouse.node->consumers().front()->stop());
    EXPECT_LT(env.steady_now() - before, 6s);
    EXPECT_EQ(shop.count(outgoing, message_state::ready), 1u) << "not applied, so not acknowledged";
}

TEST_F(consumer, stops_receiving_when_too_many_messages_wait_for_a_retry)
{
    warehouse.node->consume<order>("orders", "warehouse",
        [](auto&, order const&) { throw std::runtime_error{"always"}; },
        {.batch = 10, .retries = cosaga::schedule::list({1h}), .max_retrying = 30});
    start();
    for (int i = 0; i < 200; ++i)
        place(std::to_string(i));
    env.run_for(10min);
    EXPECT_LE(warehouse.count(incoming, message_state::ready), 40u);
    EXPECT_GE(shop.count(outgoing, message_state::ready), 160u);
    env.run_for(240h);
    EXPECT_EQ(warehouse.count(incoming, message_state::dead), 200u);
}

TEST_F(consumer, an_inbox_receives_and_applies_step_by_step)
{
    cosaga::inbox<memory_node::outbox_type, order> orders{warehouse.node->get_outbox(), "orders", "warehouse"};
    start();
    network.duplicate_next(1);
    place("a");
    auto garbled = well_formed("b");
    garbled.payload = "]";
    bool failing = true;
    auto record = [&](auto& tx, order const& o) {
        if (std::exchange(failing, false))
            throw std::runtime_error{"no box"};
        tx.put("shipments", o.id, "shipped");
    };
    auto received = run(env, orders.receive());
    EXPECT_EQ(received.body, (order{"a", 100}));
    EXPECT_THROW(run(env, orders.apply(received, record)), std::runtime_error);
    orders.retry(std::move(received), 1min);
    auto again = run(env, orders.receive());
    EXPECT_TRUE(run(env, orders.apply(again, record)));
    auto duplicate = run(env, orders.receive());
    EXPECT_FALSE(run(env, orders.apply(duplicate, record)));
    EXPECT_EQ(warehouse.table("shipments").size(), 1u);

    auto publisher = network.open_publisher("orders", "warehouse");
    std::vector<cosaga::envelope> batch;
    batch.push_back({1, garbled});
    batch.push_back({2, well_formed("c")});
    publisher.publish(std::move(batch));
    auto const next = run(env, orders.receive());
    EXPECT_EQ(next.body.id, "c") << "what cannot be decoded is passed over";
    EXPECT_EQ(parked().size(), 1u);
    orders.reject(next, "not today");
    env.run_for(1s);
    orders.close();
}

} // namespace
