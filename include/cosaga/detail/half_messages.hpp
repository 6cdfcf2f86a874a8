// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/recent_halves.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transactional_options.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What a delivery asks of a coordinator: to store a half message, or to take note of an outcome.
struct coordinator_request {
    std::uint64_t tag = 0;
    std::string service;                        ///< who asks, as the transport knows it
    std::shared_ptr<message> content;           ///< the half message, as it is stored
    std::optional<transaction_outcome> outcome; ///< nothing for a half message
    message_id about;                           ///< the half message
    duration delay{};                           ///< of the half message
    check_options checks{};                     ///< the same
    bool counts = false;                        ///< the first sign that a check has reached the service
    std::string refused{};                      ///< why it was refused, if it was
};

/// A check-back that is to be sent.
struct due_check {
    message_id id;
    std::int64_t seq = 0;
    std::uint32_t checks = 0; ///< that reached the service before
    check_options options{};
    std::string last_error{};
};

/// The half messages of a coordinator, in its transactions: each is a row of the inbox queue of its service, in state `prepared` until
/// its outcome is known, `dead` when it was parked, and `ready` for a moment when an operator has redriven it.
///
/// Its members run on the store's thread, and may run again when a commit fails: what they change in memory is only their arguments, and what
/// is not relied on.
template <class Store>
class half_messages {
public:
    using transaction_type = typename Store::transaction_type;

    half_messages(outbox_core<transaction_type>& outbox, coordinator_options const& options) : outbox_{&outbox}, options_{options} {}

    static queue_name queue_of(std::string service) { return {queue_side::inbox, std::string{half_messages_topic}, std::move(service)}; }

    /// Stores half messages and applies outcomes. Sets `refused` of those that cannot be.
    coordinator_counters apply(transaction_type& tx, std::span<coordinator_request> requests)
    {
        auto const asked = requests.size();
        coordinator_counters done;
        auto failed = try_nested(tx, [&] { done = apply_together(tx, requests, true); });
        if (failed)
            failed = try_nested(tx, [&] { done = apply_together(tx, requests, false); });
        if (failed && asked == 1)
            requests.front().refused = describe(failed);
        if (failed)
            done = {};
        if (failed && asked > 1)
            for (std::size_t i = 0; i < asked; ++i)
                add(done, apply(tx, requests.subspan(i, 1)));
        return done;
    }

    struct due {
        std::vector<due_check> checks;
        std::optional<time_point> next;
        std::size_t parked = 0;
    };

    /// The half messages of a service that have to be checked now, at most `most` of them looked at. Those that had their last check are parked.
    due take_due(transaction_type& tx, std::string const& service, std::size_t most)
    {
        auto const queue = queue_of(service);
        take_redriven(tx, queue);
        due found;
        for (auto& row : tx.read_due(queue, message_state::prepared, tx.now(), most)) {
            auto const options = options_of(row.content);
            if (row.attempts >= options.most) {
                park(tx, queue, row);
                ++found.parked;
                continue;
            }
            found.checks.push_back({row.content.id, row.seq, row.attempts, options, row.last_error});
            // For the case that nothing is heard of it.
            row.due_at = tx.now() + std::max(options_.answer_timeout, check_delay(options, row.attempts + 1));
            tx.update(queue, message_state::prepared, row);
        }
        found.next = tx.next_due(queue, message_state::prepared);
        return found;
    }

    /// A check has reached the service.
    void count(transaction_type& tx, std::string const& service, due_check const& c)
    {
        message_row row;
        row.seq = c.seq;
        row.attempts = c.checks + 1;
        row.due_at = tx.now() + (row.attempts >= c.options.most ? options_.answer_timeout : check_delay(c.options, row.attempts));
        row.last_error = c.last_error;
        tx.update(queue_of(service), message_state::prepared, row);
    }

private:
    static constexpr std::size_t extra_purged = 64;
    static constexpr std::size_t redriven_at_once = 256;
    static constexpr char const* id_of_another = "another service has a half message with this id";

    static void add(coordinator_counters& sum, coordinator_counters const& more) noexcept
    {
        sum.prepared += more.prepared;
        sum.committed += more.committed;
        sum.rolled_back += more.rolled_back;
        sum.parked += more.parked;
    }

    check_options options_of(message const& m) const { return read_instructions(m).checks.value_or(options_.checks); }

    struct decided_half {
        located_row found;
        transaction_outcome outcome;
    };
    struct batch {
        std::vector<coordinator_request const*> fresh;    // half messages to be stored
        std::map<message_id, std::string_view> fresh_ids; // of those, with their services
        std::vector<decided_half> decided;
        std::map<std::pair<std::string_view, message_id>, transaction_outcome> outcomes; // of those, by service and id
    };
    // What the tables say about the ids of a batch.
    struct looked_up {
        std::unordered_map<message_id, located_row> rows;                            // whoever they are of
        std::map<std::pair<std::string_view, message_id>, std::optional<mark>> marks; // of those without a row, by service
    };

    // First everything is looked up, then rows go, then rows come: a look-up writes what is staged, and one by one that is slow.
    coordinator_counters apply_together(transaction_type& tx, std::span<coordinator_request> requests, bool trusting)
    {
        coordinator_counters done;
        batch b;
        b.decided.reserve(requests.size());
        b.fresh.reserve(requests.size());
        std::vector<coordinator_request*> others;
        for (auto& r : requests) {
            r.refused.clear();
            auto recent = trusting && decides(r) ? find_recent(r) : std::nullopt;
            if (recent)
                decide(r, std::move(*recent), b);
            else
                others.push_back(&r);
        }
        auto known = look_up(tx, others);
        for (auto* const r : others)
            if (r->outcome)
                take_outcome(tx, *r, known, b, done);
            else
                take_new(*r, known, b);
        erase(tx, b);
        remember(tx, b);
        for (auto& half : b.decided) {
            bool const commits = half.outcome == transaction_outcome::commit;
            ++(commits ? done.committed : done.rolled_back);
            if (commits)
                send(tx, half.found.row);
        }
        store(tx, b);
        done.prepared = b.fresh.size();
        return done;
    }

    static bool decides(coordinator_request const& r) noexcept
    {
        return r.outcome == transaction_outcome::commit || r.outcome == transaction_outcome::rollback;
    }

    static looked_up look_up(transaction_type& tx, std::vector<coordinator_request*> const& requests)
    {
        looked_up known;
        if (requests.empty())
            return known;
        std::vector<message_id> ids;
        std::set<std::string_view> services;
        for (auto const* const r : requests) {
            ids.push_back(r->about);
            services.insert(r->service);
        }
        for (auto const service : services)
            while (take_redriven(tx, queue_of(std::string{service})))
                ;
        for (auto& row : tx.find(ids))
            if (row.state != message_state::delayed && row.queue == queue_of(row.queue.consumer))
                known.rows.emplace(row.row.content.id, std::move(row));
        for (auto const service : services) {
            std::vector<message_id> missing;
            for (auto const* const r : requests)
                if (r->service == service && !known.rows.contains(r->about))
                    missing.push_back(r->about);
            auto marks = tx.find_marks(half_messages_scope(service), missing);
            for (std::size_t i = 0; i < missing.size(); ++i)
                if (marks[i])
                    known.marks.emplace(std::pair{service, missing[i]}, std::move(marks[i]));
        }
        return known;
    }

    // One that is stored, or was resolved, has come again. No two services have one of the same id.
    static void take_new(coordinator_request& r, looked_up const& known, batch& b)
    {
        auto const now = b.fresh_ids.find(r.about);
        auto const half = known.rows.find(r.about);
        if (now != b.fresh_ids.end())
            r.refused = now->second == r.service ? "" : id_of_another;
        else if (half != known.rows.end())
            r.refused = half->second.queue.consumer == r.service ? "" : id_of_another;
        else if (!known.marks.contains({r.service, r.about})) {
            b.fresh_ids.emplace_hint(b.fresh_ids.end(), r.about, r.service);
            b.fresh.push_back(&r);
        }
    }

    void take_outcome(transaction_type& tx, coordinator_request& r, looked_up& known, batch& b, coordinator_counters& done)
    {
        auto const half = known.rows.find(r.about);
        // To any other service it is as if there were none.
        if (half == known.rows.end() || half->second.queue.consumer != r.service || b.outcomes.contains({r.service, r.about}))
            compare(r, known, b);
        else if (decides(r))
            decide(r, std::move(half->second), b);
        else if (half->second.state == message_state::prepared)
            done.parked += wait_on(tx, r, half->second) ? 1 : 0;
    }

    static void decide(coordinator_request const& r, located_row half, batch& b)
    {
        b.outcomes.emplace(std::pair{std::string_view{r.service}, r.about}, *r.outcome);
        b.decided.push_back({std::move(half), *r.outcome});
    }

    std::optional<located_row> find_recent(coordinator_request const& r)
    {
        auto recent = recent_.take(r.about);
        if (!recent || recent->service != r.service)
            return std::nullopt;
        located_row half{queue_of(r.service), message_state::prepared, {}};
        half.row.seq = recent->seq;
        half.row.content = std::move(*recent->content);
        return half;
    }

    // @return true if that was the last check.
    bool wait_on(transaction_type& tx, coordinator_request const& r, located_row& half)
    {
        auto const options = options_of(half.row.content);
        auto& row = half.row;
        row.attempts += r.counts ? 1 : 0;
        bool const ongoing = *r.outcome == transaction_outcome::ongoing;
        row.last_error = ongoing ? "the local transaction was still running" : "the service could not say";
        if (row.attempts >= options.most) {
            park(tx, half.queue, row);
            half.state = message_state::dead;
            return true;
        }
        row.due_at = tx.now() + (ongoing ? options.interval : check_delay(options, row.attempts));
        tx.update(half.queue, message_state::prepared, row);
        return false;
    }

    static void park(transaction_type& tx, queue_name const& queue, message_row& row)
    {
        auto const last = row.last_error.empty() ? std::string{"no answer"} : row.last_error;
        row.last_error = "undecided after " + std::to_string(row.attempts) + " check-backs: " + last;
        row.due_at = {};
        tx.move(queue, message_state::prepared, message_state::dead, row);
    }

    /// An outcome whose half message is not here any more: it came before, or another one did.
    static void compare(coordinator_request& r, looked_up const& known, batch const& b)
    {
        auto const now = b.outcomes.find({r.service, r.about});
        auto const before = known.marks.find({r.service, r.about});
        if (now == b.outcomes.end() && before == known.marks.end()) {
            r.refused = "no such half message: it was never stored here, was discarded, or is older than what is remembered";
            return;
        }
        auto const outcome = now != b.outcomes.end() ? mark_of(now->second) : *before->second;
        if (*r.outcome == transaction_outcome::commit && outcome != fence_marks::committed)
            r.refused = "the half message was rolled back before";
        else if (*r.outcome == transaction_outcome::rollback && outcome != fence_marks::rolled_back)
            r.refused = "the half message was committed before";
    }

    static void erase(transaction_type& tx, batch const& b)
    {
        std::map<std::pair<queue_name, message_state>, std::vector<std::int64_t>> gone;
        auto* where = static_cast<std::pair<std::pair<queue_name, message_state> const, std::vector<std::int64_t>>*>(nullptr);
        for (auto const& half : b.decided) {
            auto const& f = half.found;
            if (!where || where->first.second != f.state || where->first.first != f.queue)
                where = &*gone.try_emplace({f.queue, f.state}).first;
            where->second.push_back(f.row.seq);
        }
        for (auto& [place, seqs] : gone) {
            std::sort(seqs.begin(), seqs.end()); // those that follow each other go at once
            if (tx.erase(place.first, place.second, seqs) != seqs.size())
                throw std::logic_error{"a half message is not where it was"}; // looked for again in the table
        }
    }

    static mark mark_of(transaction_outcome o)
    {
        return mark{o == transaction_outcome::commit ? fence_marks::committed : fence_marks::rolled_back};
    }

    // As many old outcomes go as new ones come.
    void remember(transaction_type& tx, batch const& b)
    {
        std::map<std::pair<std::string_view, transaction_outcome>, std::vector<message_id>> fresh;
        for (auto const& half : b.decided)
            fresh[{half.found.queue.consumer, half.outcome}].push_back(half.found.row.content.id);
        for (auto const& [of, ids] : fresh) {
            auto const scope = half_messages_scope(of.first);
            tx.insert_marks(scope, ids, mark_of(of.second));
            tx.purge_marks(scope, tx.now() - options_.retention, ids.size() + extra_purged);
        }
    }

    void send(transaction_type& tx, message_row& half)
    {
        auto& m = half.content;
        auto const delay = m.time + read_instructions(m).delay - tx.now();
        remove_instructions(m);
        outbox_->stage(tx, std::move(m), std::max(delay, duration::zero()));
    }

    void store(transaction_type& tx, batch const& b)
    {
        std::map<std::string_view, std::vector<coordinator_request const*>> by_service;
        for (auto const* const r : b.fresh)
            by_service[r->service].push_back(r);
        std::vector<message_row> rows;
        for (auto const& [service, requests] : by_service) {
            rows.assign(requests.size(), {});
            for (std::size_t i = 0; i < rows.size(); ++i) {
                rows[i].content = *requests[i]->content;
                rows[i].due_at = tx.now() + requests[i]->checks.first;
            }
            tx.append(queue_of(std::string{service}), message_state::prepared, rows);
            for (std::size_t i = 0; i < rows.size(); ++i)
                recent_.add(requests[i]->about, {requests[i]->service, rows[i].seq, requests[i]->content});
        }
    }

    // What an operator has redriven is checked again, from the start. @return true if there was something.
    static bool take_redriven(transaction_type& tx, queue_name const& queue)
    {
        if (tx.count(queue, message_state::ready) == 0)
            return false;
        for (auto& row : tx.read(queue, message_state::ready, 0, redriven_at_once)) {
            row.attempts = 0;
            row.due_at = tx.now();
            row.last_error.clear();
            tx.move(queue, message_state::ready, message_state::prepared, row);
        }
        return true;
    }

    outbox_core<transaction_type>* outbox_;
    coordinator_options options_;
    recent_halves recent_;
};

} // namespace cosaga::detail
