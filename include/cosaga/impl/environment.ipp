// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/environment.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstdio>
#include <mutex>
#include <random>
#include <utility>

namespace cosaga {

struct environment::initiate_wait {
    environment* self;

    template <class Handler>
    void operator()(Handler&& handler, steady_time when) const
    {
        self->wait_until(when, timer_handler{std::forward<Handler>(handler)});
    }
};

COSAGA_DECL asio::awaitable<void> environment::sleep_until(steady_time when)
{
    return asio::async_initiate<asio::use_awaitable_t<> const, void(boost::system::error_code)>(
        initiate_wait{this}, asio::use_awaitable, when);
}

COSAGA_DECL asio::awaitable<void> environment::sleep_for(duration span)
{
    return sleep_until(steady_now() + span);
}

struct system_environment::state {
    asio::any_io_executor executor;
    std::mutex mutex;
    std::mt19937_64 engine;
    std::function<void(std::string const&)> reporter;
};

struct system_environment::waiting {
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

class system_environment::thread_worker final : public worker {
public:
    ~thread_worker() override { pool_.join(); }
    asio::any_io_executor get_executor() override { return pool_.get_executor(); }

private:
    asio::thread_pool pool_{1};
};

COSAGA_DECL system_environment::system_environment(asio::any_io_executor executor) : state_{std::make_unique<state>()}
{
    state_->executor = std::move(executor);
    std::random_device entropy;
    std::seed_seq seed{entropy(), entropy(), entropy(), entropy()};
    state_->engine.seed(seed);
}

COSAGA_DECL system_environment::~system_environment() = default;

COSAGA_DECL void system_environment::set_reporter(std::function<void(std::string const&)> f)
{
    std::lock_guard const lock{state_->mutex};
    state_->reporter = std::move(f);
}

COSAGA_DECL void system_environment::report(std::string const& what)
{
    std::lock_guard const lock{state_->mutex};
    if (state_->reporter)
        state_->reporter(what);
    else
        std::fprintf(stderr, "cosaga: %s\n", what.c_str());
}

COSAGA_DECL time_point system_environment::now() const
{
    return std::chrono::floor<duration>(std::chrono::system_clock::now());
}

COSAGA_DECL steady_time system_environment::steady_now() const
{
    return std::chrono::floor<duration>(std::chrono::steady_clock::now());
}

COSAGA_DECL std::uint64_t system_environment::random()
{
    std::lock_guard const lock{state_->mutex};
    return state_->engine();
}

COSAGA_DECL asio::any_io_executor system_environment::get_executor()
{
    return state_->executor;
}

COSAGA_DECL std::unique_ptr<worker> system_environment::start_worker()
{
    return std::make_unique<thread_worker>();
}

COSAGA_DECL void system_environment::wait_until(steady_time when, timer_handler handler)
{
    // The timer lives in its own completion handler, which the wait keeps alive.
    auto timer = std::make_unique<asio::steady_timer>(state_->executor, when);
    auto& wait_on = *timer;
    wait_on.async_wait(waiting{std::move(timer), std::move(handler)});
}

} // namespace cosaga
