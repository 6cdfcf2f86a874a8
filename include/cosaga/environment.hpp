// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>

namespace cosaga {

namespace asio = boost::asio;

/// All durations of the library; microseconds are also what is stored.
using duration = std::chrono::microseconds;
/// Wall-clock time (UTC). It may jump; only what must survive a restart is measured with it.
using time_point = std::chrono::sys_time<duration>;
/// Time of a clock that never jumps. It means nothing to another process.
using steady_time = std::chrono::time_point<std::chrono::steady_clock, duration>;

/// A thread of its own for work that blocks; destroying it waits for the work it was given.
class worker {
public:
    virtual ~worker() = default;
    /// Runs what is posted to it one after another.
    virtual asio::any_io_executor get_executor() = 0;
};

/// Clock, timer, chance and threads: the only way in which the library reaches them.
///
/// In production a `system_environment`; in tests a `testing::virtual_environment`, where a year of
/// retries takes a moment and one seed decides everything.
/// @par Thread safety
/// every member may be called from any thread.
class environment {
public:
    environment() = default;
    environment(environment const&) = delete;
    environment& operator=(environment const&) = delete;
    virtual ~environment() = default;

    virtual time_point now() const = 0;
    virtual steady_time steady_now() const = 0;
    /// 64 uniformly distributed bits, not for secrets.
    virtual std::uint64_t random() = 0;
    /// Where the library's own coroutines run.
    virtual asio::any_io_executor get_executor() = 0;
    virtual std::unique_ptr<worker> start_worker() = 0;

    /// Tells about a failure in the background that has no caller to throw to: one line, without payloads or secrets.
    virtual void report(std::string const& what) = 0;

    /// Completes `handler` on its associated executor at `when`, or with `operation_aborted` if its
    /// cancellation slot is emitted before.
    using timer_handler = asio::any_completion_handler<void(boost::system::error_code)>;
    virtual void wait_until(steady_time when, timer_handler handler) = 0;

    /// Suspends until `when`.
    /// @par Cancellation
    /// throws `operation_aborted` at once.
    asio::awaitable<void> sleep_until(steady_time when)
    {
        return asio::async_initiate<asio::use_awaitable_t<> const, void(boost::system::error_code)>(
            initiate_wait{this}, asio::use_awaitable, when);
    }

    /// Suspends for `span`. @copydetails sleep_until
    asio::awaitable<void> sleep_for(duration span) { return sleep_until(steady_now() + span); }

private:
    struct initiate_wait {
        environment* self;

        template <class Handler>
        void operator()(Handler&& handler, steady_time when) const
        {
            self->wait_until(when, timer_handler{std::forward<Handler>(handler)});
        }
    };
};

/// The real clock, real threads, and timers on an `io_context` (or any executor of one).
class system_environment final : public environment {
public:
    /// @param executor of an `asio::io_context`; a strand is not needed.
    explicit system_environment(asio::any_io_executor executor) : executor_{std::move(executor)}
    {
        std::random_device entropy;
        std::seed_seq seed{entropy(), entropy(), entropy(), entropy()};
        engine_.seed(seed);
    }

    /// Where reports go instead of standard error; `f` may be called from any thread, one call at a time.
    void set_reporter(std::function<void(std::string const&)> f)
    {
        std::lock_guard const lock{mutex_};
        reporter_ = std::move(f);
    }

    void report(std::string const& what) override
    {
        std::lock_guard const lock{mutex_};
        if (reporter_)
            reporter_(what);
        else
            std::fprintf(stderr, "cosaga: %s\n", what.c_str());
    }

    time_point now() const override
    {
        return std::chrono::floor<duration>(std::chrono::system_clock::now());
    }

    steady_time steady_now() const override
    {
        return std::chrono::floor<duration>(std::chrono::steady_clock::now());
    }

    std::uint64_t random() override
    {
        std::lock_guard const lock{mutex_};
        return engine_();
    }

    asio::any_io_executor get_executor() override { return executor_; }

    std::unique_ptr<worker> start_worker() override { return std::make_unique<thread_worker>(); }

    void wait_until(steady_time when, timer_handler handler) override
    {
        // The timer lives in its own completion handler, which the wait keeps alive.
        auto timer = std::make_unique<asio::steady_timer>(executor_, when);
        auto& wait_on = *timer;
        wait_on.async_wait(waiting{std::move(timer), std::move(handler)});
    }

private:
    struct waiting {
        using executor_type = asio::associated_executor_t<timer_handler, asio::any_io_executor>;
        using cancellation_slot_type = asio::associated_cancellation_slot_t<timer_handler>;

        std::unique_ptr<asio::steady_timer> timer;
        timer_handler handler;

        executor_type get_executor() const noexcept
        {
            return asio::get_associated_executor(handler, timer ? timer->get_executor() : asio::any_io_executor{});
        }
        cancellation_slot_type get_cancellation_slot() const noexcept
        {
            return asio::get_associated_cancellation_slot(handler);
        }
        void operator()(boost::system::error_code ec)
        {
            timer.reset();
            std::move(handler)(ec);
        }
    };

    class thread_worker final : public worker {
    public:
        ~thread_worker() override { pool_.join(); }
        asio::any_io_executor get_executor() override { return pool_.get_executor(); }

    private:
        asio::thread_pool pool_{1};
    };

    asio::any_io_executor executor_;
    std::mutex mutex_;
    std::mt19937_64 engine_;
    std::function<void(std::string const&)> reporter_;
};

} // namespace cosaga
