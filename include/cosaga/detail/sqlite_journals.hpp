// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_messages.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/storage.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What is known of a saga and of its journal. Positions are those of the first and the last entry; 0: there is none.
struct sqlite_journal {
    std::int64_t saga = 0; ///< 0: nothing is known
    std::int64_t epoch = 0;
    std::int64_t entries = 0; ///< the number of the last one
    std::int64_t first = 0;
    std::int64_t last = 0;
    bool ahead = false; ///< of its row
};

/// The journals of all sagas: one table, to which entries are appended whatever saga they are of, so that a group writes a few pages at its end
/// and not one for each saga. An entry has the position of the one before in its saga, and `cosaga_journals` that of the last.
///
/// Entries stay in memory until the end of their group, or until somebody reads. The rows of `cosaga_journals` are right up to a position that is
/// in `cosaga_meta`, and written again when there are many entries behind it: whoever opens the store reads those.
class sqlite_journals {
public:
    explicit sqlite_journals(sqlite_handle& h) : handle_{&h} {}

    /// Begins a group.
    void load()
    {
        if (std::exchange(loaded_, true))
            return;
        settled_ = number_of(select_settled_);
        last_position_ = std::max(number_of(select_last_), settled_); // the last ones may have been erased
        std::unordered_map<std::int64_t, sqlite_journal*> found;
        auto tail = select_tail_.run(*handle_, settled_);
        while (tail.step()) {
            auto const position = tail.integer(0);
            auto const [at, first] = found.try_emplace(tail.integer(1), nullptr);
            if (first)
                at->second = find_numbered(at->first);
            if (auto* const j = at->second) {
                j->entries = static_cast<std::int64_t>(wire_reader{tail.view(2), "stored journal entry"}.varint());
                j->first = j->first == 0 ? position : j->first;
                j->last = position;
            }
        }
    }

    /// For a saga that was inserted.
    void open(std::string_view id, std::int64_t saga, std::int64_t epoch)
    {
        auto& j = slot(id);
        remember(j);
        j = {saga, epoch};
    }
    /// For a saga whose epoch was changed.
    void set_epoch(std::string_view id, std::int64_t epoch)
    {
        if (auto const found = journals_.find(id); found != journals_.end()) {
            remember(found->second);
            found->second.epoch = epoch;
        }
    }

    /// @return the number of the last entry, or nothing if there is no saga of that epoch.
    std::optional<std::uint64_t> append(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries)
    {
        handle_->require_transaction();
        auto* const j = find(id);
        if (!j || j->epoch != epoch)
            return std::nullopt;
        if (entries.empty())
            return as_unsigned(j->entries);
        change(*j);
        for (auto const& e : entries) {
            auto const position = ++last_position_; // above all that are there, so that `previous` never leads to one that came later
            stage({position, j->last, j->saga, staged_bytes_.size()}, as_unsigned(++j->entries), e);
            j->last = position;
            j->first = j->first == 0 ? position : j->first;
        }
        return as_unsigned(j->entries);
    }

    std::vector<journal_entry> read(std::string_view id, std::uint64_t after, std::size_t most)
    {
        handle_->require_transaction();
        std::vector<journal_entry> entries;
        auto* const j = find(id);
        if (!j || most == 0 || after >= as_unsigned(j->entries))
            return entries;
        flush(*j);
        bool const only_first = after == 0 && most == 1;
        walk(*j, only_first ? j->first : j->last, [&](auto const& row) {
            wire_reader in{row.view(entry_column), "stored journal entry"};
            auto const number = in.varint();
            if (number <= after)
                return false;
            auto& e = entries.emplace_back();
            e.number = number;
            e.kind = static_cast<std::uint32_t>(in.varint(std::numeric_limits<std::uint32_t>::max()));
            e.at = from_micros(in.zigzag());
            e.step = in.bytes();
            e.name = in.bytes();
            e.content = in.rest();
            return !only_first;
        });
        std::reverse(entries.begin(), entries.end());
        if (entries.size() > most)
            entries.resize(most);
        return entries;
    }

    std::size_t erase(std::string_view id, std::uint64_t through)
    {
        handle_->require_transaction();
        auto* const j = find(id);
        if (!j)
            return 0;
        flush(*j);
        std::vector<std::int64_t> old;
        std::int64_t first = 0;
        auto at = j->last;
        walk(*j, at, [&](auto const& row) {
            if (wire_reader{row.view(entry_column), "stored journal entry"}.varint() <= through)
                old.push_back(at);
            else
                first = at;
            at = row.integer(previous_column);
            return true;
        });
        if (old.empty())
            return 0;
        change(*j);
        j->first = first;
        j->last = first == 0 ? 0 : j->last;
        eager_ = std::max(eager_, 1); // what is left does not tell this
        for (auto const position : old)
            erase_entry_.execute(*handle_, position);
        return old.size();
    }

    /// For a saga that is erased.
    void close(std::string_view id)
    {
        erase(id, static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
        if (auto* const j = find(id)) {
            erase_.execute(*handle_, j->saga);
            remember(*j);
            *j = {};
        }
    }

    // the group

    void savepoint() { savepoints_.push_back({staged_.size(), staged_bytes_.size(), flushed_, undo_.size()}); }
    void release() noexcept
    {
        savepoints_.pop_back();
        if (savepoints_.empty())
            undo_.clear();
    }
    void rollback_to() noexcept
    {
        auto const to = savepoints_.back();
        savepoints_.pop_back();
        staged_.resize(to.staged);
        staged_bytes_.resize(to.bytes);
        flushed_ = to.flushed; // what was flushed since is in memory only again
        for (; undo_.size() > to.undo; undo_.pop_back())
            *undo_.back().first = undo_.back().second;
    }

    bool crowded() const noexcept { return staged_bytes_.size() > max_staged_bytes || staged_.size() > max_staged_entries; }

    /// Writes everything that is still in memory.
    void finish()
    {
        flush();
        if (ahead_.empty())
            return;
        if (eager_ > 0 || last_position_ - settled_ > max_tail || journals_.size() > max_known)
            settle();
        eager_ = std::max(eager_ - 1, 0);
    }

    /// Forgets the group; after a rollback, or when another connection wrote, also what is known of the journals.
    void end_group(bool forget) noexcept
    {
        staged_.clear();
        staged_bytes_.clear();
        flushed_ = 0;
        savepoints_.clear();
        undo_.clear();
        if (forget) {
            ahead_.clear();
            loaded_ = false;
            eager_ = eager_groups;
        }
        if (ahead_.empty() && (forget || journals_.size() > max_known))
            journals_.clear();
    }

private:
    static constexpr std::size_t rows_at_once = 64; // by one INSERT
    static constexpr std::size_t max_staged_bytes = 16 * 1024 * 1024;
    static constexpr std::size_t max_staged_entries = 16'384;
    static constexpr std::size_t max_known = 16'384;
    static constexpr std::int64_t max_tail = 8192;  // entries that are read at opening: some milliseconds
    static constexpr int eager_groups = 16;         // after another connection has written: it may go on, and would read our tail again and again
    static constexpr int columns = 4; // of either table
    static constexpr int previous_column = 0; // of `select_entry_`
    static constexpr int entry_column = 2;

    struct staged_entry {
        std::int64_t position;
        std::int64_t previous;
        std::int64_t saga;
        std::size_t from; ///< where it is in `staged_bytes_`
        std::size_t size = 0;
    };
    struct savepoint_type {
        std::size_t staged;
        std::size_t bytes;
        std::size_t flushed;
        std::size_t undo;
    };
    struct text_hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
    };

    std::int64_t number_of(sqlite_query& query)
    {
        auto row = query.run(*handle_);
        return row.step() ? row.integer(0) : 0;
    }

    /// The rows become right up to the last entry.
    void settle()
    {
        std::erase_if(ahead_, [](auto* j) { return j->saga == 0 || !std::exchange(j->ahead, false); });
        std::size_t at = 0;
        for (; ahead_.size() - at >= rows_at_once; at += rows_at_once)
            write(write_many_, {ahead_.data() + at, rows_at_once});
        for (; at < ahead_.size(); ++at)
            write(write_one_, {ahead_.data() + at, 1});
        ahead_.clear();
        settled_ = last_position_;
        write_settled_.execute(*handle_, settled_);
    }

    static std::uint64_t as_unsigned(std::int64_t n) noexcept { return static_cast<std::uint64_t>(n); }

    sqlite_journal& slot(std::string_view id)
    {
        auto const found = journals_.find(id);
        return found != journals_.end() ? found->second : journals_.emplace(id, sqlite_journal{}).first->second;
    }

    /// The journal of that saga, or null if there is none.
    sqlite_journal* find(std::string_view id)
    {
        if (auto const found = journals_.find(id); found != journals_.end() && found->second.saga != 0)
            return &found->second;
        auto row = select_.run(*handle_, id);
        if (!row.step())
            return nullptr;
        auto& j = slot(id);
        remember(j); // what is read inside a savepoint may be undone with it
        j = {row.integer(0), row.integer(1), row.integer(2), row.integer(3), row.integer(4)};
        return &j;
    }
    /// The same by its number; it becomes one that is ahead.
    sqlite_journal* find_numbered(std::int64_t saga)
    {
        auto row = select_numbered_.run(*handle_, saga);
        if (!row.step())
            return nullptr;
        auto& j = slot(row.text(4));
        j = {saga, row.integer(0), row.integer(1), row.integer(2), row.integer(3)};
        change(j);
        return &j;
    }

    void remember(sqlite_journal& j)
    {
        if (!savepoints_.empty())
            undo_.emplace_back(&j, j);
    }
    void change(sqlite_journal& j)
    {
        remember(j);
        if (!std::exchange(j.ahead, true))
            ahead_.push_back(&j);
    }

    void stage(staged_entry s, std::uint64_t number, journal_entry const& e)
    {
        wire_writer out{staged_bytes_};
        out.varint(number);
        out.varint(e.kind);
        out.zigzag(micros(e.at));
        out.bytes(e.step);
        out.bytes(e.name);
        out.raw(e.content);
        s.size = staged_bytes_.size() - s.from;
        staged_.push_back(s);
    }

    /// Calls `f` with the entries from a position backwards until it returns false.
    template <class F>
    void walk(sqlite_journal const& j, std::int64_t from, F f)
    {
        for (auto position = from; position != 0;) {
            auto row = select_entry_.run(*handle_, position);
            if (!row.step() || row.integer(1) != j.saga)
                return; // the one before the first, erased
            auto const previous = row.integer(previous_column);
            if (!f(row))
                return;
            position = previous;
        }
    }

    void flush(sqlite_journal const& j)
    {
        if (flushed_ < staged_.size() && j.last >= staged_[flushed_].position)
            flush();
    }
    void flush()
    {
        for (; staged_.size() - flushed_ >= rows_at_once; flushed_ += rows_at_once)
            insert(insert_many_, rows_at_once);
        for (; flushed_ < staged_.size(); ++flushed_)
            insert(insert_one_, 1);
    }

    void insert(sqlite_query& query, std::size_t n)
    {
        auto scope = query.run(*handle_);
        int codes = SQLITE_OK;
        for (std::size_t i = 0; i < n; ++i)
            codes |= bind(scope.get(), static_cast<int>(i) * columns, staged_[flushed_ + i]);
        if (codes != SQLITE_OK)
            handle_->fail(codes, "cannot bind a journal entry for", errc::store_failed);
        scope.step();
    }
    int bind(sqlite3_stmt* s, int at, staged_entry const& e) const
    {
        int codes = bind_sqlite(s, at + 1, e.position);
        codes |= bind_sqlite(s, at + 2, e.previous);
        codes |= bind_sqlite(s, at + 3, e.saga);
        codes |= bind_sqlite(s, at + 4, as_blob(std::string_view{staged_bytes_}.substr(e.from, e.size)));
        return codes;
    }

    void write(sqlite_query& query, std::span<sqlite_journal* const> journals)
    {
        auto scope = query.run(*handle_);
        int codes = SQLITE_OK;
        int at = 0;
        for (auto const* j : journals)
            for (auto const value : {j->saga, j->entries, j->first, j->last})
                codes |= bind_sqlite(scope.get(), ++at, value);
        if (codes != SQLITE_OK)
            handle_->fail(codes, "cannot bind a journal for", errc::store_failed);
        scope.step();
    }

    static std::string with_rows(std::string sql, std::size_t rows)
    {
        for (std::size_t i = 0; i < rows; ++i)
            sql += i ? ",(?,?,?,?)" : "(?,?,?,?)";
        return sql;
    }
    static std::string insert_sql(std::size_t rows) { return with_rows("INSERT INTO cosaga_journal_entries VALUES", rows); }
    static std::string write_sql(std::size_t rows) { return with_rows("REPLACE INTO cosaga_journals VALUES", rows); }

    sqlite_handle* handle_;
    std::unordered_map<std::string, sqlite_journal, text_hash, std::equal_to<>> journals_; // by the saga's id; nodes stay for the group
    std::vector<sqlite_journal*> ahead_;
    std::vector<staged_entry> staged_;
    std::string staged_bytes_;
    std::size_t flushed_ = 0; // how many of `staged_` are in the table
    std::vector<savepoint_type> savepoints_;
    std::vector<std::pair<sqlite_journal*, sqlite_journal>> undo_; // what it was before
    bool loaded_ = false;
    std::int64_t last_position_ = 0;
    std::int64_t settled_ = 0; // up to which the rows are right
    int eager_ = 0;            // groups at whose end they become right

    sqlite_query select_{"SELECT s.number, s.epoch, coalesce(j.entries, 0), coalesce(j.first, 0), coalesce(j.last, 0) "
                         "FROM cosaga_sagas s LEFT JOIN cosaga_journals j ON j.saga = s.number WHERE s.id = ?1"};
    sqlite_query select_numbered_{"SELECT s.epoch, coalesce(j.entries, 0), coalesce(j.first, 0), coalesce(j.last, 0), s.id "
                                  "FROM cosaga_sagas s LEFT JOIN cosaga_journals j ON j.saga = s.number WHERE s.number = ?1"};
    sqlite_query select_settled_{"SELECT value FROM cosaga_meta WHERE name = 'journals_settled'"};
    sqlite_query write_settled_{"UPDATE cosaga_meta SET value = ?1 WHERE name = 'journals_settled'"};
    sqlite_query select_tail_{"SELECT position, saga, entry FROM cosaga_journal_entries WHERE position > ?1 ORDER BY position"};
    sqlite_query select_last_{"SELECT coalesce(max(position), 0) FROM cosaga_journal_entries"};
    sqlite_query select_entry_{"SELECT previous, saga, entry FROM cosaga_journal_entries WHERE position = ?1"};
    sqlite_query insert_many_{insert_sql(rows_at_once)};
    sqlite_query insert_one_{insert_sql(1)};
    sqlite_query write_many_{write_sql(rows_at_once)};
    sqlite_query write_one_{write_sql(1)};
    sqlite_query erase_entry_{"DELETE FROM cosaga_journal_entries WHERE position = ?1"};
    sqlite_query erase_{"DELETE FROM cosaga_journals WHERE saga = ?1"};
};

} // namespace cosaga::detail
