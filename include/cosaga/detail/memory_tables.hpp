// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/memory_disk.hpp>
#include <cosaga/detail/memory_ledgers.hpp>
#include <cosaga/detail/memory_sagas.hpp>
#include <cosaga/detail/undo_log.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The tables on a `memory_disk`, with an undo log of the transaction that is going on.
class memory_tables {
public:
    explicit memory_tables(memory_disk& disk) : disk_{&disk} {}

    void begin()
    {
        undo_.clear();
        touched_.clear();
        savepoints_.clear();
    }
    void savepoint() { savepoints_.push_back(position()); }
    void release() noexcept { savepoints_.pop_back(); }
    void rollback_to() noexcept
    {
        undo_to(savepoints_.back());
        savepoints_.pop_back();
    }
    void rollback() noexcept { undo_to({}); }

    // messages

    void append(queue_name const& name, message_state state, std::span<message_row> added)
    {
        auto& q = queue(name);
        for (auto& row : added) {
            row.seq = ++q.last_seq; // never given back, so that an undone number is not used twice
            touched_.push_back({&name_of(name), &q, state, row.seq, row.due_at, true});
            put(q, state, std::move(row));
        }
    }

    std::vector<message_row> read(queue_name const& name, message_state state, std::int64_t after, std::size_t most) const
    {
        std::vector<message_row> found;
        if (auto const* const rows = find_rows(name, state))
            for (auto at = rows->by_seq.upper_bound(after); at != rows->by_seq.end() && found.size() < most; ++at)
                found.push_back(at->second);
        return found;
    }

    std::vector<message_row> read_due(queue_name const& name, message_state state, time_point now, std::size_t most) const
    {
        std::vector<message_row> found;
        if (auto const* const rows = find_rows(name, state))
            for (auto at = rows->by_due.begin(); at != rows->by_due.end() && at->first <= now && found.size() < most; ++at)
                found.push_back(rows->by_seq.at(at->second));
        return found;
    }

    std::optional<time_point> next_due(queue_name const& name, message_state state) const
    {
        auto const* const rows = find_rows(name, state);
        if (!rows || rows->by_due.empty())
            return std::nullopt;
        return rows->by_due.begin()->first;
    }

    std::vector<located_row> find(std::span<message_id const> ids) const
    {
        std::unordered_set<message_id> const wanted(ids.begin(), ids.end());
        std::vector<located_row> found;
        for (auto const& [name, q] : disk_->queues_)
            for (auto const state : {message_state::delayed, message_state::prepared, message_state::dead})
                for (auto const& [seq, row] : q.states[index(state)].by_seq)
                    if (wanted.contains(row.content.id))
                        found.push_back({name, state, row});
        return found;
    }

    std::size_t erase(queue_name const& name, message_state state, std::span<std::int64_t const> seqs)
    {
        auto const q = disk_->queues_.find(name);
        if (q == disk_->queues_.end())
            return 0;
        std::size_t erased = 0;
        for (auto const seq : seqs)
            erased += take(q->second, state, seq).has_value();
        return erased;
    }

    bool move(queue_name const& name, message_state from, message_state to, message_row const& row)
    {
        auto const q = disk_->queues_.find(name);
        if (q == disk_->queues_.end())
            return false;
        auto moved = take(q->second, from, row.seq);
        if (!moved)
            return false;
        moved->seq = ++q->second.last_seq;
        moved->attempts = row.attempts;
        moved->due_at = row.due_at;
        moved->last_error = row.last_error;
        touched_.push_back({&q->first, &q->second, to, moved->seq, row.due_at, false});
        put(q->second, to, std::move(*moved));
        return true;
    }

    bool update(queue_name const& name, message_state state, message_row const& row)
    {
        auto const q = disk_->queues_.find(name);
        if (q == disk_->queues_.end())
            return false;
        auto updated = take(q->second, state, row.seq);
        if (!updated)
            return false;
        updated->attempts = row.attempts;
        updated->due_at = row.due_at;
        updated->last_error = row.last_error;
        put(q->second, state, std::move(*updated));
        return true;
    }

    std::size_t count(queue_name const& name, message_state state) const
    {
        auto const* const rows = find_rows(name, state);
        return rows ? rows->by_seq.size() : 0;
    }

    std::vector<queue_name> queues() const
    {
        std::vector<queue_name> names;
        for (auto const& [name, q] : disk_->queues_)
            names.push_back(name);
        return names;
    }

    // marks

    std::vector<std::optional<mark>> insert_marks(
        std::string_view scope, std::span<message_id const> ids, mark const& value, time_point now)
    {
        auto& known = undo_log::entry(disk_->marks_, scope);
        std::vector<std::optional<mark>> before(ids.size());
        for (std::size_t i = 0; i < ids.size(); ++i) {
            auto& marks = known.of(ids[i]);
            auto const [at, added] = marks.try_emplace(ids[i], memory_disk::stored_mark{value, now});
            if (added)
                undo_.add([&marks, id = ids[i]] { marks.erase(id); });
            else
                before[i] = at->second.value;
        }
        return before;
    }

    std::vector<std::optional<mark>> find_marks(std::string_view scope, std::span<message_id const> ids) const
    {
        std::vector<std::optional<mark>> found(ids.size());
        auto const known = disk_->marks_.find(scope);
        for (std::size_t i = 0; i < ids.size() && known != disk_->marks_.end(); ++i) {
            auto const& marks = known->second.of(ids[i]);
            if (auto const at = marks.find(ids[i]); at != marks.end())
                found[i] = at->second.value;
        }
        return found;
    }

    std::size_t purge_marks(std::string_view scope, time_point before, std::size_t most)
    {
        auto const known = disk_->marks_.find(scope);
        if (known == disk_->marks_.end())
            return 0;
        auto& [ordered, others] = known->second;
        std::size_t purged = 0;
        auto const purge = [&](auto& marks, auto at) {
            undo_.add([&marks, kept = *at] { marks.insert(kept); });
            ++purged;
            return marks.erase(at);
        };
        auto const end = ordered.lower_bound(message_id::first_of(before));
        for (auto at = ordered.begin(); at != end && purged < most;)
            at = purge(ordered, at);
        for (auto at = others.begin(); at != others.end() && purged < most;)
            at = at->second.at < before ? purge(others, at) : std::next(at);
        return purged;
    }

    memory_sagas sagas() { return memory_sagas{disk_->sagas_, disk_->journals_, undo_}; }
    memory_ledgers ledgers() { return memory_ledgers{disk_->ledgers_, undo_}; }

    // tables of the user

    void put(std::string_view table, std::string_view key, std::string value)
    {
        undo_.set(undo_log::entry(disk_->user_, table), key, std::move(value));
    }

    std::optional<std::string> get(std::string_view table, std::string_view key) const
    {
        auto const rows = disk_->user_.find(table);
        if (rows == disk_->user_.end())
            return std::nullopt;
        auto const found = rows->second.find(key);
        return found == rows->second.end() ? std::nullopt : std::optional{found->second};
    }

    bool erase(std::string_view table, std::string_view key) { return undo_.unset(undo_log::entry(disk_->user_, table), key); }

    std::map<std::string, std::string> entries(std::string_view table) const
    {
        auto const rows = disk_->user_.find(table);
        if (rows == disk_->user_.end())
            return {};
        return {rows->second.begin(), rows->second.end()};
    }

    /// Calls `f(queue, make_notice)` for each queue that the transaction touched.
    template <class F>
    void notices(F& f)
    {
        auto const by_name = [](queue_name const* a, queue_name const* b) { return *a < *b; }; // addresses differ from run to run
        std::map<queue_name const*, std::vector<touched>, decltype(by_name)> by_queue{by_name};
        for (auto const& t : touched_)
            if (t.state == message_state::ready || t.state == message_state::delayed)
                by_queue[t.name].push_back(t);
        for (auto const& [name, list] : by_queue)
            f(*name, [&rows = list] { return make_notice(rows); });
    }

private:
    using queue_type = memory_disk::queue;

    struct touched {
        queue_name const* name;
        queue_type const* queue;
        message_state state;
        std::int64_t seq;
        time_point due_at;
        bool appended; // else moved
    };

    struct position_type {
        std::size_t undo = 0;
        std::size_t touched = 0;
    };

    position_type position() const noexcept { return {undo_.size(), touched_.size()}; }
    void undo_to(position_type to) noexcept
    {
        undo_.undo_to(to.undo);
        touched_.erase(touched_.begin() + static_cast<std::ptrdiff_t>(to.touched), touched_.end());
    }

    static std::size_t index(message_state s) noexcept { return static_cast<std::size_t>(s); }

    static commit_notice make_notice(std::vector<touched> const& list)
    {
        commit_notice notice;
        for (auto const& t : list) {
            if (t.state == message_state::delayed) {
                notice.due = notice.due ? std::min(*notice.due, t.due_at) : t.due_at;
                continue;
            }
            auto const& rows = t.queue->states[index(t.state)].by_seq;
            auto const row = rows.find(t.seq);
            if (row == rows.end())
                continue; // taken away again by a later work of the group
            if (t.appended)
                notice.ready.push_back(row->second);
            else
                notice.look = true;
        }
        return notice;
    }

    queue_name const& name_of(queue_name const& name) const { return disk_->queues_.find(name)->first; }

    queue_type& queue(queue_name const& name)
    {
        auto const [at, added] = disk_->queues_.try_emplace(name);
        if (added)
            undo_.add([this, name] { disk_->queues_.erase(name); });
        return at->second;
    }

    memory_disk::rows const* find_rows(queue_name const& name, message_state state) const
    {
        auto const q = disk_->queues_.find(name);
        return q == disk_->queues_.end() ? nullptr : &q->second.states[index(state)];
    }

    // Rows come and go by these two alone, which keep the index and the undo log.

    void put(queue_type& q, message_state state, message_row row)
    {
        auto& rows = q.states[index(state)];
        auto const seq = row.seq;
        if (state != message_state::ready)
            rows.by_due.emplace(row.due_at, seq);
        rows.by_seq.emplace(seq, std::move(row));
        undo_.add([&rows, seq] {
            auto const at = rows.by_seq.find(seq);
            rows.by_due.erase({at->second.due_at, seq});
            rows.by_seq.erase(at);
        });
    }

    std::optional<message_row> take(queue_type& q, message_state state, std::int64_t seq)
    {
        auto& rows = q.states[index(state)];
        auto const at = rows.by_seq.find(seq);
        if (at == rows.by_seq.end())
            return std::nullopt;
        bool const indexed = rows.by_due.erase({at->second.due_at, seq}) > 0;
        std::optional<message_row> row{std::move(at->second)};
        rows.by_seq.erase(at);
        undo_.add([&rows, indexed, kept = *row] {
            if (indexed)
                rows.by_due.emplace(kept.due_at, kept.seq);
            rows.by_seq.emplace(kept.seq, kept);
        });
        return row;
    }

    memory_disk* disk_;
    undo_log undo_;
    std::vector<touched> touched_;
    std::vector<position_type> savepoints_;
};

} // namespace cosaga::detail
