// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "two_services.hpp"

#include <cosaga/reconciler.hpp>

#include <functional>
#include <map>
#include <random>
#include <set>
#include <span>

namespace {

using namespace cosaga_tests;
using cosaga::difference_kind;
using cosaga::errc;
using cosaga::ledger_difference;
using cosaga::ledger_record;
using cosaga::message_state;

struct purchase {
    std::string id;
    std::int64_t cents = 0;
    std::string note;

    static constexpr std::string_view reconciled[] = {"cents"};
};
BOOST_DESCRIBE_STRUCT(purchase, (), (id, cents, note))

using memory_reconciler = cosaga::reconciler<memory_node>;

constexpr cosaga::ledger_range everything{{}, {cosaga::time_point::max(), {}}};

/// A shop and a warehouse that keep ledgers of orders, and a reconciler between them.
struct reconciled : ::testing::Test {
    reconciled()
    {
        shop.options.reply_topic = "replies";
        shop.options.ledgers = {{.topic = "orders"}};
        shop.boot();
        warehouse.node->consume<purchase>("orders", "warehouse",
            [this](auto& tx, purchase const& p) {
                ++times[p.id];
                if (refused.contains(p.id))
                    throw std::runtime_error{"no room"};
                tx.put("shipments", p.id, std::to_string(p.cents));
            },
            {.retries = cosaga::schedule::list({1s}), .ledger_retention = 24h * 30});
        warehouse.node->respond<cosaga::reconciliation_request>(
            "reconcile", "warehouse", cosaga::reconciliation_answerer{*warehouse.store, "orders", "warehouse"});
        reconcile.emplace(*shop.node, options());
    }

    static cosaga::reconciler_options options()
    {
        return {.topic = "orders", .participant = "warehouse", .requests = "reconcile"};
    }

    /// Without the schedule, unless it is attached.
    void start()
    {
        run(env, warehouse.node->start());
        run(env, shop.node->start());
        env.run_for(1s);
    }

    void place(std::string id, std::int64_t cents, cosaga::duration delay = {})
    {
        auto work = [&](auto& tx) {
            tx.put("orders", id, std::to_string(cents));
            tx.send("orders", purchase{id, cents, "unimportant"}, {.key = id, .delay = delay});
        };
        run(env, shop.node->transact(work));
    }
    void place_many(int n)
    {
        for (int i = 0; i < n; ++i)
            place("o" + std::to_string(i), i);
        env.run_for(1min);
    }

    void mend_everything()
    {
        auto rebuild = [](auto& tx, ledger_record const& r) -> std::optional<purchase> {
            auto const cents = tx.get("orders", r.key);
            if (!cents)
                return std::nullopt;
            return purchase{r.key, std::stoll(*cents), "again"};
        };
        reconcile->redrive<purchase>(rebuild);
        reconcile->ask_to_apply<purchase>(rebuild);
        reconcile->call(difference_kind::missing_at_initiator, [](auto& tx, ledger_difference const& d) {
            tx.put("orders", d.there->key, std::string{*d.there->fields.find("cents")});
            tx.record(cosaga::outbox_ledger("orders"), {&*d.there, 1});
        });
    }

    cosaga::reconciliation_report compare() { return run(env, reconcile->run()); }

    std::vector<ledger_record> records(service& s, std::string const& ledger)
    {
        std::vector<ledger_record> found;
        auto read = [&](auto& tx) { found = tx.read_records(ledger, everything, 100'000); };
        run(env, s.store->transact(read));
        return found;
    }
    std::vector<ledger_record> here() { return records(shop, "outbox/orders"); }
    std::vector<ledger_record> there() { return records(warehouse, "inbox/orders/warehouse/shop"); }

    /// As an operator or a bug loses a shipment.
    void lose_shipment(ledger_record const& r)
    {
        auto const at = r.position();
        auto work = [&](auto& tx) {
            tx.erase("shipments", r.key);
            tx.erase_records("inbox/orders/warehouse/shop", {&at, 1});
        };
        run(env, warehouse.store->transact(work));
    }
    void lose_order(ledger_record const& r)
    {
        auto const at = r.position();
        auto work = [&](auto& tx) {
            tx.erase("orders", r.key);
            tx.erase_records("outbox/orders", {&at, 1});
        };
        run(env, shop.store->transact(work));
    }
    void change_shipment(ledger_record r)
    {
        r.fields = {};
        r.fields.add("cents", "-5");
        auto work = [&](auto& tx) {
            tx.put("shipments", r.key, "-5");
            tx.record("inbox/orders/warehouse/shop", {&r, 1});
        };
        run(env, warehouse.store->transact(work));
    }

    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport network{env, {.routes = {{.topic = "orders", .consumer = "warehouse"},
                                               {.topic = "reconcile", .consumer = "warehouse"},
                                               {.topic = "nobody", .consumer = "warehouse"},
                                               {.topic = "replies", .consumer = "shop"}}}};
    service shop{env, network, "shop"};
    service warehouse{env, network, "warehouse"};
    std::optional<memory_reconciler> reconcile;
    std::map<std::string, int> times;
    std::set<std::string> refused;
};

TEST_F(reconciled, both_sides_keep_the_same_of_what_was_delivered)
{
    start();
    network.duplicate_next(5);
    place_many(10);
    ASSERT_EQ(here().size(), 10u);
    EXPECT_EQ(here(), there());
    EXPECT_EQ(here()[3].fields.to_string(), "cents=3");
    EXPECT_EQ(here()[3].key, "o3");
    auto const report = compare();
    EXPECT_TRUE(report.equal);
    EXPECT_TRUE(report.complete);
    EXPECT_EQ(report.checked, 10u);
    EXPECT_EQ(report.round_trips, 1u);
    EXPECT_EQ(report.to_string(), "Checked 10 records: both sides are equal.");
    EXPECT_EQ(reconcile->counters().equal_until, report.until);
}

TEST_F(reconciled, what_is_rolled_back_is_in_no_ledger)
{
    start();
    auto work = [&](auto& tx) {
        tx.send("orders", purchase{"a", 1, ""});
        throw std::runtime_error{"no"};
    };
    EXPECT_THROW(run(env, shop.node->transact(work)), std::runtime_error);
    refused.insert("b");
    place("b", 1);
    env.run_for(1min);
    EXPECT_EQ(here().size(), 1u);
    EXPECT_TRUE(there().empty());
}

TEST_F(reconciled, differences_are_reported_with_both_sides)
{
    start();
    place_many(20);
    auto const all = here();
    lose_shipment(all[3]);
    lose_order(all[7]);
    change_shipment(all[11]);
    auto const report = compare();
    EXPECT_FALSE(report.equal);
    EXPECT_TRUE(report.complete);
    EXPECT_EQ(report.differing, 3u);
    EXPECT_EQ(report.mended, 0u);
    ASSERT_EQ(report.listed.size(), 3u);
    EXPECT_EQ(report.listed[0].kind(), difference_kind::missing_at_participant);
    EXPECT_EQ(*report.listed[0].here, all[3]);
    EXPECT_EQ(report.listed[1].kind(), difference_kind::missing_at_initiator);
    EXPECT_EQ(*report.listed[1].there, all[7]);
    EXPECT_EQ(report.listed[2].kind(), difference_kind::digest_differs);
    EXPECT_EQ(report.listed[2].there->fields.to_string(), "cents=-5");
    EXPECT_EQ(report.equal_until, all[3].time) << "before the first difference both sides are equal";
    EXPECT_EQ(reconcile->counters().equal_until, all[3].time);
    EXPECT_EQ(there().size(), 19u) << "nothing was changed";
}

TEST_F(reconciled, differences_are_mended_to_equality)
{
    mend_everything();
    start();
    place_many(20);
    auto const all = here();
    lose_shipment(all[3]);
    lose_order(all[7]);
    change_shipment(all[11]);
    network.duplicate_next(10);
    EXPECT_EQ(compare().mended, 3u);
    env.run_for(1min);
    EXPECT_TRUE(compare().equal);
    EXPECT_EQ(here(), all);
    EXPECT_EQ(there(), all);
    EXPECT_EQ(warehouse.table("shipments"), shop.table("orders"));
    EXPECT_EQ(times["o3"], 2) << "applied again once, although it came more often";
    EXPECT_EQ(times["o5"], 1);
}

TEST_F(reconciled, a_message_that_is_sent_again_needlessly_is_dropped)
{
    mend_everything();
    start();
    place_many(5);
    auto const all = here();
    lose_shipment(all[2]);
    compare();
    compare(); // before the first mend has arrived
    env.run_for(1min);
    EXPECT_EQ(times["o2"], 2);
    EXPECT_TRUE(compare().equal);
}

TEST_F(reconciled, a_thousand_random_woundings_are_found_exactly_and_mended_to_equality)
{
    mend_everything();
    start();
    place_many(24);
    auto const all = here();
    for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
        std::mt19937_64 chance{seed};
        std::map<cosaga::ledger_position, difference_kind> wounds;
        bool const backup = chance() % 4 == 0; // then one side has lost all from some time on
        auto const kind_of_all = static_cast<difference_kind>(chance() % 2);
        auto const first = chance() % all.size();
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (backup ? i < first : chance() % all.size() >= 1 + seed % 5)
                continue;
            auto const kind = backup ? kind_of_all : static_cast<difference_kind>(chance() % 3);
            wounds.emplace(all[i].position(), kind);
            if (kind == difference_kind::missing_at_participant)
                lose_shipment(all[i]);
            else if (kind == difference_kind::missing_at_initiator)
                lose_order(all[i]);
            else
                change_shipment(all[i]);
        }
        std::map<cosaga::ledger_position, difference_kind> found;
        for (auto const& d : compare().listed)
            EXPECT_TRUE(found.emplace(d.position(), d.kind()).second) << "told twice, seed " << seed;
        ASSERT_EQ(found, wounds) << "seed " << seed;
        network.duplicate_next(chance() % 4);
        env.run_for(5s);
        ASSERT_TRUE(compare().equal) << "seed " << seed;
        ASSERT_EQ(warehouse.table("shipments"), shop.table("orders")) << "seed " << seed;
    }
    EXPECT_EQ(here(), all);
    EXPECT_EQ(there(), all);
}

TEST_F(reconciled, a_backup_of_yesterday_at_the_participant_is_filled_up_again)
{
    mend_everything();
    start();
    place_many(30);
    for (auto const& r : here())
        if (r.fields.find("cents")->size() > 1)
            lose_shipment(r);
    EXPECT_EQ(compare().mended, 20u);
    env.run_for(1min);
    EXPECT_TRUE(compare().equal);
    EXPECT_EQ(warehouse.table("shipments").size(), 30u);
}

TEST_F(reconciled, what_is_young_or_on_its_way_is_not_different)
{
    start();
    place_many(3);
    place("late", 1, 10min);
    EXPECT_TRUE(compare().equal) << "younger than the grace time";
    env.run_for(1min);
    auto const report = compare();
    EXPECT_EQ(report.pending, 1u);
    EXPECT_EQ(report.differing, 0u);
    EXPECT_FALSE(report.equal);
    env.run_for(10min);
    EXPECT_TRUE(compare().equal);
    run(env, shop.node->get_outbox().stop());
    for (int i = 0; i < 1100; ++i)
        place("more" + std::to_string(i), i);
    env.run_for(1min);
    EXPECT_EQ(compare().pending, 1100u);
}

TEST_F(reconciled, what_the_participant_has_parked_gets_another_chance)
{
    mend_everything();
    refused.insert("o1");
    start();
    place_many(3);
    EXPECT_EQ(warehouse.count({cosaga::queue_side::inbox, "orders", "warehouse"}, message_state::dead), 1u);
    refused.clear();
    EXPECT_EQ(compare().differing, 1u);
    env.run_for(1min);
    EXPECT_TRUE(compare().equal);
    EXPECT_EQ(warehouse.count({cosaga::queue_side::inbox, "orders", "warehouse"}, message_state::dead), 0u);
}

TEST_F(reconciled, differences_are_parked_for_people_once)
{
    for (auto const kind : {difference_kind::missing_at_participant, difference_kind::missing_at_initiator, difference_kind::digest_differs})
        reconcile->park(kind);
    start();
    place_many(9);
    auto const all = here();
    lose_shipment(all[3]);
    lose_order(all[5]);
    change_shipment(all[7]);
    compare();
    compare();
    cosaga::dead_letters letters{*shop.store};
    auto const parked = run(env, letters.list({.topic = "cosaga.reconciliation.orders"}, 100));
    ASSERT_EQ(parked.size(), 3u);
    EXPECT_EQ(parked[2].row.last_error, "digest_differs");
    EXPECT_EQ(parked[2].row.content.payload, "digest differs " + all[7].id.to_string() + ": here cents=7, there cents=-5");
}

TEST_F(reconciled, a_policy_that_throws_changes_nothing_and_stops_nothing)
{
    int called = 0;
    reconcile->call(difference_kind::missing_at_participant, [&](auto& tx, ledger_difference const& d) {
        tx.put("orders", d.here->key, "spoiled");
        if (++called == 1)
            throw std::runtime_error{"not today"};
    });
    start();
    place_many(4);
    auto const all = here();
    lose_shipment(all[1]);
    lose_shipment(all[2]);
    auto const report = compare();
    EXPECT_EQ(report.mended, 1u);
    EXPECT_EQ(report.not_mended, 1u);
    EXPECT_EQ(shop.table("orders").at("o1"), "1");
    ASSERT_FALSE(env.reports().empty());
    EXPECT_NE(env.reports().back().find("not today"), std::string::npos);
}

TEST_F(reconciled, many_differences_take_several_runs)
{
    auto o = options();
    o.most_differences = 50;
    o.pause = 1ms;
    reconcile.emplace(*shop.node, o);
    mend_everything();
    start();
    place_many(400);
    for (auto const& r : here())
        lose_shipment(r);
    int runs = 0;
    for (; warehouse.table("shipments").size() < 400 && runs < 20; ++runs) {
        compare();
        env.run_for(1min);
    }
    compare();
    EXPECT_TRUE(compare().equal);
}

TEST_F(reconciled, runs_on_its_schedule_and_tells_since_when_both_are_equal)
{
    mend_everything();
    shop.node->attach(*reconcile);
    start();
    place_many(10);
    env.run_for(10min);
    auto const before = reconcile->counters();
    EXPECT_GE(before.runs, 2u);
    ASSERT_TRUE(before.equal_until);
    auto const all = here();
    lose_shipment(all[4]);
    env.run_for(20min);
    auto const after = reconcile->counters();
    EXPECT_GE(after.runs, before.runs + 3);
    EXPECT_EQ(after.mended, 1u);
    EXPECT_GT(*after.equal_until, *before.equal_until + 14min);
    EXPECT_EQ(warehouse.table("shipments").size(), 10u);
}

TEST_F(reconciled, a_participant_that_does_not_answer_or_knows_no_such_ledger_is_an_error)
{
    auto o = options();
    o.participant = "harbour";
    memory_reconciler other{*shop.node, o};
    start();
    place_many(3);
    auto const failure_of = [&](memory_reconciler& r) {
        try {
            run(env, r.run());
        } catch (boost::system::system_error const& e) {
            return static_cast<errc>(e.code().value());
        }
        return errc{};
    };
    EXPECT_EQ(failure_of(other), errc::request_refused);
    EXPECT_EQ(other.counters().failed, 1u);
    o = options();
    o.requests = "nobody";
    memory_reconciler unheard{*shop.node, o};
    EXPECT_EQ(failure_of(unheard), errc::timed_out);
    EXPECT_TRUE(compare().equal);
}

/// A ledger that differs everywhere, however often it is divided.
struct endless_ledger final : cosaga::detail::ledger_view {
    std::vector<cosaga::ledger_sum> sum(std::span<cosaga::ledger_range const> ranges) override
    {
        std::vector<cosaga::ledger_sum> sums(ranges.size());
        for (auto& s : sums)
            s.count = 1'000'000 + ++told;
        return sums;
    }
    std::vector<cosaga::ledger_position> divide(cosaga::ledger_range const& range, std::size_t) override
    {
        auto const middle = range.from.time + (range.to.time - range.from.time) / 2;
        if (middle > range.from.time)
            return {{middle, {}}};
        return {};
    }
    std::vector<ledger_record> read(cosaga::ledger_range const&, std::size_t) override { return {}; }

    std::uint64_t told = 0;
};

TEST_F(reconciled, a_participant_that_lies_is_left_and_nothing_is_changed)
{
    auto o = options();
    o.requests = "nobody";
    o.most_differences = 1'000'000;
    reconcile.emplace(*shop.node, o);
    mend_everything();
    std::function<std::string(std::string_view)> lie;
    std::size_t asked = 0;
    warehouse.node->respond<cosaga::reconciliation_request>("nobody", "warehouse",
        [&](cosaga::reconciliation_request const& q) -> asio::awaitable<cosaga::reconciliation_answer> {
            ++asked;
            cosaga::reconciliation_answer a;
            a.comparison = cosaga::detail::bytes_of(lie(cosaga::detail::text_of(q.comparison)));
            co_return a;
        });
    start();
    place_many(200);
    auto const before = here();
    endless_ledger endless;
    auto const endlessly = [&](std::string_view request) {
        return cosaga::detail::comparison_answer{endless, everything}(request);
    };
    auto const failure_of = [&](std::function<std::string(std::string_view)> liar) {
        lie = std::move(liar);
        try {
            compare();
        } catch (boost::system::system_error const& e) {
            EXPECT_NE(std::string{e.what()}.find("comparison"), std::string::npos) << e.what();
            return static_cast<errc>(e.code().value());
        }
        return errc{};
    };
    EXPECT_EQ(failure_of([](std::string_view) { return std::string{}; }), errc::malformed_data);
    EXPECT_EQ(failure_of([](std::string_view) { return std::string(200, 'x'); }), errc::malformed_data);
    EXPECT_EQ(failure_of([&](std::string_view q) { return endlessly(q) + '!'; }), errc::malformed_data);
    EXPECT_EQ(failure_of([&](std::string_view q) { return endlessly(q).substr(0, 40); }), errc::malformed_data);
    EXPECT_EQ(failure_of([](std::string_view) { return std::string(300'000, 'x'); }), errc::limit_exceeded);
    asked = 0;
    EXPECT_EQ(failure_of(endlessly), errc::limit_exceeded) << "it never ends";
    EXPECT_LE(asked, 600u);
    EXPECT_EQ(reconcile->counters().failed, 6u);
    EXPECT_EQ(reconcile->counters().mended, 0u);
    EXPECT_FALSE(reconcile->counters().equal_until);
    EXPECT_EQ(here(), before);
    EXPECT_EQ(there(), before);
}

TEST_F(reconciled, a_request_that_is_no_comparison_is_refused_with_the_reason)
{
    start();
    place_many(5);
    auto const before = there();
    for (auto const& bytes : {std::string{}, std::string{"\1\2"}, std::string(100, 'x'), std::string(300'000, 'x')}) {
        cosaga::reconciliation_request const q{"orders", "warehouse", "shop", cosaga::detail::bytes_of(bytes)};
        try {
            run(env, shop.node->request<cosaga::reconciliation_answer>("reconcile", q, 5s));
            ADD_FAILURE() << "answered";
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::request_refused);
            EXPECT_NE(std::string{e.what()}.find("comparison"), std::string::npos) << e.what();
        }
    }
    EXPECT_EQ(there(), before);
    EXPECT_TRUE(compare().equal);
}

TEST_F(reconciled, a_configuration_without_names_is_refused)
{
    EXPECT_THROW(memory_reconciler(*shop.node, {}), boost::system::system_error);
}

} // namespace
