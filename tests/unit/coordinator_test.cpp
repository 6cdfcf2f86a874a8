// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "transaction_services.hpp"

namespace {

using namespace cosaga_tests;
using cosaga::verdict;
using strings = std::vector<std::string>;

constexpr auto commit = transaction_outcome::commit;
constexpr auto rollback = transaction_outcome::rollback;
constexpr auto ongoing = transaction_outcome::ongoing;
constexpr auto unknown = transaction_outcome::unknown;

struct coordinator : transaction_services {
    coordinator() { begin_all(); }

    /// A half message that was parked.
    cosaga::message_id park(std::string const& id)
    {
        answer_checks(unknown);
        auto m = shop_client.half(id);
        auto const checks = cosaga::check_options{.first = 1s, .interval = 1s, .cap = 1s, .most = 2};
        m.headers.push_back({std::string{cosaga::detail::half_checks_header}, cosaga::detail::to_text(checks)});
        auto const made = shop_client.store(std::move(m));
        env.run_for(1min);
        EXPECT_EQ(services_coordinator().count(message_state::dead), 1u);
        shop.resource->checker = nullptr;
        return made;
    }
    cosaga::message_id discard(std::string const& id)
    {
        auto const made = park(id);
        EXPECT_TRUE(run(env, services_coordinator().dead().purge(made)));
        return made;
    }
    // The name of the suite hides it.
    coordinating_process<storage_kits::memory_kit>& services_coordinator() { return transaction_services::coordinator; }

    struct answer {
        transaction_outcome late;
        std::string refused; // part of the reason, or nothing
    };
    /// What late outcomes are told, one after another about the same half message, and that they change nothing.
    void expect_absorbing(cosaga::message_id const& id, std::vector<answer> const& answers)
    {
        auto const before = warehouse.all.size();
        for (auto const& a : answers) {
            auto const refused = services_coordinator().counters().refused;
            auto const reports = env.reports().size();
            auto const s = shop_client.resolve(id, a.late);
            if (a.refused.empty()) {
                EXPECT_EQ(s.result, verdict::accepted) << cosaga::detail::type_of(a.late) << ": " << s.reason;
                EXPECT_EQ(services_coordinator().counters().refused, refused);
            } else {
                EXPECT_EQ(s.result, verdict::rejected) << cosaga::detail::type_of(a.late);
                EXPECT_TRUE(contains(s.reason, a.refused)) << s.reason;
                EXPECT_EQ(services_coordinator().counters().refused, refused + 1);
                EXPECT_EQ(env.reports().size(), reports + 1);
            }
        }
        env.run_for(10min);
        EXPECT_EQ(warehouse.all.size(), before);
    }
};

TEST_F(coordinator, delivers_once_and_refuses_a_rollback_after_a_commit)
{
    auto const id = shop_client.store("a");
    EXPECT_EQ(shop_client.resolve(id, commit).result, verdict::accepted);
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    std::string const no = "the half message was committed before";
    expect_absorbing(id, {{commit, ""}, {rollback, no}, {ongoing, ""}, {unknown, ""}, {rollback, no}, {commit, ""}});
}

TEST_F(coordinator, delivers_nothing_and_refuses_a_commit_after_a_rollback)
{
    auto const id = shop_client.store("a");
    EXPECT_EQ(shop_client.resolve(id, rollback).result, verdict::accepted);
    std::string const no = "the half message was rolled back before";
    expect_absorbing(id, {{rollback, ""}, {commit, no}, {ongoing, ""}, {unknown, ""}, {commit, no}, {rollback, ""}});
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(coordinator, takes_an_outcome_that_comes_after_the_last_check_once)
{
    auto const committed = park("a");
    EXPECT_EQ(shop_client.resolve(committed, ongoing).result, verdict::accepted);
    EXPECT_EQ(shop_client.resolve(committed, unknown).result, verdict::accepted);
    env.run_for(10min);
    EXPECT_EQ(services_coordinator().count(message_state::dead), 1u) << "only who is asked again can say so";
    EXPECT_EQ(shop_client.resolve(committed, commit).result, verdict::accepted);
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(services_coordinator().count(message_state::dead), 0u);
    expect_absorbing(committed, {{commit, ""}, {rollback, "committed before"}});

    auto const rolled_back = park("b");
    EXPECT_EQ(shop_client.resolve(rolled_back, rollback).result, verdict::accepted);
    EXPECT_EQ(services_coordinator().count(message_state::dead), 0u);
    expect_absorbing(rolled_back, {{rollback, ""}, {commit, "rolled back before"}});
}

/// An outcome of several half messages.
cosaga::message together(cosaga::message m, std::vector<cosaga::message_id> const& more)
{
    for (auto const& id : more)
        (m.payload += ' ') += id.to_string();
    return m;
}

TEST_F(coordinator, takes_outcomes_of_as_many_half_messages_as_may_come_together)
{
    std::vector<cosaga::message_id> ids;
    std::vector<std::string> names;
    for (std::size_t n = 0; n < cosaga::detail::most_outcomes; ++n)
        ids.push_back(shop_client.store(names.emplace_back(std::to_string(100 + n))));
    auto const all = together(shop_client.outcome(ids.front(), commit), {ids.begin() + 1, ids.end()});
    for (int twice = 0; twice < 2; ++twice) {
        auto const s = shop_client.publish(all);
        EXPECT_EQ(s.result, verdict::accepted) << s.reason;
        env.run_for(1min);
        EXPECT_EQ(warehouse.orders(), names);
    }
    EXPECT_EQ(services_coordinator().counters().committed, ids.size());
}

TEST_F(coordinator, says_that_one_of_several_outcomes_was_refused_and_applies_the_others)
{
    auto const gone = discard("gone");
    auto const before = shop_client.store("before");
    auto const after = shop_client.store("after");
    auto const s = shop_client.publish(together(shop_client.outcome(before, commit), {gone, after}));
    EXPECT_EQ(s.result, verdict::rejected);
    EXPECT_TRUE(contains(s.reason, "no such half message")) << s.reason;
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), (strings{"before", "after"}));
}

TEST_F(coordinator, refuses_outcomes_of_no_half_message_of_too_many_and_of_what_is_no_id)
{
    auto const id = shop_client.store("a");
    auto const good = shop_client.outcome(id, commit);
    auto const text = id.to_string();
    std::string too_many = text;
    for (std::size_t n = 0; n < cosaga::detail::most_outcomes; ++n)
        too_many += ' ' + text;
    for (auto const& payload : strings{"", " ", text + ' ', ' ' + text, text + ',' + text, text + "  " + text.substr(1), text.substr(1), text + text,
             text + ' ' + std::string(text.size(), 'x'), too_many}) {
        auto bad = good;
        bad.payload = payload;
        auto const s = shop_client.publish(bad);
        EXPECT_EQ(s.result, verdict::rejected) << payload;
        EXPECT_TRUE(contains(s.reason, "neither a half message nor outcomes")) << s.reason;
    }
    EXPECT_EQ(services_coordinator().counters().committed, 0u);
}

TEST_F(coordinator, refuses_outcomes_of_what_an_operator_has_discarded)
{
    auto const id = discard("a");
    std::string const no = "no such half message: it was never stored here, was discarded, or is older than what is remembered";
    expect_absorbing(id, {{commit, no}, {rollback, no}, {ongoing, no}, {unknown, no}});
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(coordinator, refuses_outcomes_of_what_was_never_stored)
{
    auto const id = shop_client.half("a").id;
    expect_absorbing(id, {{commit, "no such half message"}, {rollback, "no such half message"}, {ongoing, "no such half message"},
                             {unknown, "no such half message"}});
}

TEST_F(coordinator, forgets_outcomes_after_the_retention)
{
    services_coordinator().settings.retention = 1h;
    services_coordinator().restart();
    auto const half = shop_client.half("a");
    auto const id = shop_client.store(half);
    shop_client.resolve(id, commit);
    env.run_for(1h + 1s);
    expect_absorbing(id, {{commit, ""}});
    EXPECT_EQ(shop_client.publish(half).result, verdict::rejected) << "it must not be stored a second time when it is forgotten";
    for (int i = 0; i < 3; ++i)
        shop_client.resolve(shop_client.store(std::to_string(i)), commit);
    env.run_for(1s);
    EXPECT_EQ(warehouse.all.size(), 4u);
    expect_absorbing(id, {{commit, "no such half message"}});
}

TEST_F(coordinator, stores_a_half_message_that_comes_again_once)
{
    auto const half = shop_client.half("a");
    shop_client.store(half);
    shop_client.store(half);
    services_coordinator().restart();
    shop_client.store(half);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 1u);
    EXPECT_EQ(shop_client.resolve(half.id, commit).result, verdict::accepted);
    services_coordinator().restart();
    shop_client.store(half);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    env.run_for(10min);
    EXPECT_EQ(warehouse.orders(), strings{"a"});

    auto const other = shop_client.half("b");
    shop_client.store(other);
    EXPECT_EQ(shop_client.resolve(other.id, rollback).result, verdict::accepted);
    shop_client.store(other);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    auto const parked = park("c");
    auto again = shop_client.half("c");
    again.id = parked;
    shop_client.store(again);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    EXPECT_EQ(services_coordinator().count(message_state::dead), 1u);
}

TEST_F(coordinator, lists_what_it_parked_with_the_reason_and_asks_again_from_the_start)
{
    auto const id = park("a");
    cosaga::dead_letter_filter const filter{.topic = "cosaga.half_messages", .consumer = "shop"};
    auto const listed = run(env, services_coordinator().dead().list(filter, 10));
    ASSERT_EQ(listed.size(), 1u);
    EXPECT_EQ(listed.front().row.content.id, id);
    EXPECT_EQ(listed.front().row.content.topic, "orders");
    EXPECT_EQ(listed.front().row.attempts, 2u);
    EXPECT_EQ(listed.front().row.last_error, "undecided after 2 check-backs: the service could not say");

    answer_checks(unknown);
    shop.resource->checked.clear();
    auto const begun = env.steady_now();
    EXPECT_EQ(run(env, services_coordinator().dead().redrive(filter)), 1u);
    env.run_for(10min);
    ASSERT_EQ(shop.resource->checked.size(), 2u);
    EXPECT_LT(shop.resource->checked.front() - begun, 100ms) << "at once";
    EXPECT_EQ(services_coordinator().rows(message_state::dead).front().attempts, 2u);

    shop.resource->checker = nullptr;
    commit_silently(id, "a");
    EXPECT_TRUE(run(env, services_coordinator().dead().redrive(id)));
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(services_coordinator().count(message_state::dead), 0u);
}

TEST_F(coordinator, asks_about_what_was_redriven_while_it_was_away)
{
    auto const id = park("a");
    commit_silently(id, "a");
    run(env, services_coordinator().part->stop());
    EXPECT_TRUE(run(env, services_coordinator().dead().redrive(id)));
    env.run_for(1min);
    EXPECT_TRUE(warehouse.all.empty());
    services_coordinator().end();
    services_coordinator().begin();
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(coordinator, takes_the_outcome_of_what_was_redriven_before_it_is_asked)
{
    shop.end();
    std::vector<cosaga::message_id> ids;
    {
        shop.begin();
        ids.push_back(park("a"));
        shop.end();
    }
    // All places are taken by checks that reach nobody.
    for (int i = 0; i < 64; ++i)
        shop_client.store("b");
    env.run_for(7s);
    EXPECT_TRUE(run(env, services_coordinator().dead().redrive(ids.front())));
    env.run_for(1s);
    EXPECT_EQ(services_coordinator().count(message_state::ready), 1u);
    EXPECT_EQ(shop_client.resolve(ids.front(), commit).result, verdict::accepted);
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    EXPECT_EQ(services_coordinator().count(message_state::ready), 0u);
    shop.begin();
}

TEST_F(coordinator, lets_nobody_resolve_the_half_messages_of_another)
{
    auto const id = shop_client.store("a");
    raw_client bank{env, hub, "bank"};
    for (auto const o : {commit, rollback, unknown}) {
        auto const s = bank.resolve(id, o);
        EXPECT_EQ(s.result, verdict::rejected);
        EXPECT_TRUE(contains(s.reason, "no such half message")) << s.reason;
        auto forged = bank.outcome(id, o);
        forged.source = "shop";
        auto const t = bank.publish(forged);
        EXPECT_EQ(t.result, verdict::rejected);
        EXPECT_TRUE(contains(t.reason, "the message says that it is from 'shop'")) << t.reason;
    }
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 1u);
    EXPECT_EQ(services_coordinator().counters().refused, 6u);
    EXPECT_EQ(shop_client.resolve(id, commit).result, verdict::accepted);
    env.run_for(1s);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
    for (auto const o : {commit, rollback})
        EXPECT_EQ(bank.resolve(id, o).result, verdict::rejected);
}

TEST_F(coordinator, takes_no_half_message_in_the_name_of_another)
{
    raw_client bank{env, hub, "bank"};
    auto forged = bank.half("a");
    forged.source = "shop";
    EXPECT_EQ(bank.publish(forged).result, verdict::rejected);
    raw_client stranger{env, hub, "stranger"};
    auto const s = stranger.publish(stranger.half("a"));
    EXPECT_EQ(s.result, verdict::rejected);
    EXPECT_TRUE(contains(s.reason, "no route to check back with the service 'stranger'")) << s.reason;
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    EXPECT_EQ(services_coordinator().counters().refused, 2u);
}

TEST_F(coordinator, takes_no_half_message_under_the_id_of_another_service)
{
    auto const id = shop_client.store("a");
    raw_client bank{env, hub, "bank"};
    auto same = bank.half("stolen");
    same.id = id;
    auto const s = bank.publish(same);
    EXPECT_EQ(s.result, verdict::rejected);
    EXPECT_TRUE(contains(s.reason, "another service has a half message with this id")) << s.reason;
    EXPECT_EQ(bank.resolve(id, commit).result, verdict::rejected);
    EXPECT_EQ(shop_client.resolve(id, commit).result, verdict::accepted);
    env.run_for(10min);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(coordinator, keeps_services_apart_also_within_one_batch)
{
    raw_client bank{env, hub, "bank"};
    auto const id = shop_client.store("a");
    auto const half = shop_client.half("b");
    auto same = bank.half("stolen");
    same.id = half.id;
    // What comes while a commit is tried again is applied together.
    services_coordinator().store->fail_next_commits(2);
    std::map<std::string, verdict> results;
    auto const publish = [](auto& client, cosaga::message m, auto& into, std::string name) -> asio::awaitable<void> {
        auto p = client.transport().open_publisher(cosaga::transactions_topic, "coordinator");
        std::vector<cosaga::envelope> batch;
        batch.push_back({1, std::move(m)});
        p.publish(std::move(batch));
        auto const settled = co_await p.settled();
        into[name] = settled.front().result;
    };
    auto const start = [&](raw_client& client, cosaga::message m, std::string const& name) {
        asio::co_spawn(env.get_executor(), publish(client, std::move(m), results, name), [](std::exception_ptr e) { EXPECT_FALSE(e); });
        env.run_for(1ms);
    };
    start(shop_client, shop_client.half("first"), "first");
    start(shop_client, shop_client.outcome(id, commit), "commit");
    start(bank, bank.outcome(id, commit), "forged commit");
    start(shop_client, half, "half");
    start(bank, same, "stolen half");
    env.run_for(5s);
    std::map<std::string, verdict> const expected{{"first", verdict::accepted}, {"commit", verdict::accepted},
        {"forged commit", verdict::rejected}, {"half", verdict::accepted}, {"stolen half", verdict::rejected}};
    EXPECT_EQ(results, expected);
    EXPECT_EQ(warehouse.orders(), strings{"a"});
}

TEST_F(coordinator, refuses_what_it_cannot_read)
{
    using change = std::function<void(cosaga::message&)>;
    auto const header = [](std::string_view name, std::string value) -> change {
        return [n = std::string{name}, v = std::move(value)](cosaga::message& m) { m.headers.push_back({n, v}); };
    };
    using namespace cosaga::detail;
    std::vector<change> const changes{
        [](auto& m) { m.headers.clear(); },
        [](auto& m) { m.headers.clear(), m.type = "cosaga.commit"; },
        [](auto& m) { m.headers.clear(), m.type = "cosaga.commit", m.payload.clear(); },
        [](auto& m) { m.headers.clear(), m.type = "cosaga.undo", m.payload = m.id.to_string(); },
        [](auto& m) { m.headers.front().value = "bread"; },
        [](auto& m) { m.headers.front().value = "cosaga.checks"; },
        [](auto& m) { m.headers.front().value = "cosaga.transactions"; },
        [](auto& m) { m.headers.front().value = std::string(4000, 'x'); },
        [](auto& m) { m.id = {}; },
        [](auto& m) { m.id = cosaga::message_id::from_foreign("shop", "1"); },
        [](auto& m) { m.id = cosaga::message_id::first_of(m.time - 24h * 8); },
        [](auto& m) { m.id = cosaga::message_id::first_of(m.time + 24h * 8); },
        [](auto& m) { m.time = cosaga::time_point::min(); },
        [](auto& m) { m.time = cosaga::time_point::max(); },
        header(half_delay_header, "soon"),
        header(half_delay_header, "-1"),
        header(half_delay_header, "9223372036854775807"),
        header(half_delay_header, "99999999999999999999"),
        header(half_delay_header, "1 "),
        header(half_checks_header, "1"),
        header(half_checks_header, "1 2 3"),
        header(half_checks_header, "1 2 3 4 5"),
        header(half_checks_header, "0 0 0 0"),
        header(half_checks_header, "1 2 3 4294967297"),
        header(half_checks_header, "1 9223372036854775807 9223372036854775807 1"),
        header(half_checks_header, "1  2 3 4"),
    };
    for (std::size_t i = 0; i < changes.size(); ++i) {
        auto m = shop_client.half("a");
        changes[i](m);
        auto const s = shop_client.publish(m);
        EXPECT_EQ(s.result, verdict::rejected) << "change " << i;
        EXPECT_FALSE(s.reason.empty());
        EXPECT_LT(s.reason.size(), 5000u);
    }
    EXPECT_EQ(services_coordinator().counters().refused, changes.size());
    EXPECT_EQ(env.reports().size(), changes.size());
    env.run_for(10min);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    EXPECT_TRUE(warehouse.all.empty());
}

TEST_F(coordinator, loses_nothing_when_its_commits_fail)
{
    auto& store = *services_coordinator().store;
    store.fail_next_commits(6);
    auto const a = shop_client.store("a");
    store.fail_next_commits(6);
    EXPECT_EQ(shop_client.resolve(a, commit).result, verdict::accepted);
    auto const b = shop_client.store("b");
    store.fail_next_begins(6);
    EXPECT_EQ(shop_client.resolve(b, rollback).result, verdict::accepted);
    auto const c = shop_client.store("c");
    commit_silently(c, "c");
    store.fail_next_commits(2);
    env.run_for(10min);
    EXPECT_EQ(warehouse.orders(), (strings{"a", "c"}));
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    auto const n = services_coordinator().counters();
    EXPECT_EQ(n.prepared, 3u);
    EXPECT_EQ(n.committed, 2u);
    EXPECT_EQ(n.rolled_back, 1u);
}

TEST_F(coordinator, stopped_while_its_store_fails_leaves_everything_to_the_next_run)
{
    services_coordinator().store->fail_next_commits(1'000'000);
    auto p = shop_client.transport().open_publisher(cosaga::transactions_topic, "coordinator");
    std::vector<cosaga::envelope> batch;
    auto const half = shop_client.half("a");
    batch.push_back({1, half});
    p.publish(std::move(batch));
    env.run_for(1min);
    services_coordinator().store->fail_next_commits(0);
    run(env, services_coordinator().part->stop());
    services_coordinator().restart();
    env.run_for(1s);
    EXPECT_EQ(run(env, p.settled()).front().result, verdict::accepted);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 1u);
}

TEST_F(coordinator, tells_of_half_messages_of_services_that_have_no_route_any_more)
{
    raw_client bank{env, hub, "bank"};
    auto const id = bank.store("a");
    std::erase_if(services_coordinator().options.routes, [](auto const& r) { return r.consumer == "bank"; });
    services_coordinator().restart();
    env.run_for(10min);
    EXPECT_TRUE(reported("1 half messages of bank cannot be checked: there is no route to it"));
    EXPECT_EQ(bank.resolve(id, commit).result, verdict::rejected);
    EXPECT_EQ(services_coordinator().count(message_state::prepared, "bank"), 1u);
}

TEST_F(coordinator, several_work_side_by_side_each_with_a_store_of_its_own)
{
    shop.settings.coordinators = {"coordinator", "second"};
    shop.restart();
    second.begin();
    for (int i = 0; i < 40; ++i) {
        if (i == 10)
            services_coordinator().end();
        if (i == 20)
            services_coordinator().begin();
        if (i == 30)
            second.end();
        send(std::to_string(i));
        env.run_for(1s);
    }
    second.begin();
    env.run_for(10min);
    auto arrived = warehouse.orders();
    EXPECT_EQ(arrived.size(), 40u);
    EXPECT_EQ((std::set<std::string>{arrived.begin(), arrived.end()}).size(), 40u);
    EXPECT_EQ(second.count(message_state::prepared) + services_coordinator().count(message_state::prepared), 0u);
}

// Every transaction meets one of five fates; the faults change from time to time.
TEST_F(coordinator, shows_exactly_what_was_committed_of_1200_half_messages)
{
    std::set<cosaga::message_id> undecided;
    std::map<cosaga::message_id, std::size_t> asked;
    shop.resource->checker = [&](cosaga::message_id id) -> asio::awaitable<transaction_outcome> {
        ++asked[id];
        auto outcome = unknown;
        if (!undecided.contains(id))
            outcome = co_await shop.resource->marks.check(id);
        co_return outcome;
    };
    std::set<std::string> expected;
    for (int i = 0; i < 1200; ++i) {
        auto const id = std::to_string(i);
        switch (i % 5) {
        case 0: expected.insert(id), send(id); break;
        case 1: EXPECT_EQ(failure_of([&] { send(id, [](auto&) { throw std::runtime_error{"no money"}; }); }).what, "no money"); break;
        case 2: expected.insert(id), commit_silently(shop_client.store(id), id); break;
        case 3: shop_client.store(id); break;
        default: undecided.insert(shop_client.store(id)); break;
        }
        if (i % 100 == 50)
            services_coordinator().restart();
        if (i % 40 == 7) {
            shop.transport->duplicate_next(3);
            services_coordinator().transport->drop_acknowledgements_next(3);
            shop_client.transport().drop_acknowledgements_next(3);
        }
        if (i % 60 == 13)
            services_coordinator().store->fail_next_commits(1);
        env.run_for(20ms);
    }
    env.run_for(2h);
    auto const arrived = warehouse.orders();
    EXPECT_EQ(arrived.size(), expected.size());
    EXPECT_EQ((std::set<std::string>{arrived.begin(), arrived.end()}), expected);
    EXPECT_EQ(services_coordinator().count(message_state::prepared), 0u);
    auto const parked = services_coordinator().rows(message_state::dead);
    EXPECT_EQ(parked.size(), 240u);
    for (auto const& row : parked) {
        EXPECT_TRUE(undecided.contains(row.content.id));
        EXPECT_EQ(row.attempts, 15u);
    }
    for (auto const& id : undecided)
        EXPECT_GE(asked[id], 15u) << "more only if it was answered before a restart or a failure forgot it";
}

} // namespace
