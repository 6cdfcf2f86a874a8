// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_id_range.hpp>
#include <cosaga/detail/sqlite_queues.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What has no column of its own: the topic unless it is the queue's, source, content type and headers.
inline void encode_attributes(std::string& out, message const& m, queue_name const& queue)
{
    out.clear();
    wire_writer w{out};
    bool const other_topic = m.topic != queue.topic;
    w.u8(other_topic);
    if (other_topic)
        w.bytes(m.topic);
    w.bytes(m.source);
    w.bytes(m.content_type);
    w.varint(m.headers.size());
    for (auto const& h : m.headers) {
        w.bytes(h.name);
        w.bytes(h.value);
    }
}

inline void decode_attributes(std::string_view bytes, message& m, queue_name const& queue)
{
    wire_reader r{bytes, "stored message"};
    m.topic = r.varint(1) ? std::string{r.bytes()} : queue.topic;
    m.source = r.bytes();
    m.content_type = r.bytes();
    m.headers.resize(r.count(std::numeric_limits<std::size_t>::max(), 2));
    for (auto& h : m.headers) {
        h.name = r.bytes();
        h.value = r.bytes();
    }
    r.expect_end();
}

inline std::int64_t micros(time_point t) noexcept { return t.time_since_epoch().count(); }
inline time_point from_micros(std::int64_t v) noexcept { return time_point{duration{v}}; }
inline std::int64_t as_limit(std::size_t most) noexcept
{
    return static_cast<std::int64_t>(std::min<std::size_t>(most, std::numeric_limits<std::int64_t>::max()));
}

/// The message table. Appended rows stay in memory until the end of their group, or until somebody reads.
class sqlite_messages {
public:
    explicit sqlite_messages(sqlite_handle& h) : handle_{&h}, queues_{h}
    {
        attributes_.resize(rows_at_once);
    }

    void append(queue_name const& name, message_state state, std::span<message_row> rows)
    {
        handle_->require_transaction();
        if (rows.empty())
            return;
        auto const most = static_cast<std::size_t>(sqlite3_limit(handle_->get(), SQLITE_LIMIT_LENGTH, -1));
        for (auto const& row : rows)
            if (memory_of(row.content) + row.last_error.size() > most)
                throw make_error(errc::limit_exceeded, "a message is larger than the " + std::to_string(most) + " bytes of a row");
        auto& q = queues_.get(name);
        queues_.check_room(q, rows.size());
        for (auto& row : rows) {
            row.seq = ++q.last_seq;
            staged_bytes_ += memory_of(row.content);
            q.staged.push_back(staged_.size());
            staged_.push_back({&q, state, std::move(row)});
        }
        queues_.add(q, state, static_cast<std::int64_t>(rows.size()));
    }

    std::vector<message_row> read(queue_name const& name, message_state state, std::int64_t after, std::size_t most)
    {
        std::vector<message_row> rows;
        if (auto* const q = visible(name)) {
            auto const base = position_of(*q, state, 0);
            auto const from = std::clamp<std::int64_t>(after, 0, max_seq);
            auto found = read_.run(*handle_, base + from, base + max_seq, as_limit(most));
            while (found.step())
                rows.push_back(row_of(found, q->name));
        }
        return rows;
    }

    std::vector<message_row> read_due(queue_name const& name, message_state state, time_point now, std::size_t most)
    {
        std::vector<message_row> rows;
        if (auto* const q = visible(name)) {
            auto found = read_due_.run(*handle_, waiting_of(*q, state), micros(now), as_limit(most));
            while (found.step())
                rows.push_back(row_of(found, q->name));
        }
        return rows;
    }

    std::optional<time_point> next_due(queue_name const& name, message_state state)
    {
        if (auto* const q = visible(name)) {
            auto found = next_due_.run(*handle_, waiting_of(*q, state));
            if (found.step())
                return from_micros(found.integer(0));
        }
        return std::nullopt;
    }

    std::vector<located_row> find(std::span<message_id const> ids)
    {
        handle_->require_transaction();
        flush();
        std::vector<located_row> rows;
        for (auto const position : positions_of(ids)) {
            auto found = at_.run(*handle_, position);
            if (!found.step())
                continue;
            auto name = queues_.name_of(position >> (seq_bits + 2));
            auto row = row_of(found, name);
            rows.push_back({std::move(name), static_cast<message_state>((position >> seq_bits) & 3), std::move(row)});
        }
        return rows;
    }

    std::size_t erase(queue_name const& name, message_state state, std::span<std::int64_t const> seqs)
    {
        auto* const q = seqs.empty() ? nullptr : changed(name, *std::max_element(seqs.begin(), seqs.end()));
        if (!q)
            return 0;
        std::size_t erased = 0;
        for (std::size_t i = 0; i < seqs.size();) {
            auto const first = i++;
            if (!is_seq(seqs[first]))
                continue;
            while (i < seqs.size() && is_seq(seqs[i]) && seqs[i] == seqs[i - 1] + 1)
                ++i;
            erased += erase_.execute(*handle_, position_of(*q, state, seqs[first]), position_of(*q, state, seqs[i - 1]));
        }
        if (erased > 0)
            queues_.add(*q, state, -static_cast<std::int64_t>(erased));
        return erased;
    }

    bool move(queue_name const& name, message_state from, message_state to, message_row const& row)
    {
        auto* const q = changed(name, row.seq);
        if (!q || !is_seq(row.seq))
            return false;
        queues_.check_room(*q, 1);
        auto const seq = q->last_seq + 1;
        if (!set_waiting(move_, *q, position_of(*q, from, row.seq), position_of(*q, to, seq), to, row))
            return false;
        q->last_seq = seq;
        queues_.add(*q, from, -1);
        queues_.add(*q, to, 1);
        if (to == message_state::ready)
            q->look = true;
        else if (to == message_state::delayed)
            q->due = q->due ? std::min(*q->due, row.due_at) : row.due_at;
        return true;
    }

    bool update(queue_name const& name, message_state state, message_row const& row)
    {
        auto* const q = changed(name, row.seq);
        if (!q || !is_seq(row.seq))
            return false;
        auto const position = position_of(*q, state, row.seq);
        return set_waiting(move_, *q, position, position, state, row);
    }

    std::size_t count(queue_name const& name, message_state state)
    {
        handle_->require_transaction();
        auto* const q = queues_.find(name);
        return q ? static_cast<std::size_t>(q->counts[static_cast<std::size_t>(state)]) : 0;
    }

    std::vector<queue_name> queues()
    {
        handle_->require_transaction();
        return queues_.all();
    }

    // the group

    void savepoint() { savepoints_.push_back({staged_.size(), flushed_, queues_.position()}); }
    void release() noexcept { savepoints_.pop_back(); }
    void rollback_to() noexcept
    {
        auto const to = savepoints_.back();
        savepoints_.pop_back();
        for (auto i = staged_.size(); i > to.staged; --i)
            staged_[i - 1].queue->staged.pop_back();
        staged_.erase(staged_.begin() + static_cast<std::ptrdiff_t>(to.staged), staged_.end());
        flushed_ = to.flushed; // what was flushed since is in memory only again
        queues_.undo_to(to.queues);
    }

    bool crowded() const noexcept { return staged_bytes_ > max_staged_bytes || staged_.size() > max_staged_rows; }

    /// Writes everything that is still in memory.
    void finish()
    {
        flush();
        queues_.write();
    }

    /// Calls `f(queue, make_notice)` for each queue that the group touched.
    template <class F>
    void notices(F& f)
    {
        for (auto* const q : queues_.touched())
            if (q->look || q->due || !q->staged.empty())
                f(q->name, [this, q] { return make_notice(*q); });
    }

    /// Forgets the group; after a rollback, or when another connection wrote, also what is known of the queues.
    void end_group(bool forget_queues) noexcept
    {
        staged_.clear();
        if (staged_.capacity() > max_staged_rows)
            staged_.shrink_to_fit();
        staged_bytes_ = 0;
        flushed_ = 0;
        savepoints_.clear();
        queues_.end_group(forget_queues);
    }

private:
    static constexpr int seq_bits = 40;
    static constexpr std::int64_t max_seq = sqlite_queues::max_seq;
    static constexpr std::size_t rows_at_once = 16; // by one INSERT: measured, more gain nothing
    static constexpr int columns = 11;
    // Enough for a group; beyond that its works would wait for memory rather than for the disk.
    static constexpr std::size_t max_staged_bytes = 16 * 1024 * 1024;
    static constexpr std::size_t max_staged_rows = 16'384;

    struct staged_row {
        sqlite_queue* queue;
        message_state state;
        message_row row;
    };
    struct savepoint_type {
        std::size_t staged;
        std::size_t flushed;
        std::size_t queues;
    };

    static bool is_seq(std::int64_t seq) noexcept { return seq > 0 && seq <= max_seq; }
    static std::int64_t waiting_of(sqlite_queue const& q, message_state state) noexcept
    {
        return q.number * 4 + static_cast<std::int64_t>(state);
    }
    static std::int64_t position_of(sqlite_queue const& q, message_state state, std::int64_t seq) noexcept
    {
        return (waiting_of(q, state) << seq_bits) | seq;
    }

    /// The queue with all its rows in the table, or null.
    sqlite_queue* visible(queue_name const& name)
    {
        handle_->require_transaction();
        auto* const q = queues_.find(name);
        if (q && !q->staged.empty() && q->staged.back() >= flushed_)
            flush();
        return q;
    }

    /// The queue with all its rows up to `seq` in the table, or null. Tells watchers to look when the row is of this group.
    sqlite_queue* changed(queue_name const& name, std::int64_t seq)
    {
        handle_->require_transaction();
        auto* const q = queues_.find(name);
        if (!q || q->staged.empty() || seq < staged_[q->staged.front()].row.seq)
            return q;
        q->look = true;
        return visible(name);
    }

    std::vector<std::int64_t> positions_of(std::span<message_id const> ids)
    {
        std::vector<std::int64_t> positions;
        sqlite_id_range const range{ids};
        auto const walked = range.walk([&](auto const& first, auto const& last, std::int64_t most) { return range_.run(*handle_, first, last, most); },
            [&](auto const& row) { positions.push_back(row.integer(1)); });
        if (walked)
            return positions;
        positions.clear();
        for (auto const& id : range.ids()) {
            auto found = find_.run(*handle_, bytes_as_blob(id.bytes()));
            while (found.step())
                positions.push_back(found.integer(0));
        }
        return positions;
    }

    bool set_waiting(sqlite_query& query, sqlite_queue const& q, std::int64_t from, std::int64_t to, message_state state,
        message_row const& row)
    {
        if (state == message_state::ready)
            return query.execute(*handle_, from, to, nullptr, micros(row.due_at), std::int64_t{row.attempts},
                       std::string_view{row.last_error}) > 0;
        return query.execute(*handle_, from, to, waiting_of(q, state), micros(row.due_at), std::int64_t{row.attempts},
                   std::string_view{row.last_error}) > 0;
    }

    void flush()
    {
        while (staged_.size() - flushed_ >= rows_at_once)
            insert(insert_many_, rows_at_once);
        while (flushed_ < staged_.size())
            insert(insert_one_, 1);
    }

    void insert(sqlite_query& query, std::size_t n)
    {
        auto scope = query.run(*handle_);
        int code = SQLITE_OK;
        for (std::size_t i = 0; i < n && code == SQLITE_OK; ++i)
            code = bind(scope.get(), static_cast<int>(i) * columns, staged_[flushed_ + i], attributes_[i]);
        if (code != SQLITE_OK)
            handle_->fail(code, "cannot bind a message for", errc::store_failed);
        scope.step();
        flushed_ += n;
    }

    static int bind(sqlite3_stmt* s, int at, staged_row const& staged, std::string& attributes)
    {
        auto const& [q, state, row] = staged;
        auto const& m = row.content;
        encode_attributes(attributes, m, q->name);
        int codes = bind_sqlite(s, at + 1, position_of(*q, state, row.seq));
        codes |= state == message_state::ready ? bind_sqlite(s, at + 2, nullptr) : bind_sqlite(s, at + 2, waiting_of(*q, state));
        codes |= bind_sqlite(s, at + 3, micros(row.due_at));
        codes |= bind_sqlite(s, at + 4, std::int64_t{row.attempts});
        codes |= bind_sqlite(s, at + 5, std::string_view{row.last_error});
        codes |= bind_sqlite(s, at + 6, bytes_as_blob(m.id.bytes()));
        codes |= bind_sqlite(s, at + 7, micros(m.time));
        codes |= bind_sqlite(s, at + 8, std::string_view{m.key});
        codes |= bind_sqlite(s, at + 9, std::string_view{m.type});
        codes |= bind_sqlite(s, at + 10, as_blob(attributes));
        codes |= bind_sqlite(s, at + 11, as_blob(m.payload));
        return codes;
    }

    message_row row_of(sqlite_query::run_scope const& found, queue_name const& name) const
    {
        message_row row;
        row.seq = found.integer(0) & max_seq;
        row.due_at = from_micros(found.integer(1));
        row.attempts = static_cast<std::uint32_t>(found.integer(2));
        row.last_error = found.text(3);
        row.content.id = message_id{wire_reader{found.view(4), "stored message id"}.raw<message_id::size>()};
        row.content.time = from_micros(found.integer(5));
        row.content.key = found.text(6);
        row.content.type = found.text(7);
        decode_attributes(found.view(8), row.content, name);
        row.content.payload = found.text(9);
        return row;
    }

    commit_notice make_notice(sqlite_queue& q)
    {
        commit_notice notice;
        notice.due = q.due;
        notice.look = q.look;
        notice.ready.reserve(q.staged.size());
        for (auto const i : q.staged) {
            auto& [queue, state, row] = staged_[i];
            if (state == message_state::delayed)
                notice.due = notice.due ? std::min(*notice.due, row.due_at) : row.due_at;
            else if (state == message_state::ready)
                notice.ready.push_back(std::move(row));
        }
        return notice;
    }

    static std::string insert_sql(std::size_t rows)
    {
        std::string sql = "INSERT INTO cosaga_messages VALUES";
        for (std::size_t i = 0; i < rows; ++i)
            sql += i ? ",(?,?,?,?,?,?,?,?,?,?,?)" : "(?,?,?,?,?,?,?,?,?,?,?)";
        return sql;
    }
    static std::string select(char const* rest)
    {
        return std::string{"SELECT position, due_at, attempts, last_error, id, time, key, type, attributes, payload "
                           "FROM cosaga_messages WHERE "}
             + rest;
    }

    sqlite_handle* handle_;
    sqlite_queues queues_;
    std::vector<staged_row> staged_;
    std::size_t staged_bytes_ = 0;
    std::size_t flushed_ = 0; // how many of `staged_` are in the table
    std::vector<savepoint_type> savepoints_;
    std::vector<std::string> attributes_;

    sqlite_query insert_many_{insert_sql(rows_at_once)};
    sqlite_query insert_one_{insert_sql(1)};
    sqlite_query read_{select("position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3")};
    sqlite_query read_due_{select("waiting = ?1 AND due_at <= ?2 ORDER BY due_at, position LIMIT ?3")};
    sqlite_query next_due_{"SELECT due_at FROM cosaga_messages WHERE waiting = ?1 ORDER BY due_at LIMIT 1"};
    sqlite_query at_{select("position = ?1")};
    sqlite_query find_{"SELECT position FROM cosaga_messages WHERE id = ?1 AND waiting IS NOT NULL"};
    sqlite_query range_{"SELECT id, position FROM cosaga_messages WHERE id BETWEEN ?1 AND ?2 AND waiting IS NOT NULL ORDER BY id LIMIT ?3"};
    sqlite_query erase_{"DELETE FROM cosaga_messages WHERE position BETWEEN ?1 AND ?2"};
    sqlite_query move_{"UPDATE cosaga_messages SET position = ?2, waiting = ?3, due_at = ?4, attempts = ?5, last_error = ?6 "
                       "WHERE position = ?1"};
};

} // namespace cosaga::detail
