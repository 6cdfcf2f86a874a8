// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/error.hpp>
#include <cosaga/ledger.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Neighbouring records and what they add up to: those from `first` to the first of the next block.
struct ledger_block {
    ledger_position first;
    ledger_sum sum;
};

/// What is known of a ledger: its number, and its newest block, to which almost all records are added.
struct sqlite_ledger_state {
    std::int64_t number = 0;
    std::optional<ledger_block> newest{};
    ledger_position last{}; // no record is behind; belongs to `newest`
    bool dirty = false;     // `newest` is not in the table as it is here
};

/// Sums of blocks of some hundred records, kept in a table in the same transactions as the records.
///
/// A group that appends records changes one block, which is written once for the group: that is what makes sums cheap to keep. A
/// range is summed up by adding the blocks inside it and reading the records at its two ends, so a million records cost two thousand
/// rows of this table and some hundred records.
class sqlite_ledger_sums {
public:
    /// Records of a block. Fewer make more blocks to read for a comparison of equal ledgers, more make longer ends of ranges.
    static constexpr std::uint64_t full = 512;

    explicit sqlite_ledger_sums(sqlite_handle& h) : handle_{&h} {}

    static std::int64_t ticks(ledger_position const& p) noexcept { return p.time.time_since_epoch().count(); }

    static ledger_record record_of(sqlite_query::run_scope const& row)
    {
        ledger_record r;
        auto const [time, id] = position_of(row);
        r.time = time;
        r.id = id;
        r.key = row.text(2);
        r.fields = ledger_fields::from_bytes(row.view(3));
        return r;
    }

    void add(sqlite_ledger_state& l, ledger_position const& at, ledger_sum const& sum)
    {
        load_newest(l);
        if (!l.newest || at < l.newest->first)
            return add_to_older(l, at, sum);
        if (l.newest->sum.count >= full && at > l.last) {
            write(l);
            insert(l, {separator(l.last, at), {}});
        }
        l.newest->sum += sum;
        l.last = std::max(l.last, at);
        touch(l);
        if (l.newest->sum.count > 2 * full)
            crowded_.emplace_back(&l, l.newest->first);
    }

    void subtract(sqlite_ledger_state& l, ledger_position const& at, ledger_sum const& sum)
    {
        load_newest(l);
        if (l.newest && at >= l.newest->first) {
            l.newest->sum -= sum;
            return touch(l);
        }
        auto block = block_of(l, at);
        block.sum -= sum;
        update(l, block);
    }

    ledger_sum sum(sqlite_ledger_state& l, ledger_range const& range)
    {
        ledger_sum total;
        auto at = range.from; // all before it is in `total`
        std::optional<ledger_block> open; // begins at `at`, and may end behind the range
        auto rows = select_blocks(range_, l, range);
        while (rows.step()) {
            auto const next = block_in(rows);
            total += open ? open->sum : sum_of_records(l, {at, next.first});
            at = next.first;
            open = next;
        }
        if (open && ends_within(l, *open, range.to))
            return total += open->sum;
        return total += sum_of_records(l, {at, range.to});
    }

    std::vector<ledger_position> divide(sqlite_ledger_state& l, ledger_range const& range, std::size_t parts)
    {
        std::vector<ledger_block> blocks;
        std::uint64_t count = 0;
        {
            auto rows = select_blocks(range_, l, range);
            while (rows.step()) {
                blocks.push_back(block_in(rows));
                count += blocks.back().sum.count;
            }
        }
        if (blocks.size() < parts + 1)
            return divide_records(l, range, parts);
        std::vector<ledger_position> bounds;
        std::uint64_t before = 0;
        for (auto const& b : blocks) {
            if (before * parts >= count * (bounds.size() + 1) && b.first > range.from && bounds.size() + 1 < parts)
                bounds.push_back(b.first);
            before += b.sum.count;
        }
        return bounds;
    }

    /// Takes the oldest block away if all its records are older than `before`. @return the range of its records, to be deleted.
    std::optional<ledger_range> purge(sqlite_ledger_state& l, time_point before)
    {
        load_newest(l);
        ledger_position first;
        ledger_position end;
        {
            auto rows = oldest_.run(*handle_, l.number);
            if (!rows.step())
                return std::nullopt;
            first = position_of(rows);
            if (rows.step())
                end = position_of(rows);
            else if (l.newest->sum.count > 0)
                end = position_after(l.last);
            else
                return std::nullopt;
        }
        if (end > ledger_position{before, {}})
            return std::nullopt;
        erase_.execute(*handle_, l.number, ticks(first), blob(first));
        if (first == l.newest->first)
            reset(l);
        return ledger_range{{time_point::min(), {}}, end};
    }

    /// Writes the newest blocks that have changed, and divides those that have grown too long. All records that were added or
    /// subtracted are in the table by now, or out of it.
    void write()
    {
        for (auto* const l : touched_)
            write(*l);
        touched_.clear();
        for (auto const& [l, first] : std::exchange(crowded_, {}))
            if (auto const block = block_of(*l, first); block.sum.count > 2 * full)
                split(*l, block);
    }

    /// After a rollback: what was touched is known no more.
    void forget() noexcept
    {
        touched_.clear();
        crowded_.clear();
    }

    /// Reads what records will be added to. Before they are in the table, or the newest of them would not seem to be new.
    void load_newest(sqlite_ledger_state& l)
    {
        if (l.newest)
            return;
        {
            auto row = newest_.run(*handle_, l.number);
            if (!row.step())
                return;
            l.newest = block_in(row);
        }
        auto row = last_.run(*handle_, l.number);
        l.last = row.step() ? position_of(row) : ledger_position{time_point::min(), {}};
    }

private:
    static sqlite_blob blob(ledger_position const& p) noexcept { return bytes_as_blob(p.id.bytes()); }

    static ledger_position position_of(sqlite_query::run_scope const& row)
    {
        return {time_point{duration{row.integer(0)}}, message_id{wire_reader{row.view(1), "stored message id"}.raw<message_id::size>()}};
    }

    static ledger_block block_in(sqlite_query::run_scope const& row)
    {
        ledger_block b;
        b.first = position_of(row);
        b.sum.count = static_cast<std::uint64_t>(row.integer(2));
        wire_reader r{row.view(3), "stored sum"};
        for (auto& part : b.sum.total)
            part = r.fixed64();
        r.expect_end();
        return b;
    }

    sqlite_query::run_scope select_blocks(sqlite_query& query, sqlite_ledger_state& l, ledger_range const& range)
    {
        write(l);
        return query.run(*handle_, l.number, ticks(range.from), blob(range.from), ticks(range.to), blob(range.to));
    }

    void touch(sqlite_ledger_state& l)
    {
        if (!std::exchange(l.dirty, true))
            touched_.push_back(&l);
    }

    void write(sqlite_ledger_state& l)
    {
        if (std::exchange(l.dirty, false))
            update(l, *l.newest);
    }

    static void reset(sqlite_ledger_state& l) noexcept
    {
        l.newest.reset();
        l.dirty = false;
    }

    // Of no newer block: the very first one, one behind what was purged, or one that is late.
    void add_to_older(sqlite_ledger_state& l, ledger_position const& at, ledger_sum const& sum)
    {
        if (!l.newest) {
            insert(l, {{time_point::min(), {}}, {}});
            l.last = at;
            l.newest->sum = sum;
            return touch(l);
        }
        auto block = block_of(l, at);
        block.sum += sum;
        update(l, block);
        if (block.sum.count > 2 * full)
            crowded_.emplace_back(&l, block.first);
    }

    ledger_block block_of(sqlite_ledger_state& l, ledger_position const& at)
    {
        {
            auto row = at_.run(*handle_, l.number, ticks(at), blob(at));
            if (row.step())
                return block_in(row);
        }
        ledger_block const lowest{{time_point::min(), {}}, {}};
        put(insert_, l, lowest);
        return lowest;
    }

    void insert(sqlite_ledger_state& l, ledger_block const& block)
    {
        put(insert_, l, block);
        l.newest = block;
    }

    void update(sqlite_ledger_state& l, ledger_block const& block) { put(update_, l, block); }

    void put(sqlite_query& query, sqlite_ledger_state& l, ledger_block const& block)
    {
        std::string total;
        wire_writer w{total};
        for (auto const part : block.sum.total)
            w.fixed64(part);
        query.execute(*handle_, l.number, ticks(block.first), blob(block.first), static_cast<std::int64_t>(block.sum.count), as_blob(total));
    }

    void split(sqlite_ledger_state& l, ledger_block block)
    {
        auto const end = end_of(l, block);
        std::vector<ledger_position> positions;
        {
            auto rows = positions_.run(*handle_, l.number, ticks(block.first), blob(block.first), ticks(end), blob(end));
            while (rows.step())
                positions.push_back(position_of(rows));
        }
        if (positions.size() < 2)
            return;
        auto const middle = positions.size() / 2;
        ledger_block upper{separator(positions[middle - 1], positions[middle]), {}};
        upper.sum = sum_of_records(l, {upper.first, end});
        block.sum -= upper.sum;
        update(l, block);
        put(insert_, l, upper);
        reset(l);
    }

    ledger_position end_of(sqlite_ledger_state& l, ledger_block const& block)
    {
        auto row = next_.run(*handle_, l.number, ticks(block.first), blob(block.first));
        return row.step() ? position_of(row) : ledger_position{time_point::max(), {}};
    }

    bool ends_within(sqlite_ledger_state& l, ledger_block const& block, ledger_position const& bound)
    {
        load_newest(l);
        if (l.newest && block.first == l.newest->first)
            return l.last < bound;
        return end_of(l, block) <= bound;
    }

    ledger_sum sum_of_records(sqlite_ledger_state& l, ledger_range const& range)
    {
        ledger_sum total;
        if (range.from >= range.to)
            return total;
        auto rows = records_.run(*handle_, l.number, ticks(range.from), blob(range.from), ticks(range.to), blob(range.to));
        while (rows.step())
            total += ledger_sum{record_of(rows).digest()};
        return total;
    }

    std::vector<ledger_position> divide_records(sqlite_ledger_state& l, ledger_range const& range, std::size_t parts)
    {
        std::vector<ledger_position> positions;
        auto rows = positions_.run(*handle_, l.number, ticks(range.from), blob(range.from), ticks(range.to), blob(range.to));
        while (rows.step())
            positions.push_back(position_of(rows));
        return divide_evenly(positions.size(), parts, [&](std::size_t i) { return positions[i]; });
    }

    sqlite_handle* handle_;
    std::vector<sqlite_ledger_state*> touched_;
    std::vector<std::pair<sqlite_ledger_state*, ledger_position>> crowded_; // first positions of blocks to be divided

    sqlite_query newest_{select("ledger = ?1 ORDER BY time DESC, id DESC LIMIT 1")};
    sqlite_query at_{select("ledger = ?1 AND (time, id) <= (?2, ?3) ORDER BY time DESC, id DESC LIMIT 1")};
    sqlite_query range_{select("ledger = ?1 AND (time, id) >= (?2, ?3) AND (time, id) < (?4, ?5) ORDER BY time, id")};
    sqlite_query next_{select("ledger = ?1 AND (time, id) > (?2, ?3) ORDER BY time, id LIMIT 1")};
    sqlite_query oldest_{select("ledger = ?1 ORDER BY time, id LIMIT 2")};
    sqlite_query insert_{"INSERT INTO cosaga_record_sums VALUES(?1, ?2, ?3, ?4, ?5)"};
    sqlite_query update_{"UPDATE cosaga_record_sums SET records = ?4, total = ?5 WHERE ledger = ?1 AND time = ?2 AND id = ?3"};
    sqlite_query erase_{"DELETE FROM cosaga_record_sums WHERE ledger = ?1 AND time = ?2 AND id = ?3"};
    sqlite_query last_{"SELECT time, id FROM cosaga_records WHERE ledger = ?1 ORDER BY time DESC, id DESC LIMIT 1"};
    sqlite_query positions_{"SELECT time, id FROM cosaga_records "
                            "WHERE ledger = ?1 AND (time, id) >= (?2, ?3) AND (time, id) < (?4, ?5) ORDER BY time, id"};
    sqlite_query records_{"SELECT time, id, key, fields FROM cosaga_records "
                          "WHERE ledger = ?1 AND (time, id) >= (?2, ?3) AND (time, id) < (?4, ?5) ORDER BY time, id"};

    static std::string select(char const* rest)
    {
        return std::string{"SELECT time, id, records, total FROM cosaga_record_sums WHERE "} + rest;
    }
};

} // namespace cosaga::detail
