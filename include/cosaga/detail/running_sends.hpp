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
    struct shared;

public:
    explicit running_sends(asio::any_io_executor executor) : shared_{std::make_shared<shared>(std::move(executor))} {}

    /// Counts as running until it is destroyed; it may outlive what it came from.
    class one {
    public:
        one(one&& other) = default;
        one& operator=(one&&) = delete;
        ~one()
        {
            if (shared_)
                shared_->remove();
        }

    private:
        friend running_sends;
        explicit one(std::shared_ptr<shared> s) : shared_{std::move(s)} { shared_->add(); }
        std::shared_ptr<shared> shared_;
    };

    one enter() { return one{shared_}; }

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
