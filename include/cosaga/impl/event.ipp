// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/event.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <mutex>
#include <utility>

namespace cosaga::detail {

// Outlives the event for a cancellation that is emitted late.
struct event::shared : std::enable_shared_from_this<shared> {
    using handler_type = asio::any_completion_handler<void(boost::system::error_code)>;

    explicit shared(asio::any_io_executor e) : executor{std::move(e)} {}

    void complete(handler_type handler, boost::system::error_code ec)
    {
        // Runs on the handler's own executor in the end: `post` dispatches to it.
        asio::post(executor, asio::append(std::move(handler), ec));
    }

    asio::any_io_executor executor;
    std::mutex mutex;
    bool notified = false;
    handler_type waiter;
};

struct event::cancel {
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
        alive->complete(std::move(handler), asio::error::operation_aborted);
    }
};

struct event::initiate {
    shared* self;

    template <class Handler>
    void operator()(Handler&& handler) const
    {
        auto slot = asio::get_associated_cancellation_slot(handler);
        std::unique_lock lock{self->mutex};
        if (self->notified) {
            self->notified = false;
            lock.unlock();
            self->complete(shared::handler_type{std::forward<Handler>(handler)}, {});
            return;
        }
        // Swapped in: move assignment of any_completion_handler recurses without end on Asio 1.26.
        shared::handler_type{std::forward<Handler>(handler)}.swap(self->waiter);
        if (slot.is_connected())
            slot.assign(cancel{self->weak_from_this()});
    }
};

COSAGA_DECL event::event(asio::any_io_executor executor) : shared_{std::make_shared<shared>(std::move(executor))} {}

COSAGA_DECL void event::notify()
{
    std::unique_lock lock{shared_->mutex};
    if (!shared_->waiter) {
        shared_->notified = true;
        return;
    }
    auto handler = std::exchange(shared_->waiter, nullptr);
    lock.unlock();
    shared_->complete(std::move(handler), {});
}

COSAGA_DECL asio::awaitable<void> event::wait()
{
    return asio::async_initiate<asio::use_awaitable_t<> const, void(boost::system::error_code)>(
        initiate{shared_.get()}, asio::use_awaitable);
}

} // namespace cosaga::detail
