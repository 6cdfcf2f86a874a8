// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <mutex>
#include <utility>

namespace cosaga::detail {

namespace asio = boost::asio;

/// Wakes one waiting coroutine; a notification that finds nobody waiting is kept for the next wait.
///
/// Used instead of Asio's channel, whose cancellation can lose a message or fail the next send (Asio 1.26).
/// @par Thread safety
/// `notify` from any thread; one coroutine at a time waits.
class event {
public:
    /// @param executor by way of which waiters are resumed, each on its own associated executor.
    explicit event(asio::any_io_executor executor) : shared_{std::make_shared<shared>(std::move(executor))} {}
    event(event const&) = delete;
    event& operator=(event const&) = delete;

    void notify()
    {
        std::unique_lock lock{shared_->mutex};
        if (!shared_->waiter) {
            shared_->notified = true;
            return;
        }
        auto handler = std::exchange(shared_->waiter, nullptr);
        lock.unlock();
        complete(*shared_, std::move(handler), {});
    }

    /// Suspends until `notify`, at once when there was one since the last wait.
    /// @par Cancellation
    /// throws `operation_aborted`; a notification is never lost by it.
    asio::awaitable<void> wait()
    {
        return asio::async_initiate<asio::use_awaitable_t<> const, void(boost::system::error_code)>(
            initiate{shared_.get()}, asio::use_awaitable);
    }

private:
    using handler_type = asio::any_completion_handler<void(boost::system::error_code)>;

    // Outlives the event for a cancellation that is emitted late.
    struct shared : std::enable_shared_from_this<shared> {
        explicit shared(asio::any_io_executor e) : executor{std::move(e)} {}
        asio::any_io_executor executor;
        std::mutex mutex;
        bool notified = false;
        handler_type waiter;
    };

    static void complete(shared& s, handler_type handler, boost::system::error_code ec)
    {
        // Runs on the handler's own executor in the end: `post` dispatches to it.
        asio::post(s.executor, asio::append(std::move(handler), ec));
    }

    struct initiate {
        shared* self;

        template <class Handler>
        void operator()(Handler&& handler) const
        {
            auto slot = asio::get_associated_cancellation_slot(handler);
            std::unique_lock lock{self->mutex};
            if (self->notified) {
                self->notified = false;
                lock.unlock();
                complete(*self, handler_type{std::forward<Handler>(handler)}, {});
                return;
            }
            // Swapped in: move assignment of any_completion_handler recurses without end on Asio 1.26.
            handler_type{std::forward<Handler>(handler)}.swap(self->waiter);
            if (slot.is_connected())
                slot.assign(cancel{self->weak_from_this()});
        }
    };

    struct cancel {
        std::weak_ptr<shared> self;

        void operator()(asio::cancellation_type) const
        {
            auto const alive = self.lock();
            if (!alive)
                return;
            std::unique_lock lock{alive->mutex};
            if (!alive->waiter)
                return;
            auto handler = std::exchange(alive->waiter, nullptr);
            lock.unlock();
            complete(*alive, std::move(handler), asio::error::operation_aborted);
        }
    };

    std::shared_ptr<shared> shared_;
};

} // namespace cosaga::detail
