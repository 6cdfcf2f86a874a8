// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/any_work.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_messages.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// How a branch waits, writes and stops: what the verbs are made of.
///
/// A coroutine of a saga waits in `pause` and nowhere else for longer than a transaction. Its frames are held by the event there, so that
/// destroying the event destroys them; a branch with branches of its own is destroyed behind them.
template <store Store>
class saga_branch_base : public saga_branch<typename Store::transaction_type>, public std::enable_shared_from_this<saga_branch_base<Store>> {
public:
    using transaction_type = typename Store::transaction_type;
    using entries = std::vector<journal_entry>;
    /// A transaction of the saga, and what it adds to the journal.
    struct writing {
        transaction_type& tx;
        entries& journal;
    };
    using more = any_work<writing, void>;

    saga_branch_base(std::shared_ptr<saga_run<Store>> run, std::shared_ptr<saga_branch_base> parent, std::string path)
        : run_{std::move(run)}, parent_{std::move(parent)}, path_{std::move(path)}, wake_{std::make_unique<event>(run_->strand)}
    {
    }

    std::string const& id() const noexcept override { return run_->row.id; }
    environment& get_environment() noexcept override { return *run_->host->env; }

    bool is_closed() const noexcept
    {
        return closed_ || run_->is_closed() || (parent_ && parent_->is_closed());
    }
    /// Stops this branch and those below it.
    void close_branch()
    {
        closed_ = true;
        drop_later(true);
    }

    bool is_waiting() const noexcept { return waiting_; }
    time_point due() const noexcept { return due_; }
    /// One that was poked counts as awake before it resumes.
    void poke()
    {
        if (!waiting_ || std::exchange(poked_, true))
            return;
        run_->wake_up();
        wake_->notify();
    }

    /// Its time has come.
    void ring()
    {
        due_ = time_point::max();
        poke();
    }

    void drop_later(bool cancel_effect)
    {
        if (cancel_effect && effect_)
            post_to(run_->strand, [signal = effect_] { signal->emit(asio::cancellation_type::terminal); });
        post_to(run_->strand, [self = this->shared_from_this()] {
            if (self->is_closed() && self->children_ == 0)
                self->drop();
        });
    }
    /// Destroys the coroutine if it waits.
    void drop()
    {
        if (!waiting_)
            return;
        auto const held = std::exchange(wake_, std::make_unique<event>(run_->strand));
    }

    /// Suspends until it is poked. In a closed saga it never resumes.
    asio::awaitable<void> pause()
    {
        for (;;) {
            waiting_ = true;
            run_->fall_asleep();
            if (is_closed())
                drop_later(false);
            co_await wake_->wait();
            waiting_ = false;
            if (!std::exchange(poked_, false))
                run_->wake_up();
            if (!is_closed())
                co_return;
        }
    }
    /// The same, and `when` pokes it.
    asio::awaitable<void> pause_until(time_point when)
    {
        due_ = when;
        co_await pause();
        due_ = time_point::max();
    }

    /// Has `what` written in one transaction, behind what is pending. Resumes when it is durable.
    /// @param recall whether what it adds may be asked for in this phase again.
    /// @par Errors
    /// what `what` or the store throws; then nothing of it is there.
    asio::awaitable<void> write(more what, bool recall = true)
    {
        saga_writing<Store> journal{*run_};
        entries added;
        std::exception_ptr failed;
        auto const work = [&](transaction_type& tx) {
            added.clear();
            journal.open(tx);
            writing w{tx, added};
            what(w);
            journal.append(tx, added);
        };
        try {
            co_await run_->host->store->transact(work);
        } catch (...) {
            failed = std::current_exception();
        }
        journal.settle(failed, added, recall);
        if (is_closed())
            co_await pause();
        if (failed)
            std::rethrow_exception(failed);
    }

    bool has_open_step() const noexcept { return current_ && !current_->over; }
    std::string next_step() const { return path_ + std::to_string(next_ + 1); }
    saga_operation const* current() const noexcept { return current_.get(); }

protected:
    /// Runs a coroutine beside this one, which waits for it: until `until`, then it is cancelled.
    asio::awaitable<std::exception_ptr> run_beside(asio::awaitable<void> effect, time_point until)
    {
        std::exception_ptr failed;
        auto const self = this->shared_from_this();
        effect_ = std::make_shared<asio::cancellation_signal>();
        ++children_;
        run_->wake_up();
        auto ended = [self, &failed](std::exception_ptr e) {
            failed = e;
            self->effect_ = nullptr;
            self->child_gone();
            self->run_->fall_asleep();
        };
        spawn_on(run_->strand, std::move(effect), ended, effect_);
        bool cancelled = false;
        while (children_ > 0) {
            co_await pause_until(cancelled ? time_point::max() : until);
            if (children_ > 0 && !cancelled && run_->host->env->now() >= until) {
                cancelled = true;
                post_to(run_->strand, [signal = effect_] { signal->emit(asio::cancellation_type::terminal); });
            }
        }
        co_return failed;
    }

    void child_gone()
    {
        --children_;
        poke();
        if (is_closed())
            drop_later(false);
    }

    std::shared_ptr<saga_run<Store>> run_;
    std::shared_ptr<saga_branch_base> parent_;
    std::string path_;
    std::uint32_t next_ = 0;
    saga_operation_ptr current_;
    std::size_t children_ = 0; // coroutines that refer to frames of this one

private:
    std::unique_ptr<event> wake_;
    bool waiting_ = false;
    bool poked_ = false;
    bool closed_ = false;
    time_point due_ = time_point::max();
    std::shared_ptr<asio::cancellation_signal> effect_; // set while one runs
};

/// Held by the first coroutine of a branch: tells when its frames are gone.
template <store Store>
class saga_branch_guard {
public:
    explicit saga_branch_guard(std::shared_ptr<saga_live_branch<Store>> b) : branch_{std::move(b)} {}
    saga_branch_guard(saga_branch_guard const&) = delete;
    saga_branch_guard& operator=(saga_branch_guard const&) = delete;
    ~saga_branch_guard() { branch_->gone(); }

private:
    std::shared_ptr<saga_live_branch<Store>> branch_;
};

} // namespace cosaga::detail
