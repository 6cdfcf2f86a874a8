// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/testing/scheduler.hpp>

#include <boost/asio/strand.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// The clocks, the chance and the threads of one process, on a scheduler: real library code, run deterministically.
///
/// Workers run on the same thread, each its own work in order. Destroying it ends the process: whatever waits is destroyed.
/// @par Thread safety
/// none: everything happens on the thread that calls `run`.
class virtual_environment final : public environment {
public:
    /// An environment with a scheduler of its own.
    /// @param start the wall clock at first: 2026-01-01 unless given.
    explicit virtual_environment(std::uint64_t seed = 1, time_point start = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1})
        : own_{std::make_unique<scheduler>(seed)}, scheduler_{own_.get()}, domain_{&own_->make_domain()},
          wall_offset_{start.time_since_epoch()}
    {
    }

    /// One of several processes on a scheduler, which outlives it.
    /// @param steady_offset what the clock that never jumps shows more than the scheduler.
    virtual_environment(scheduler& s, time_point start, duration steady_offset)
        : scheduler_{&s}, domain_{&s.make_domain()}, wall_offset_{start.time_since_epoch() - s.now().time_since_epoch()},
          steady_offset_{steady_offset}
    {
    }

    ~virtual_environment() override { scheduler_->retire(*domain_); }

    time_point now() const override { return time_point{wall_offset_ + scheduler_->now().time_since_epoch()}; }
    steady_time steady_now() const override { return scheduler_->now() + steady_offset_; }
    std::uint64_t random() override { return scheduler_->random(); }
    asio::any_io_executor get_executor() override { return scheduler::executor_type{*domain_}; }

    std::unique_ptr<worker> start_worker() override
    {
        return std::make_unique<virtual_worker>(delayed_executor{*this});
    }

    void wait_until(steady_time when, timer_handler handler) override
    {
        scheduler_->wait_until(*domain_, when - steady_offset_, std::move(handler));
    }

    void report(std::string const& what) override { reports_.push_back(what); }
    /// What was reported so far.
    std::vector<std::string> const& reports() const noexcept { return reports_; }

    /// Moves the wall clock, as an operator or a time service does; timers are not affected.
    void jump_wall_clock(duration by) { wall_offset_ += by; }

    /// How long a worker takes to begin what it is given, asked each time: a slow disk. Zero unless set.
    void set_worker_delay(std::function<duration()> f) { worker_delay_ = std::move(f); }

    scheduler& get_scheduler() noexcept { return *scheduler_; }
    scheduler::domain& get_domain() noexcept { return *domain_; }

    /// @copydoc scheduler::run
    std::size_t run() { return scheduler_->run(); }
    /// @copydoc scheduler::poll
    std::size_t poll() { return scheduler_->poll(); }
    /// @copydoc scheduler::run_for
    std::size_t run_for(duration span) { return scheduler_->run_for(span); }
    /// @copydoc scheduler::run_until
    template <class Done>
    std::size_t run_until(Done done)
    {
        return scheduler_->run_until(std::move(done));
    }

private:
    class delayed_executor {
    public:
        explicit delayed_executor(virtual_environment& env) noexcept : environment_{&env} {}

        asio::execution_context& query(asio::execution::context_t) const noexcept { return *environment_->domain_; }
        static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept
        {
            return asio::execution::blocking.never;
        }
        delayed_executor require(asio::execution::blocking_t::never_t) const noexcept { return *this; }

        template <class Function>
        void execute(Function f) const
        {
            auto& env = *environment_;
            auto const delay = env.worker_delay_ ? env.worker_delay_() : duration::zero();
            if (delay > duration::zero())
                env.scheduler_->call_after(*env.domain_, delay, std::move(f));
            else
                scheduler::executor_type{*env.domain_}.require(asio::execution::blocking.never).execute(std::move(f));
        }

        friend bool operator==(delayed_executor const&, delayed_executor const&) noexcept = default;

    private:
        virtual_environment* environment_;
    };

    class virtual_worker final : public worker {
    public:
        explicit virtual_worker(delayed_executor executor) : strand_{executor} {}
        asio::any_io_executor get_executor() override { return strand_; }

    private:
        asio::strand<delayed_executor> strand_;
    };

    std::unique_ptr<scheduler> own_;
    scheduler* scheduler_;
    scheduler::domain* domain_;
    duration wall_offset_;
    duration steady_offset_{};
    std::function<duration()> worker_delay_;
    std::vector<std::string> reports_;
};

} // namespace cosaga::testing
