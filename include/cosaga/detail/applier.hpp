// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/ledger_keeper.hpp>
#include <cosaga/detail/retry_index.hpp>
#include <cosaga/detail/retry_wait.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/message.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What a consumer does inside its transactions: deduplicate, call the handler, and keep what fails in the inbox queue.
///
/// Its members run on the store's thread while the one coroutine that owns it is suspended. What they change in memory is
/// right only if the transaction commits; when it does not, the owner calls `distrust`.
template <class Store>
class applier {
public:
    using store_transaction_type = typename Store::transaction_type;
    using item = taken_message<store_transaction_type>;
    using bodies = message_bodies<store_transaction_type>;

    applier(Store& s, queue_name queue, consumer_options const& options)
        : environment_{&s.get_environment()},
          queue_{std::move(queue)},
          scope_{inbox_scope(queue_.topic, queue_.consumer)},
          options_{options},
          keeper_{options.ledger_retention}
    {
    }

    queue_name const& queue() const noexcept { return queue_; }
    /// The inbox queue as far as it is known.
    retry_index const& index() const noexcept { return index_; }
    bool is_stale() const noexcept { return stale_; }
    /// Makes the next transaction read the inbox queue again.
    void distrust() noexcept { stale_ = true; }

    item make_item(bodies& decoded, std::uint64_t tag, message_row row) const
    {
        item made;
        made.tag = tag;
        made.row = std::move(row);
        decoded.add(made, queue_.topic);
        return made;
    }

    /// True for a message that was not taken before.
    bool is_new(store_transaction_type& tx, item const& i) const { return !find_mark(tx, scope_, i.row.content.id); }

    /// Applies a received batch: what is new goes to the handler, or to the inbox queue behind others of its key; what is not
    /// applicable here to the dead letters. May be called again with the same batch when the commit fails.
    consumer_counters apply_batch(store_transaction_type& tx, std::vector<item> const& batch)
    {
        refresh(tx);
        std::vector<message_id> ids;
        ids.reserve(batch.size());
        for (auto const& i : batch)
            ids.push_back(i.row.content.id);
        auto seen = tx.insert_marks(scope_, ids, mark{});
        if (keeps_ledger())
            admit_mends(tx, batch, seen);
        auto const oldest_known = tx.now() - options_.retention;
        auto const done = can_apply_together(batch, oldest_known) && apply_together(tx, batch, seen)
                            ? counted_together(seen)
                            : apply_apart(tx, batch, seen, oldest_known);
        // As many old marks go as new ones came: the table does not outgrow its retention, and nobody waits for it.
        tx.purge_marks(scope_, oldest_known, batch.size() + extra_purged);
        return done;
    }

    /// The messages of the inbox queue that are due, at most `most`.
    std::vector<item> read_due(store_transaction_type& tx, bodies& decoded, std::size_t most)
    {
        refresh(tx);
        std::vector<item> items;
        for (auto const seq : index_.due(environment_->steady_now(), most)) {
            auto rows = tx.read(queue_, message_state::ready, seq - 1, 1);
            if (!rows.empty() && rows.front().seq == seq)
                items.push_back(make_item(decoded, 0, std::move(rows.front())));
            else
                index_.remove(seq); // another instance was faster
        }
        return items;
    }

    /// Applies messages of the inbox queue.
    consumer_counters apply_again(store_transaction_type& tx, std::vector<item> const& items)
    {
        consumer_counters done;
        for (auto const& i : items)
            apply_again(tx, i, done);
        return done;
    }

private:
    static constexpr std::size_t page = 64;
    static constexpr std::size_t extra_purged = 64;

    using marks_seen = std::vector<std::optional<mark>>;

    bool is_too_old(message const& m, time_point oldest_known) const noexcept
    {
        return m.id.is_time_ordered() && m.id.time() < oldest_known && !is_mend(m);
    }

    bool keeps_ledger() const noexcept { return keeper_.retention() > duration::zero(); }

    /// Sent again because the ledger seemed to lack it, and of a time in which the ledger knows what was applied.
    bool is_mend(message const& m) const noexcept
    {
        return keeps_ledger() && m.time >= ledger_since_ && !m.find_header(mend_header).empty();
    }

    // A mark says that a message was taken. One that is sent again on purpose is new all the same if the ledger says that its effect
    // is not here, or another one, and it is not waiting here either.
    void admit_mends(store_transaction_type& tx, std::vector<item> const& batch, marks_seen& seen)
    {
        std::set<message_id> before;
        for (std::size_t n = 0; n < batch.size(); ++n) {
            auto const& i = batch[n];
            bool const first = before.insert(i.row.content.id).second;
            if (seen[n] && first && is_mend(i.row.content) && i.not_applicable.empty() && lacks(tx, i) && !waits(tx, i))
                seen[n].reset();
        }
    }

    bool lacks(store_transaction_type& tx, item const& i)
    {
        auto const wanted = ledger_record_of(i.row.content, i.bodies->reconciled(i));
        auto const at = wanted.position();
        auto const found = tx.read_records(ledger_of(i.row.content), {at, position_after(at)}, 1);
        return found.empty() || (i.row.content.find_header(mend_header) == mend_differs && found.front() != wanted);
    }

    /// True if it is in the inbox queue, where a dead letter is given another chance.
    bool waits(store_transaction_type& tx, item const& i)
    {
        auto const& id = i.row.content.id;
        for (auto& parked : tx.find({&id, 1}))
            if (parked.queue == queue_ && parked.state == message_state::dead) {
                parked.row.attempts = 0;
                parked.row.due_at = {};
                parked.row.last_error.clear();
                return stale_ = tx.move(queue_, message_state::dead, message_state::ready, parked.row);
            }
        for (std::int64_t after = 0;;) {
            auto const rows = tx.read(queue_, message_state::ready, after, page);
            for (auto const& row : rows)
                if (row.content.id == id)
                    return true;
            if (rows.size() < page)
                return false;
            after = rows.back().seq;
        }
    }

    std::string const& ledger_of(message const& m)
    {
        if (ledger_source_ != m.source || ledger_.empty()) {
            ledger_ = inbox_ledger(queue_.topic, queue_.consumer, m.source);
            ledger_source_ = m.source;
        }
        return ledger_;
    }

    void call(store_transaction_type& tx, item const& i)
    {
        i.bodies->call(tx, i);
        if (keeps_ledger())
            keeper_.keep(tx, ledger_of(i.row.content), ledger_record_of(i.row.content, i.bodies->reconciled(i)));
    }

    /// True if nothing but a handler that throws can keep a message of the batch from being applied.
    bool can_apply_together(std::vector<item> const& batch, time_point oldest_known) const
    {
        return batch.size() > 1 && std::all_of(batch.begin(), batch.end(), [&](item const& i) {
            return i.not_applicable.empty() && !i.unprepared
                && !is_too_old(i.row.content, oldest_known) && !index_.holds(i.row.content.key);
        });
    }

    /// One savepoint for all is much cheaper than one for each. When a handler throws, all of it is undone, and the handlers
    /// are called again, each in a savepoint of its own.
    bool apply_together(store_transaction_type& tx, std::vector<item> const& batch, marks_seen const& seen)
    {
        auto const failed = try_nested(tx, [&] {
            for (std::size_t n = 0; n < batch.size(); ++n)
                if (!seen[n])
                    call(tx, batch[n]);
        });
        return !failed;
    }

    static consumer_counters counted_together(marks_seen const& seen)
    {
        consumer_counters done;
        done.duplicates = static_cast<std::uint64_t>(
            std::count_if(seen.begin(), seen.end(), [](auto const& m) { return m.has_value(); }));
        done.applied = seen.size() - done.duplicates;
        return done;
    }

    consumer_counters apply_apart(
        store_transaction_type& tx, std::vector<item> const& batch, marks_seen const& seen, time_point oldest_known)
    {
        consumer_counters done;
        std::set<std::string> held; // keys that this batch itself moved to the inbox queue
        for (std::size_t n = 0; n < batch.size(); ++n) {
            auto const& i = batch[n];
            auto const& m = i.row.content;
            if (seen[n])
                ++done.duplicates;
            else if (!i.not_applicable.empty())
                park(tx, i, 0, i.not_applicable, done);
            else if (is_too_old(m, oldest_known))
                park(tx, i, 0, "older than the retention of marks: it may have been applied before", done);
            else if (index_.holds(m.key) || held.contains(m.key))
                keep(tx, i, 0, {}, {});
            else
                apply_first(tx, i, held, done);
        }
        return done;
    }

    void apply_first(store_transaction_type& tx, item const& i, std::set<std::string>& held, consumer_counters& done)
    {
        auto const failed = try_handler(tx, i, [] { return true; });
        if (!failed) {
            ++done.applied;
            return;
        }
        auto const delay = options_.retries.delay_after(1, environment_->random());
        if (!delay) {
            park(tx, i, 1, describe(failed), done);
            return;
        }
        keep(tx, i, 1, tx.now() + *delay, describe(failed));
        ++done.retried;
        if (!i.row.content.key.empty())
            held.insert(i.row.content.key);
    }

    void apply_again(store_transaction_type& tx, item const& i, consumer_counters& done)
    {
        auto const seq = i.row.seq;
        bool ours = true;
        auto const failed = try_handler(tx, i, [&] {
            ours = tx.erase(queue_, message_state::ready, std::span<std::int64_t const>{&seq, 1}) == 1;
            return ours;
        });
        if (!failed) {
            index_.remove(seq);
            done.applied += ours ? 1 : 0;
            return;
        }
        message_row row;
        row.seq = seq;
        row.attempts = i.row.attempts + 1;
        row.last_error = describe(failed);
        auto const delay = options_.retries.delay_after(row.attempts, environment_->random());
        if (!delay || !i.not_applicable.empty()) {
            tx.move(queue_, message_state::ready, message_state::dead, row);
            index_.remove(seq);
            ++done.dead;
            return;
        }
        row.due_at = tx.now() + *delay;
        tx.update(queue_, message_state::ready, row);
        index_.postpone(seq, row.attempts, environment_->steady_now() + *delay);
        ++done.retried;
    }

    // The row is copied, since the batch is needed again should the commit fail. Its seq is known only after the
    // flush, so the index is read again by the next transaction.
    void keep(store_transaction_type& tx, item const& i, std::uint32_t attempts, time_point due_at, std::string error)
    {
        append(tx, message_state::ready, i, attempts, due_at, std::move(error));
        stale_ = true;
    }

    void park(store_transaction_type& tx, item const& i, std::uint32_t attempts, std::string why, consumer_counters& done)
    {
        append(tx, message_state::dead, i, attempts, {}, std::move(why));
        ++done.dead;
    }

    void append(store_transaction_type& tx, message_state state, item const& i, std::uint32_t attempts,
        time_point due_at, std::string error)
    {
        message_row row;
        row.content = i.row.content;
        row.attempts = attempts;
        row.due_at = due_at;
        row.last_error = std::move(error);
        tx.append(queue_, state, std::span<message_row>{&row, 1});
    }

    /// Runs the handler in a savepoint of its own, if `claim` finds the message to be ours still.
    template <class Claim>
    std::exception_ptr try_handler(store_transaction_type& tx, item const& i, Claim claim)
    {
        return try_nested(tx, [&] {
            if (!claim())
                return;
            if (i.unprepared)
                std::rethrow_exception(i.unprepared);
            call(tx, i);
        });
    }

    // Reads the inbox queue again when it is not what is known of it: after a start, an append, a redrive, a failed
    // commit, or when another instance shares the store.
    void refresh(store_transaction_type& tx)
    {
        if (!stale_ && tx.count(queue_, message_state::ready) == index_.size())
            return;
        if (keeps_ledger())
            ledger_since_ = std::max(tx.open_ledger(inbox_ledger(queue_.topic, queue_.consumer, {})), tx.now() - keeper_.retention());
        auto const before = std::exchange(index_, {});
        auto const now = environment_->steady_now();
        std::int64_t after = 0;
        while (index_.size() < options_.max_retrying) {
            auto const rows = tx.read(queue_, message_state::ready, after, page);
            for (auto const& row : rows) {
                index_.add(row, before.due_of(row.seq, row.attempts).value_or(now + wait_of(row, options_.retries, tx.now())));
                after = row.seq;
            }
            if (rows.size() < page)
                break;
        }
        stale_ = false;
    }

    environment* environment_;
    queue_name queue_;
    std::string scope_;
    consumer_options options_;
    ledger_keeper keeper_;
    time_point ledger_since_ = time_point::max();
    std::string ledger_source_; // whose ledger `ledger_` names
    std::string ledger_;
    retry_index index_;
    bool stale_ = true;
};

} // namespace cosaga::detail
