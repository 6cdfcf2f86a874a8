// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/any_work.hpp>
#include <cosaga/detail/background_timer.hpp>
#include <cosaga/detail/completion.hpp>
#include <cosaga/detail/group_worker.hpp>
#include <cosaga/detail/transact_unit.hpp>
#include <cosaga/detail/watchers.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace cosaga::detail {

template <class Work>
inline constexpr bool safe_to_await =
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
    std::is_lvalue_reference_v<Work> || std::is_trivially_destructible_v<Work>;
#else
    true;
#endif

/// The verbs of a store, over an engine that does one thing at a time on one thread; see `group_worker`.
///
/// Every work that is waiting goes into one commit, each in its own savepoint. There is no timer and no delay:
/// a lone work commits at once, and while the disk is busy the next group grows.
template <class Engine>
class group_commit {
public:
    using transaction_type = typename Engine::transaction_type;
    using watch_handle = cosaga::watch_handle;

    group_commit(group_commit const&) = delete;
    group_commit& operator=(group_commit const&) = delete;

    /// Finishes the works that have started and the bookkeeping, and refuses the others with `errc::store_closed`, because
    /// what they refer to may be gone. Blocks while the disk is at work; `close` finishes everything.
    ~group_commit()
    {
        group_->stop();
        idle_timer_.stop();
        poll_timer_.stop();
        worker_.reset();  // waits for a group that is running
        group_->finish();
    }

    /// Runs `T work(transaction&)` as one local transaction and resumes when it is durable.
    ///
    /// `work` runs on the store's thread, together with others in one group commit. It must not block, and must
    /// not use the transaction after it returned. The awaiting coroutine is suspended meanwhile, so `work` may
    /// use its variables by reference.
    /// @par Completes with
    /// what `work` returns: `void`, or a default constructible type.
    /// @par Errors
    /// @li whatever `work` throws; its own changes are rolled back, no other's.
    /// @li `errc::store_failed`, `errc::store_full`, `errc::store_busy` - nothing of the group is durable.
    /// @li `errc::store_closed` - `close` was called before.
    /// @par Cancellation
    /// before `work` has started: it never runs (`operation_aborted`). After: it runs to its end and is reported.
    /// @par Guarantees
    /// works of one thread run in the order in which they were awaited.
    /// @par Thread safety
    /// any number of coroutines on any threads.
    template <std::invocable<transaction_type&> Work>
    auto transact(Work&& work) -> asio::awaitable<work_result<Work, transaction_type>>
    {
        using result = work_result<Work, transaction_type>;
        static_assert(safe_to_await<Work>, "name the function object first: g++ 12 destroys it twice (GCC PR 99576)");
        if constexpr (!std::is_void_v<result>) {
            static_assert(!std::is_reference_v<result>, "what a work returns must be a value: nothing of it outlives the transaction");
            static_assert(std::default_initializable<result>, "what a work returns must be default constructible");
        }
        using erased = any_work<transaction_type, result>;
        if constexpr (std::is_lvalue_reference_v<Work>)
            return start<result>(erased::refer_to(work));
        else if constexpr (erased::template holds<Work>)
            return start<result>(erased::hold(work));
        else
            return start<result>(std::move(work));
    }

    /// Runs bookkeeping with the next group, or by itself once the store has been idle for a while (50 ms).
    ///
    /// It runs again with the next group when the commit fails. Bookkeeping must bear being lost, because a crash
    /// loses it: of more than `max_deferred` (65,536) that wait, which takes a store that fails for long, the oldest
    /// are dropped and reported. One that throws is rolled back, reported and dropped.
    /// @par Thread safety
    /// any thread; ignored after `close`.
    void defer(std::function<void(transaction_type&)> work)
    {
        if (group_->defer(std::move(work)))
            idle_timer_.arm(idle_delay);
    }

    /// Calls `f(commit_notice)` on the store's thread after each commit that made rows of the queue ready or delayed,
    /// in the order of commits and before their works resume. `f` must neither block nor throw.
    /// @par Thread safety
    /// any thread.
    [[nodiscard]] watch_handle watch(queue_name const& queue, std::function<void(commit_notice)> f)
    {
        auto w = std::make_shared<watcher>(std::move(f), queue);
        group_->watchers()->add(w);
        if (poll_interval_ > duration::zero())
            poll_timer_.arm(poll_interval_);
        return watch_handle{group_->watchers(), std::move(w)};
    }

    /// Finishes what was awaited and the bookkeeping, then refuses everything with `errc::store_closed`.
    /// @par Cancellation
    /// ends the waiting; the store closes all the same.
    /// @par Thread safety
    /// any thread, any number of times.
    asio::awaitable<void> close()
    {
        poll_timer_.stop(); // or an executor that is run until it is out of work would wait for it
        return asio::async_initiate<asio::use_awaitable_t<> const, void(std::exception_ptr)>(
            initiate_close{this}, asio::use_awaitable);
    }

    environment& get_environment() noexcept { return *environment_; }

protected:
    /// @param poll_interval how often to look for commits of other processes while somebody watches; zero for never.
    template <class... EngineArgs>
    group_commit(environment& env, duration poll_interval, EngineArgs&&... args)
        : environment_{&env}, poll_interval_{poll_interval}, worker_{env.start_worker()},
          group_{std::make_shared<group_worker<Engine>>(
              env, worker_->get_executor(), std::forward<EngineArgs>(args)...)},
          idle_timer_{env, [this] { group_->commit_deferred(); }}, poll_timer_{env, [this] { poll(); }}
    {
        group_->set_retry([this](duration span) { idle_timer_.arm(span); });
    }

    /// For test hooks of an engine that may be used from any thread.
    Engine& engine() noexcept { return group_->engine(); }

private:
    static constexpr duration idle_delay = group_worker<Engine>::idle_delay;

    template <class Result, class Work>
    asio::awaitable<Result> start(Work work)
    {
        return asio::async_initiate<asio::use_awaitable_t<> const, typename transact_signature<Result>::type>(
            initiate_transact<Result>{group_.get()}, asio::use_awaitable, std::move(work));
    }

    template <class Result>
    struct initiate_transact {
        group_worker<Engine>* group;

        template <class Handler, class Work>
        void operator()(Handler&& handler, Work&& work) const
        {
            using handler_type = std::remove_cvref_t<Handler>;
            using unit = transact_unit_of<transaction_type, std::remove_cvref_t<Work>, Result, handler_type>;
            auto& g = *group;
            auto const slot = asio::get_associated_cancellation_slot(handler);
            g.submit(make_pending<unit>(handler_type{std::forward<Handler>(handler)}, std::forward<Work>(work)), slot);
        }
    };

    struct initiate_close {
        group_commit* self;

        template <class Handler>
        void operator()(Handler&& handler) const
        {
            using handler_type = std::remove_cvref_t<Handler>;
            auto& g = *self->group_;
            self->idle_timer_.stop(); // closing commits what it would have, and timers keep an executor running
            self->poll_timer_.stop();
            auto const slot = asio::get_associated_cancellation_slot(handler);
            g.submit_close(make_pending<close_waiter<handler_type>>(handler_type{std::forward<Handler>(handler)}), slot);
        }
    };

    void poll()
    {
        if (group_->watchers()->empty())
            return;
        group_->look_elsewhere();
        poll_timer_.arm(poll_interval_);
    }

    environment* environment_;
    duration poll_interval_;
    std::unique_ptr<worker> worker_;
    std::shared_ptr<group_worker<Engine>> group_;
    background_timer idle_timer_;
    background_timer poll_timer_;
};

} // namespace cosaga::detail
