// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_birth.hpp>
#include <cosaga/detail/saga_children.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_judgement.hpp>
#include <cosaga/detail/saga_live_branch.hpp>
#include <cosaga/detail/saga_phases.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/detail/saga_settlement.hpp>
#include <cosaga/detail/saga_waiters.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The sagas in memory, and how each goes from one phase to the next.
///
/// When all coroutines of a run are gone, `conclude` decides in one transaction what comes next: another phase, or the end of the run here.
template <store Store>
class saga_runs : public saga_host<Store> {
public:
    using transaction_type = typename Store::transaction_type;
    using run_type = saga_run<Store>;
    using run_ptr = std::shared_ptr<run_type>;
    using definition_ptr = std::shared_ptr<saga_definition<transaction_type> const>;

    saga_runs(Store& s, outbox_core<transaction_type>& o, saga_options options)
        : saga_host<Store>{s, o, std::move(options)}, wake_{std::make_shared<event>(strand)},
          changed_{std::make_shared<event>(strand)}, settlement_{settings}
    {
    }
    ~saga_runs()
    {
        for (auto const& [id, run] : runs_)
            run->detach();
    }

    void define(saga_definition<transaction_type> d)
    {
        if (d.name.empty() || d.version == 0 || !d.body)
            throw make_error(errc::bad_configuration, "saga: a definition needs a name and a version of 1 or more");
        auto const key = std::pair{d.name, d.version};
        if (!definitions_.try_emplace(key, std::make_shared<saga_definition<transaction_type>>(std::move(d))).second)
            throw make_error(errc::bad_configuration,
                "saga: '" + key.first + "' version " + std::to_string(key.second) + " is registered already");
    }

    std::uint32_t version_of(std::string_view name) override
    {
        auto const behind = definitions_.upper_bound(std::pair{std::string{name}, std::numeric_limits<std::uint32_t>::max()});
        if (behind == definitions_.begin() || std::prev(behind)->first.first != name)
            throw make_error(errc::saga_unregistered, "no saga '" + std::string{name} + "' is registered here: call define before");
        return std::prev(behind)->first.second;
    }

    saga_waiters& waiters() noexcept { return waiters_; }

    // what runs tell

    void gone(run_ptr run) override
    {
        spawn_on(strand, conclude(run), [this, run](std::exception_ptr e) {
            if (e)
                env->report("saga " + run->row.id + ": " + describe(e));
        });
    }

    void bring_forth(run_type& run) override
    {
        if (!std::exchange(run.birth->alone, true))
            spawn_on(strand, write_row(run.shared_from_this()), [](std::exception_ptr) {});
    }

    void reschedule(run_type& run) override
    {
        auto const next = run.next_tick();
        if (next >= (run.scheduled ? (*run.scheduled)->first : time_point::max()))
            return; // it is looked at before
        unschedule(run);
        run.scheduled = dues_.emplace(next, run.weak_from_this());
        if (next < alarmed_)
            wake_->notify();
    }

    void mark_stuck(run_type& run, std::string const& reason) override
    {
        auto const text = std::string{stuck_prefix} + reason;
        if (!stuck_.insert(run.row.id).second && run.row.reason == text)
            return;
        if (!run.is_stuck())
            env->report("saga " + run.row.id + " is " + text);
        run.row.reason = text;
        publish();
        spawn_on(strand, store_row(run.shared_from_this()), [](std::exception_ptr) {}); // the next failure stores it again
    }

protected:
    static constexpr std::size_t page = 1024; // entries that are read at a time

    using saga_host<Store>::env;
    using saga_host<Store>::settings;
    using saga_host<Store>::store;
    using saga_host<Store>::strand;

    /// The code of a saga, or null if it is not registered here.
    definition_ptr find_definition(saga_row const& row) const
    {
        auto const found = definitions_.find(std::pair{row.name, row.version});
        return found == definitions_.end() ? nullptr : found->second;
    }
    run_ptr find(std::string const& id) const
    {
        auto const found = runs_.find(id);
        return found == runs_.end() ? nullptr : found->second;
    }

    // sagas come

    void take(saga_row row, definition_ptr definition, std::vector<journal_entry> const& entries)
    {
        auto const run = add(std::move(row), std::move(definition));
        begin_phase(run, read(*run, entries));
    }

    /// One that is begun here.
    saga_birth& adopt(saga_row row, saga_note begun, std::shared_ptr<saga_birth::outcome> outcome)
    {
        auto birth = std::make_shared<saga_birth>(row, begun, settings.lease, strand, std::move(outcome));
        auto definition = find_definition(row);
        begun.digest = identity_of(row.name, row.input, begun);
        auto const run = add(std::move(row), std::move(definition));
        run->birth = std::move(birth);
        auto e = run->entry(saga_entry::begun, {}, {}, begun);
        e.number = 1;
        run->journal.apply(e);
        begin_phase(run, {});
        return *run->birth;
    }

    /// Looks whether something is due in one of them.
    void tick()
    {
        auto const now = env->now();
        while (!dues_.empty() && dues_.begin()->first <= now) {
            auto const run = dues_.begin()->second.lock();
            unschedule(*run);
            run->tick();
        }
    }

    void refresh_later(run_ptr const& run)
    {
        run->refresh_again = true;
        if (!std::exchange(run->refreshing, true))
            spawn_on(strand, refresh(run), [run](std::exception_ptr) { run->refreshing = false; });
    }

    std::shared_ptr<event> wake_;    // of the loop that claims
    std::shared_ptr<event> changed_; // a saga has left the memory
    std::map<std::string, run_ptr, std::less<>> runs_;
    typename run_type::dues dues_; // of `runs_`
    saga_waiters waiters_;
    time_point next_due_ = time_point::min(); // of what sleeps in the store
    time_point alarmed_ = time_point::min();  // until when the loop sleeps
    bool look_ = true;                        // whether something may be due in the store
    bool stopping_ = false;

private:
    run_ptr add(saga_row row, definition_ptr definition)
    {
        auto const run = std::make_shared<run_type>(*this, std::move(row), std::move(definition));
        if (run->is_stuck())
            stuck_.insert(run->row.id);
        runs_[run->row.id] = run;
        publish();
        return run;
    }

    void begin_phase(run_ptr const& run, std::string const& wrong)
    {
        auto const root = run->open();
        if (!wrong.empty())
            run->close(saga_stop::paused, wrong);
        run->look();
        bool const forward = run->is_forward();
        spawn_on(strand, forward ? run_saga_body<Store>(run, root) : carry_out_saga_commands<Store>(run, root), [](std::exception_ptr) {});
    }

    /// @return what is wrong with the journal, or nothing.
    static std::string read(run_type& run, std::vector<journal_entry> const& entries)
    {
        try {
            for (auto const& e : entries)
                run.journal.apply(e);
        } catch (boost::system::system_error const& e) {
            return e.what();
        }
        return {};
    }

    // sagas go

    /// What comes after a phase: the next one, or the end of the run here.
    asio::awaitable<void> conclude(run_ptr run)
    {
        if (may_end_later(*run)) {
            end_later(run);
            co_return;
        }
        for (std::uint32_t attempt = 1; run->host; ++attempt) {
            if (is_over(*run)) {
                if (run->stop() == saga_stop::lost)
                    ++this->tally.lost;
                forget(run);
                look_ = true;
                co_return;
            }
            std::exception_ptr failed;
            saga_next_phase next;
            saga_writing<Store> journal{*run};
            auto settle = [&](transaction_type& tx) {
                journal.open(tx);
                next = settlement_.settle(tx, *run);
                journal.close();
            };
            try {
                co_await store->transact(settle);
            } catch (...) {
                failed = std::current_exception();
            }
            if (!run->host)
                co_return;
            journal.decide(failed);
            if (run->stop() == saga_stop::unborn)
                continue;
            if (!failed) {
                enter(run, std::move(next));
                co_return;
            }
            env->report("saga " + run->row.id + ": " + describe(failed));
            if (stopping_ || judge(failed) == saga_judgement::closed) {
                forget(run);
                co_return;
            }
            auto const delay = settings.undo_retries.delay_without_end(attempt, env->random());
            co_await env->sleep_for(std::min<duration>(delay, std::chrono::seconds{1}));
        }
    }

    static bool is_over(run_type const& run) noexcept
    {
        return run.stop() == saga_stop::lost || run.stop() == saga_stop::shut_down || run.stop() == saga_stop::unborn;
    }

    // The end of a saga that nobody waits for is written with what others write. A crash in between lets it run to its end again, which does
    // nothing but find out the end; and since that then has written nothing, it is not put off a second time.
    bool may_end_later(run_type const& run) const
    {
        return run.stop() == saga_stop::finished && !run.hurry && run.is_forward() && run.has_written() && !stopping_ && this->tally.active < settings.max_active
            && run.journal.to_confirm().empty() && run.journal.begun().value.empty() && !waiters_.has(run.row.id);
    }

    /// Destroyed when the group is durable in which it has run, or when it never will be in one.
    struct put_off {
        put_off(saga_settlement<Store> s, run_ptr r) : settlement{s}, run{std::move(r)} {}
        put_off(put_off const&) = delete;
        put_off& operator=(put_off const&) = delete;
        ~put_off()
        {
            try {
                auto const on = run->strand;
                post_to(on, [r = std::move(run), found = std::make_shared<std::optional<saga_next_phase>>(std::move(next))] {
                    if (!r->host)
                        return;
                    auto& self = static_cast<saga_runs&>(*r->host);
                    if (*found)
                        self.enter(r, std::move(**found));
                    else
                        self.end_now(r);
                });
            } catch (...) { // no memory: found by who looks for it after the next start
            }
        }

        saga_settlement<Store> settlement;
        run_ptr run;
        std::optional<saga_next_phase> next;
    };

    void end_later(run_ptr const& run)
    {
        auto const off = std::make_shared<put_off>(settlement_, run);
        store->defer([off](transaction_type& tx) {
            off->next.reset();
            off->next = off->settlement.settle(tx, *off->run);
        });
    }
    void end_now(run_ptr const& run)
    {
        run->hurry = true;
        gone(run);
    }

    void enter(run_ptr const& run, saga_next_phase next)
    {
        if (next.lost) {
            ++this->tally.lost;
            forget(run);
            look_ = true;
            return;
        }
        count(next.row.state, run->row.state);
        auto const due = next.row.due_at;
        run->row = std::move(next.row);
        if (!next.parent.empty())
            this->hint(next.parent);
        if (!next.goes_on) {
            forget(run);
            if (due < next_due_ && is_unfinished(run->row.state)) {
                next_due_ = due;
                wake_->notify();
            }
            if (is_ended(run->row.state))
                waiters_.ended(run->row.id);
            return;
        }
        run->forget();
        auto const wrong = read(*run, next.journal);
        if (stopping_)
            forget(run); // its lease is ended with the others
        else
            begin_phase(run, wrong);
    }

    void count(saga_state now, saga_state before)
    {
        if (now == before)
            return;
        auto& t = this->tally;
        if (now == saga_state::done)
            ++t.done;
        else if (now == saga_state::undone)
            ++t.undone;
        else if (now == saga_state::paused)
            ++t.paused;
    }

    void unschedule(run_type& run)
    {
        if (run.scheduled)
            dues_.erase(*run.scheduled);
        run.scheduled.reset();
    }

    void forget(run_ptr const& run)
    {
        unschedule(*run);
        auto const found = runs_.find(run->row.id);
        if (found != runs_.end() && found->second == run)
            runs_.erase(found);
        if (run->birth)
            run->never_be(run->stop() == saga_stop::shut_down
                    ? std::make_exception_ptr(make_error(errc::store_closed, "the saga engine was stopped before the saga was begun"))
                    : nullptr);
        if (is_ended(run->row.state) || run->row.state == saga_state::paused)
            stuck_.erase(run->row.id);
        publish();
        changed_->notify();
        if (this->tally.active + 1 == settings.max_active) {
            look_ = true;
            wake_->notify(); // there is room again
        }
    }

    /// Writes a saga that has nothing else to write yet.
    asio::awaitable<void> write_row(run_ptr run)
    {
        saga_writing<Store> journal{*run};
        auto write = [&](transaction_type& tx) {
            journal.open(tx);
            journal.append(tx, {});
        };
        std::exception_ptr failed;
        try {
            co_await store->transact(write);
        } catch (...) {
            failed = std::current_exception();
        }
        journal.settle(failed, {}, true);
    }

    asio::awaitable<void> refresh(run_ptr run)
    {
        while (std::exchange(run->refresh_again, false) && run->host && !run->is_closed()) {
            std::vector<journal_entry> news;
            auto const after = run->journal.last_number();
            auto fetch = [&](transaction_type& tx) { news = tx.read_journal(run->row.id, after, page); };
            co_await store->transact(fetch);
            if (!run->host || run->is_closed())
                co_return;
            for (auto const& e : news)
                if (e.number > run->journal.last_number()) // else it was read, or written here, meanwhile
                    run->journal.apply_news(e);
            run->refresh_again = run->refresh_again || news.size() == page;
            run->look();
        }
    }

    asio::awaitable<void> store_row(run_ptr run)
    {
        auto row = run->row;
        auto write = [&](transaction_type& tx) {
            auto current = tx.find_saga(row.id);
            if (!current || current->epoch != row.epoch || current->state != row.state)
                return;
            current->reason = row.reason;
            tx.update_saga(*current, row.epoch);
        };
        co_await store->transact(write);
    }

    void publish()
    {
        this->tally.active = runs_.size();
        this->tally.stuck = stuck_.size();
    }

    std::map<std::pair<std::string, std::uint32_t>, definition_ptr> definitions_;
    std::set<std::string> stuck_;
    saga_settlement<Store> settlement_;
};

} // namespace cosaga::detail
