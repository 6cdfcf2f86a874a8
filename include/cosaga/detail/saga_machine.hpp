// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/due_hints.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_birth.hpp>
#include <cosaga/detail/saga_children.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/detail/saga_runs.hpp>
#include <cosaga/detail/saga_settlement.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Takes sagas out of the store and keeps their leases: one loop, that claims what is due.
template <store Store>
class saga_machine final : public saga_runs<Store> {
    using base = saga_runs<Store>;

public:
    using typename base::transaction_type;

    saga_machine(Store& s, outbox_core<transaction_type>& o, std::string_view bodies_as, saga_options options)
        : base{s, o, checked(std::move(options))},
          prefix_{prefix_of(o.service())},
          owner_{prefix_ + std::to_string(env->random())},
          hints_{wake_},
          alarm_{*env, strand, wake_}
    {
        this->content_type = bodies_as;
    }

    void start()
    {
        running_ = true;
        started_ = true;
        hints_.open();
        spawn_on(strand, work(), [this](std::exception_ptr e) {
            running_ = false;
            changed_->notify();
            if (e)
                env->report("sagas: " + describe(e));
        });
    }

    asio::awaitable<void> stop() { return run_on(strand, do_stop()); }

    /// Begins a saga and runs it here at once, if there is room.
    asio::awaitable<bool> begin(std::string name, std::string id, std::string input, saga_note begun)
    {
        bool fresh = false;
        co_await run_on(strand, do_begin(std::move(name), std::move(id), std::move(input), std::move(begun), fresh));
        co_return fresh;
    }

    void hint(std::string const& id) override { hints_.add(id, env->now()); }
    duration retention() const noexcept { return settings.retention; }

private:
    using base::alarmed_;
    using base::changed_;
    using base::dues_;
    using base::env;
    using base::look_;
    using base::next_due_;
    using base::runs_;
    using base::settings;
    using base::stopping_;
    using base::store;
    using base::strand;
    using base::waiters_;
    using base::wake_;

    static constexpr std::size_t claimed_at_once = 256;
    static constexpr std::size_t purged_at_once = 1024;

    static saga_options checked(saga_options o)
    {
        if (o.max_active == 0 || o.max_entries == 0 || o.max_bytes == 0)
            throw make_error(errc::bad_configuration, "sagas: max_active, max_entries and max_bytes must be at least 1");
        if (o.lease < std::chrono::seconds{1})
            throw make_error(errc::bad_configuration, "sagas: the lease must be at least 1 s, so that it can be renewed in time");
        for (auto const d : {o.park_after, o.retention, o.grace, o.stuck_answer})
            if (d < duration::zero())
                throw make_error(errc::bad_configuration, "sagas: park_after, retention, grace and stuck_answer must not be negative");
        if (o.poll_interval <= duration::zero())
            throw make_error(errc::bad_configuration, "sagas: poll_interval must be greater than 0");
        return o;
    }

    // Whoever had this name before is gone, unless two processes have it.
    std::string prefix_of(std::string const& service) const
    {
        return (settings.instance.empty() ? service : settings.instance) + "#";
    }

    // What is in the store with our lease must be in memory, so this is not cancelled half way.
    asio::awaitable<void> do_begin(std::string name, std::string id, std::string input, saga_note begun, bool& fresh)
    {
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        auto const version = this->version_of(name);
        check_saga_id(id);
        if (started_ && !stopping_ && !this->find(id) && this->tally.active < settings.max_active) {
            auto const outcome = std::make_shared<saga_birth::outcome>();
            auto& birth = this->adopt(row_of(version, name, id, input), begun, outcome);
            co_await birth.decided.wait(); // `birth` may be gone then
            fresh = outcome->fresh;
            if (outcome->failed)
                std::rethrow_exception(outcome->failed);
            co_return;
        }
        std::optional<saga_row> row;
        auto insert = [&](transaction_type& tx) { row = insert_saga(tx, version, name, id, input, begun); };
        co_await store->transact(insert);
        fresh = row.has_value();
        hints_.add(id, env->now());
    }

    saga_row row_of(std::uint32_t version, std::string const& name, std::string const& id, std::string const& input) const
    {
        saga_row row;
        row.id = id;
        row.name = name;
        row.version = version;
        row.input = input;
        row.epoch = 1;
        row.lease_owner = owner_;
        row.lease_until = row.due_at = env->now() + settings.lease;
        return row;
    }

    // the loop

    asio::awaitable<void> work()
    {
        std::uint32_t failures = 0;
        bool released = false;
        while (!stopping_) {
            std::exception_ptr failed;
            try {
                if (!released) {
                    auto release = [this](transaction_type& tx) { tx.release_sagas(prefix_); };
                    co_await store->transact(release);
                    released = true;
                    look_ = true;
                }
                take_hints();
                this->tick();
                co_await keep();
                failures = 0;
            } catch (...) {
                failed = std::current_exception();
            }
            if (stopping_)
                break;
            auto when = next_look();
            if (failed) {
                env->report("sagas: " + describe(failed));
                look_ = true;
                auto const delay = settings.undo_retries.delay_without_end(++failures, env->random());
                auto const until = env->steady_now() + delay;
                while (!stopping_ && env->steady_now() < until) {
                    alarm_.set(until);
                    co_await wake_->wait();
                }
                continue;
            }
            if (purge_more_ || (look_ && this->tally.active < settings.max_active))
                continue;
            alarmed_ = when;
            alarm_.set(steady_of(when));
            co_await wake_->wait();
            alarmed_ = time_point::min();
        }
    }

    steady_time steady_of(time_point when) const
    {
        auto const span = std::max(when - env->now(), duration{1000});
        return env->steady_now() + std::min(span, settings.poll_interval);
    }

    void take_hints()
    {
        for (auto const& [id, due] : hints_.take()) {
            if (auto const run = this->find(id))
                this->refresh_later(run);
            else
                look_ = true;
        }
    }

    time_point next_look() const
    {
        auto next = std::min(poll_at_, renew_at_);
        if (this->tally.active < settings.max_active)
            next = std::min(next, next_due_);
        if (!dues_.empty())
            next = std::min(next, dues_.begin()->first);
        return next;
    }

    // Claims what is due, renews what is ours, purges what is old; each when it is time.
    asio::awaitable<void> keep()
    {
        auto const now = env->now();
        bool const renews = now >= renew_at_ || now + settings.lease < renew_at_;
        bool const polls = now >= poll_at_ || now + settings.poll_interval < poll_at_;
        bool const room = this->tally.active < settings.max_active;
        if (!renews && !polls && !purge_more_ && !(room && (std::exchange(look_, false) || now >= next_due_)))
            co_return;
        look_ = false;
        std::vector<saga_row> claimed;
        std::vector<std::vector<journal_entry>> journals;
        std::optional<time_point> next;
        std::size_t purged = 0;
        auto const most = std::min(claimed_at_once, settings.max_active - std::min<std::size_t>(this->tally.active, settings.max_active));
        auto take = [&](transaction_type& tx) {
            claimed.clear();
            journals.clear();
            if (renews)
                tx.renew_sagas(owner_, tx.now() + settings.lease);
            if (renews || purge_more_)
                purged = tx.purge_sagas(tx.now(), purged_at_once);
            claimed = tx.claim_sagas(owner_, tx.now(), tx.now() + settings.lease, most);
            for (auto const& row : claimed)
                journals.push_back(tx.read_journal(row.id, 0, whole_journal));
            next = tx.next_saga_due(owner_);
        };
        co_await store->transact(take);
        purge_more_ = purged == purged_at_once;
        if (renews)
            renew_at_ = now + settings.lease / 3;
        if (polls) {
            poll_at_ = now + settings.poll_interval;
            waiters_.poll([this](std::string const& id) { return runs_.contains(id); });
        }
        next_due_ = next.value_or(time_point::max());
        look_ = look_ || (most > 0 && claimed.size() == most);
        for (std::size_t i = 0; i < claimed.size(); ++i)
            take_over(std::move(claimed[i]), journals[i]);
    }

    void take_over(saga_row row, std::vector<journal_entry> const& entries)
    {
        if (stopping_)
            return;
        if (auto const run = this->find(row.id)) {
            if (run->row.epoch == row.epoch)
                this->refresh_later(run);
            else {
                run->close(saga_stop::lost); // it was another's meanwhile
                release_later(std::move(row), env->now());
            }
        } else if (auto definition = this->find_definition(row)) {
            this->take(std::move(row), std::move(definition), entries);
        } else {
            leave_to_others(std::move(row));
        }
    }

    void leave_to_others(saga_row row)
    {
        auto const why = "no process here has registered saga '" + row.name + "' version " + std::to_string(row.version);
        if (reported_.insert(std::pair{row.name, row.version}).second)
            env->report("sagas: " + why + ": it waits for one that has");
        row.reason = why;
        release_later(std::move(row), env->now() + 5 * settings.poll_interval);
    }
    void release_later(saga_row row, time_point due)
    {
        release_lease(row, due);
        store->defer([row = std::move(row)](transaction_type& tx) { tx.update_saga(row, row.epoch); });
    }

    asio::awaitable<void> do_stop()
    {
        stopping_ = true;
        started_ = false;
        hints_.close();
        wake_->notify();
        auto const all = runs_;
        for (auto const& [id, run] : all)
            run->close(saga_stop::shut_down);
        alarm grace{*env, strand, changed_};
        auto const until = env->steady_now() + settings.grace;
        grace.set(until);
        bool cancelled = false;
        while (running_ || !runs_.empty()) {
            if (!cancelled && env->steady_now() >= until) {
                cancelled = true;
                for (auto const& [id, run] : runs_)
                    run->cancel_effects();
            }
            co_await changed_->wait();
        }
        alarm_.cancel();
        waiters_.close();
        auto release = [this](transaction_type& tx) { tx.release_sagas(owner_); };
        try {
            co_await store->transact(release);
        } catch (std::exception const& e) {
            env->report(std::string{"sagas: leases were not ended, others wait for their end: "} + e.what());
        }
    }

    std::string prefix_;
    std::string owner_;
    std::set<std::pair<std::string, std::uint32_t>> reported_;
    due_hints hints_;
    alarm alarm_;
    time_point renew_at_ = time_point::min();
    time_point poll_at_ = time_point::min();
    bool purge_more_ = false;
    bool started_ = false;
    bool running_ = false;
};

} // namespace cosaga::detail
