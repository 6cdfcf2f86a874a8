// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "transaction_services.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

namespace {

using namespace cosaga_tests;
using cosaga::verdict;
using strings = std::vector<std::string>;

struct transactional : transaction_services {
    transactional() { begin_all(); }

    auto refusing_local()
    {
        return [](transaction&) { throw std::runtime_error{"no money"}; };
    }
    /// What a failed `send` says; checks that its local transaction was not started.
    failure refused(std::string_view topic, cosaga::transaction_options const& o, std::string id = "a")
    {
        auto const before = shop.resource->started;
        auto f = failure_of([&] { send(id, o, topic); });
        EXPECT_EQ(shop.resource->started, before);
        return f;
    }
};

template <class Kit>
struct transactional_over : basic_transaction_services<Kit> {};

using kits = testing::Types<storage_kits::memory_kit, storage_kits::sqlite_kit>;
TYPED_TEST_SUITE(transactional_over, kits);

TYPED_TEST(transactional_over, sends_if_and_only_if_the_local_transaction_commits)
{
    this->begin_all();
    this->send("a");
    auto const f = failure_of([&] {
        this->send("b", [](auto& tx) {
            TypeParam::put(tx, "b", "placed");
            throw std::runtime_error{"no money"};
        });
    });
    this->env.run_for(10min);
    EXPECT_EQ(f.what, "no money");
    EXPECT_EQ(this->warehouse.orders(), strings{"a"});
    EXPECT_EQ(this->shop.get("a"), "placed");
    EXPECT_EQ(this->shop.get("b"), std::nullopt);
    auto const c = this->coordinator.counters();
    EXPECT_EQ(c.prepared, 2u);
    EXPECT_EQ(c.committed, 1u);
    EXPECT_EQ(c.rolled_back, 1u);
    EXPECT_EQ(c.checks, 0u);
    EXPECT_EQ(this->coordinator.count(message_state::prepared), 0u);
    EXPECT_TRUE(this->env.reports().empty());
}

TYPED_TEST(transactional_over, finds_lost_outcomes_by_the_fence)
{
    this->begin_all();
    auto const a = this->shop_client.store("a");
    this->shop_client.store("b");
    this->commit_silently(a, "a");
    this->env.run_for(5999ms);
    EXPECT_EQ(this->coordinator.count(message_state::prepared), 2u);
    this->env.run_for(1s);
    EXPECT_EQ(this->warehouse.orders(), strings{"a"});
    EXPECT_EQ(this->coordinator.count(message_state::prepared), 0u);
    EXPECT_EQ(this->coordinator.counters().rolled_back, 1u);
}

TYPED_TEST(transactional_over, keeps_half_messages_and_their_checks_when_the_coordinator_restarts)
{
    this->begin_all();
    this->answer_checks(transaction_outcome::unknown);
    auto const a = this->shop_client.store("a");
    this->env.run_for(1min); // checked at 6 and 36 s
    this->coordinator.restart();
    ASSERT_EQ(this->coordinator.rows(message_state::prepared).size(), 1u);
    EXPECT_EQ(this->coordinator.rows(message_state::prepared).front().attempts, 2u);
    EXPECT_EQ(this->shop_client.resolve(a, transaction_outcome::commit).result, cosaga::verdict::accepted);
    this->coordinator.restart();
    EXPECT_EQ(this->shop_client.resolve(a, transaction_outcome::commit).result, cosaga::verdict::accepted);
    EXPECT_EQ(this->shop_client.resolve(a, transaction_outcome::rollback).result, cosaga::verdict::rejected);
    this->env.run_for(10min);
    EXPECT_EQ(this->warehouse.orders(), strings{"a"});
}

TYPED_TEST(transactional_over, parks_after_the_last_check_and_begins_again_when_redriven)
{
    this->coordinator.settings.checks.most = 3;
    this->begin_all();
    this->answer_checks(transaction_outcome::unknown);
    auto const a = this->shop_client.store("a");
    this->env.run_for(10min);
    auto const parked = this->coordinator.rows(message_state::dead);
    ASSERT_EQ(parked.size(), 1u);
    EXPECT_EQ(parked.front().last_error, "undecided after 3 check-backs: the service could not say");
    EXPECT_EQ(this->shop.resource->checked.size(), 3u);
    EXPECT_TRUE(run(this->env, this->coordinator.dead().redrive(a)));
    this->env.run_for(10min);
    EXPECT_EQ(this->shop.resource->checked.size(), 6u);
    EXPECT_EQ(this->coordinator.count(message_state::dead), 1u);
}

TEST_F(transactional, shows_a_half_message_to_nobody_before_its_commit)
{
    auto const a = shop_client.store("a");
    env.run_for(5s);
    EXPECT_TRUE(warehouse.all.empty());
    EXPECT_EQ(shop_client.resolve(a, transaction_outcome::commit).result, verdict::accepted);
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(transactional, gives_consumers_what_the_user_said_and_nothing_of_the_protocol)
{
    std::vector<cosaga::header> const headers{{"subject", "shoes"}, {"tenant", "north"}};
    auto const id = send("a", {.key = "k", .delay = 1s, .headers = headers, .checks = cosaga::check_options{}});
    env.run_for(1min);
    ASSERT_EQ(warehouse.all.size(), 1u);
    auto const& m = warehouse.all.front().content;
    EXPECT_EQ(m.id, id);
    EXPECT_EQ(m.topic, "orders");
    EXPECT_EQ(m.key, "k");
    EXPECT_EQ(m.source, "shop");
    EXPECT_EQ(m.type, cosaga::message_type_of<order>());
    EXPECT_EQ(m.headers, headers);
}

TEST_F(transactional, refuses_bad_arguments_before_anything_is_sent)
{
    auto const with_checks = [&](cosaga::check_options const& c) { return refused("orders", {.checks = c}).code; };
    EXPECT_EQ(refused("cosaga.checks", {}).code, errc::bad_argument);
    EXPECT_EQ(refused("", {}).code, errc::bad_argument);
    EXPECT_EQ(refused("orders", {.delay = -1us}).code, errc::bad_argument);
    EXPECT_EQ(refused("orders", {.delay = cosaga::duration::max()}).code, errc::bad_argument);
    EXPECT_EQ(with_checks({.first = 0s}), errc::bad_argument);
    EXPECT_EQ(with_checks({.interval = 0s}), errc::bad_argument);
    EXPECT_EQ(with_checks({.interval = 1min, .cap = 59s}), errc::bad_argument);
    EXPECT_EQ(with_checks({.first = 24h * 1000}), errc::bad_argument);
    EXPECT_EQ(with_checks({.most = 0}), errc::bad_argument);
    EXPECT_EQ(with_checks({.most = 1001}), errc::bad_argument);
    std::vector<cosaga::header> const forged{{"cosagatopic", "news"}};
    EXPECT_EQ(refused("orders", {.headers = forged}).code, errc::bad_argument);
    auto const large = refused("orders", {}, std::string(shop.transport->limits().payload, 'x'));
    EXPECT_EQ(large.code, errc::limit_exceeded);
    EXPECT_TRUE(contains(large.what, "payload")) << large.what;
    env.run_for(1min);
    EXPECT_EQ(coordinator.counters().prepared + coordinator.counters().refused, 0u);
}

TEST_F(transactional, is_refused_by_the_coordinator_for_an_unknown_topic)
{
    auto const f = refused("bread", {});
    EXPECT_EQ(f.code, errc::rejected);
    EXPECT_TRUE(contains(f.what, "no destination is declared for the topic 'bread'")) << f.what;
    EXPECT_EQ(coordinator.counters().refused, 1u);
    EXPECT_TRUE(reported("refused something of shop"));
}

TEST_F(transactional, is_refused_by_a_coordinator_that_could_not_ask_back)
{
    std::erase_if(coordinator.options.routes, [](auto const& r) { return r.consumer == "shop"; });
    coordinator.restart();
    auto const f = refused("orders", {});
    EXPECT_EQ(f.code, errc::rejected);
    EXPECT_TRUE(contains(f.what, "no route to check back with the service 'shop'")) << f.what;
}

TEST_F(transactional, is_refused_by_a_coordinator_with_smaller_limits)
{
    coordinator.options.limits.payload = 100;
    coordinator.restart();
    auto const f = refused("orders", {}, std::string(200, 'x'));
    EXPECT_EQ(f.code, errc::rejected);
    EXPECT_TRUE(contains(f.what, "over the limit of 100")) << f.what;
}

TEST_F(transactional, producers_and_coordinators_refuse_bad_options)
{
    auto const produces = [&](auto change) {
        auto o = shop.settings;
        change(o);
        return failure_of([&] { decltype(shop)::producer_type p(*shop.transport, *shop.resource, o); }).code;
    };
    EXPECT_EQ(produces([](auto& o) { o.service.clear(); }), errc::bad_configuration);
    EXPECT_EQ(produces([](auto& o) { o.coordinators.clear(); }), errc::bad_configuration);
    EXPECT_EQ(produces([](auto& o) { o.coordinators = {"nobody"}; }), errc::no_route);
    EXPECT_EQ(produces([](auto& o) { o.prepare_timeout = 0s; }), errc::bad_configuration);
    EXPECT_EQ(produces([](auto& o) { o.resolve_timeout = -1s; }), errc::bad_configuration);
    EXPECT_EQ(produces([](auto& o) { o.check_timeout = 0s; }), errc::bad_configuration);
    EXPECT_EQ(produces([](auto& o) { o.checks_at_once = 0; }), errc::bad_configuration);
    auto const coordinates = [&](auto change) {
        auto o = coordinator.settings;
        change(o);
        return failure_of([&] { decltype(coordinator)::coordinator_type c(coordinator.node->get_outbox(), o); }).code;
    };
    EXPECT_EQ(coordinates([](auto& o) { o.name.clear(); }), errc::bad_configuration);
    EXPECT_EQ(coordinates([](auto& o) { o.batch = 0; }), errc::bad_configuration);
    EXPECT_EQ(coordinates([](auto& o) { o.checks_in_flight = 0; }), errc::bad_configuration);
    EXPECT_EQ(coordinates([](auto& o) { o.answer_timeout = 0s; }), errc::bad_configuration);
    EXPECT_EQ(coordinates([](auto& o) { o.retention = 0s; }), errc::bad_configuration);
    EXPECT_EQ(coordinates([](auto& o) { o.checks.most = 0; }), errc::bad_argument);
}

TEST_F(transactional, does_not_begin_while_no_coordinator_answers)
{
    coordinator.end();
    auto const before = env.steady_now();
    auto const f = refused("orders", {});
    EXPECT_EQ(f.code, errc::unreachable);
    EXPECT_TRUE(contains(f.what, "coordinator: no answer in time")) << f.what;
    EXPECT_EQ(env.steady_now() - before, 2s);
    coordinator.begin();
    env.run_for(1h);
    EXPECT_EQ(coordinator.counters().prepared, 0u);
    send("b");
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"b"});
}

TEST_F(transactional, goes_to_the_next_coordinator_and_comes_back_after_a_while)
{
    shop.settings.coordinators = {"coordinator", "second"};
    shop.restart();
    second.begin();
    coordinator.end();
    auto const begun = env.steady_now();
    send("a");
    EXPECT_EQ(env.steady_now() - begun, 2s);
    send("b");
    EXPECT_EQ(env.steady_now() - begun, 2s) << "the silent one is avoided";
    coordinator.begin();
    env.run_for(4s);
    send("c");
    EXPECT_EQ(second.counters().committed, 3u);
    env.run_for(1s);
    send("d");
    env.run_for(1s);
    EXPECT_EQ(second.counters().committed, 3u);
    EXPECT_EQ(coordinator.counters().committed, 1u);
    EXPECT_EQ(warehouse.orders(), (strings{"a", "b", "c", "d"}));
}

TEST_F(transactional, a_half_message_that_was_stored_too_late_is_rolled_back_by_the_check_back)
{
    coordinator.store->fail_next_commits(5);
    EXPECT_EQ(refused("orders", {}).code, errc::unreachable);
    env.run_for(1h);
    EXPECT_EQ(coordinator.counters().prepared, 1u);
    EXPECT_EQ(coordinator.counters().rolled_back, 1u);
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(transactional, is_not_seen_before_its_delay)
{
    auto const begun = env.steady_now();
    send("a", {.delay = 90s});
    env.run_for(1h);
    ASSERT_EQ(warehouse.all.size(), 1u);
    EXPECT_GE(warehouse.all.front().at - begun, 90s);
    EXPECT_LT(warehouse.all.front().at - begun, 90s + 10ms);
}

TEST_F(transactional, is_seen_at_once_when_its_commit_comes_after_its_delay)
{
    auto m = shop_client.half("a");
    m.headers.push_back({std::string{cosaga::detail::half_delay_header}, "1000000"});
    auto const id = shop_client.store(std::move(m));
    env.run_for(4s);
    auto const begun = env.steady_now();
    shop_client.resolve(id, transaction_outcome::commit);
    env.run_for(1min);
    ASSERT_EQ(warehouse.all.size(), 1u);
    EXPECT_LT(warehouse.all.front().at - begun, 10ms);
}

TEST_F(transactional, reaches_every_consumer_of_the_topic_once)
{
    archive.begin();
    for (auto const* const id : {"a", "b", "c"})
        send(id, {.key = "k"}, "news");
    env.run_for(1min);
    EXPECT_EQ(warehouse.orders(), (strings{"a", "b", "c"}));
    EXPECT_EQ(archive.orders(), (strings{"a", "b", "c"}));
}

TEST_F(transactional, messages_of_a_key_arrive_in_the_order_of_their_commits)
{
    std::map<std::string, cosaga::message_id> ids;
    for (auto const* const id : {"a", "b", "c", "d"}) {
        auto m = shop_client.half(id);
        m.key = "k";
        ids[id] = shop_client.store(std::move(m));
    }
    for (auto const* const id : {"c", "a", "d", "b"})
        shop_client.resolve(ids[id], transaction_outcome::commit);
    env.run_for(1min);
    EXPECT_EQ(warehouse.orders(), (strings{"c", "a", "d", "b"}));
}

TEST_F(transactional, is_rolled_back_when_the_commit_itself_fails)
{
    shop.store->fail_next_commits(1);
    EXPECT_EQ(failure_of([&] { send("a"); }).code, errc::store_failed);
    env.run_for(1s);
    EXPECT_EQ(coordinator.counters().rolled_back, 1u);
    env.run_for(1h);
    EXPECT_EQ(shop.get("a"), std::nullopt);
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(transactional, is_sent_when_the_commit_seemed_to_fail_but_did_not)
{
    shop.resource->fails_after_commit = true;
    send("a");
    env.run_for(1s);
    EXPECT_EQ(shop.get("a"), "placed");
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(transactional, says_that_the_outcome_is_unknown_and_finds_it_by_a_check_back)
{
    shop.resource->fails_after_commit = true;
    for (auto const o : {transaction_outcome::unknown, transaction_outcome::ongoing}) {
        answer_checks(o);
        auto const f = failure_of([&] { send("a"); });
        EXPECT_EQ(f.code, errc::transaction_unknown);
        EXPECT_TRUE(contains(f.what, "the connection was lost")) << f.what;
    }
    shop.resource->checker = [](cosaga::message_id) -> asio::awaitable<transaction_outcome> {
        throw std::runtime_error{"no connection"};
        co_return transaction_outcome::unknown;
    };
    EXPECT_EQ(failure_of([&] { send("a"); }).code, errc::transaction_unknown);
    EXPECT_TRUE(reported("no connection"));
    EXPECT_TRUE(warehouse.all.empty());
    shop.resource->checker = nullptr;
    env.run_for(1min);
    EXPECT_EQ(warehouse.orders(), (strings{"a", "a", "a"}));
}

TEST_F(transactional, outlives_failing_commits_of_the_coordinator)
{
    coordinator.store->fail_next_commits(3);
    send("a");
    send("b", [&](transaction& tx) {
        storage_kits::memory_kit::put(tx, "b", "placed");
        coordinator.store->fail_next_commits(3);
    });
    env.run_for(1min);
    EXPECT_EQ(warehouse.orders(), (strings{"a", "b"}));
    EXPECT_EQ(coordinator.counters().committed, 2u);
    EXPECT_EQ(coordinator.counters().prepared, 2u);
}

TEST_F(transactional, is_stored_and_sent_once_whatever_comes_twice)
{
    shop.transport->duplicate_next(1000);
    coordinator.transport->duplicate_next(1000);
    for (int i = 0; i < 10; ++i)
        send(std::to_string(i));
    shop.transport->duplicate_next(0);
    shop.transport->drop_acknowledgements_next(10);
    coordinator.transport->drop_acknowledgements_next(10);
    for (int i = 10; i < 20; ++i)
        send(std::to_string(i));
    env.run_for(1h);
    EXPECT_EQ(warehouse.all.size(), 20u);
    EXPECT_EQ(coordinator.counters().committed, 20u);
    EXPECT_EQ(coordinator.counters().prepared, 20u);
    EXPECT_EQ(coordinator.counters().refused, 0u);
    EXPECT_EQ(coordinator.count(message_state::prepared), 0u);
}

TEST_F(transactional, tells_the_outcome_until_the_coordinator_has_taken_it)
{
    auto const begun = env.steady_now();
    auto const place_without_way_out = [&](transaction& tx) {
        storage_kits::memory_kit::put(tx, "a", "placed");
        shop.transport->fail_next(1'000'000);
    };
    send("a", place_without_way_out, {.checks = cosaga::check_options{.first = 24h}});
    EXPECT_EQ(env.steady_now() - begun, 5s) << "it is certain, so nobody waits for long";
    EXPECT_EQ(coordinator.counters().committed, 0u);
    env.run_for(1h);
    shop.transport->fail_next(0);
    env.run_for(5min);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(coordinator.counters().checks, 0u);
}

TEST_F(transactional, a_rollback_is_told_until_the_coordinator_has_taken_it)
{
    auto const refuse_without_way_out = [&](transaction&) {
        shop.transport->fail_next(5);
        throw std::runtime_error{"no money"};
    };
    auto const begun = env.steady_now();
    EXPECT_EQ(failure_of([&] { send("a", refuse_without_way_out, {.checks = cosaga::check_options{.first = 24h}}); }).what, "no money");
    EXPECT_EQ(env.steady_now(), begun) << "nobody has to wait for that";
    env.run_for(1min);
    EXPECT_EQ(coordinator.counters().rolled_back, 1u);
}

TEST_F(transactional, is_told_that_its_message_was_discarded_by_an_operator)
{
    answer_checks(transaction_outcome::unknown);
    shop.resource->takes = 1h;
    start_sending("a", {.checks = cosaga::check_options{.first = 1s, .most = 1}});
    env.run_for(1min);
    auto const parked = coordinator.rows(message_state::dead);
    ASSERT_EQ(parked.size(), 1u);
    EXPECT_TRUE(run(env, coordinator.dead().purge(parked.front().content.id)));
    env.run_for(1h);
    ASSERT_TRUE(sent.contains("a"));
    EXPECT_EQ(sent["a"].code, errc::transaction_conflict);
    EXPECT_TRUE(contains(sent["a"].what, "no such half message")) << sent["a"].what;
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(transactional, of_many_that_commit_together_only_those_that_were_discarded_are_told_so)
{
    answer_checks(transaction_outcome::unknown);
    shop.resource->takes = 1h;
    auto const few = cosaga::check_options{.first = 1s, .most = 1};
    auto const name_of = [](int n) { return std::to_string(1000 + n); };
    for (int n = 0; n < 200; ++n)
        start_sending(name_of(n), n % 50 == 7 ? cosaga::transaction_options{.checks = few} : cosaga::transaction_options{});
    env.run_for(1min);
    auto const parked = coordinator.rows(message_state::dead);
    EXPECT_EQ(parked.size(), 4u);
    for (auto const& row : parked)
        EXPECT_TRUE(run(env, coordinator.dead().purge(row.content.id)));
    env.run_for(1h);
    strings committed;
    for (int n = 0; n < 200; ++n) {
        bool const discarded = n % 50 == 7;
        EXPECT_EQ(contains(sent[name_of(n)].what, "no such half message"), discarded) << n;
        if (!discarded)
            committed.push_back(name_of(n));
    }
    auto orders = warehouse.orders();
    std::sort(orders.begin(), orders.end());
    EXPECT_EQ(orders, committed);
}

TEST_F(transactional, is_sent_once_when_it_commits_while_parked)
{
    answer_checks(transaction_outcome::unknown);
    shop.resource->takes = 1h;
    start_sending("a", {.checks = cosaga::check_options{.first = 1s, .most = 1}});
    env.run_for(1min);
    EXPECT_EQ(coordinator.count(message_state::dead), 1u);
    env.run_for(1h);
    ASSERT_TRUE(sent.contains("a"));
    EXPECT_EQ(sent["a"].what, "");
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(coordinator.count(message_state::dead), 0u);
}

TEST_F(transactional, needs_a_running_producer)
{
    decltype(shop)::producer_type idle{*shop.transport, *shop.resource, shop.settings};
    order const body{"a", 1};
    local work = [](transaction&) {};
    EXPECT_EQ(failure_of([&] { run(env, idle.send("orders", body, work)); }).code, errc::transport_closed);
    run(env, shop.producer->stop());
    EXPECT_EQ(refused("orders", {}).code, errc::transport_closed);
}

TEST_F(transactional, says_what_became_of_the_local_transaction_also_when_it_is_stopped_meanwhile)
{
    shop.resource->takes = 10s;
    start_sending("a");
    env.run_for(1s);
    auto const begun = env.steady_now();
    coordinator.end();
    start_sending("b"); // waits for the coordinator
    env.run_for(1s);
    run(env, shop.producer->stop());
    env.run_for(1ms);
    EXPECT_EQ(sent["b"].code, errc::transport_closed);
    EXPECT_EQ(shop.get("b"), std::nullopt);
    ASSERT_TRUE(sent.contains("a")) << "the stop waits for it";
    EXPECT_EQ(sent["a"].what, "") << "it has committed";
    EXPECT_EQ(env.steady_now() - begun, 9s + 5s + 1ms) << "the rest of the local transaction, and what the coordinator has to answer";
    coordinator.begin();
    shop.restart();
    env.run_for(1min);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(transactional, is_sent_without_a_check_back_when_the_producer_is_stopped_during_the_local_transaction)
{
    shop.resource->takes = 3s;
    start_sending("a");
    env.run_for(1s);
    shop.end();
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(coordinator.counters().checks, 0u);
}

// Whatever is stopped, at any moment.
TEST_F(transactional, is_sent_if_and_only_if_it_committed_also_when_everything_is_restarted_meanwhile)
{
    int number = 0;
    for (std::size_t steps = 0; steps < 120; steps += 3) {
        std::vector<std::string> ids;
        for (int i = 0; i < 5; ++i)
            start_sending(ids.emplace_back(std::to_string(++number)));
        std::size_t taken = 0;
        env.run_until([&] { return taken++ == steps; });
        (steps % 2 == 0 ? static_cast<process<storage_kits::memory_kit>&>(shop) : coordinator).restart();
        env.run_for(20s);
        auto const arrived = warehouse.orders();
        for (auto const& id : ids) {
            ASSERT_TRUE(sent.contains(id)) << id;
            auto const placed = shop.get(id).has_value();
            EXPECT_EQ(std::count(arrived.begin(), arrived.end(), id), placed ? 1 : 0) << id;
            auto const code = sent[id].code;
            EXPECT_TRUE(placed ? code == errc{} : code == errc::transport_closed || code == errc::unreachable) << sent[id].what;
        }
    }
    EXPECT_EQ(coordinator.count(message_state::prepared), 0u);
}

TEST_F(transactional, throws_what_the_local_transaction_threw_also_after_the_stop)
{
    bool stopped = false;
    local work = [&](transaction&) {
        asio::co_spawn(env.get_executor(), shop.producer->stop(), [&](std::exception_ptr) { stopped = true; });
        throw std::runtime_error{"no money"};
    };
    shop.resource->checker = [this](cosaga::message_id) -> asio::awaitable<transaction_outcome> {
        co_await env.sleep_for(1s);
        co_return transaction_outcome::rollback;
    };
    EXPECT_EQ(failure_of([&] { send("a", work); }).what, "no money");
    env.run_until([&] { return stopped; });
}

TEST_F(transactional, cancelled_before_the_half_message_is_stored_it_does_not_begin)
{
    coordinator.end();
    asio::cancellation_signal cancel;
    order const body{"a", 1};
    local work = [](transaction&) {};
    std::exception_ptr failed;
    asio::co_spawn(env.get_executor(), shop.producer->send("orders", body, work),
        asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e, cosaga::message_id) { failed = e; }));
    env.run_for(1s);
    EXPECT_FALSE(failed);
    cancel.emit(asio::cancellation_type::terminal);
    env.run_for(1ms);
    EXPECT_TRUE(failed);
    coordinator.begin();
    env.run_for(1min);
    EXPECT_EQ(shop.resource->started, 0);
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(transactional, cancelled_after_the_half_message_is_stored_it_runs_to_its_end)
{
    shop.resource->takes = 5s;
    asio::cancellation_signal cancel;
    order const body{"a", 1};
    local work = [](transaction&) {};
    bool done = false;
    asio::co_spawn(env.get_executor(), shop.producer->send("orders", body, work),
        asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr e, cosaga::message_id) { done = !e; }));
    env.run_for(1s);
    cancel.emit(asio::cancellation_type::terminal);
    env.run_for(1min);
    EXPECT_TRUE(done);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

} // namespace
