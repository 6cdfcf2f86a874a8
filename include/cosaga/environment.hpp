// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

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
    asio::awaitable<void> sleep_until(steady_time when);

    /// Suspends for `span`. @copydetails sleep_until
    asio::awaitable<void> sleep_for(duration span);

private:
    struct initiate_wait;
};

/// The real clock, real threads, and timers on an `io_context` (or any executor of one).
class system_environment final : public environment {
public:
    /// @param executor of an `asio::io_context`; a strand is not needed.
    explicit system_environment(asio::any_io_executor executor);
    ~system_environment() override;

    /// Where reports go instead of standard error; `f` may be called from any thread, one call at a time.
    void set_reporter(std::function<void(std::string const&)> f);

    void report(std::string const& what) override;
    time_point now() const override;
    steady_time steady_now() const override;
    std::uint64_t random() override;
    asio::any_io_executor get_executor() override;
    std::unique_ptr<worker> start_worker() override;
    void wait_until(steady_time when, timer_handler handler) override;

private:
    class thread_worker;
    struct waiting;
    struct state;

    std::unique_ptr<state> state_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/environment.ipp>
#endif
