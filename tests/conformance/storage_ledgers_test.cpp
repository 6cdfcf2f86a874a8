// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The ledger table: every store gives the same answers, and sums are those of the records whatever was done to them.
#include "storage_kits.hpp"

#include <unit/sorted_ledger.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace ledgers;
using namespace std::chrono_literals;

template <class Kit>
class storage_ledgers : public storage_kits::virtual_store<Kit> {
protected:
    using transaction = typename Kit::transaction;

    std::vector<ledger_record> make(std::size_t n) { return make_records(n, 10ms, chance_); }

    void record(std::vector<ledger_record> const& records, std::string const& name = "orders")
    {
        this->transact([&](transaction& tx) { tx.record(name, records); });
    }
    std::vector<ledger_record> read(ledger_range const& range = everything, std::size_t most = 1'000'000)
    {
        return this->transact([&](transaction& tx) { return tx.read_records("orders", range, most); });
    }
    ledger_sum sum(ledger_range const& range = everything)
    {
        return this->transact([&](transaction& tx) { return tx.sum_records("orders", {&range, 1}).front(); });
    }

    static ledger_sum sum_of(std::vector<ledger_record> const& records, ledger_range const& range = everything)
    {
        ledger_sum s;
        for (auto const& r : records)
            if (r.position() >= range.from && r.position() < range.to)
                s += ledger_sum{r.digest()};
        return s;
    }

    std::mt19937_64 chance_{1};
};

TYPED_TEST_SUITE(storage_ledgers, storage_kits::all);

TYPED_TEST(storage_ledgers, records_come_back_in_order_and_are_replaced_at_their_position)
{
    auto records = this->make(100);
    auto mixed = records;
    std::shuffle(mixed.begin(), mixed.end(), this->chance_);
    this->record(mixed);
    EXPECT_EQ(this->read(), records);
    EXPECT_EQ(this->read(everything, 7), std::vector(records.begin(), records.begin() + 7));
    EXPECT_EQ(this->read({records[3].position(), records[6].position()}), std::vector(records.begin() + 3, records.begin() + 6));
    records[50].fields.add("note", "changed");
    this->record({records[50]});
    EXPECT_EQ(this->read(), records);
    EXPECT_EQ(this->sum(), this->sum_of(records));
    this->open();
    EXPECT_EQ(this->read(), records);
    EXPECT_EQ(this->sum(), this->sum_of(records));
}

TYPED_TEST(storage_ledgers, a_ledger_knows_when_it_was_opened)
{
    auto const open = [&](std::string const& name) { return this->transact([&](typename TypeParam::transaction& tx) { return tx.open_ledger(name); }); };
    auto const first = open("b");
    this->env_.jump_wall_clock(1h);
    EXPECT_EQ(open("b"), first);
    this->record(this->make(1), "a");
    this->open();
    EXPECT_EQ(open("b"), first);
    EXPECT_GE(open("a"), first + 1h);
    EXPECT_EQ(this->transact([](typename TypeParam::transaction& tx) { return tx.ledgers(); }), (std::vector<std::string>{"a", "b"}));
}

TYPED_TEST(storage_ledgers, a_ledger_that_is_not_there_is_empty)
{
    this->transact([&](typename TypeParam::transaction& tx) {
        EXPECT_TRUE(tx.read_records("orders", everything, 10).empty());
        EXPECT_EQ(tx.sum_records("orders", {&everything, 1}).front(), ledger_sum{});
        EXPECT_TRUE(tx.divide_records("orders", everything, 4).empty());
        ledger_position const somewhere{};
        EXPECT_EQ(tx.erase_records("orders", {&somewhere, 1}), 0u);
        EXPECT_EQ(tx.purge_records("orders", tx.now()), 0u);
        EXPECT_TRUE(tx.ledgers().empty());
    });
}

TYPED_TEST(storage_ledgers, what_a_work_did_is_undone_when_it_throws)
{
    auto const records = this->make(3000);
    std::vector const kept(records.begin(), records.begin() + 1000);
    this->record(kept);
    this->transact([&](typename TypeParam::transaction& tx) {
        tx.record("orders", {&records[1000], 1});
        try {
            tx.nested([&] {
                tx.record("orders", {&records[1001], 1});
                EXPECT_EQ(tx.sum_records("orders", {&everything, 1}).front().count, 1002u);
                tx.record("orders", std::span{records}.subspan(1002));
                auto const gone = records[5].position();
                EXPECT_EQ(tx.erase_records("orders", {&gone, 1}), 1u);
                tx.open_ledger("other");
                throw std::runtime_error{"no"};
            });
        } catch (std::runtime_error const&) {
        }
        tx.record("orders", {&records[1500], 1});
    });
    auto expected = kept;
    expected.push_back(records[1000]);
    expected.push_back(records[1500]);
    EXPECT_EQ(this->read(), expected);
    EXPECT_EQ(this->sum(), this->sum_of(expected));
    EXPECT_EQ(this->transact([](typename TypeParam::transaction& tx) { return tx.ledgers(); }), std::vector<std::string>{"orders"});
}

TYPED_TEST(storage_ledgers, sums_of_any_range_are_those_of_its_records_whatever_was_done)
{
    auto const all = this->make(20'000);
    std::map<ledger_position, ledger_record> expected;
    std::size_t appended = 0;
    auto& chance = this->chance_;
    for (int step = 0; step < 120; ++step) {
        this->transact([&](typename TypeParam::transaction& tx) {
            for (auto n = chance() % 400; n > 0 && appended < all.size(); --n) {
                // Mostly in order, some late by up to a thousand.
                auto const late = chance() % 8 == 0 ? chance() % 1000 : 0;
                auto const at = appended > late ? appended - late : appended;
                auto r = all[at];
                if (chance() % 16 == 0)
                    r.key = "changed";
                tx.record("orders", {&r, 1});
                expected[r.position()] = r;
                appended += 1 + (chance() % 4 == 0);
            }
            if (step % 10 == 9 && appended + 700 < all.size()) {
                std::vector<ledger_record> many(all.begin() + static_cast<std::ptrdiff_t>(appended / 2),
                    all.begin() + static_cast<std::ptrdiff_t>(appended / 2 + 700));
                tx.record("orders", many);
                for (auto const& r : many)
                    expected[r.position()] = r;
            }
            for (int n = 0; n < 3; ++n) {
                auto const p = all[chance() % all.size()].position();
                EXPECT_EQ(tx.erase_records("orders", {&p, 1}), expected.erase(p));
            }
        });
        if (step == 60)
            this->open();
        std::vector<ledger_range> ranges{everything};
        for (int n = 0; n < 6; ++n) {
            auto from = all[chance() % all.size()].position();
            auto to = all[chance() % all.size()].position();
            if (to < from)
                std::swap(from, to);
            ranges.push_back({from, to});
        }
        auto const sums = this->transact([&](typename TypeParam::transaction& tx) { return tx.sum_records("orders", ranges); });
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            ledger_sum wanted;
            for (auto at = expected.lower_bound(ranges[i].from); at != expected.end() && at->first < ranges[i].to; ++at)
                wanted += ledger_sum{at->second.digest()};
            ASSERT_EQ(sums[i], wanted) << "step " << step << ", range " << i << ": " << sums[i].count << " for " << wanted.count;
        }
    }
}

TYPED_TEST(storage_ledgers, parts_of_a_range_have_about_the_same_number_of_records)
{
    this->record(this->make(20'000));
    for (std::size_t const parts : {2u, 4u, 16u, 32u}) {
        auto const bounds = this->transact([&](typename TypeParam::transaction& tx) { return tx.divide_records("orders", everything, parts); });
        ASSERT_EQ(bounds.size(), parts - 1);
        auto from = everything.from;
        for (auto const& b : bounds) {
            ASSERT_LT(from, b);
            auto const n = this->sum({from, b}).count;
            EXPECT_GT(n, 20'000 / parts / 3);
            EXPECT_LT(n, 20'000 / parts * 3);
            from = b;
        }
    }
    auto const two = this->read(everything, 2);
    ledger_range const few{two[0].position(), detail::position_after(two[1].position())};
    auto const bounds = this->transact([&](typename TypeParam::transaction& tx) { return tx.divide_records("orders", few, 4); });
    ASSERT_EQ(bounds.size(), 1u);
    EXPECT_GT(bounds[0], two[0].position());
    EXPECT_LE(bounds[0], two[1].position());
}

TYPED_TEST(storage_ledgers, purging_takes_old_records_only_and_all_but_some_of_them)
{
    auto const records = this->make(10'000);
    this->record(records);
    auto const before = records[6000].time;
    std::size_t purged = 0;
    for (std::size_t n = 1; n > 0; purged += n)
        n = this->transact([&](typename TypeParam::transaction& tx) { return tx.purge_records("orders", before); });
    EXPECT_LE(purged, 6000u);
    EXPECT_GE(purged, 6000u - 1100u);
    auto const left = this->read();
    EXPECT_EQ(left, std::vector(records.begin() + static_cast<std::ptrdiff_t>(purged), records.end()));
    EXPECT_EQ(this->sum(), this->sum_of(left));
    this->record({records[0]}); // late
    EXPECT_EQ(this->sum().count, left.size() + 1);
    for (std::size_t n = 1; n > 0;)
        n = this->transact([&](typename TypeParam::transaction& tx) { return tx.purge_records("orders", tx.now() + 24h * 365 * 100); });
    EXPECT_TRUE(this->read().empty());
    EXPECT_EQ(this->sum(), ledger_sum{});
    this->record(records);
    EXPECT_EQ(this->sum(), this->sum_of(records));
}

} // namespace
