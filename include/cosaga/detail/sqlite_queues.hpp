// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What is known of a queue, and what the group that is going on did to it.
struct sqlite_queue {
    queue_name name;
    std::int64_t number = 0;
    std::int64_t last_seq = 0;
    std::array<std::int64_t, 4> counts{}; // rows, by state

    bool touched = false;            // by this group: to be written at its end
    bool look = false;               // for the notice
    std::optional<time_point> due{}; // for the notice
    std::vector<std::size_t> staged{}; // which of the group's staged rows are of this queue
};

/// The queues table, with a copy in memory of the queues in use: read once, written once for each group that changed them.
class sqlite_queues {
public:
    static constexpr std::int64_t max_seq = (std::int64_t{1} << 40) - 1;
    static constexpr std::int64_t max_number = (std::int64_t{1} << 21) - 1;

    explicit sqlite_queues(sqlite_handle& h) : handle_{&h} {}

    /// The queue of that name, or null if it was never used.
    sqlite_queue* find(queue_name const& name)
    {
        if (last_ && last_->name == name)
            return last_;
        auto const known = queues_.find(name);
        return last_ = known != queues_.end() ? &known->second : load(name);
    }

    /// The queue of that name, made if needed.
    sqlite_queue& get(queue_name const& name)
    {
        auto* const q = find(name);
        return q ? *q : create(name);
    }

    static void check_room(sqlite_queue const& q, std::size_t n)
    {
        if (n > static_cast<std::size_t>(max_seq - q.last_seq))
            throw make_error(errc::limit_exceeded, "queue " + q.name.topic + "/" + q.name.consumer + " has used up its numbers");
    }

    /// `n` more rows of that state, or fewer.
    void add(sqlite_queue& q, message_state state, std::int64_t n)
    {
        touch(q);
        q.counts[static_cast<std::size_t>(state)] += n;
        undo_.push_back({&q, state, n});
    }

    queue_name name_of(std::int64_t number)
    {
        auto row = select_number_.run(*handle_, number);
        if (!row.step())
            throw make_error(errc::store_failed, handle_->path() + " has a message of a queue that it does not know");
        return read_name(row);
    }

    std::vector<queue_name> all()
    {
        std::vector<queue_name> names;
        auto rows = select_all_.run(*handle_);
        while (rows.step())
            names.push_back(read_name(rows));
        return names;
    }

    std::vector<sqlite_queue*> const& touched() const noexcept { return touched_; }

    std::size_t position() const noexcept { return undo_.size(); }

    void undo_to(std::size_t position) noexcept
    {
        for (; undo_.size() > position; undo_.pop_back()) {
            auto const& [q, state, n] = undo_.back();
            if (n != created)
                q->counts[static_cast<std::size_t>(state)] -= n;
            else
                forget(q);
        }
    }

    void write()
    {
        for (auto const* const q : touched_)
            update_.execute(*handle_, q->number, q->last_seq, q->counts[0], q->counts[1], q->counts[2], q->counts[3]);
    }

    void end_group(bool forget_all) noexcept
    {
        for (auto* const q : touched_) {
            q->touched = false;
            q->look = false;
            q->due.reset();
            q->staged.clear();
        }
        touched_.clear();
        undo_.clear();
        if (!forget_all)
            return;
        last_ = nullptr;
        queues_.clear();
    }

private:
    static constexpr std::int64_t created = std::int64_t{1} << 62; // as a count: the queue itself

    struct undo_entry {
        sqlite_queue* queue;
        message_state state;
        std::int64_t n;
    };

    void touch(sqlite_queue& q)
    {
        if (!std::exchange(q.touched, true))
            touched_.push_back(&q);
    }

    static queue_name read_name(sqlite_query::run_scope const& row)
    {
        return {row.integer(0) == 0 ? queue_side::outbox : queue_side::inbox, row.text(1), row.text(2)};
    }

    sqlite_queue* load(queue_name const& name)
    {
        auto row = select_.run(*handle_, static_cast<std::int64_t>(name.side), std::string_view{name.topic},
            std::string_view{name.consumer});
        if (!row.step())
            return nullptr;
        sqlite_queue q{name, row.integer(0), row.integer(1),
            {row.integer(2), row.integer(3), row.integer(4), row.integer(5)}};
        return &queues_.emplace(name, std::move(q)).first->second;
    }

    sqlite_queue& create(queue_name const& name)
    {
        insert_.execute(*handle_, static_cast<std::int64_t>(name.side), std::string_view{name.topic},
            std::string_view{name.consumer});
        auto* const q = load(name);
        if (!q || q->number > max_number)
            throw make_error(errc::limit_exceeded, handle_->path() + " has too many queues");
        undo_.push_back({q, message_state::ready, created});
        return *(last_ = q);
    }

    void forget(sqlite_queue* q) noexcept
    {
        last_ = nullptr;
        std::erase(touched_, q);
        queues_.erase(queues_.find(q->name));
    }

    sqlite_handle* handle_;
    std::map<queue_name, sqlite_queue> queues_;
    sqlite_queue* last_ = nullptr; // found last: mostly the next too
    std::vector<sqlite_queue*> touched_;
    std::vector<undo_entry> undo_;

    sqlite_query select_{"SELECT number, last_seq, ready, delayed, prepared, dead FROM cosaga_queues "
                         "WHERE side = ?1 AND topic = ?2 AND consumer = ?3"};
    sqlite_query select_number_{"SELECT side, topic, consumer FROM cosaga_queues WHERE number = ?1"};
    sqlite_query select_all_{"SELECT side, topic, consumer FROM cosaga_queues ORDER BY side, topic, consumer"};
    sqlite_query insert_{"INSERT INTO cosaga_queues(side, topic, consumer, last_seq, ready, delayed, prepared, dead) "
                         "VALUES(?1, ?2, ?3, 0, 0, 0, 0, 0)"};
    sqlite_query update_{"UPDATE cosaga_queues SET last_seq = ?2, ready = ?3, delayed = ?4, prepared = ?5, dead = ?6 "
                         "WHERE number = ?1"};
};

} // namespace cosaga::detail
