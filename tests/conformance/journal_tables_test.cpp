// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The tables of sagas and their journals, on a deterministic executor: every store gives the same answers.
#include "storage_kits.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace cosaga;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;

constexpr time_point now{1000s};

saga_row saga_of(std::string id, time_point due = {}, saga_state state = saga_state::running)
{
    saga_row row;
    row.id = std::move(id);
    row.name = "order";
    row.version = 3;
    row.state = state;
    row.input = std::string{"in\0put", 6};
    row.due_at = due;
    return row;
}

saga_row leased(std::string id, std::string owner, time_point until)
{
    auto row = saga_of(std::move(id), until);
    row.lease_owner = std::move(owner);
    row.lease_until = until;
    row.epoch = 7;
    return row;
}

strings ids_of(std::vector<saga_row> const& rows)
{
    strings ids;
    for (auto const& r : rows)
        ids.push_back(r.id);
    return ids;
}

journal_entry entry_of(std::string step, std::string content = {})
{
    journal_entry e;
    e.kind = 5;
    e.step = std::move(step);
    e.name = "reserve";
    e.at = now;
    e.content = std::move(content);
    return e;
}

template <class Kit>
class journal_tables : public storage_kits::virtual_store<Kit> {
protected:
    using transaction = typename Kit::transaction;

    void insert(std::vector<saga_row> const& rows)
    {
        this->transact([&](transaction& tx) {
            for (auto const& row : rows)
                EXPECT_TRUE(tx.insert_saga(row)) << row.id;
        });
    }
    saga_row find(std::string const& id)
    {
        saga_row row;
        this->transact([&](transaction& tx) { row = tx.find_saga(id).value_or(saga_row{}); });
        return row;
    }
    bool append(std::string const& id, std::int64_t epoch, std::vector<journal_entry> const& entries)
    {
        return this->transact([&](transaction& tx) { return tx.append_journal(id, epoch, entries).has_value(); });
    }
    strings steps(std::string const& id, std::uint64_t after = 0, std::size_t most = 1000)
    {
        strings found;
        this->transact([&](transaction& tx) {
            for (auto const& e : tx.read_journal(id, after, most))
                found.push_back(std::to_string(e.number) + ":" + e.step);
        });
        return found;
    }
};

TYPED_TEST_SUITE(journal_tables, storage_kits::all);

TYPED_TEST(journal_tables, keep_every_member_of_a_saga)
{
    auto row = saga_of("a", time_point{6s});
    row.result = std::string{"re\0sult", 7};
    row.reason = "because";
    row.epoch = 9;
    row.lease_owner = "me";
    row.lease_until = time_point{5s};
    this->transact([&](auto& tx) {
        EXPECT_TRUE(tx.insert_saga(row));
        EXPECT_FALSE(tx.insert_saga(saga_of("a")));
        EXPECT_FALSE(tx.update_saga(saga_of("b"), 0));
        EXPECT_FALSE(tx.find_saga("b"));
    });
    row.version = 4;
    row.state = saga_state::done;
    this->transact([&](auto& tx) { EXPECT_TRUE(tx.update_saga(row, 9)); });
    this->open();
    auto const found = this->find("a");
    EXPECT_EQ(found.name, "order");
    EXPECT_EQ(found.version, 4u);
    EXPECT_EQ(found.state, saga_state::done);
    EXPECT_EQ(found.input, row.input);
    EXPECT_EQ(found.result, row.result);
    EXPECT_EQ(found.reason, "because");
    EXPECT_EQ(found.epoch, 9);
    EXPECT_EQ(found.lease_owner, "me");
    EXPECT_EQ(found.lease_until, time_point{5s});
    EXPECT_EQ(found.due_at, time_point{6s});
}

TYPED_TEST(journal_tables, refuse_a_saga_id_that_is_empty_or_too_long)
{
    for (auto const& id : {std::string{}, std::string(max_saga_id + 1, 'x')})
        try {
            this->transact([&](auto& tx) { tx.insert_saga(saga_of(id)); });
            ADD_FAILURE() << "accepted an id of " << id.size() << " bytes";
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::bad_argument);
        }
    this->insert({saga_of(std::string(max_saga_id, 'x'))});
}

TYPED_TEST(journal_tables, a_saga_is_changed_by_who_knows_its_epoch)
{
    auto row = saga_of("a");
    row.epoch = 3;
    this->insert({row});
    row.epoch = 4;
    row.reason = "changed";
    this->transact([&](auto& tx) {
        EXPECT_FALSE(tx.update_saga(row, 2));
        EXPECT_FALSE(tx.update_saga(row, 4));
        EXPECT_TRUE(tx.update_saga(row, 3));
        EXPECT_FALSE(tx.update_saga(row, 3));
    });
    EXPECT_EQ(this->find("a").epoch, 4);
    EXPECT_EQ(this->find("a").reason, "changed");
}

TYPED_TEST(journal_tables, claim_sagas_that_are_due_and_free)
{
    this->insert({saga_of("due", time_point{10s}), saga_of("later", now + 1s), saga_of("done", {}, saga_state::done),
        saga_of("paused", {}, saga_state::paused), leased("taken", "other", now + 1s), leased("expired", "other", now),
        saga_of("undoing", time_point{30s}, saga_state::compensating), saga_of("confirming", time_point{40s}, saga_state::confirming)});
    this->transact([&](auto& tx) {
        auto const first = tx.claim_sagas("me", now, now + 60s, 3);
        EXPECT_EQ(ids_of(first), (strings{"due", "undoing", "confirming"}));
        EXPECT_EQ(first[0].lease_owner, "me");
        EXPECT_EQ(first[0].epoch, 1);
        EXPECT_EQ(first[0].input, saga_of("due").input);
        EXPECT_EQ(ids_of(tx.claim_sagas("you", now, now + 60s, 10)), (strings{"expired"}));
        EXPECT_TRUE(tx.claim_sagas("me", now, now + 90s, 10).empty());
    });
    EXPECT_EQ(this->find("due").lease_until, now + 60s);
    EXPECT_EQ(this->find("due").due_at, now + 60s);
    EXPECT_EQ(this->find("expired").lease_owner, "you");
    EXPECT_EQ(this->find("expired").epoch, 8);
}

TYPED_TEST(journal_tables, wake_a_saga_whoever_runs_it)
{
    this->insert({leased("mine", "me", now + 60s), saga_of("sleeping", now + 3600s), saga_of("done", now + 10s, saga_state::done)});
    this->transact([&](auto& tx) {
        EXPECT_TRUE(tx.wake_saga("mine", now));
        EXPECT_TRUE(tx.wake_saga("mine", now + 5s)); // due before
        EXPECT_TRUE(tx.wake_saga("sleeping", now + 5s));
        EXPECT_FALSE(tx.wake_saga("done", now));
        EXPECT_FALSE(tx.wake_saga("none", now));
        EXPECT_EQ(tx.next_saga_due("me"), now);
        EXPECT_EQ(tx.next_saga_due("you"), now + 5s);
        EXPECT_TRUE(tx.claim_sagas("you", now, now + 60s, 10).empty());
        auto const mine = tx.claim_sagas("me", now, now + 90s, 10);
        EXPECT_EQ(ids_of(mine), (strings{"mine"}));
        EXPECT_EQ(mine[0].epoch, 7); // it is the same owner
        EXPECT_EQ(tx.next_saga_due("me"), now + 5s);
    });
}

TYPED_TEST(journal_tables, renew_and_release_the_leases_of_an_owner)
{
    this->insert({leased("a", "shop/1", now + 10s), leased("b", "shop/1", now + 10s), leased("c", "shop/2", now + 10s),
        leased("d", "other", now + 10s), saga_of("e", now + 5s)});
    this->transact([&](auto& tx) {
        EXPECT_TRUE(tx.wake_saga("b", now));
        EXPECT_EQ(tx.renew_sagas("shop/1", now + 40s), 2u);
        EXPECT_EQ(tx.renew_sagas("", now + 40s), 0u);
        EXPECT_EQ(ids_of(tx.claim_sagas("other", now + 20s, now + 60s, 10)), (strings{"e", "c", "d"}));
        EXPECT_EQ(ids_of(tx.claim_sagas("shop/1", now + 20s, now + 60s, 10)), (strings{"b"}));
    });
    EXPECT_EQ(this->find("a").lease_until, now + 40s);
    EXPECT_EQ(this->find("a").due_at, now + 40s);
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.release_sagas("shop/"), 2u);
        EXPECT_EQ(ids_of(tx.claim_sagas("new", now + 20s, now + 60s, 10)), (strings{"a", "b"}));
    });
    EXPECT_EQ(this->find("a").epoch, 8);
}

TYPED_TEST(journal_tables, list_sagas_by_state_and_id)
{
    this->insert({saga_of("c"), saga_of("a"), saga_of("b"), saga_of("p", {}, saga_state::paused)});
    this->transact([&](auto& tx) {
        EXPECT_EQ(ids_of(tx.list_sagas(saga_state::running, "", 10)), (strings{"a", "b", "c"}));
        EXPECT_EQ(ids_of(tx.list_sagas(saga_state::running, "a", 1)), (strings{"b"}));
        EXPECT_EQ(ids_of(tx.list_sagas(saga_state::paused, "", 10)), (strings{"p"}));
    });
}

TYPED_TEST(journal_tables, purge_ended_sagas_with_their_journals)
{
    this->insert({saga_of("old", now, saga_state::done), saga_of("undone", now + 1s, saga_state::undone),
        saga_of("young", now + 10s, saga_state::done), saga_of("running", now)});
    for (auto const* const id : {"old", "young", "running"})
        EXPECT_TRUE(this->append(id, 0, {entry_of("1")}));
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.purge_sagas(now + 5s, 1), 1u);
        EXPECT_EQ(tx.purge_sagas(now + 5s, 10), 1u);
        EXPECT_FALSE(tx.find_saga("old"));
        EXPECT_FALSE(tx.find_saga("undone"));
        EXPECT_TRUE(tx.find_saga("young"));
        EXPECT_TRUE(tx.find_saga("running"));
    });
    EXPECT_TRUE(this->steps("old").empty());
    EXPECT_EQ(this->steps("young"), (strings{"1:1"}));
}

TYPED_TEST(journal_tables, number_the_entries_of_a_saga)
{
    this->insert({saga_of("a"), saga_of("b")});
    EXPECT_TRUE(this->append("a", 0, {entry_of("1", std::string{"x\0y", 3}), entry_of("2.0.1")}));
    EXPECT_TRUE(this->append("b", 0, {entry_of("1")}));
    EXPECT_TRUE(this->append("a", 0, {entry_of("3")}));
    this->open();
    EXPECT_EQ(this->steps("a"), (strings{"1:1", "2:2.0.1", "3:3"}));
    EXPECT_EQ(this->steps("a", 1, 1), (strings{"2:2.0.1"}));
    EXPECT_TRUE(this->steps("a", std::numeric_limits<std::uint64_t>::max()).empty());
    EXPECT_EQ(this->steps("b"), (strings{"1:1"}));
    this->transact([&](auto& tx) {
        auto const first = tx.read_journal("a", 0, 1).front();
        EXPECT_EQ(first.kind, 5u);
        EXPECT_EQ(first.name, "reserve");
        EXPECT_EQ(first.at, now);
        EXPECT_EQ(first.content, (std::string{"x\0y", 3}));
        EXPECT_TRUE(tx.erase_saga("a"));
        EXPECT_FALSE(tx.erase_saga("a"));
    });
    EXPECT_TRUE(this->steps("a").empty());
    EXPECT_EQ(this->steps("b"), (strings{"1:1"}));
}

TYPED_TEST(journal_tables, fence_who_has_lost_a_saga)
{
    this->insert({leased("a", "old", now)});
    EXPECT_TRUE(this->append("a", 7, {entry_of("1")}));
    this->transact([&](auto& tx) { EXPECT_EQ(tx.claim_sagas("new", now, now + 60s, 1).size(), 1u); });
    EXPECT_FALSE(this->append("a", 7, {entry_of("2")}));
    EXPECT_TRUE(this->append("a", 8, {entry_of("2")}));
    EXPECT_FALSE(this->append("none", 0, {entry_of("1")}));
    EXPECT_EQ(this->steps("a"), (strings{"1:1", "2:2"}));
}

TYPED_TEST(journal_tables, forget_the_beginning_of_a_journal)
{
    this->insert({saga_of("a")});
    EXPECT_TRUE(this->append("a", 0, {entry_of("1"), entry_of("2"), entry_of("3")}));
    this->transact([&](auto& tx) { EXPECT_EQ(tx.erase_journal("a", 2), 2u); });
    EXPECT_TRUE(this->append("a", 0, {entry_of("4")}));
    EXPECT_EQ(this->steps("a"), (strings{"3:3", "4:4"}));
}

TYPED_TEST(journal_tables, tell_the_number_of_the_last_entry)
{
    this->insert({saga_of("a")});
    auto const two = std::vector{entry_of("1"), entry_of("2")};
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.append_journal("a", 0, {}), 0u);
        EXPECT_EQ(tx.append_journal("a", 0, two), 2u);
        EXPECT_EQ(tx.append_journal("a", 0, two), 4u);
        EXPECT_EQ(tx.append_journal("a", 0, {}), 4u);
        EXPECT_EQ(tx.append_journal("a", 1, {}), std::nullopt);
    });
    this->open();
    this->transact([&](auto& tx) { EXPECT_EQ(tx.append_journal("a", 0, two), 6u); });
}

/// What the tables of a few sagas must be, in plain words.
struct expected_journals {
    std::map<std::string, std::map<std::uint64_t, std::string>> entries;
    std::map<std::string, std::uint64_t> last;
};

/// Does something with one of three sagas, and compares what is read with what is expected.
template <class Tx>
void do_something(Tx& tx, expected_journals& expected, std::mt19937& random)
{
    auto const below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    std::string const id(1, static_cast<char>('a' + below(3)));
    auto& known = expected.entries[id];
    auto const within = known.empty() ? 0 : known.begin()->first + below(static_cast<std::uint32_t>(known.size() + 1));
    switch (below(5)) {
    case 0:
    case 1: {
        std::vector<journal_entry> added;
        for (auto n = below(4); n > 0; --n)
            known[++expected.last[id]] = added.emplace_back(entry_of(std::to_string(random()))).step;
        EXPECT_EQ(tx.append_journal(id, 0, added), expected.last[id]);
        break;
    }
    case 2: {
        strings found;
        strings wanted;
        auto const most = 1 + below(4);
        for (auto const& e : tx.read_journal(id, within, most))
            found.push_back(std::to_string(e.number) + ":" + e.step);
        for (auto at = known.upper_bound(within); at != known.end() && wanted.size() < most; ++at)
            wanted.push_back(std::to_string(at->first) + ":" + at->second);
        EXPECT_EQ(found, wanted);
        break;
    }
    case 3:
        if (known.size() > 1 && within < known.rbegin()->first) { // one is left, so numbers go on
            auto const kept = known.upper_bound(within);
            EXPECT_EQ(tx.erase_journal(id, within), static_cast<std::size_t>(std::distance(known.begin(), kept)));
            known.erase(known.begin(), kept);
        }
        break;
    default: // anew
        if (below(8) == 0) {
            EXPECT_TRUE(tx.erase_saga(id));
            EXPECT_TRUE(tx.insert_saga(saga_of(id)));
            known.clear();
            expected.last[id] = 0;
        }
    }
}

TYPED_TEST(journal_tables, are_as_expected_after_anything_that_was_done_undone_or_done_again)
{
    std::mt19937 random{7};
    expected_journals expected;
    this->insert({saga_of("a"), saga_of("b"), saga_of("c")});
    for (int i = 0; i < 400; ++i) {
        auto const fails = random() % 4 == 0;
        auto const before = expected;
        auto const work = [&](auto& tx) {
            for (int n = 0; n < 6; ++n) {
                if (random() % 3 != 0) {
                    do_something(tx, expected, random);
                    continue;
                }
                auto const outside = expected;
                auto const inside = [&] {
                    do_something(tx, expected, random);
                    do_something(tx, expected, random);
                    if (random() % 2 == 0)
                        throw std::runtime_error{"no"};
                };
                try {
                    tx.nested(inside);
                } catch (std::runtime_error const&) {
                    expected = outside;
                }
            }
            if (fails)
                throw std::runtime_error{"no"};
        };
        try {
            this->transact(work);
        } catch (std::runtime_error const&) {
            expected = before;
        }
        if (random() % 32 == 0)
            this->open();
        ASSERT_FALSE(this->HasFailure()) << i;
    }
}

TYPED_TEST(journal_tables, a_work_that_throws_changes_neither_table)
{
    this->insert({leased("a", "old", now), saga_of("ended", now, saga_state::done)});
    EXPECT_TRUE(this->append("a", 7, {entry_of("1"), entry_of("2")}));
    EXPECT_TRUE(this->append("ended", 0, {entry_of("1")}));
    auto const all = [](auto& tx) {
        tx.insert_saga(saga_of("b"));
        tx.wake_saga("a", time_point{});
        tx.renew_sagas("old", now + 5s);
        tx.erase_journal("a", 1);
        auto const more = entry_of("3");
        tx.append_journal("a", 7, {&more, 1});
        tx.claim_sagas("new", now + 6s, now + 60s, 10);
        tx.release_sagas("new");
        tx.purge_sagas(now + 60s, 10);
        tx.erase_saga("a");
        throw std::runtime_error{"no"};
    };
    EXPECT_THROW(this->transact([&](auto& tx) { all(tx); }), std::runtime_error);
    this->transact([&](auto& tx) { EXPECT_THROW(tx.nested([&] { all(tx); }), std::runtime_error); });
    this->open();
    EXPECT_EQ(this->find("a").epoch, 7);
    EXPECT_EQ(this->find("a").lease_until, now);
    EXPECT_EQ(this->find("a").due_at, now);
    EXPECT_EQ(this->find("b").id, "");
    EXPECT_EQ(this->steps("a"), (strings{"1:1", "2:2"}));
    EXPECT_EQ(this->steps("ended"), (strings{"1:1"}));
}

} // namespace
