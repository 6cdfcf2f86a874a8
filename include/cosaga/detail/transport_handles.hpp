// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/delivery_queue.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

// What is behind the handles that every transport gives out. Callers on any thread put things into the state of a handle; the
// transport, on its strand, is woken once for all that came since it looked last.
namespace cosaga::detail {

// A waiter that lost a race (`receive() || timeout`) must not take anything: its result would be thrown away.
inline asio::awaitable<void> throw_if_cancelled()
{
    auto const state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
        throw boost::system::system_error(asio::error::operation_aborted);
}

/// What a publisher handle and its transport share.
class publisher_state {
public:
    /// @param wake called, from any thread, when there is something new to take.
    publisher_state(asio::any_io_executor executor, std::function<void()> wake)
        : ready_{std::move(executor)}, wake_{std::move(wake)}
    {
    }

    void publish(std::vector<envelope> batch)
    {
        {
            std::lock_guard const lock{mutex_};
            if (closed_ || batch.empty())
                return;
            if (incoming_.empty())
                incoming_.swap(batch);
            else
                incoming_.insert(
                    incoming_.end(), std::make_move_iterator(batch.begin()), std::make_move_iterator(batch.end()));
            if (std::exchange(woken_, true))
                return;
        }
        wake_();
    }

    /// What was published since the last call, for the transport.
    std::vector<envelope> take_incoming()
    {
        std::lock_guard const lock{mutex_};
        woken_ = false;
        return std::exchange(incoming_, {});
    }

    void deliver(std::vector<settlement> settled)
    {
        {
            std::lock_guard const lock{mutex_};
            if (closed_ || settled.empty())
                return;
            if (settled_.empty())
                settled_.swap(settled);
            else
                settled_.insert(
                    settled_.end(), std::make_move_iterator(settled.begin()), std::make_move_iterator(settled.end()));
        }
        ready_.notify();
    }

    static asio::awaitable<std::vector<settlement>> settled(std::shared_ptr<publisher_state> self)
    {
        for (;;) {
            co_await throw_if_cancelled();
            {
                std::lock_guard const lock{self->mutex_};
                if (!self->settled_.empty())
                    co_return std::exchange(self->settled_, {});
                if (self->closed_)
                    throw make_error(errc::transport_closed, "publisher");
            }
            co_await self->ready_.wait();
        }
    }

    void close()
    {
        {
            std::lock_guard const lock{mutex_};
            if (std::exchange(closed_, true))
                return;
            incoming_.clear();
            woken_ = true;
        }
        ready_.notify();
        wake_();
    }

    bool is_closed() const
    {
        std::lock_guard const lock{mutex_};
        return closed_;
    }

private:
    mutable std::mutex mutex_;
    event ready_;
    std::function<void()> wake_;
    std::vector<envelope> incoming_;
    std::vector<settlement> settled_;
    bool woken_ = false;
    bool closed_ = false;
};

/// What a subscription handle and its transport share.
class subscription_state : public std::enable_shared_from_this<subscription_state> {
public:
    /// @param strand of the transport.
    /// @param wake called, from any thread, when there is something new to take.
    subscription_state(environment& env, asio::any_io_executor strand, std::function<void()> wake)
        : environment_{&env},
          strand_{strand},
          ready_{std::make_shared<event>(strand)},
          alarm_{env, strand, ready_},
          wake_{std::move(wake)}
    {
    }

    static asio::awaitable<std::vector<delivery>> receive(std::shared_ptr<subscription_state> self, std::size_t most)
    {
        for (;;) {
            co_await throw_if_cancelled();
            {
                std::lock_guard const lock{self->mutex_};
                if (self->closed_)
                    throw make_error(errc::transport_closed, "subscription");
                auto taken = self->queue_.take(most, self->environment_->steady_now());
                if (!taken.empty())
                    co_return taken;
                if (auto const due = self->queue_.next_due())
                    self->set_alarm(*due);
            }
            co_await self->ready_->wait();
        }
    }

    void acknowledge(std::vector<std::uint64_t> const& tags)
    {
        change([&](delivery_queue& queue) {
            for (auto const tag : tags)
                queue.settle(tag, verdict::accepted, {}, settled_);
        });
    }

    void reject(std::uint64_t tag, std::string reason)
    {
        change([&](delivery_queue& queue) { queue.settle(tag, verdict::rejected, std::move(reason), settled_); });
    }

    void retry(delivery d, duration delay)
    {
        auto const due = environment_->steady_now() + delay;
        change([&](delivery_queue& queue) { queue.retry(std::move(d), due); });
    }

    void close()
    {
        {
            std::lock_guard const lock{mutex_};
            if (std::exchange(closed_, true))
                return;
            woken_ = true;
        }
        ready_->notify();
        post_to(strand_, [self = shared_from_this()] { self->alarm_.cancel(); });
        wake_();
    }

    bool is_closed() const
    {
        std::lock_guard const lock{mutex_};
        return closed_;
    }

    /// Lets the transport use the queue: `f(delivery_queue&)`.
    template <class F>
    auto use(F&& f)
    {
        std::lock_guard const lock{mutex_};
        return f(queue_);
    }

    /// The sender of a lane is gone for good.
    void close_lane(std::uint32_t lane)
    {
        std::lock_guard const lock{mutex_};
        // The number may be given to another sender at once.
        std::erase_if(settled_, [lane](settled_delivery const& s) { return s.from.lane == lane; });
        queue_.close_lane(lane);
    }

    /// Tells a waiting receiver that something was pushed.
    void notify() { ready_->notify(); }

    /// What was settled since the last call, for the transport.
    std::vector<settled_delivery> take_settled()
    {
        std::lock_guard const lock{mutex_};
        woken_ = false;
        return std::exchange(settled_, {});
    }

    /// The same, and what a lane holds at that moment.
    std::vector<settled_delivery> take_settled(std::uint32_t lane, std::vector<held_message>& held)
    {
        std::lock_guard const lock{mutex_};
        woken_ = false;
        held = queue_.held_messages(lane);
        return std::exchange(settled_, {});
    }

private:
    template <class F>
    void change(F&& f)
    {
        bool ready = false;
        bool wake = false;
        {
            std::lock_guard const lock{mutex_};
            if (closed_)
                return;
            f(queue_);
            // A settled or postponed message may have let others of its key go.
            ready = queue_.is_ready(environment_->steady_now());
            if (auto const due = queue_.next_due(); due && !ready)
                set_alarm(*due);
            wake = !settled_.empty() && !std::exchange(woken_, true);
        }
        if (ready)
            ready_->notify();
        if (wake)
            wake_();
    }

    void set_alarm(steady_time due)
    {
        post_to(strand_, [self = shared_from_this(), due] {
            if (!self->is_closed())
                self->alarm_.set(due);
        });
    }

    environment* environment_;
    asio::any_io_executor strand_;
    mutable std::mutex mutex_;
    std::shared_ptr<event> ready_;
    alarm alarm_; // on the strand only
    std::function<void()> wake_;
    delivery_queue queue_;
    std::vector<settled_delivery> settled_;
    bool woken_ = false;
    bool closed_ = false;
};

/// The handles that a transport gave out and that may still be open.
/// @par Thread safety
/// any thread.
class handle_registry {
public:
    /// Keeps `state` for `close_all`.
    /// @throws system_error `errc::transport_closed` after `close_all`.
    template <class State>
    std::shared_ptr<State> add(std::shared_ptr<State> state)
    {
        std::lock_guard const lock{mutex_};
        if (closed_)
            throw make_error(errc::transport_closed, "transport");
        auto& list = std::get<std::vector<std::weak_ptr<State>>>(states_);
        std::erase_if(list, [](auto const& s) { return s.expired(); });
        list.push_back(state);
        return state;
    }

    void close_all()
    {
        {
            std::lock_guard const lock{mutex_};
            closed_ = true;
        }
        auto const close = [](auto const& list) {
            for (auto const& s : list)
                if (auto const state = s.lock())
                    state->close();
        };
        std::apply([&](auto const&... lists) { (close(lists), ...); }, states_); // nothing is added any more
    }

private:
    std::mutex mutex_;
    bool closed_ = false;
    std::tuple<std::vector<std::weak_ptr<publisher_state>>, std::vector<std::weak_ptr<subscription_state>>> states_;
};

} // namespace cosaga::detail
