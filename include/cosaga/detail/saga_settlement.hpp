// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/saga_children.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_live_branch.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/storage.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What comes after a phase.
struct saga_next_phase {
    bool lost = false;
    bool goes_on = false; ///< in memory, with this row and journal
    saga_row row;
    std::vector<journal_entry> journal;
    std::string parent;
};

inline void release_lease(saga_row& row, time_point due)
{
    row.lease_owner.clear();
    row.lease_until = {};
    row.due_at = due;
}

/// Decides in one transaction what comes after a phase, by why it was stopped.
template <store Store>
class saga_settlement {
    using transaction_type = typename Store::transaction_type;

public:
    explicit saga_settlement(saga_options const& settings) : lease_{settings.lease}, retention_{settings.retention} {}

    /// On the store's thread. The run waits for this, and nothing else refers to it.
    saga_next_phase settle(transaction_type& tx, saga_run<Store>& run) const
    {
        auto const news = tx.read_journal(run.row.id, run.journal.last_number(), whole_journal);
        auto const [stop, text] = decide(run, news);
        saga_next_phase next;
        next.row = run.row;
        next.row.lease_until = next.row.due_at = tx.now() + lease_;
        next.goes_on = goes_on(tx, run, stop, news);
        change(next.row, stop, text);
        if (stop == saga_stop::finished)
            finish(next, run, text, tx.now());
        else if (stop == saga_stop::parked && !next.goes_on)
            release_lease(next.row, run.wakes_at());
        auto entries = run.pending();
        if (auto const kind = kind_of(stop, next.row.state)) {
            saga_note n;
            n.value = text;
            entries.push_back(make_entry(*kind, {}, {}, n, tx.now()));
        }
        if (!tx.update_saga(next.row, run.row.epoch) || !tx.append_journal(run.row.id, next.row.epoch, entries)) {
            next = {};
            next.lost = true;
            return next;
        }
        if (is_ended(next.row.state))
            next.parent = answer_parent(tx, run.journal.begun(), run.journal.begun_name(), next.row.state == saga_state::done, text);
        if (stop == saga_stop::continued)
            continue_as_new(tx, run, next);
        if (next.goes_on)
            next.journal = tx.read_journal(run.row.id, 0, whole_journal);
        return next;
    }

private:
    struct decision {
        saga_stop stop;
        std::string text;
    };

    // Who has cancelled a saga was told that it will be undone.
    static decision decide(saga_run<Store> const& run, std::vector<journal_entry> const& news)
    {
        bool const open = run.is_forward() && run.stop() != saga_stop::parked && run.stop() != saga_stop::undo;
        for (auto const& e : news)
            if (open && e.kind == static_cast<std::uint32_t>(saga_entry::cancel))
                return {saga_stop::undo, "cancelled: " + binary_codec::decode<saga_note>(e.content).value};
        return {run.stop(), run.stop_text()};
    }

    bool goes_on(transaction_type& tx, saga_run<Store> const& run, saga_stop stop, std::vector<journal_entry> const& news) const
    {
        if (stop != saga_stop::parked)
            return stop == saga_stop::undo || stop == saga_stop::continued;
        // It was to leave the memory; unless something has come meanwhile.
        saga_journal probe;
        for (auto const& e : news)
            if (probe.apply_news(e))
                return true;
        auto const current = tx.find_saga(run.row.id);
        return current && current->epoch == run.row.epoch && current->due_at < current->lease_until;
    }

    static void change(saga_row& row, saga_stop stop, std::string const& text)
    {
        if (stop == saga_stop::paused)
            row.state = saga_state::paused;
        else if (stop == saga_stop::undo)
            row.state = saga_state::compensating;
        else
            return;
        row.reason = text;
        if (stop == saga_stop::paused)
            release_lease(row, time_point::max());
    }

    void finish(saga_next_phase& next, saga_run<Store> const& run, std::string const& text, time_point now) const
    {
        if (run.is_forward() && !run.journal.to_confirm().empty()) {
            next.row.state = saga_state::confirming;
            next.goes_on = true;
            return;
        }
        bool const undone = run.row.state == saga_state::compensating;
        next.row.state = undone ? saga_state::undone : saga_state::done;
        next.row.reason = undone ? text : std::string{};
        next.row.result = undone ? std::string{} : text;
        release_lease(next.row, now + retention_);
    }

    static std::optional<saga_entry> kind_of(saga_stop stop, saga_state now)
    {
        switch (stop) {
        case saga_stop::paused: return saga_entry::paused;
        case saga_stop::undo: return saga_entry::compensating;
        case saga_stop::finished: return now == saga_state::confirming ? saga_entry::confirming : saga_entry::ended;
        default: return std::nullopt;
        }
    }

    // What is still to be undone if the saga fails, and what nobody has received, comes along; all else is forgotten.
    void continue_as_new(transaction_type& tx, saga_run<Store>& run, saga_next_phase& next) const
    {
        auto const& id = run.row.id;
        auto const all = tx.read_journal(id, 0, whole_journal);
        saga_journal journal;
        for (auto const& e : all)
            journal.apply(e);
        std::vector<journal_entry> kept;
        auto begun = journal.begun();
        ++begun.code;
        kept.push_back(make_entry(saga_entry::begun, {}, journal.begun_name(), begun, tx.now()));
        auto duties = journal.to_undo();
        for (auto duty = duties.rbegin(); duty != duties.rend(); ++duty) {
            auto const& r = *journal.find(duty->step);
            saga_note n;
            n.verb = static_cast<std::uint32_t>(r.verb);
            n.digest = r.digest;
            n.undo = r.undo;
            n.confirm = r.confirm;
            auto const kind = r.state == saga_step_record::states::done ? saga_entry::done : saga_entry::intended;
            kept.push_back(make_entry(kind, duty->step, r.name, n, tx.now()));
        }
        saga_note n;
        n.code = static_cast<std::uint32_t>(duties.size());
        kept.push_back(make_entry(saga_entry::continued, {}, {}, n, tx.now()));
        for (auto const& e : all)
            if (journal.is_unreceived(e))
                kept.push_back(e);
        tx.append_journal(id, run.row.epoch, kept);
        tx.erase_journal(id, all.empty() ? 0 : all.back().number);
        next.row.input = run.stop_text();
        tx.update_saga(next.row, run.row.epoch);
    }

    duration lease_;
    duration retention_;
};

} // namespace cosaga::detail
