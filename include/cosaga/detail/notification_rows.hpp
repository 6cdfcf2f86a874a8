// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/notification_text.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The end of an attempt.
struct ended_attempt {
    std::string destination;
    message_row row; ///< as it was read, without payload
    notification_attempt what;
    std::optional<duration> retry_after{}; ///< asked for, and within the cap
    time_point at{};
    std::uint64_t random = 0;
    std::optional<time_point> due{}; ///< set when it is recorded: when there is something to do at the destination again
};

/// A look at a destination: what is to be tried there.
struct look {
    std::string destination;
    std::set<std::int64_t> const* busy = nullptr;
    std::size_t room = 0;
    std::vector<message_row> rows{};      ///< set: to be tried now
    time_point next = time_point::max();  ///< set: when there is something else to do
    std::size_t pending = 0;              ///< set
};

/// What a transaction of a notifier did.
struct notification_counts {
    std::uint64_t delivered = 0;
    std::uint64_t given_up = 0;
    std::uint64_t disabled = 0;
};

/// The notifications of a notifier, in its transactions: each is a row of the outbox queue of its destination, in state `prepared` until it
/// is delivered or given up, `dead` when it was given up, and `ready` for a moment when an operator has redriven it. What was
/// delivered leaves a mark.
///
/// Its members run on the store's thread, and may run again when a commit fails: what they change in memory is only their arguments.
template <class Tx>
class notification_rows {
public:
    explicit notification_rows(notifier_options const& options)
        : options_{options},
          topic_{std::string{notifications_topic} + (options.name.empty() ? "" : "." + options.name)},
          disabled_topic_{std::string{disabled_destinations_topic} + (options.name.empty() ? "" : "." + options.name)}
    {
    }

    std::string const& topic() const noexcept { return topic_; }

    /// @return the state in which it is stored; nothing if there is one with this id already.
    std::optional<message_state> add(Tx& tx, std::string const& destination, message m, duration delay, bool is_own_id) const
    {
        if (is_own_id && is_known(tx, destination, m.id))
            return std::nullopt;
        message_row row;
        row.content = std::move(m);
        auto const queue = queue_of(destination);
        auto state = message_state::prepared;
        if (is_disabled(tx, destination)) {
            state = message_state::dead;
            row.last_error = given_up_because("the destination is disabled");
        } else {
            row.due_at = tx.now() + delay;
        }
        tx.append(queue, state, {&row, 1});
        return state;
    }

    void record(Tx& tx, ended_attempt& a, notification_counts& done) const
    {
        a.due.reset();
        auto const queue = queue_of(a.destination);
        auto record = notification_record::parse(a.row.last_error);
        record.reason.clear();
        record.add(a.what);
        auto row = a.row;
        ++row.attempts;
        if (a.what.outcome == attempt_outcome::delivered) {
            if (tx.erase(queue, message_state::prepared, {&row.seq, 1}) == 0)
                return; // it was taken away meanwhile
            record.due.reset();
            record.reason = delivered_with + std::to_string(row.attempts) + " to " + a.destination;
            tx.insert_marks(topic_, {&row.content.id, 1}, record.text());
            ++done.delivered;
            return;
        }
        if (a.what.outcome == attempt_outcome::gone) {
            if (!is_disabled(tx, a.destination)) {
                disable(tx, a.destination, a.what.reason);
                ++done.disabled;
            }
            a.due = time_point{}; // the others there have to be looked at
            return give_up(tx, queue, row, std::move(record), "the destination wants nothing any more: " + a.what.reason, done);
        }
        if (is_disabled(tx, a.destination))
            return give_up(tx, queue, row, std::move(record), "the destination is disabled: " + a.what.reason, done);
        auto const plan = schedule_of(row.content);
        auto const delay = plan.retries.delay_after(row.attempts, a.random);
        if (!delay)
            return give_up(tx, queue, row, std::move(record), "no attempt is left: " + a.what.reason, done);
        row.due_at = a.at + std::max(*delay, a.retry_after.value_or(duration::zero()));
        if (row.due_at > end_of(a.row, plan))
            return give_up(tx, queue, row, std::move(record), "the next attempt would be after the deadline: " + a.what.reason, done);
        if (!record.due)
            record.due = a.row.due_at;
        row.last_error = record.text();
        if (tx.update(queue, message_state::prepared, row))
            a.due = row.due_at;
    }

    /// Forgets deliveries that are older than the retention, a few more than have come.
    void forget(Tx& tx, std::size_t come) const
    {
        if (come > 0)
            tx.purge_marks(topic_, tx.now() - options_.retention, come + extra_purged);
    }

    /// @param now by the clock of the notifier.
    void take(Tx& tx, look& l, time_point now, notification_counts& done) const
    {
        l.rows.clear();
        l.next = time_point::max();
        auto const queue = queue_of(l.destination);
        take_redriven(tx, queue);
        if (is_disabled(tx, l.destination))
            clear(tx, queue, l, done);
        else
            take_due(tx, queue, l, now, done);
        if (tx.count(queue, message_state::ready) > 0)
            l.next = {};
        l.pending = tx.count(queue, message_state::prepared);
    }

    struct found_queue {
        std::string destination;
        std::size_t pending;
        bool redriven;
        std::size_t dead;
    };
    /// Every destination that was ever notified.
    std::vector<found_queue> queues(Tx& tx) const
    {
        std::vector<found_queue> found;
        for (auto& q : tx.queues()) {
            if (q.side == queue_side::inbox && q.topic == disabled_topic_)
                drop(tx, q, message_state::ready); // enabled by an operator
            if (q.side != queue_side::outbox || q.topic != topic_)
                continue;
            auto const pending = tx.count(q, message_state::prepared);
            bool const redriven = tx.count(q, message_state::ready) > 0;
            auto const dead = tx.count(q, message_state::dead);
            found.push_back({std::move(q.consumer), pending, redriven, dead});
        }
        return found;
    }

    std::optional<notification> find(Tx& tx, message_id const& id) const
    {
        for (bool again = true; again; again = take_all_redriven(tx)) {
            if (auto const found = find_row(tx, id))
                return describe(found->queue.consumer, found->state, found->row);
            if (auto const m = find_mark(tx, topic_, id))
                return describe(id, *m);
        }
        return std::nullopt;
    }

    std::vector<notification> list(Tx& tx, std::string const& destination, message_state state, std::int64_t after, std::size_t most) const
    {
        auto const queue = queue_of(destination);
        take_redriven(tx, queue);
        std::vector<notification> found;
        for (auto const& row : tx.read(queue, state, after, most))
            found.push_back(describe(destination, state, row));
        return found;
    }

    /// @return its destination; nothing if it was not given up.
    std::optional<std::string> restart(Tx& tx, message_id const& id) const
    {
        auto found = find_row(tx, id);
        if (!found || found->state != message_state::dead)
            return std::nullopt;
        begin_again(tx, found->queue, message_state::dead, found->row);
        return found->queue.consumer;
    }

    std::size_t count_given_up(Tx& tx, std::string const& destination) const { return tx.count(queue_of(destination), message_state::dead); }

    /// Restarts some of those that were given up at a destination. @param after moves on. @return how many it has looked at.
    std::size_t restart_some(Tx& tx, std::string const& destination, std::string const& reason_contains, std::int64_t& after,
        std::size_t most, std::size_t& restarted) const
    {
        auto const queue = queue_of(destination);
        auto rows = tx.read(queue, message_state::dead, after, std::min(most, changed_at_once));
        for (auto& row : rows) {
            after = row.seq;
            if (notification_record::parse(row.last_error).reason.find(reason_contains) == std::string::npos)
                continue;
            begin_again(tx, queue, message_state::dead, row);
            ++restarted;
        }
        return rows.size();
    }

    queue_name disabled_queue(std::string destination) const { return {queue_side::inbox, disabled_topic_, std::move(destination)}; }
    bool is_disabled(Tx& tx, std::string const& destination) const
    {
        return tx.count(disabled_queue(destination), message_state::dead) > 0;
    }
    bool enable(Tx& tx, std::string const& destination) const
    {
        return drop(tx, disabled_queue(destination), message_state::dead);
    }

private:
    static constexpr std::size_t extra_purged = 64;
    static constexpr std::size_t changed_at_once = 256;
    static inline std::string const delivered_with = "delivered with attempt ";

    static bool drop(Tx& tx, queue_name const& queue, message_state state)
    {
        if (tx.count(queue, state) == 0)
            return false;
        std::vector<std::int64_t> seqs;
        for (auto const& row : tx.read(queue, state, 0, changed_at_once))
            seqs.push_back(row.seq);
        return tx.erase(queue, state, seqs) > 0;
    }

    queue_name queue_of(std::string destination) const { return {queue_side::outbox, topic_, std::move(destination)}; }
    bool is_ours(queue_name const& q) const { return q.side == queue_side::outbox && q.topic == topic_; }

    static std::string given_up_because(std::string const& why) { return "given up: " + why; }

    notification_schedule schedule_of(message const& m) const
    {
        auto const text = m.find_header(schedule_header);
        return text.empty() ? options_.schedule : parse_schedule(text).value_or(options_.schedule);
    }

    /// No attempt begins later: counted from when the first one was due, which the row tells until then.
    static time_point end_of(message_row const& row, notification_schedule const& plan)
    {
        auto const due = row.attempts == 0 ? row.due_at : notification_record::parse(row.last_error).due.value_or(row.content.time);
        return due + std::min(plan.lasts(), longest_notification);
    }

    bool is_known(Tx& tx, std::string const& destination, message_id const& id) const
    {
        take_redriven(tx, queue_of(destination));
        return find_row(tx, id) || find_mark(tx, topic_, id);
    }

    // Of ours, pending or given up.
    std::optional<located_row> find_row(Tx& tx, message_id const& id) const
    {
        for (auto& found : tx.find({&id, 1}))
            if (is_ours(found.queue) && found.state != message_state::delayed)
                return std::move(found);
        return std::nullopt;
    }

    static void give_up(
        Tx& tx, queue_name const& queue, message_row& row, notification_record record, std::string const& why, notification_counts& done)
    {
        record.reason = given_up_because(why);
        record.due.reset();
        row.last_error = record.text();
        row.due_at = {};
        if (tx.move(queue, message_state::prepared, message_state::dead, row))
            ++done.given_up;
    }

    void disable(Tx& tx, std::string const& destination, std::string const& why) const
    {
        message_row row;
        row.content.id = message_id::from_foreign(topic_, destination);
        row.content.time = tx.now();
        row.content.topic = disabled_topic_;
        row.content.type = "cosaga.disabled";
        row.last_error = "it wants nothing any more: " + one_line(why, 1000);
        tx.append(disabled_queue(destination), message_state::dead, {&row, 1});
    }

    // What was pending at a destination that wants nothing any more, but for what is being tried.
    static void clear(Tx& tx, queue_name const& queue, look& l, notification_counts& done)
    {
        auto const most = changed_at_once + l.busy->size();
        auto rows = tx.read(queue, message_state::prepared, 0, most);
        for (auto& row : rows)
            if (!l.busy->contains(row.seq))
                give_up(tx, queue, row, notification_record::parse(row.last_error), "the destination is disabled", done);
        if (rows.size() == most)
            l.next = {};
    }

    // In one look-up: those that are due now, and when the next one is.
    void take_due(Tx& tx, queue_name const& queue, look& l, time_point now, notification_counts& done) const
    {
        auto const most = l.busy->size() + l.room + 1;
        std::size_t expired = 0;
        std::size_t seen = most;
        for (bool again = true; again;) {
            auto const expired_before = expired;
            auto rows = tx.read_due(queue, message_state::prepared, time_point::max(), most);
            seen = rows.size();
            l.rows.clear();
            l.next = time_point::max();
            for (auto& row : rows) {
                if (l.busy->contains(row.seq))
                    continue;
                if (row.due_at > now || l.rows.size() == l.room) {
                    l.next = row.due_at;
                    break;
                }
                if (now > end_of(row, schedule_of(row.content))) {
                    auto record = notification_record::parse(row.last_error);
                    auto const last = record.history();
                    give_up(tx, queue, row, std::move(record),
                        "its time was over while its destination was held back" + (last.empty() ? "" : ": " + last.back().reason), done);
                    ++expired;
                    continue;
                }
                l.rows.push_back(std::move(row));
            }
            again = expired > expired_before && expired < changed_at_once && l.rows.size() < l.room && seen == most;
        }
        if (l.next == time_point::max() && seen == most)
            l.next = {}; // there may be more
    }

    // What an operator has redriven begins anew. @return true if there was something.
    static bool take_redriven(Tx& tx, queue_name const& queue)
    {
        if (tx.count(queue, message_state::ready) == 0)
            return false;
        for (auto& row : tx.read(queue, message_state::ready, 0, changed_at_once))
            begin_again(tx, queue, message_state::ready, row);
        return true;
    }
    bool take_all_redriven(Tx& tx) const
    {
        bool any = false;
        for (auto const& q : tx.queues())
            any = (is_ours(q) && take_redriven(tx, q)) || any;
        return any;
    }
    static void begin_again(Tx& tx, queue_name const& queue, message_state from, message_row& row)
    {
        row.attempts = 0;
        row.due_at = tx.now();
        row.last_error.clear();
        tx.move(queue, from, message_state::prepared, row);
    }

    static notification describe(std::string destination, message_state state, message_row const& row)
    {
        auto record = notification_record::parse(row.last_error);
        notification n;
        n.id = row.content.id;
        n.destination = std::move(destination);
        n.state = state == message_state::dead ? notification_state::given_up : notification_state::pending;
        n.attempts = row.attempts;
        n.history = record.history();
        n.reason = std::move(record.reason);
        if (state == message_state::prepared) {
            n.next = row.due_at;
            n.reason = n.history.empty() ? std::string{} : n.history.back().reason;
        }
        n.position = row.seq;
        return n;
    }
    static notification describe(message_id const& id, mark const& text)
    {
        auto const record = notification_record::parse(text);
        notification n;
        n.id = id;
        n.state = notification_state::delivered;
        n.history = record.history();
        std::string_view rest = record.reason;
        rest.remove_prefix(std::min(rest.size(), delivered_with.size()));
        if (!parse_whole(take_word(rest), n.attempts))
            n.attempts = static_cast<std::uint32_t>(n.history.size());
        take_word(rest); // "to"
        n.destination = rest;
        return n;
    }

    notifier_options options_;
    std::string topic_;
    std::string disabled_topic_;
};

} // namespace cosaga::detail
