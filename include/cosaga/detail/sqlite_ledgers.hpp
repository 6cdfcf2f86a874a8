// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_ledger_sums.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/ledger.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The ledger table. Records of a group stay in memory until its end, or until somebody reads, and are then inserted some at a time.
class sqlite_ledgers {
public:
    explicit sqlite_ledgers(sqlite_handle& h) : handle_{&h}, sums_{h} {}

    time_point open(std::string_view name, time_point now)
    {
        handle_->require_transaction();
        auto& l = state_of(name);
        make(l, now);
        return l.opened_at;
    }

    void record(std::string_view name, std::span<ledger_record const> records, time_point now)
    {
        handle_->require_transaction();
        now_ = now;
        auto& l = state_of(name);
        if (records.size() <= staged_at_once) {
            for (auto const& r : records)
                staged_.push_back({&l, r});
            return;
        }
        flush();
        ++writes_;
        make(l, now);
        insert_all(l, records.size(), [&](std::size_t i) -> ledger_record const& { return records[i]; });
        sums_.write();
    }

    std::size_t erase(std::string_view name, std::span<ledger_position const> positions)
    {
        auto* const l = visible(name);
        if (!l)
            return 0;
        ++writes_;
        std::size_t erased = 0;
        for (auto const& p : positions)
            if (auto const found = find(*l, p)) {
                sums_.subtract(l->sums, p, ledger_sum{found->digest()});
                erase_.execute(*handle_, l->sums.number, ticks(p), blob(p));
                ++erased;
            }
        sums_.write();
        return erased;
    }

    std::vector<ledger_record> read(std::string_view name, ledger_range const& range, std::size_t most)
    {
        std::vector<ledger_record> found;
        auto* const l = visible(name);
        if (!l)
            return found;
        auto rows = read_.run(*handle_, l->sums.number, ticks(range.from), blob(range.from), ticks(range.to), blob(range.to),
            static_cast<std::int64_t>(std::min<std::size_t>(most, std::numeric_limits<std::int64_t>::max())));
        while (rows.step())
            found.push_back(sqlite_ledger_sums::record_of(rows));
        return found;
    }

    std::vector<ledger_sum> sum(std::string_view name, std::span<ledger_range const> ranges)
    {
        std::vector<ledger_sum> all(ranges.size());
        if (auto* const l = visible(name))
            for (std::size_t i = 0; i < ranges.size(); ++i)
                all[i] = sums_.sum(l->sums, ranges[i]);
        return all;
    }

    std::vector<ledger_position> divide(std::string_view name, ledger_range const& range, std::size_t parts)
    {
        auto* const l = visible(name);
        return l ? sums_.divide(l->sums, range, parts) : std::vector<ledger_position>{};
    }

    std::size_t purge(std::string_view name, time_point before)
    {
        auto* const l = visible(name);
        if (!l)
            return 0;
        auto const range = sums_.purge(l->sums, before);
        if (!range)
            return 0;
        ++writes_;
        return purge_.execute(*handle_, l->sums.number, ticks(range->from), blob(range->from), ticks(range->to), blob(range->to));
    }

    std::vector<std::string> names()
    {
        flush();
        std::vector<std::string> all;
        auto rows = names_.run(*handle_);
        while (rows.step())
            all.push_back(rows.text(0));
        return all;
    }

    void savepoint() { savepoints_.push_back({staged_.size(), flushed_, writes_}); }
    void release() noexcept { savepoints_.pop_back(); }
    void rollback_to() noexcept
    {
        auto const to = savepoints_.back();
        savepoints_.pop_back();
        staged_.erase(staged_.begin() + static_cast<std::ptrdiff_t>(to.staged), staged_.end());
        flushed_ = to.flushed; // what was flushed since is in memory only again
        if (writes_ != to.writes)
            forget_states();
    }

    /// Writes everything that is still in memory.
    void flush()
    {
        if (flushed_ == staged_.size())
            return;
        handle_->require_transaction();
        ++writes_;
        while (flushed_ < staged_.size()) {
            auto const from = flushed_;
            auto& l = *staged_[from].ledger;
            while (flushed_ < staged_.size() && staged_[flushed_].ledger == &l)
                ++flushed_;
            make(l, now_);
            insert_all(l, flushed_ - from, [&](std::size_t i) -> ledger_record const& { return staged_[from + i].record; });
        }
        sums_.write();
    }

    /// Forgets the group; after a rollback, or when another connection wrote, also what is known of the ledgers.
    void end_group(bool forget_ledgers) noexcept
    {
        staged_.clear();
        flushed_ = 0;
        savepoints_.clear();
        if (forget_ledgers)
            forget_states();
    }

private:
    static constexpr std::size_t rows_at_once = 16; // by one INSERT
    static constexpr std::size_t staged_at_once = 256;
    static constexpr int columns = 5;

    struct state {
        std::string name;
        time_point opened_at{};
        sqlite_ledger_state sums{}; // its number is 0 while unknown
    };
    struct staged_record {
        state* ledger;
        ledger_record record;
    };
    struct savepoint_type {
        std::size_t staged;
        std::size_t flushed;
        std::uint64_t writes;
    };

    static std::int64_t ticks(ledger_position const& p) noexcept { return sqlite_ledger_sums::ticks(p); }
    static sqlite_blob blob(ledger_position const& p) noexcept { return bytes_as_blob(p.id.bytes()); }

    void forget_states() noexcept
    {
        for (auto& [name, l] : states_)
            l.sums = {};
        sums_.forget();
    }

    state& state_of(std::string_view name)
    {
        if (last_ && last_->name == name)
            return *last_;
        auto found = states_.find(name);
        if (found == states_.end())
            found = states_.emplace(name, state{std::string{name}}).first;
        return *(last_ = &found->second);
    }

    bool load(state& l)
    {
        if (l.sums.number != 0)
            return true;
        auto row = select_.run(*handle_, std::string_view{l.name});
        if (!row.step())
            return false;
        l.sums.number = row.integer(0);
        l.opened_at = time_point{duration{row.integer(1)}};
        return true;
    }

    void make(state& l, time_point now)
    {
        if (load(l))
            return;
        ++writes_;
        insert_ledger_.execute(*handle_, std::string_view{l.name}, static_cast<std::int64_t>(now.time_since_epoch().count()));
        load(l);
    }

    /// The ledger with all its records in the table, or null.
    state* visible(std::string_view name)
    {
        handle_->require_transaction();
        flush();
        auto& l = state_of(name);
        return load(l) ? &l : nullptr;
    }

    template <class At>
    void insert_all(state& l, std::size_t n, At at)
    {
        sums_.load_newest(l.sums);
        std::size_t i = 0;
        for (; i + rows_at_once <= n; i += rows_at_once)
            if (!insert(insert_many_, l, rows_at_once, [&](std::size_t k) -> ledger_record const& { return at(i + k); }))
                for (std::size_t k = 0; k < rows_at_once; ++k)
                    insert_one(l, at(i + k));
        for (; i < n; ++i)
            insert_one(l, at(i));
    }

    void insert_one(state& l, ledger_record const& r)
    {
        if (insert(insert_one_, l, 1, [&](std::size_t) -> ledger_record const& { return r; }))
            return;
        if (auto const before = find(l, r.position()))
            sums_.subtract(l.sums, r.position(), ledger_sum{before->digest()});
        replace_.execute(*handle_, l.sums.number, ticks(r.position()), blob(r.position()), std::string_view{r.key},
            as_blob(r.fields.bytes()));
        sums_.add(l.sums, r.position(), ledger_sum{r.digest()});
    }

    /// False, and nothing is changed, if one of them is there: that is rare.
    template <class At>
    bool insert(sqlite_query& query, state& l, std::size_t n, At at)
    {
        {
            auto scope = query.run(*handle_, l.sums.number);
            int code = SQLITE_OK;
            for (std::size_t i = 0; i < n && code == SQLITE_OK; ++i)
                code = bind(scope.get(), 2 + static_cast<int>(i) * (columns - 1), at(i));
            if (code == SQLITE_OK)
                code = sqlite3_step(scope.get());
            if ((code & 0xff) == SQLITE_CONSTRAINT)
                return false;
            if (code != SQLITE_DONE)
                handle_->fail(code, "cannot use", errc::store_failed);
        }
        for (std::size_t i = 0; i < n; ++i)
            sums_.add(l.sums, at(i).position(), ledger_sum{at(i).digest()});
        return true;
    }

    static int bind(sqlite3_stmt* s, int at, ledger_record const& r)
    {
        int codes = bind_sqlite(s, at, static_cast<std::int64_t>(r.time.time_since_epoch().count()));
        codes |= bind_sqlite(s, at + 1, bytes_as_blob(r.id.bytes()));
        codes |= bind_sqlite(s, at + 2, std::string_view{r.key});
        codes |= bind_sqlite(s, at + 3, as_blob(r.fields.bytes()));
        return codes;
    }

    std::optional<ledger_record> find(state const& l, ledger_position const& p)
    {
        auto row = find_.run(*handle_, l.sums.number, ticks(p), blob(p));
        return row.step() ? std::optional{sqlite_ledger_sums::record_of(row)} : std::nullopt;
    }

    static std::string insert_sql(std::size_t rows)
    {
        std::string sql = "INSERT INTO cosaga_records VALUES";
        for (std::size_t i = 0; i < rows; ++i)
            sql += i ? ",(?1,?,?,?,?)" : "(?1,?,?,?,?)";
        return sql;
    }

    sqlite_handle* handle_;
    sqlite_ledger_sums sums_;
    std::map<std::string, state, std::less<>> states_;
    state* last_ = nullptr; // found last: mostly the next too
    std::vector<staged_record> staged_;
    std::size_t flushed_ = 0; // how many of `staged_` are in the table
    std::uint64_t writes_ = 0; // what reached a table, even if it was rolled back since
    std::vector<savepoint_type> savepoints_;
    time_point now_{};

    sqlite_query select_{"SELECT number, opened_at FROM cosaga_ledgers WHERE name = ?1"};
    sqlite_query insert_ledger_{"INSERT INTO cosaga_ledgers(name, opened_at) VALUES(?1, ?2) ON CONFLICT DO NOTHING"};
    sqlite_query names_{"SELECT name FROM cosaga_ledgers ORDER BY name"};
    sqlite_query insert_many_{insert_sql(rows_at_once)};
    sqlite_query insert_one_{insert_sql(1)};
    sqlite_query replace_{"INSERT OR REPLACE INTO cosaga_records VALUES(?1, ?2, ?3, ?4, ?5)"};
    sqlite_query find_{"SELECT time, id, key, fields FROM cosaga_records WHERE ledger = ?1 AND time = ?2 AND id = ?3"};
    sqlite_query erase_{"DELETE FROM cosaga_records WHERE ledger = ?1 AND time = ?2 AND id = ?3"};
    sqlite_query read_{"SELECT time, id, key, fields FROM cosaga_records "
                       "WHERE ledger = ?1 AND (time, id) >= (?2, ?3) AND (time, id) < (?4, ?5) ORDER BY time, id LIMIT ?6"};
    sqlite_query purge_{"DELETE FROM cosaga_records WHERE ledger = ?1 AND (time, id) >= (?2, ?3) AND (time, id) < (?4, ?5)"};
};

} // namespace cosaga::detail
