// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

namespace cosaga::detail {

/// Counts what a `stop` has to wait for.
/// @par Thread safety
/// any thread; one coroutine waits.
class running_sends {
public:
    explicit running_sends(asio::any_io_executor executor) : shared_{std::make_shared<shared>(std::move(executor))} {}

    /// One more, until the result is destroyed, which may outlive this.
    std::shared_ptr<void> enter()
    {
        shared_->add();
        return {nullptr, [s = shared_](std::nullptr_t) { s->remove(); }};
    }

    asio::awaitable<void> wait_for_all()
    {
        for (;;) {
            auto const n = shared_->count();
            if (n == 0)
                co_return;
            co_await shared_->none_left.wait();
        }
    }

private:
    struct shared {
        explicit shared(asio::any_io_executor executor) : none_left{std::move(executor)} {}

        void add()
        {
            std::lock_guard const lock{mutex};
            ++running;
        }
        void remove()
        {
            std::unique_lock lock{mutex};
            bool const last = --running == 0;
            lock.unlock();
            if (last)
                none_left.notify();
        }
        std::size_t count()
        {
            std::lock_guard const lock{mutex};
            return running;
        }

        event none_left;
        std::mutex mutex;
        std::size_t running = 0;
    };

    std::shared_ptr<shared> shared_;
};

} // namespace cosaga::detail
