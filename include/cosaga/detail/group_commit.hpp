// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/any_work.hpp>
#include <cosaga/detail/safe_to_await.hpp>
#include <cosaga/detail/transact_unit.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/storage/watch_handle.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace cosaga::detail {

/// Runs the works of a store in groups; see `group_runner`.
template <class Tx>
class group {
public:
    group() = default;
    group(group const&) = delete;
    group& operator=(group const&) = delete;
    virtual ~group() = default;

    virtual void submit(transact_unit<Tx>* u, asio::cancellation_slot slot) = 0;
    virtual void defer(std::function<void(Tx&)> work) = 0;
    virtual watch_handle watch(queue_name const& queue, std::function<void(commit_notice)> f) = 0;
    virtual asio::awaitable<void> close() = 0;
};

/// The verbs of a store.
///
/// Every work that is waiting goes into one commit, each in its own savepoint. There is no timer and no delay:
/// a lone work commits at once, and while the disk is busy the next group grows.
template <class Tx>
class group_commit {
public:
    using transaction_type = Tx;
    using watch_handle = cosaga::watch_handle;

    group_commit(group_commit const&) = delete;
    group_commit& operator=(group_commit const&) = delete;

    /// Finishes the works that have started and the bookkeeping, and refuses the others with `errc::store_closed`, because
    /// what they refer to may be gone. Blocks while the disk is at work; `close` finishes everything.
    ~group_commit() = default;

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
    void defer(std::function<void(transaction_type&)> work) { group_->defer(std::move(work)); }

    /// Calls `f(commit_notice)` on the store's thread after each commit that made rows of the queue ready or delayed,
    /// in the order of commits and before their works resume. `f` must neither block nor throw.
    /// @par Thread safety
    /// any thread.
    [[nodiscard]] watch_handle watch(queue_name const& queue, std::function<void(commit_notice)> f)
    {
        return group_->watch(queue, std::move(f));
    }

    /// Finishes what was awaited and the bookkeeping, then refuses everything with `errc::store_closed`.
    /// @par Cancellation
    /// ends the waiting; the store closes all the same.
    /// @par Thread safety
    /// any thread, any number of times.
    asio::awaitable<void> close() { return group_->close(); }

    environment& get_environment() noexcept { return *environment_; }

protected:
    explicit group_commit(environment& env) : environment_{&env} {}
    /// Called by the constructor of the store.
    void set_group(std::unique_ptr<group<Tx>> g) { group_ = std::move(g); }

private:
    template <class Result, class Work>
    asio::awaitable<Result> start(Work work);

    template <class Result>
    struct initiate;

    environment* environment_;
    std::unique_ptr<group<Tx>> group_;
};

template <class Tx>
template <class Result>
struct group_commit<Tx>::initiate {
    group<Tx>* to;

    template <class Handler, class Work>
    void operator()(Handler&& handler, Work&& work) const
    {
        using handler_type = std::remove_cvref_t<Handler>;
        using unit = transact_unit_of<Tx, std::remove_cvref_t<Work>, Result, handler_type>;
        auto& g = *to;
        auto const slot = asio::get_associated_cancellation_slot(handler);
        g.submit(make_pending<unit>(handler_type{std::forward<Handler>(handler)}, std::forward<Work>(work)), slot);
    }
};

// Not in the class, where it would be inline: then `extern template` would not keep it from being compiled.
template <class Tx>
template <class Result, class Work>
asio::awaitable<Result> group_commit<Tx>::start(Work work)
{
    return asio::async_initiate<asio::use_awaitable_t<> const, typename transact_signature<Result>::type>(
        initiate<Result>{group_.get()}, asio::use_awaitable, std::move(work));
}

} // namespace cosaga::detail
