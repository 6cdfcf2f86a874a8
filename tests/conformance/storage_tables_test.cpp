// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The four tables of the storage concept, on a deterministic executor: every store gives the same answers.
#include "storage_kits.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cosaga;
using namespace std::chrono_literals;

message_id id_of(unsigned n, bool time_ordered = true)
{
    message_id::bytes_type b{};
    b[6] = time_ordered ? 0x70 : 0x80;
    b[14] = static_cast<unsigned char>(n >> 8);
    b[15] = static_cast<unsigned char>(n);
    return message_id{b};
}

std::vector<unsigned> numbers_of(std::vector<message_row> const& rows)
{
    std::vector<unsigned> numbers;
    for (auto const& r : rows)
        numbers.push_back(r.content.id.bytes()[15] + 256u * r.content.id.bytes()[14]);
    return numbers;
}

template <class Kit>
class storage_tables : public storage_kits::virtual_store<Kit> {
protected:
    using transaction = typename Kit::transaction;

    static message_row row(unsigned n, std::string payload = "payload")
    {
        message_row r;
        r.content.id = id_of(n);
        r.content.time = time_point{1700000000s} + duration{n};
        r.content.topic = "orders";
        r.content.key = "key" + std::to_string(n % 3);
        r.content.type = "order_placed";
        r.content.source = "shop";
        r.content.content_type = "application/json";
        r.content.headers = {{"subject", "order"}, {"traceparent", "00-1-2-3"}};
        r.content.payload = std::move(payload);
        return r;
    }

    /// Appends rows and returns their seqs.
    std::vector<std::int64_t> append(std::vector<message_row> rows, message_state state = message_state::ready)
    {
        return append(queue_, std::move(rows), state);
    }
    std::vector<std::int64_t> append(queue_name const& queue, std::vector<message_row> rows, message_state state)
    {
        return this->transact([&](transaction& tx) {
            tx.append(queue, state, rows);
            std::vector<std::int64_t> seqs;
            for (auto const& r : rows)
                seqs.push_back(r.seq);
            return seqs;
        });
    }
    std::vector<message_row> read(message_state state = message_state::ready, std::int64_t after = 0, std::size_t most = 1000)
    {
        return this->transact([&](transaction& tx) { return tx.read(queue_, state, after, most); });
    }
    std::size_t count(message_state state = message_state::ready)
    {
        return this->transact([&](transaction& tx) { return tx.count(queue_, state); });
    }
    queue_name queue_{queue_side::outbox, "orders", "warehouse"};
};

template <class... T>
std::vector<unsigned> list(T... n)
{
    return {static_cast<unsigned>(n)...};
}

TYPED_TEST_SUITE(storage_tables, storage_kits::all);

TYPED_TEST(storage_tables, keeps_every_attribute_of_a_row)
{
    auto kept = this->row(1, std::string{"a\0b", 3});
    kept.content.key = std::string{"k\0", 2};
    kept.content.headers.push_back({"empty", ""});
    kept.attempts = 7;
    kept.due_at = time_point{42us};
    kept.last_error = std::string{"went\0wrong", 10};
    auto const seqs = this->append({kept});
    auto const found = this->read();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].content, kept.content);
    EXPECT_EQ(found[0].attempts, 7u);
    EXPECT_EQ(found[0].due_at, time_point{42us});
    EXPECT_EQ(found[0].last_error, kept.last_error);
    EXPECT_EQ(found[0].seq, seqs[0]);
}

TYPED_TEST(storage_tables, keeps_a_row_of_empty_attributes)
{
    message_row empty;
    this->append({empty});
    auto const found = this->read();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].content, message{});
}

TYPED_TEST(storage_tables, keeps_the_topic_of_a_message_that_is_not_the_queues)
{
    auto other = this->row(1);
    other.content.topic = "other";
    this->append({other});
    EXPECT_EQ(this->read()[0].content.topic, "other");
}

TYPED_TEST(storage_tables, keeps_a_payload_of_several_megabytes)
{
    std::string big(5'000'000, 'x');
    big[4'999'999] = 'y';
    this->append({this->row(1, big)});
    EXPECT_EQ(this->read()[0].content.payload, big);
}

TYPED_TEST(storage_tables, gives_increasing_seqs_in_the_order_of_appending)
{
    auto first = this->append({this->row(1), this->row(2)});
    auto const second = this->append({this->row(3)});
    first.insert(first.end(), second.begin(), second.end());
    EXPECT_GT(first[0], 0);
    EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
    EXPECT_EQ(std::adjacent_find(first.begin(), first.end()), first.end());
    EXPECT_EQ(numbers_of(this->read()), list(1, 2, 3));
}

TYPED_TEST(storage_tables, never_gives_a_seq_twice_even_when_the_queue_was_drained_and_the_store_reopened)
{
    auto const seqs = this->append({this->row(1), this->row(2)});
    this->transact([&](auto& tx) { tx.erase(this->queue_, message_state::ready, seqs); });
    this->open();
    auto const later = this->append({this->row(3)});
    EXPECT_GT(later[0], seqs[1]);
}

TYPED_TEST(storage_tables, reads_a_page_after_a_seq)
{
    std::vector<message_row> rows;
    for (unsigned i = 1; i <= 40; ++i) // more than go into one INSERT
        rows.push_back(this->row(i));
    auto const seqs = this->append(rows);
    EXPECT_EQ(numbers_of(this->read(message_state::ready, 0, 3)), list(1, 2, 3));
    EXPECT_EQ(numbers_of(this->read(message_state::ready, seqs[2], 2)), list(4, 5));
    EXPECT_EQ(numbers_of(this->read(message_state::ready, seqs[38], 10)), list(40));
    EXPECT_TRUE(this->read(message_state::ready, seqs[39], 10).empty());
    EXPECT_TRUE(this->read(message_state::ready, 0, 0).empty());
    EXPECT_EQ(this->read(message_state::ready, -5, 100).size(), 40u);
    EXPECT_TRUE(this->read(message_state::ready, std::numeric_limits<std::int64_t>::max(), 10).empty());
    EXPECT_EQ(this->read(message_state::ready, 0, std::numeric_limits<std::size_t>::max()).size(), 40u);
}

TYPED_TEST(storage_tables, keeps_queues_and_states_apart)
{
    queue_name const inbox{queue_side::inbox, "orders", "warehouse"};
    queue_name const other{queue_side::outbox, "orders", "billing"};
    this->append({this->row(1)});
    this->append(inbox, {this->row(2)}, message_state::ready);
    this->append(other, {this->row(3)}, message_state::ready);
    this->append({this->row(4)}, message_state::dead);
    EXPECT_EQ(numbers_of(this->read()), list(1));
    EXPECT_EQ(numbers_of(this->read(message_state::dead)), list(4));
    auto const names = this->transact([](auto& tx) { return tx.queues(); });
    EXPECT_EQ(names, (std::vector<queue_name>{other, this->queue_, inbox}));
    auto const found = this->transact([&](auto& tx) { return tx.read(inbox, message_state::ready, 0, 10); });
    EXPECT_EQ(numbers_of(found), list(2));
}

TYPED_TEST(storage_tables, answers_for_a_queue_that_was_never_used)
{
    this->transact([&](auto& tx) {
        EXPECT_TRUE(tx.read(this->queue_, message_state::ready, 0, 10).empty());
        EXPECT_TRUE(tx.read_due(this->queue_, message_state::delayed, time_point::max(), 10).empty());
        EXPECT_FALSE(tx.next_due(this->queue_, message_state::delayed));
        std::int64_t const seq = 1;
        EXPECT_EQ(tx.erase(this->queue_, message_state::ready, std::span{&seq, 1}), 0u);
        message_row r;
        r.seq = 1;
        EXPECT_FALSE(tx.move(this->queue_, message_state::ready, message_state::dead, r));
        EXPECT_FALSE(tx.update(this->queue_, message_state::ready, r));
        EXPECT_EQ(tx.count(this->queue_, message_state::ready), 0u);
        EXPECT_TRUE(tx.queues().empty());
    });
}

TYPED_TEST(storage_tables, erases_rows_wherever_they_are_and_tells_how_many)
{
    std::vector<message_row> rows;
    for (unsigned i = 1; i <= 10; ++i)
        rows.push_back(this->row(i));
    auto const seqs = this->append(rows);
    auto const erased = this->transact([&](auto& tx) {
        std::vector<std::int64_t> const some{seqs[1], seqs[2], seqs[3], seqs[7], seqs[7], seqs[9] + 1, 0, -1,
            std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()};
        return tx.erase(this->queue_, message_state::ready, some);
    });
    EXPECT_EQ(erased, 4u);
    EXPECT_EQ(numbers_of(this->read()), list(1, 5, 6, 7, 9, 10));
    EXPECT_EQ(this->count(), 6u);
    auto const again = this->transact([&](auto& tx) {
        return tx.erase(this->queue_, message_state::ready, std::span{seqs}.subspan(1, 2));
    });
    EXPECT_EQ(again, 0u);
    EXPECT_EQ(this->count(), 6u);
}

TYPED_TEST(storage_tables, erasing_in_one_state_leaves_the_other)
{
    auto const seqs = this->append({this->row(1)});
    auto const erased
        = this->transact([&](auto& tx) { return tx.erase(this->queue_, message_state::dead, seqs); });
    EXPECT_EQ(erased, 0u);
    EXPECT_EQ(this->count(), 1u);
}

TYPED_TEST(storage_tables, reads_what_is_due_by_time)
{
    auto late = this->row(1), early = this->row(2), never = this->row(3), same = this->row(4);
    late.due_at = time_point{20s};
    early.due_at = time_point{10s};
    same.due_at = time_point{10s};
    never.due_at = time_point{100s};
    this->append({late, early, never, same}, message_state::delayed);
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.next_due(this->queue_, message_state::delayed), time_point{10s});
        EXPECT_FALSE(tx.next_due(this->queue_, message_state::prepared));
        auto const due = [&](time_point now, std::size_t most) {
            return numbers_of(tx.read_due(this->queue_, message_state::delayed, now, most));
        };
        EXPECT_EQ(due(time_point{9s}, 10), list());
        EXPECT_EQ(due(time_point{10s}, 10), list(2, 4));
        EXPECT_EQ(due(time_point{50s}, 10), list(2, 4, 1));
        EXPECT_EQ(due(time_point{50s}, 1), list(2));
    });
}

TYPED_TEST(storage_tables, moves_a_row_behind_all_others_of_its_new_state)
{
    auto const delayed = this->append({this->row(1), this->row(2)}, message_state::delayed);
    auto const ready = this->append({this->row(3)});
    this->transact([&](auto& tx) {
        message_row moved;
        moved.seq = delayed[0];
        moved.attempts = 3;
        moved.due_at = time_point{5s};
        moved.last_error = "again";
        EXPECT_TRUE(tx.move(this->queue_, message_state::delayed, message_state::ready, moved));
        EXPECT_FALSE(tx.move(this->queue_, message_state::delayed, message_state::ready, moved));
    });
    auto const found = this->read();
    EXPECT_EQ(numbers_of(found), list(3, 1));
    EXPECT_GT(found[1].seq, ready[0]);
    EXPECT_EQ(found[1].attempts, 3u);
    EXPECT_EQ(found[1].due_at, time_point{5s});
    EXPECT_EQ(found[1].last_error, "again");
    EXPECT_EQ(found[1].content, this->row(1).content);
    EXPECT_EQ(numbers_of(this->read(message_state::delayed)), list(2));
    EXPECT_EQ(this->count(message_state::delayed), 1u);
    EXPECT_EQ(this->count(), 2u);
}

TYPED_TEST(storage_tables, a_moved_row_is_due_by_its_new_time)
{
    auto const seqs = this->append({this->row(1)});
    this->transact([&](auto& tx) {
        message_row moved;
        moved.seq = seqs[0];
        moved.due_at = time_point{7s};
        EXPECT_TRUE(tx.move(this->queue_, message_state::ready, message_state::prepared, moved));
        EXPECT_EQ(tx.next_due(this->queue_, message_state::prepared), time_point{7s});
    });
}

TYPED_TEST(storage_tables, updates_in_place)
{
    auto const seqs = this->append({this->row(1), this->row(2)}, message_state::prepared);
    this->transact([&](auto& tx) {
        message_row changed;
        changed.seq = seqs[0];
        changed.attempts = 2;
        changed.due_at = time_point{30s};
        changed.last_error = "no answer";
        EXPECT_TRUE(tx.update(this->queue_, message_state::prepared, changed));
        EXPECT_FALSE(tx.update(this->queue_, message_state::delayed, changed));
    });
    auto const found = this->read(message_state::prepared);
    EXPECT_EQ(numbers_of(found), list(1, 2));
    EXPECT_EQ(found[0].seq, seqs[0]);
    EXPECT_EQ(found[0].attempts, 2u);
    EXPECT_EQ(found[0].last_error, "no answer");
    EXPECT_EQ(found[0].content, this->row(1).content);
    auto const due = this->transact(
        [&](auto& tx) { return tx.read_due(this->queue_, message_state::prepared, time_point{30s}, 10); });
    EXPECT_EQ(numbers_of(due), list(2, 1));
}

TYPED_TEST(storage_tables, finds_by_id_what_is_not_ready)
{
    this->append({this->row(1)}, message_state::dead);
    this->append({this->row(2)}, message_state::prepared);
    this->append({this->row(3)}, message_state::ready);
    this->append({this->row(4)}, message_state::delayed);
    this->transact([&](auto& tx) {
        std::vector<message_id> const ids{id_of(9), id_of(4), id_of(1), id_of(3), id_of(2), id_of(1)};
        std::map<message_id, message_state> found;
        for (auto const& at : tx.find(ids)) {
            EXPECT_EQ(at.queue, this->queue_);
            EXPECT_TRUE(found.emplace(at.row.content.id, at.state).second);
        }
        EXPECT_EQ(found, (std::map<message_id, message_state>{
            {id_of(1), message_state::dead}, {id_of(2), message_state::prepared}, {id_of(4), message_state::delayed}}));
        auto const one = id_of(1);
        auto const dead = tx.find({&one, 1});
        ASSERT_EQ(dead.size(), 1u);
        EXPECT_EQ(dead.front().row.content, this->row(1).content);
        EXPECT_TRUE(tx.find({&ids[3], 1}).empty());
        EXPECT_TRUE(tx.find({}).empty());
    });
}

TYPED_TEST(storage_tables, finds_a_few_ids_among_many_and_all_of_many)
{
    constexpr int many = 500;
    std::vector<message_row> rows;
    for (int n = 1; n <= many; ++n)
        rows.push_back(this->row(n));
    this->append(rows, message_state::prepared);
    this->transact([&](auto& tx) {
        std::vector<message_id> all;
        for (int n = 0; n <= many + 1; ++n)
            all.push_back(id_of(n));
        EXPECT_EQ(tx.find(all).size(), std::size_t{many});
        for (int const first : {1, 100, many}) {
            std::vector<message_id> const few{id_of(first), id_of(many / 2), id_of(many), id_of(many + 7)};
            std::set<message_id> found;
            for (auto const& at : tx.find(few))
                found.insert(at.row.content.id);
            EXPECT_EQ(found, (std::set<message_id>{id_of(first), id_of(many / 2), id_of(many)}));
        }
    });
}

TYPED_TEST(storage_tables, finds_an_id_in_several_queues)
{
    auto other = this->queue_;
    other.consumer += "2";
    this->transact([&](auto& tx) {
        for (auto const& queue : {this->queue_, other}) {
            std::vector<message_row> rows{this->row(1)};
            tx.append(queue, message_state::dead, rows);
        }
        auto const id = id_of(1);
        EXPECT_EQ(tx.find({&id, 1}).size(), 2u);
        std::vector<message_id> const ids{id_of(0), id_of(1), id_of(2), id_of(3)};
        EXPECT_EQ(tx.find(ids).size(), 2u);
    });
}

TYPED_TEST(storage_tables, a_transaction_sees_its_own_changes_at_once)
{
    this->transact([&](auto& tx) {
        std::vector<message_row> rows{this->row(1), this->row(2), this->row(3)};
        tx.append(this->queue_, message_state::ready, rows);
        EXPECT_EQ(tx.count(this->queue_, message_state::ready), 3u);
        EXPECT_EQ(numbers_of(tx.read(this->queue_, message_state::ready, 0, 10)), list(1, 2, 3));
        std::vector<message_row> more{this->row(4)};
        tx.append(this->queue_, message_state::ready, more);
        EXPECT_EQ(tx.erase(this->queue_, message_state::ready, std::span{&more[0].seq, 1}), 1u);
        EXPECT_TRUE(tx.move(this->queue_, message_state::ready, message_state::dead, rows[0]));
        auto const moved = id_of(1);
        EXPECT_EQ(tx.find({&moved, 1}).size(), 1u);
        EXPECT_EQ(tx.count(this->queue_, message_state::ready), 2u);
        EXPECT_EQ(tx.count(this->queue_, message_state::dead), 1u);
    });
    EXPECT_EQ(numbers_of(this->read()), list(2, 3));
}

TYPED_TEST(storage_tables, a_work_that_throws_leaves_no_trace_in_any_table)
{
    auto const seqs = this->append({this->row(1)}, message_state::delayed);
    queue_name const fresh{queue_side::outbox, "fresh", "queue"};
    saga_row saga;
    saga.id = "saga";
    auto const all = [&](auto& tx) {
        std::vector<message_row> rows{this->row(2)};
        tx.append(this->queue_, message_state::ready, rows);
        rows = {this->row(3)};
        tx.append(fresh, message_state::delayed, rows);
        message_row moved;
        moved.seq = seqs[0];
        tx.move(this->queue_, message_state::delayed, message_state::ready, moved);
        auto const id = id_of(5);
        tx.insert_marks("scope", {&id, 1}, "mark");
        tx.insert_saga(saga);
        journal_entry entry;
        entry.step = "1";
        EXPECT_TRUE(tx.append_journal("saga", 0, {&entry, 1}));
        TypeParam::put(tx, "key", "value");
        throw std::runtime_error{"no"};
    };
    EXPECT_THROW(this->transact([&](auto& tx) { all(tx); }), std::runtime_error);
    // And in a savepoint, after which the transaction goes on.
    this->transact([&](auto& tx) {
        std::vector<message_row> rows{this->row(9)};
        tx.append(this->queue_, message_state::ready, rows);
        EXPECT_THROW(tx.nested([&] { all(tx); }), std::runtime_error);
    });
    this->open();
    EXPECT_EQ(numbers_of(this->read()), list(9));
    EXPECT_EQ(numbers_of(this->read(message_state::delayed)), list(1));
    EXPECT_EQ(this->count(), 1u);
    EXPECT_EQ(this->count(message_state::delayed), 1u);
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.queues(), std::vector<queue_name>{this->queue_});
        EXPECT_EQ(tx.count(fresh, message_state::delayed), 0u);
        EXPECT_FALSE(find_mark(tx, "scope", id_of(5)));
        EXPECT_FALSE(tx.find_saga("saga"));
        EXPECT_TRUE(tx.read_journal("saga", 0, 10).empty());
        EXPECT_FALSE(TypeParam::get(tx, "key"));
    });
}

TYPED_TEST(storage_tables, a_nested_part_keeps_or_undoes_its_staged_rows_alone)
{
    this->transact([&](auto& tx) {
        auto const add = [&](unsigned n) {
            std::vector<message_row> rows{this->row(n)};
            tx.append(this->queue_, message_state::ready, rows);
        };
        add(1);
        auto const answer = tx.nested([&] {
            add(2);
            // Reading writes the staged rows, also those of before; undoing must not lose them.
            EXPECT_THROW(tx.nested([&] {
                add(3);
                EXPECT_EQ(tx.read(this->queue_, message_state::ready, 0, 10).size(), 3u);
                TypeParam::put(tx, "key", "inner");
                throw 1;
            }),
                int);
            TypeParam::put(tx, "key", "outer");
            return std::string{"answer"};
        });
        EXPECT_EQ(answer, "answer");
        EXPECT_EQ(tx.count(this->queue_, message_state::ready), 2u);
        add(4);
    });
    EXPECT_EQ(numbers_of(this->read()), list(1, 2, 4));
    EXPECT_EQ(this->count(), 3u);
    EXPECT_EQ(this->transact([](auto& tx) { return TypeParam::get(tx, "key"); }), "outer");
}

TYPED_TEST(storage_tables, counts_survive_everything_that_happens_to_rows)
{
    std::vector<message_row> rows;
    for (unsigned i = 0; i < 100; ++i)
        rows.push_back(this->row(i));
    auto const seqs = this->append(rows);
    this->transact([&](auto& tx) {
        for (unsigned i = 0; i < 100; i += 3)
            tx.erase(this->queue_, message_state::ready, std::span{&seqs[i], 1});
        for (unsigned i = 1; i < 100; i += 3) {
            message_row r;
            r.seq = seqs[i];
            tx.move(this->queue_, message_state::ready, message_state::dead, r);
        }
    });
    EXPECT_THROW(this->transact([&](auto& tx) {
        tx.erase(this->queue_, message_state::ready, seqs);
        EXPECT_EQ(tx.count(this->queue_, message_state::ready), 0u);
        throw 1;
    }),
        int);
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(this->count(), 33u);
        EXPECT_EQ(this->read().size(), 33u);
        EXPECT_EQ(this->count(message_state::dead), 33u);
        EXPECT_EQ(this->read(message_state::dead).size(), 33u);
        this->open();
    }
}

// marks

TYPED_TEST(storage_tables, inserting_a_mark_tells_what_was_there)
{
    std::vector<message_id> const ids{id_of(1), id_of(2), id_of(3)};
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.insert_marks("scope", std::span{ids}.first(2), "first"), (std::vector<std::optional<mark>>(2)));
    });
    this->open();
    this->transact([&](auto& tx) {
        auto const before = tx.insert_marks("scope", ids, "second");
        EXPECT_EQ(before, (std::vector<std::optional<mark>>{"first", "first", std::nullopt}));
        EXPECT_EQ(tx.find_marks("scope", std::vector<message_id>{ids[2], id_of(4), ids[0], ids[2]}),
            (std::vector<std::optional<mark>>{"second", std::nullopt, "first", "second"}));
        EXPECT_TRUE(tx.find_marks("scope", {}).empty());
        EXPECT_EQ(find_mark(tx, "scope", ids[0]), "first");
        EXPECT_EQ(find_mark(tx, "scope", ids[2]), "second");
        EXPECT_FALSE(find_mark(tx, "other", ids[0]));
        EXPECT_FALSE(find_mark(tx, "scope", id_of(4)));
        EXPECT_EQ(tx.insert_marks("other", ids, ""), (std::vector<std::optional<mark>>(3)));
        EXPECT_EQ(find_mark(tx, "other", ids[0]), "");
    });
}

TYPED_TEST(storage_tables, marks_of_a_large_batch_tell_which_of_them_were_there)
{
    std::vector<message_id> ids;
    for (unsigned i = 0; i < 100; ++i)
        ids.push_back(id_of(i));
    std::vector<message_id> const some{ids[3], ids[40], ids[99]};
    this->transact([&](auto& tx) { tx.insert_marks("scope", some, "first"); });
    ids.push_back(ids[7]); // twice in one batch
    this->transact([&](auto& tx) {
        auto const before = tx.insert_marks("scope", ids, "second");
        for (std::size_t i = 0; i < ids.size(); ++i) {
            auto const expected = i == 3 || i == 40 || i == 99 ? std::optional<mark>{"first"}
                                : i == 100                     ? std::optional<mark>{"second"}
                                                               : std::nullopt;
            EXPECT_EQ(before[i], expected) << i;
        }
        EXPECT_EQ(find_mark(tx, "scope", ids[50]), "second");
        EXPECT_EQ(find_mark(tx, "scope", ids[40]), "first");
    });
}

TYPED_TEST(storage_tables, an_id_given_twice_in_a_batch_is_new_once)
{
    std::vector<message_id> const ids{id_of(1), id_of(1), id_of(2, false), id_of(2, false)};
    auto const before = this->transact([&](auto& tx) { return tx.insert_marks("scope", ids, std::string{"m\0", 2}); });
    std::optional<mark> const there{std::string{"m\0", 2}};
    EXPECT_EQ(before, (std::vector<std::optional<mark>>{std::nullopt, there, std::nullopt, there}));
}

TYPED_TEST(storage_tables, purges_marks_by_the_time_of_their_ids)
{
    auto const now = this->env_.now();
    auto const old_bound = now - 24h;
    auto make = [](time_point when, unsigned char n) {
        auto bytes = message_id::first_of(when).bytes();
        bytes[15] = n;
        return message_id{bytes};
    };
    std::vector<message_id> const ids{make(old_bound - 2h, 1), make(old_bound - 1h, 2), make(old_bound - 1ms, 3),
        make(old_bound, 4), make(now, 5)};
    this->transact([&](auto& tx) {
        tx.insert_marks("scope", ids, "");
        tx.insert_marks("other", ids, "");
    });
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.purge_marks("scope", old_bound, 2), 2u);
        EXPECT_FALSE(find_mark(tx, "scope", ids[0]));
        EXPECT_TRUE(find_mark(tx, "scope", ids[2]));
        EXPECT_EQ(tx.purge_marks("scope", old_bound, 2), 1u);
        EXPECT_EQ(tx.purge_marks("scope", old_bound, 2), 0u);
        EXPECT_TRUE(find_mark(tx, "scope", ids[3]));
        EXPECT_TRUE(find_mark(tx, "other", ids[0]));
        EXPECT_EQ(tx.purge_marks("never used", old_bound, 2), 0u);
    });
}

TYPED_TEST(storage_tables, purges_foreign_marks_by_the_time_of_their_insertion)
{
    std::vector<message_id> const first{id_of(1, false), id_of(2, false)};
    std::vector<message_id> const second{id_of(3, false)};
    this->transact([&](auto& tx) { tx.insert_marks("scope", first, ""); });
    auto const between = this->env_.now() + 1h;
    this->env_.run_for(2h);
    this->transact([&](auto& tx) { tx.insert_marks("scope", second, ""); });
    this->transact([&](auto& tx) {
        EXPECT_EQ(tx.purge_marks("scope", between - 1h, 10), 0u);
        EXPECT_EQ(tx.purge_marks("scope", between, 10), 2u);
        EXPECT_FALSE(find_mark(tx, "scope", first[1]));
        EXPECT_TRUE(find_mark(tx, "scope", second[0]));
    });
}

TYPED_TEST(storage_tables, now_is_the_time_at_which_the_group_began)
{
    auto const before = this->env_.now();
    EXPECT_EQ(this->transact([](auto& tx) { return tx.now(); }), before);
}

} // namespace
