// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/any_work.hpp>
#include <cosaga/detail/completion.hpp>
#include <cosaga/detail/group_failure.hpp>
#include <cosaga/detail/prefetch.hpp>
#include <cosaga/detail/transact_unit.hpp>
#include <cosaga/detail/watchers.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace cosaga::detail {

/// Takes what waits, runs it in groups on the store's thread, and tells everybody.
///
/// The engine is used on that thread only. It has
/// | expression         | meaning |
/// |--------------------|---------|
/// | `e.begin(now)`     | begins a transaction; throws when it cannot |
/// | `e.savepoint()`, `e.release()`, `e.rollback_to()` | one level; a failure makes `e.lost()` true |
/// | `e.handle()`       | what a work is called with |
/// | `e.check()`        | throws if what the work has done would fail the commit: then it is the work's error alone |
/// | `e.lost()`         | the transaction is gone already; then `e.commit()` throws the reason |
/// | `e.crowded()`      | enough for one transaction: commit before going on |
/// | `e.commit()`       | makes all of it durable, or throws and leaves nothing |
/// | `e.rollback()`     | |
/// | `e.notices(f)`     | `f(queue, make_notice)` for each queue that the last commit touched |
/// | `e.maintain()`     | after every commit, when all were told |
/// | `e.look_elsewhere()`    | sees whether another process has committed, as `e.begin` does |
/// | `e.changed_elsewhere()` | one was seen since the last call |
/// | `e.shut()`         | closes what it holds |
/// All but `begin`, `check` and `commit` never throw.
template <class Engine>
class group_worker : public std::enable_shared_from_this<group_worker<Engine>> {
public:
    using transaction_type = typename Engine::transaction_type;
    using unit = transact_unit<transaction_type>;
    using bookkeeping = std::function<void(transaction_type&)>;

    /// How long bookkeeping waits for a work to ride with.
    static constexpr duration idle_delay = std::chrono::milliseconds{50};
    /// How long bookkeeping waits after its own commit failed.
    static constexpr duration retry_delay = std::chrono::seconds{1};
    /// Works in one commit: bounds how long the first of them waits for the last.
    static constexpr std::size_t max_group = 4096;
    /// Bookkeeping that waits before it is committed without more delay, and before it is dropped.
    static constexpr std::size_t many_deferred = 1024;
    static constexpr std::size_t max_deferred = 65'536;

    template <class... EngineArgs>
    group_worker(environment& env, asio::any_io_executor executor, EngineArgs&&... args)
        : environment_{&env}, executor_{std::move(executor)}, engine_(std::forward<EngineArgs>(args)...)
    {
    }

    Engine& engine() noexcept { return engine_; }
    std::shared_ptr<watcher_registry> const& watchers() const noexcept { return watchers_; }
    /// @param f arms a timer that calls `commit_deferred`.
    void set_retry(std::function<void(duration)> f) { retry_ = std::move(f); }

    void submit(unit* u, asio::cancellation_slot slot) { enqueue(*u, waiting_, slot); }
    void submit_close(pending* p, asio::cancellation_slot slot)
    {
        {
            std::lock_guard const lock{mutex_};
            closing_ = true;
        }
        enqueue(*p, closers_, slot);
    }

    /// @return true if a timer should call `commit_deferred`.
    bool defer(bookkeeping work)
    {
        std::unique_lock lock{mutex_};
        if (closing_)
            return false;
        deferred_.push_back(std::move(work));
        bool const drop = deferred_.size() > max_deferred;
        if (drop)
            deferred_.pop_front();
        bool const many = deferred_.size() == many_deferred;
        if (many)
            deferred_due_ = true;
        bool const idle = !scheduled_;
        if (many)
            wake(lock);
        else
            lock.unlock();
        if (drop)
            environment_->report("the store fails for too long: bookkeeping was dropped");
        return idle && !many;
    }

    void commit_deferred()
    {
        std::unique_lock lock{mutex_};
        if (deferred_.empty())
            return;
        deferred_due_ = true;
        wake(lock);
    }

    /// Looks for commits of other processes.
    void look_elsewhere()
    {
        std::unique_lock lock{mutex_};
        look_due_ = true;
        wake(lock);
    }

    /// Refuses every work that has not started, now and later: what it refers to may be gone soon.
    void stop() noexcept
    {
        {
            std::lock_guard const lock{mutex_};
            closing_ = true;
        }
        pending_list refused;
        while (take_waiting(refused, max_group) > 0) {
        }
        refuse(std::move(refused));
    }

    /// Does what is left, on the calling thread, while no other uses the engine.
    void finish() noexcept
    {
        stop(); // a group that failed may have put works back
        run();
    }

private:
    struct cancel_pending {
        std::weak_ptr<group_worker> self; // a completion may still be on its way when the store is gone
        pending* target;                  // there until its completion clears the slot

        void operator()(asio::cancellation_type) const
        {
            if (auto const alive = self.lock())
                alive->cancel(*target);
        }
    };

    struct group {
        pending_list done;
        std::size_t works = 0;
        std::deque<bookkeeping> deferred;
    };

    void enqueue(pending& p, pending_list& queue, asio::cancellation_slot slot)
    {
        if (slot.is_connected())
            slot.template emplace<cancel_pending>(cancel_pending{this->weak_from_this(), &p});
        std::unique_lock lock{mutex_};
        if (closing_ && &queue == &waiting_) {
            lock.unlock();
            pending_list one;
            one.push_back(p);
            refuse(std::move(one));
            return;
        }
        p.queue = &queue;
        queue.push_back(p);
        wake(lock);
    }

    static void refuse(pending_list works)
    {
        pending_list refused;
        while (auto* const p = works.pop_front()) {
            p->error = std::make_exception_ptr(make_error(errc::store_closed, "transact after close"));
            refused.push_back(*p);
        }
        completions::post(std::move(refused));
    }

    void cancel(pending& p)
    {
        pending_list one;
        {
            std::lock_guard const lock{mutex_};
            if (!p.queue)
                return; // it runs, or has run: it is reported
            std::exchange(p.queue, nullptr)->remove(p);
        }
        p.error = std::make_exception_ptr(boost::system::system_error{asio::error::operation_aborted, "transact"});
        one.push_back(p);
        completions::post(std::move(one));
    }

    /// Gets `run` called on the store's thread; unlocks.
    void wake(std::unique_lock<std::mutex>& lock)
    {
        bool const scheduled = std::exchange(scheduled_, true);
        lock.unlock();
        if (scheduled)
            return;
        asio::post(executor_, [weak = this->weak_from_this()] {
            if (auto const self = weak.lock())
                self->run();
        });
    }

    void run() noexcept
    {
        for (;;) {
            std::unique_lock lock{mutex_};
            bool const due = !deferred_.empty() && (deferred_due_ || closing_);
            if (std::exchange(look_due_, false)) {
                lock.unlock();
                look();
            } else if (!waiting_.empty() || due) {
                deferred_due_ = false;
                lock.unlock();
                run_group();
            } else if (closing_) {
                return shut(lock);
            } else {
                scheduled_ = false;
                bool const arm = !deferred_.empty();
                lock.unlock();
                if (arm)
                    retry_(idle_delay);
                return;
            }
        }
    }

    void run_group() noexcept
    {
        group g;
        try {
            engine_.begin(environment_->now());
        } catch (...) {
            take_waiting(g.done, max_group);
            return fail(g, group_failure::current());
        }
        if (!run_works(g))
            return completions::post(std::move(g.done), Engine::completions_per_post);
        run_deferred(g);
        try {
            engine_.commit();
        } catch (...) {
            return fail(g, group_failure::current());
        }
        bool const foreign = engine_.changed_elsewhere();
        tell(foreign);
        completions::post(std::move(g.done), Engine::completions_per_post);
        engine_.maintain();
    }

    /// Runs what waits, and what comes meanwhile: a group that grows now is one commit fewer later.
    /// @return false if nothing is left to commit.
    bool run_works(group& g) noexcept
    {
        pending_list taken;
        while (g.works < max_group && !engine_.lost() && !engine_.crowded()) {
            if (taken.empty() && take_waiting(taken, max_taken) == 0)
                break;
            auto* const p = taken.pop_front();
            // The first of all needs no savepoint as long as it is alone.
            bool const alone = g.works == 0 && taken.empty();
            ++g.works;
            g.done.push_back(*p);
            fetch(taken);
            if (!run_work(static_cast<unit&>(*p), alone))
                return false;
        }
        put_back(taken);
        return true;
    }

    // Works and their coroutines were written by other processors. What the next one refers to can be asked for since the work itself was, one before.
    static void fetch(pending_list const& waiting) noexcept
    {
        if (auto const* const next = waiting.front())
            static_cast<unit const*>(next)->fetch();
        if (auto const* const behind = waiting.second())
            prefetch(behind, 0, sizeof(unit) + sizeof(any_work<transaction_type, void>));
    }

    /// @return false if the transaction was rolled back because the work was alone and threw.
    bool run_work(unit& u, bool alone) noexcept
    {
        if (!alone)
            engine_.savepoint();
        try {
            auto tx = engine_.handle();
            u.run(tx);
            engine_.check();
        } catch (...) {
            u.error = std::current_exception();
        }
        if (!alone) {
            u.error ? engine_.rollback_to() : engine_.release();
            return true;
        }
        if (!u.error)
            return true;
        engine_.rollback();
        return false;
    }

    void run_deferred(group& g) noexcept
    {
        {
            std::lock_guard const lock{mutex_};
            g.deferred.swap(deferred_);
        }
        for (auto work = g.deferred.begin(); work != g.deferred.end() && !engine_.lost();) {
            engine_.savepoint();
            try {
                auto tx = engine_.handle();
                (*work)(tx);
                engine_.check();
                engine_.release();
                ++work;
            } catch (...) {
                engine_.rollback_to();
                if (engine_.lost())
                    return; // not its own fault, maybe: it has another chance
                report("bookkeeping failed and was dropped: " + group_failure::current().what());
                work = g.deferred.erase(work);
            }
        }
    }

    /// Tells every work of a group that is not durable; what bookkeeping it had waits for the next.
    void fail(group& g, group_failure const& why) noexcept
    {
        bool const alone = g.done.empty();
        pending_list failed;
        while (auto* const p = g.done.pop_front()) {
            if (!p->error)
                p->error = why.exception();
            failed.push_back(*p);
        }
        completions::post(std::move(failed), Engine::completions_per_post);
        bool dropped = false;
        bool left = false;
        {
            std::lock_guard const lock{mutex_};
            dropped = closing_ && alone;
            if (dropped)
                deferred_.clear();
            else
                deferred_.insert(deferred_.begin(), std::make_move_iterator(g.deferred.begin()),
                    std::make_move_iterator(g.deferred.end()));
            left = !deferred_.empty();
        }
        if (alone)
            report((dropped ? "bookkeeping was not committed before the store closed: "
                            : "bookkeeping was not committed and is tried again: ")
                + why.what());
        if (alone && left)
            retry_(retry_delay);
    }

    std::size_t take_waiting(pending_list& to, std::size_t most) noexcept
    {
        std::lock_guard const lock{mutex_};
        std::size_t n = 0;
        for (; n < most && !waiting_.empty(); ++n) {
            auto* const p = waiting_.pop_front();
            p->queue = nullptr;
            to.push_back(*p);
        }
        return n;
    }

    void put_back(pending_list& taken) noexcept
    {
        if (taken.empty())
            return;
        std::lock_guard const lock{mutex_};
        taken.append(waiting_);
        for (auto* p = taken.pop_front(); p; p = taken.pop_front()) {
            p->queue = &waiting_;
            waiting_.push_back(*p);
        }
    }

    void tell(bool foreign) noexcept
    {
        engine_.notices([&](queue_name const& queue, auto&& make_notice) {
            auto const told = watchers_->of(queue);
            if (told.empty())
                return;
            commit_notice notice = make_notice();
            notice.look = notice.look || foreign;
            if (notice.look)
                notice.ready.clear(); // who takes these first would pass rows that come before them
            for (std::size_t i = 0; i + 1 < told.size(); ++i)
                told[i]->call(notice, *environment_);
            told.back()->call(std::move(notice), *environment_);
        });
        if (foreign)
            look_everywhere();
    }

    void look() noexcept
    {
        if (shut_)
            return;
        engine_.look_elsewhere();
        if (engine_.changed_elsewhere())
            look_everywhere();
    }

    void look_everywhere() noexcept
    {
        for (auto const& w : watchers_->all()) {
            commit_notice notice;
            notice.look = true;
            w->call(std::move(notice), *environment_);
        }
    }

    void shut(std::unique_lock<std::mutex>& lock) noexcept
    {
        scheduled_ = false;
        pending_list closers;
        while (auto* const p = closers_.pop_front()) {
            p->queue = nullptr;
            closers.push_back(*p);
        }
        bool const first = !std::exchange(shut_, true);
        lock.unlock();
        if (first)
            engine_.shut();
        completions::post(std::move(closers));
    }

    void report(std::string const& what) noexcept
    {
        try {
            environment_->report(what);
        } catch (...) { // nowhere left to tell it
        }
    }

    static constexpr std::size_t max_taken = 64; // at once: those that are left in the queue can be cancelled

    environment* environment_;
    asio::any_io_executor executor_;
    std::function<void(duration)> retry_;
    std::shared_ptr<watcher_registry> watchers_ = std::make_shared<watcher_registry>();
    Engine engine_;

    std::mutex mutex_;
    pending_list waiting_;
    pending_list closers_;
    std::deque<bookkeeping> deferred_;
    bool scheduled_ = false; // `run` is running or will be
    bool deferred_due_ = false;
    bool look_due_ = false;
    bool closing_ = false;
    bool shut_ = false;
};

} // namespace cosaga::detail
