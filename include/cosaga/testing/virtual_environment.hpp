// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// One thread, virtual time, and a seed that decides every order: real library code, run deterministically.
///
/// `run` picks a random one of the operations that are ready; when none is, time jumps to the next timer.
/// Workers run on the same thread, each its own work in order.
/// @par Thread safety
/// none: everything happens on the thread that calls `run`.
class virtual_environment final : public environment {
    struct operation {
        virtual ~operation() = default;
        virtual void run() = 0;
    };
    struct context final : asio::execution_context {
        ~context()
        {
            ready.clear();
            shutdown();
        }
        using asio::execution_context::destroy;
        using asio::execution_context::shutdown;
        std::vector<std::unique_ptr<operation>> ready;
        bool running = false; // one of the operations
    };

public:
    /// Runs what it is given when the environment is run.
    class executor_type {
    public:
        explicit executor_type(context& c) noexcept : context_{&c} {}
        executor_type(context& c, bool inline_allowed) noexcept : context_{&c}, inline_allowed_{inline_allowed} {}

        asio::execution_context& query(asio::execution::context_t) const noexcept { return *context_; }
        asio::execution::blocking_t query(asio::execution::blocking_t) const noexcept
        {
            return inline_allowed_ ? asio::execution::blocking_t{asio::execution::blocking.possibly}
                                   : asio::execution::blocking_t{asio::execution::blocking.never};
        }
        executor_type require(asio::execution::blocking_t::never_t) const noexcept { return {*context_, false}; }
        executor_type require(asio::execution::blocking_t::possibly_t) const noexcept { return {*context_, true}; }

        template <class Function>
        void execute(Function f) const
        {
            // As an io_context does, so that `dispatch` does not let others come between.
            if (inline_allowed_ && context_->running) {
                f();
                return;
            }
            struct holder final : operation {
                explicit holder(Function&& g) : function{std::move(g)} {}
                void run() override { std::move(function)(); }
                Function function;
            };
            context_->ready.push_back(std::make_unique<holder>(std::move(f)));
        }

        friend bool operator==(executor_type const&, executor_type const&) noexcept = default;

    private:
        context* context_;
        bool inline_allowed_ = true;
    };

    /// @param start the wall clock at first: 2026-01-01 unless given.
    explicit virtual_environment(
        std::uint64_t seed = 1, time_point start = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1})
        : engine_{seed}, wall_offset_{start.time_since_epoch()}
    {
    }
    ~virtual_environment() override
    {
        // Handlers may own what other handlers refer to, and destroying one may post another.
        timers_.clear();
        while (!context_.ready.empty()) {
            auto const dropped = std::move(context_.ready);
            context_.ready.clear();
        }
    }

    time_point now() const override { return time_point{wall_offset_ + steady_.time_since_epoch()}; }
    steady_time steady_now() const override { return steady_; }
    std::uint64_t random() override { return engine_(); }
    asio::any_io_executor get_executor() override { return executor_type{context_}; }
    std::unique_ptr<worker> start_worker() override { return std::make_unique<virtual_worker>(executor_type{context_}); }

    void wait_until(steady_time when, timer_handler handler) override
    {
        auto const key = std::pair{when, ++timers_made_};
        auto slot = asio::get_associated_cancellation_slot(handler);
        timers_.emplace(key, std::make_unique<timer_handler>(std::move(handler)));
        if (slot.is_connected())
            slot.assign([this, key](asio::cancellation_type) { fire(key, asio::error::operation_aborted); });
    }

    void report(std::string const& what) override { reports_.push_back(what); }
    /// What was reported so far.
    std::vector<std::string> const& reports() const noexcept { return reports_; }

    /// Moves the wall clock, as an operator or a time service does; timers are not affected.
    void jump_wall_clock(duration by) { wall_offset_ += by; }

    /// Runs until nothing is ready and no timer is set.
    /// @return the number of operations run.
    std::size_t run()
    {
        return run_until([] { return false; });
    }

    /// Runs until nothing is ready, without letting time pass.
    std::size_t poll()
    {
        std::size_t steps = 0;
        while (step())
            ++steps;
        return steps;
    }

    /// Runs for `span` of virtual time.
    std::size_t run_for(duration span)
    {
        auto const end = steady_ + span;
        std::size_t steps = 0;
        for (;;) {
            if (step())
                ++steps;
            else if (!timers_.empty() && timers_.begin()->first.first <= end)
                next_timer();
            else
                break;
        }
        steady_ = end;
        return steps;
    }

    /// Runs until `done()`, or until nothing is left to do.
    template <class Done>
    std::size_t run_until(Done done)
    {
        std::size_t steps = 0;
        while (!done()) {
            if (step())
                ++steps;
            else if (!timers_.empty())
                next_timer();
            else
                break;
        }
        return steps;
    }

private:
    using timer_key = std::pair<steady_time, std::uint64_t>;

    class virtual_worker final : public worker {
    public:
        explicit virtual_worker(executor_type executor) : strand_{executor} {}
        asio::any_io_executor get_executor() override { return strand_; }

    private:
        asio::strand<executor_type> strand_;
    };

    bool step()
    {
        auto& ready = context_.ready;
        if (ready.empty())
            return false;
        auto const chosen = static_cast<std::ptrdiff_t>(engine_() % ready.size());
        auto const next = std::move(ready[static_cast<std::size_t>(chosen)]);
        ready.erase(ready.begin() + chosen);
        context_.running = true;
        try {
            next->run();
        } catch (...) {
            context_.running = false;
            throw;
        }
        context_.running = false;
        return true;
    }

    void next_timer()
    {
        auto const key = timers_.begin()->first;
        steady_ = std::max(steady_, key.first);
        fire(key, {});
    }

    void fire(timer_key key, boost::system::error_code ec)
    {
        auto const found = timers_.extract(key);
        if (found.empty())
            return;
        auto& handler = *found.mapped();
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected() && !ec)
            slot.clear();
        asio::post(get_executor(), asio::append(std::move(handler), ec));
    }

    std::mt19937_64 engine_;
    steady_time steady_{};
    duration wall_offset_;
    std::uint64_t timers_made_ = 0;
    std::vector<std::string> reports_;
    context context_;
    std::map<timer_key, std::unique_ptr<timer_handler>> timers_;
};

} // namespace cosaga::testing
