// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/background_timer.hpp>
#include <cosaga/detail/group_commit.hpp>
#include <cosaga/detail/group_worker.hpp>
#include <cosaga/detail/transact_unit.hpp>
#include <cosaga/detail/watchers.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace cosaga::detail {

/// The groups of a store over an engine that does one thing at a time on one thread, with the timers that wake it.
template <class Engine>
class group_runner final : public group<typename Engine::transaction_type> {
public:
    using transaction_type = typename Engine::transaction_type;

    /// @param poll_interval how often to look for commits of other processes while somebody watches; zero for never.
    template <class... EngineArgs>
    group_runner(environment& env, duration poll_interval, EngineArgs&&... args)
        : poll_interval_{poll_interval}, worker_{env.start_worker()},
          group_{std::make_shared<group_worker<Engine>>(
              env, worker_->get_executor(), std::forward<EngineArgs>(args)...)},
          idle_timer_{env, [this] { group_->commit_deferred(); }}, poll_timer_{env, [this] { poll(); }}
    {
        group_->set_retry([this](duration span) { idle_timer_.arm(span); });
    }

    ~group_runner() override
    {
        group_->stop();
        idle_timer_.stop();
        poll_timer_.stop();
        worker_.reset(); // waits for a group that is running
        group_->finish();
    }

    void submit(transact_unit<transaction_type>* u, asio::cancellation_slot slot) override { group_->submit(u, slot); }

    void defer(std::function<void(transaction_type&)> work) override
    {
        if (group_->defer(std::move(work)))
            idle_timer_.arm(group_worker<Engine>::idle_delay);
    }

    watch_handle watch(queue_name const& queue, std::function<void(commit_notice)> f) override
    {
        auto w = std::make_shared<watcher>(std::move(f), queue);
        group_->watchers()->add(w);
        if (poll_interval_ > duration::zero())
            poll_timer_.arm(poll_interval_);
        return watch_handle{group_->watchers(), std::move(w)};
    }

    asio::awaitable<void> close() override
    {
        poll_timer_.stop(); // or an executor that is run until it is out of work would wait for it
        return asio::async_initiate<asio::use_awaitable_t<> const, void(std::exception_ptr)>(
            initiate_close{this}, asio::use_awaitable);
    }

    /// For test hooks of an engine that may be used from any thread.
    Engine& engine() noexcept { return group_->engine(); }

private:
    struct initiate_close {
        group_runner* self;

        template <class Handler>
        void operator()(Handler&& handler) const
        {
            using handler_type = std::remove_cvref_t<Handler>;
            auto& g = *self->group_;
            self->idle_timer_.stop(); // closing commits what it would have, and timers keep an executor running
            self->poll_timer_.stop();
            auto const slot = asio::get_associated_cancellation_slot(handler);
            g.submit_close(make_pending<waiter<handler_type>>(handler_type{std::forward<Handler>(handler)}), slot);
        }
    };

    void poll()
    {
        if (group_->watchers()->empty())
            return;
        group_->look_elsewhere();
        poll_timer_.arm(poll_interval_);
    }

    duration poll_interval_;
    std::unique_ptr<worker> worker_;
    std::shared_ptr<group_worker<Engine>> group_;
    background_timer idle_timer_;
    background_timer poll_timer_;
};

} // namespace cosaga::detail
