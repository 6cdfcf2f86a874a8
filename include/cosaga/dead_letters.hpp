// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cosaga {

/// Which dead letters; an empty member takes all.
struct dead_letter_filter {
    std::optional<queue_side> side{};   ///< outbox: could not be delivered; inbox: could not be applied
    std::string topic{};
    std::string consumer{};
    std::string type{};
    std::string reason_contains{};
    std::optional<time_point> before{}; ///< made before

    bool takes(queue_name const& queue) const
    {
        return (!side || *side == queue.side) && (topic.empty() || topic == queue.topic)
            && (consumer.empty() || consumer == queue.consumer);
    }
    bool takes(message_row const& row) const
    {
        return (type.empty() || type == row.content.type)
            && (reason_contains.empty() || row.last_error.find(reason_contains) != std::string::npos)
            && (!before || row.content.time < *before);
    }
};

/// Lists, redrives and purges what was parked, in outboxes and inboxes of one store.
///
/// Redriving gives a message its whole retry schedule again: a message of an outbox is sent, one of an inbox applied. It
/// takes its place behind newer messages of its key.
/// @par Thread safety
/// any number of coroutines on any threads.
template <store Store>
class dead_letters {
public:
    explicit dead_letters(Store& s) : store_{&s} {}

    /// At most `most` dead letters, by queue and age.
    asio::awaitable<std::vector<located_row>> list(dead_letter_filter const& filter, std::size_t most) const
    {
        std::vector<located_row> found;
        auto work = [&](auto& tx) {
            for (auto const& queue : tx.queues()) {
                std::int64_t after = 0;
                std::size_t seen = filter.takes(queue) ? page : 0;
                while (seen == page && found.size() < most)
                    seen = visit(tx, queue, after, page, [&](queue_name const& q, message_row& row) {
                        if (filter.takes(row) && found.size() < most)
                            found.push_back({q, message_state::dead, std::move(row)});
                    });
            }
        };
        co_await store_->transact(work);
        co_return found;
    }

    /// Redrives one message. @return false when there is no dead letter with that id.
    asio::awaitable<bool> redrive(message_id id) const
    {
        bool done = false;
        auto work = [&](auto& tx) {
            if (auto found = find_dead(tx, id))
                done = revive(tx, found->queue, found->row);
        };
        co_await store_->transact(work);
        co_return done;
    }

    /// Redrives all that the filter takes, in groups. @return how many.
    asio::awaitable<std::size_t> redrive(dead_letter_filter const& filter) const
    {
        return each(filter, [](auto& tx, queue_name const& queue, message_row& row) { return revive(tx, queue, row); });
    }

    /// Removes one message for good. @return false when there is no dead letter with that id.
    asio::awaitable<bool> purge(message_id id) const
    {
        bool done = false;
        auto work = [&](auto& tx) {
            if (auto found = find_dead(tx, id))
                done = remove(tx, found->queue, found->row);
        };
        co_await store_->transact(work);
        co_return done;
    }

    /// Removes all that the filter takes, in groups. @return how many.
    asio::awaitable<std::size_t> purge(dead_letter_filter const& filter) const
    {
        return each(filter, [](auto& tx, queue_name const& queue, message_row& row) { return remove(tx, queue, row); });
    }

private:
    static constexpr std::size_t page = 64;
    static constexpr std::size_t changed_at_once = 256;

    template <class Tx>
    static std::optional<located_row> find_dead(Tx& tx, message_id const& id)
    {
        for (auto& found : tx.find({&id, 1}))
            if (found.state == message_state::dead)
                return std::move(found);
        return std::nullopt;
    }

    template <class Tx>
    static bool revive(Tx& tx, queue_name const& queue, message_row& row)
    {
        row.attempts = 0;
        row.due_at = {};
        row.last_error.clear();
        return tx.move(queue, message_state::dead, message_state::ready, row);
    }

    template <class Tx>
    static bool remove(Tx& tx, queue_name const& queue, message_row& row)
    {
        return tx.erase(queue, message_state::dead, std::span<std::int64_t const>{&row.seq, 1}) == 1;
    }

    // Calls f(queue, row) for at most `most` dead rows of a queue after `after`, which it moves on. f may remove
    // the row. Returns how many rows it looked at.
    template <class Tx, class F>
    static std::size_t visit(Tx& tx, queue_name const& queue, std::int64_t& after, std::size_t most, F f)
    {
        std::size_t seen = 0;
        while (seen < most) {
            auto rows = tx.read(queue, message_state::dead, after, std::min(page, most - seen));
            if (rows.empty())
                break;
            for (auto& row : rows) {
                ++seen;
                after = row.seq;
                f(queue, row);
            }
        }
        return seen;
    }

    // Ends with the rows that were dead when it began, so that messages that die again at once are not seen twice.
    template <class Change>
    asio::awaitable<std::size_t> each(dead_letter_filter filter, Change change) const
    {
        std::vector<queue_name> queues;
        auto list_queues = [&](auto& tx) { queues = tx.queues(); };
        co_await store_->transact(list_queues);
        std::size_t changed = 0;
        for (auto const& queue : queues) {
            if (!filter.takes(queue))
                continue;
            std::int64_t after = 0;
            std::optional<std::size_t> left;
            do {
                auto work = [&](auto& tx) {
                    if (!left)
                        left = tx.count(queue, message_state::dead);
                    auto const most = std::min(*left, changed_at_once);
                    auto const seen = visit(tx, queue, after, most, [&](queue_name const& q, message_row& row) {
                        if (filter.takes(row))
                            changed += change(tx, q, row) ? 1 : 0;
                    });
                    *left = seen < most ? 0 : *left - seen;
                };
                co_await store_->transact(work);
            } while (*left > 0);
        }
        co_return changed;
    }

    Store* store_;
};

} // namespace cosaga
