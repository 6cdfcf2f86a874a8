// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// One thread, virtual time, and a seed that decides every order.
///
/// `run` picks a random one of the operations that are ready; when none is, time jumps to the next timer, and everything that is
/// due then becomes ready together. The same seed and program give the same steps, whatever compiler has built it.
/// @par Thread safety
/// none: everything happens on the thread that calls `run`.
class scheduler {
    struct operation {
        virtual ~operation() = default;
        virtual void run() = 0;
    };

public:
    /// What lives and dies together: the executor of one process. After `retire` it runs nothing any more.
    class domain final : public asio::execution_context {
    public:
        explicit domain(scheduler& s) : scheduler_{&s} {}
        ~domain() { shutdown(); }

    private:
        friend scheduler;
        scheduler* scheduler_;
        bool alive_ = true;
        bool running_ = false; // one of its operations
    };

    class executor_type {
    public:
        explicit executor_type(domain& d) noexcept : domain_{&d} {}

        asio::execution_context& query(asio::execution::context_t) const noexcept { return *domain_; }
        asio::execution::blocking_t query(asio::execution::blocking_t) const noexcept
        {
            return inline_allowed_ ? asio::execution::blocking_t{asio::execution::blocking.possibly}
                                   : asio::execution::blocking_t{asio::execution::blocking.never};
        }
        executor_type require(asio::execution::blocking_t::never_t) const noexcept { return {*domain_, false}; }
        executor_type require(asio::execution::blocking_t::possibly_t) const noexcept { return {*domain_, true}; }

        template <class Function>
        void execute(Function f) const
        {
            // As an io_context does, so that `dispatch` does not let others come between.
            if (inline_allowed_ && domain_->running_)
                f();
            else
                domain_->scheduler_->make_ready(*domain_, std::move(f));
        }

        friend bool operator==(executor_type const&, executor_type const&) noexcept = default;

    private:
        executor_type(domain& d, bool inline_allowed) noexcept : domain_{&d}, inline_allowed_{inline_allowed} {}

        domain* domain_;
        bool inline_allowed_ = true;
    };

    explicit scheduler(std::uint64_t seed = 1) : engine_{seed} {}
    scheduler(scheduler const&) = delete;
    scheduler& operator=(scheduler const&) = delete;
    ~scheduler()
    {
        for (auto const& d : domains_)
            retire(*d);
    }

    steady_time now() const noexcept { return now_; }
    /// 64 random bits; drawing them is part of the trace.
    std::uint64_t random()
    {
        auto const drawn = engine_();
        trace(drawn);
        return drawn;
    }
    /// Uniformly distributed in [0, n), or 0.
    std::uint64_t random_below(std::uint64_t n) { return n > 1 ? random() % n : 0; }
    /// True with this probability; nothing is drawn for 0.
    bool chance(double probability)
    {
        return probability > 0 && static_cast<double>(random() >> 11) * 0x1.0p-53 < probability;
    }
    /// Uniformly distributed in [least, most].
    duration random_between(duration least, duration most)
    {
        return least + duration{static_cast<duration::rep>(random_below(static_cast<std::uint64_t>((most - least).count()) + 1))};
    }

    /// Stands for everything that was decided so far: two runs with the same hash were the same.
    std::uint64_t trace_hash() const noexcept { return hash_; }
    /// Makes `value` part of the trace.
    void trace(std::uint64_t value) noexcept
    {
        hash_ = (hash_ ^ value) * 0x9e37'79b9'7f4a'7c15u;
        hash_ ^= hash_ >> 29;
    }
    /// Operations run so far.
    std::uint64_t steps() const noexcept { return steps_; }

    /// A new domain. It belongs to the scheduler, because executors that were copied refer to it.
    domain& make_domain()
    {
        domains_.push_back(std::make_unique<domain>(*this));
        return *domains_.back();
    }

    /// Destroys all that waits in the domain, and everything that is given to it later. Not from one of its own operations.
    void retire(domain& d)
    {
        if (!std::exchange(d.alive_, false))
            return;
        // Handlers may own what other handlers refer to.
        std::vector<std::unique_ptr<operation>> dropped;
        for (auto& r : ready_)
            if (r.of == &d)
                dropped.push_back(std::move(r.what));
        std::erase_if(ready_, [&](entry const& r) { return r.of == &d; });
        std::vector<std::unique_ptr<environment::timer_handler>> stopped;
        for (auto t = timers_.begin(); t != timers_.end();) {
            if (t->second.of != &d) {
                ++t;
                continue;
            }
            stopped.push_back(std::move(t->second.handler));
            t = timers_.erase(t);
        }
        dropped.clear();
        stopped.clear();
        d.shutdown(); // strands keep what they have not run
    }

    /// Calls `handler` in the domain at `when`, or with `operation_aborted` if its cancellation slot is emitted before.
    void wait_until(domain& d, steady_time when, environment::timer_handler handler)
    {
        if (!d.alive_)
            return;
        auto const key = timer_key{when, ++timers_made_};
        auto slot = asio::get_associated_cancellation_slot(handler);
        timers_.emplace(key, timer{&d, std::make_unique<environment::timer_handler>(std::move(handler))});
        if (slot.is_connected())
            slot.assign([this, key](asio::cancellation_type) { fire(key, asio::error::operation_aborted); });
    }

    /// Calls `f` in the domain, among what is ready then, after `delay`.
    template <class Function>
    void call_after(domain& d, duration delay, Function f)
    {
        wait_until(d, now_ + delay, [g = std::move(f)](boost::system::error_code) mutable { g(); });
    }

    /// Runs until nothing is ready and no timer is set.
    /// @return the number of operations run.
    std::size_t run()
    {
        return run_until([] { return false; });
    }

    /// Runs until nothing is ready, without letting time pass.
    std::size_t poll()
    {
        std::size_t n = 0;
        while (step())
            ++n;
        return n;
    }

    /// Runs for `span` of virtual time.
    std::size_t run_for(duration span)
    {
        auto const end = now_ + span;
        std::size_t n = 0;
        for (;;) {
            if (step())
                ++n;
            else if (!timers_.empty() && timers_.begin()->first.first <= end)
                fire_next();
            else
                break;
        }
        now_ = std::max(now_, end);
        return n;
    }

    /// Runs until `done()`, or until nothing is left to do.
    template <class Done>
    std::size_t run_until(Done done)
    {
        std::size_t n = 0;
        while (!done()) {
            if (step())
                ++n;
            else if (!timers_.empty())
                fire_next();
            else
                break;
        }
        return n;
    }

    /// Called between any two steps with the domain of the one that has run. For faults that come in the middle of things.
    void set_interloper(std::function<void(domain&)> f) { interloper_ = std::move(f); }

private:
    using timer_key = std::pair<steady_time, std::uint64_t>;
    struct entry {
        domain* of;
        std::unique_ptr<operation> what;
    };
    struct timer {
        domain* of;
        std::unique_ptr<environment::timer_handler> handler;
    };

    template <class Function>
    void make_ready(domain& d, Function f)
    {
        struct holder final : operation {
            explicit holder(Function&& g) : function{std::move(g)} {}
            void run() override { std::move(function)(); }
            Function function;
        };
        if (d.alive_)
            ready_.push_back({&d, std::make_unique<holder>(std::move(f))});
    }

    bool step()
    {
        if (ready_.empty())
            return false;
        auto const chosen = ready_.size() > 1 ? engine_() % ready_.size() : 0;
        trace(chosen << 32 | ready_.size());
        auto const at = ready_.begin() + static_cast<std::ptrdiff_t>(chosen);
        auto const next = std::move(*at);
        ready_.erase(at);
        ++steps_;
        struct scope {
            domain* of;
            ~scope() { of->running_ = false; }
        };
        {
            scope const running{next.of};
            next.of->running_ = true;
            next.what->run();
        }
        if (interloper_)
            interloper_(*next.of);
        return true;
    }

    // What is due at one instant competes.
    void fire_next()
    {
        now_ = std::max(now_, timers_.begin()->first.first);
        trace(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
        while (!timers_.empty() && timers_.begin()->first.first <= now_)
            fire(timers_.begin()->first, {});
    }

    void fire(timer_key key, boost::system::error_code ec)
    {
        auto const found = timers_.extract(key);
        if (found.empty())
            return;
        auto& handler = *found.mapped().handler;
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected() && !ec)
            slot.clear();
        asio::post(executor_type{*found.mapped().of}, asio::append(std::move(handler), ec));
    }

    std::mt19937_64 engine_;
    steady_time now_{};
    std::uint64_t hash_ = 0;
    std::uint64_t steps_ = 0;
    std::uint64_t timers_made_ = 0;
    std::function<void(domain&)> interloper_;
    std::vector<std::unique_ptr<domain>> domains_;
    std::vector<entry> ready_;
    std::map<timer_key, timer> timers_;
};

} // namespace cosaga::testing
