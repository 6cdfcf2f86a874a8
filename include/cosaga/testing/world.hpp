// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/testing/faults.hpp>
#include <cosaga/testing/history.hpp>
#include <cosaga/testing/host.hpp>
#include <cosaga/testing/network.hpp>
#include <cosaga/testing/scheduler.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

struct world_options {
    std::uint64_t seed = 1;
    testing::faults faults{};
    std::vector<std::size_t> without{}; ///< faults of the plan that do not come, by their place in it
    bool recording = false;             ///< of the history
};

/// A promise that was not kept.
struct finding {
    std::string what;
    std::string subject; ///< the message, key or account that shows it; may be empty
};

/// Hosts on one scheduler, a network between them, and faults from a seed.
///
/// @code
/// world w{{.seed = 7, .faults = faults::all()}};
/// w.add_host<shop>("shop"); // has a constructor from host&, and asio::awaitable<void> run()
/// w.run_with_faults(1min);
/// w.run_for(1min); // without
/// w.stop_all();
/// @endcode
/// @par Thread safety
/// none; worlds on different threads do not know each other.
class world {
public:
    explicit world(world_options options)
        : options_{std::move(options)},
          scheduler_{options_.seed},
          domain_{&scheduler_.make_domain()},
          network_{scheduler_, *domain_}
    {
        history_.set_recording(options_.recording);
        scheduler_.set_interloper([this](scheduler::domain& ran) { after_step(ran); });
    }
    world(world const&) = delete;
    world& operator=(world const&) = delete;
    ~world()
    {
        for (auto const& h : hosts_)
            switch_off(*h);
    }

    /// Adds a machine. At every boot, from the next `run...` on, it makes a `Service` from `host&` and `args` and awaits its `run()`.
    template <class Service, class... Args>
    host& add_host(std::string name, Args... args)
    {
        auto const boot = [... kept = std::move(args)](host& h) {
            auto const service = std::make_shared<Service>(h, kept...);
            return host::booted{service, service->run()};
        };
        auto const find = [this](std::string_view n) { return find_host(n).number(); };
        hosts_.push_back(std::unique_ptr<host>{
            new host{std::move(name), hosts_.size(), boot, scheduler_, network_, history_, troubled_, find}});
        return *hosts_.back();
    }
    /// @throws std::out_of_range
    host& find_host(std::string_view name) const
    {
        for (auto const& h : hosts_)
            if (h->name() == name)
                return *h;
        throw std::out_of_range{"no host is called " + std::string{name}};
    }
    std::vector<std::unique_ptr<host>> const& hosts() const noexcept { return hosts_; }

    /// Starts every host that is down and runs all for `span`, with faults. Afterwards nothing is broken, and who is down stays down.
    void run_with_faults(duration span)
    {
        set_faults(options_.faults);
        boot_all();
        plan_ = plan_faults(options_.seed, options_.faults, hosts_.size(), span);
        auto const round = ++round_;
        for (std::size_t i = 0; i < plan_.size(); ++i)
            if (std::find(options_.without.begin(), options_.without.end(), i) == options_.without.end())
                scheduler_.call_after(*domain_, plan_[i].at, [this, i, round] {
                    if (round == round_)
                        begin(plan_[i]);
                });
        troubled_ = true;
        scheduler_.run_for(span);
        troubled_ = false;
        ++round_; // what would still come does not
        set_faults({});
        network_.mend_all();
        for (auto const& h : hosts_) {
            h->crash_in_.reset();
            call_off_crash(*h);
        }
        note("nothing more goes wrong");
    }

    /// Starts every host that is down and runs all for `span`, without faults.
    void run_for(duration span)
    {
        boot_all();
        scheduler_.run_for(span);
    }

    /// Ends every service in order; one that does not end within five minutes is a finding, and is switched off.
    void stop_all()
    {
        supervising_ = false;
        for (auto const& h : hosts_)
            ask_to_stop(*h);
        auto const until = scheduler_.now() + std::chrono::minutes{5};
        auto const all_down = [&] { return std::none_of(hosts_.begin(), hosts_.end(), [](auto const& h) { return h->is_up(); }); };
        // A timer, so that there is something to run for.
        scheduler_.call_after(*domain_, until - scheduler_.now(), [] {});
        scheduler_.run_until([&] { return all_down() || scheduler_.now() >= until; });
        for (auto const& h : hosts_)
            if (h->is_up()) {
                add_finding("the service of " + h->name() + " did not end within five minutes");
                switch_off(*h);
            }
    }

    /// Runs a coroutine on a host that is down, to its end: `asio::awaitable<void> f(host&)`.
    /// @throws what it throws; std::runtime_error when it does not end within an hour.
    template <class F>
    void run_on(host& h, F const& f)
    {
        boot(h, [&f](host& at) { return host::booted{nullptr, f(at)}; }, false);
        auto const until = scheduler_.now() + std::chrono::hours{1};
        scheduler_.run_until([&] { return !h.is_up() || scheduler_.now() >= until; });
        if (h.is_up()) {
            switch_off(h);
            throw std::runtime_error{"what was run on " + h.name() + " did not end"};
        }
        if (auto const failed = std::exchange(failed_, nullptr))
            std::rethrow_exception(failed);
    }

    /// Crashes a host, now; it is started again after `down_for`. Not from one of its own operations.
    void crash(host& h, duration down_for, crash_kind kind = crash_kind::lose_power)
    {
        if (!h.is_up())
            return;
        note(kind == crash_kind::kill ? "is killed" : "power is cut", h);
        for (auto const& d : h.durables_)
            d->crash(kind);
        switch_off(h);
        start_later(h, down_for);
    }

    scheduler& get_scheduler() noexcept { return scheduler_; }
    network& get_network() noexcept { return network_; }
    history const& get_history() const noexcept { return history_; }
    std::vector<fault_event> const& plan() const noexcept { return plan_; }

    void add_finding(std::string what, std::string subject = {})
    {
        history_.add(since_begin(), {}, "BROKEN: " + what, subject);
        findings_.push_back({std::move(what), std::move(subject)});
    }
    std::vector<finding> const& findings() const noexcept { return findings_; }

private:
    duration since_begin() const noexcept { return scheduler_.now().time_since_epoch(); }
    time_point true_time() const noexcept
    {
        return time_point{std::chrono::sys_days{std::chrono::year{2026} / 1 / 1}} + since_begin();
    }
    void note(std::string const& what) { history_.add(since_begin(), {}, what); }
    void note(std::string const& what, host const& h) { history_.add(since_begin(), h.name(), what); }

    void set_faults(faults const& f)
    {
        network_.set_faults(f.network);
        for (auto const& h : hosts_) {
            h->faults_ = f;
            for (auto const& d : h->durables_)
                d->set_faults(f);
            if (h->is_up())
                set_worker_delay(*h);
        }
    }

    void set_worker_delay(host& h)
    {
        auto const longest = h.faults_.slow_disk;
        if (longest > duration::zero())
            h.environment_->set_worker_delay([this, longest] { return scheduler_.random_between({}, longest); });
        else
            h.environment_->set_worker_delay(nullptr);
    }

    void boot_all()
    {
        supervising_ = true;
        for (auto const& h : hosts_)
            if (!h->is_up())
                boot(*h, h->program_, true);
    }

    // A service that ends by itself is started again, as by a supervisor, unless it was run once.
    void boot(host& h, host::program const& p, bool supervised)
    {
        auto const steady_offset = scheduler_.random_between({}, std::chrono::hours{1000}); // since its boot, or another one's
        ++h.boots_;
        h.environment_ = std::make_unique<virtual_environment>(scheduler_, true_time() + h.clock_offset_, steady_offset);
        h.stopping_ = std::make_unique<detail::event>(h.environment_->get_executor());
        h.stop_asked_ = false;
        h.crash_in_.reset();
        set_worker_delay(h);
        note("boots", h);
        auto const boot = h.boots_;
        auto const on_end = [this, &h, boot, supervised](std::exception_ptr e) {
            // Not here: this is an operation of the environment that ends.
            scheduler_.call_after(*domain_, {}, [this, &h, boot, supervised, e] {
                if (h.boots_ == boot && h.is_up())
                    ended(h, supervised, e);
            });
        };
        try {
            auto made = p(h);
            h.service_ = std::move(made.service);
            detail::spawn_on(h.environment_->get_executor(), std::move(made.main), on_end);
        } catch (...) {
            on_end(std::current_exception()); // a store that cannot be opened, for one
        }
    }

    void ended(host& h, bool supervised, std::exception_ptr e)
    {
        note(e ? "ended: " + detail::describe(e) : "ended", h);
        switch_off(h);
        if (!supervised)
            failed_ = e;
        else if (!h.stop_asked_)
            start_later(h, std::chrono::seconds{1});
    }

    // A crash that was to come in the middle of writing.
    static void call_off_crash(host& h)
    {
        for (auto const& d : h.durables_)
            d->crash_at(0, crash_kind::kill, nullptr);
    }

    void switch_off(host& h)
    {
        if (!h.is_up())
            return;
        call_off_crash(h); // it was meant for this boot
        network_.close_all(h.number());
        h.clock_offset_ = h.environment_->now() - true_time();
        scheduler_.retire(h.environment_->get_domain());
        h.service_.reset();
        h.stopping_.reset();
        h.environment_.reset();
    }

    void start_later(host& h, duration after)
    {
        scheduler_.call_after(*domain_, after, [this, &h, boots = h.boots_] {
            if (supervising_ && !h.is_up() && h.boots_ == boots)
                boot(h, h.program_, true);
        });
    }

    void ask_to_stop(host& h)
    {
        if (!h.is_up() || std::exchange(h.stop_asked_, true))
            return;
        note("is asked to stop", h);
        h.stopping_->notify();
    }

    void begin(fault_event const& f)
    {
        auto& h = *hosts_[f.host];
        switch (f.kind) {
        case fault_kind::crash: crash_soon(h, f); break;
        case fault_kind::stop:
            ask_to_stop(h);
            start_again(h, f.span);
            break;
        case fault_kind::jump:
            if (h.is_up()) {
                auto const off = f.chance % 2 == 0 ? f.span : -f.span;
                note("clock is set to " + std::to_string(off.count() / 1'000'000) + " s from the truth", h);
                h.environment_->jump_wall_clock(true_time() + off - h.environment_->now());
            }
            break;
        case fault_kind::partition: partition(f); break;
        }
    }

    // In the middle of things: most of the time nothing happens.
    void crash_soon(host& h, fault_event const& f)
    {
        if (!h.is_up() || h.crash_in_)
            return;
        auto const kind = (f.chance >> 16 & 1) == 0 ? crash_kind::kill : crash_kind::lose_power;
        if (f.chance % 3 == 0)
            return crash(h, f.span, kind);
        h.crash_kind_ = kind;
        h.down_for_ = f.span;
        auto const n = f.chance >> 8 & 63;
        auto const boots = h.boots_;
        auto const now = [this, &h, boots, round = round_] {
            if (h.boots_ == boots && round == round_)
                h.crash_in_ = 0; // when the step that is running has ended
        };
        bool writing = false;
        if (f.chance % 3 == 1)
            for (auto const& d : h.durables_)
                writing = d->crash_at(1 + n % 16, kind, now) || writing;
        if (!writing)
            h.crash_in_ = n;
        scheduler_.call_after(*domain_, std::chrono::seconds{2}, [this, &h, boots, round = round_] {
            if (h.boots_ == boots && round == round_)
                crash(h, h.down_for_, h.crash_kind_); // nothing happened
        });
    }

    void after_step(scheduler::domain& ran)
    {
        for (auto const& h : hosts_) {
            if (!h->crash_in_ || !h->is_up() || &h->environment_->get_domain() != &ran)
                continue;
            if ((*h->crash_in_)-- == 0) {
                h->crash_in_.reset();
                crash(*h, h->down_for_, h->crash_kind_);
            }
            return;
        }
    }

    // A service that was asked to stop may take a while.
    void start_again(host& h, duration after)
    {
        scheduler_.call_after(*domain_, after, [this, &h, boots = h.boots_] {
            if (!supervising_ || h.boots_ != boots)
                return;
            if (h.is_up())
                start_again(h, std::chrono::seconds{1});
            else
                boot(h, h.program_, true);
        });
    }

    void partition(fault_event const& f)
    {
        auto const ways = f.chance % 3;
        auto const text = hosts_[f.host]->name() + (ways == 0 ? " -x-> " : ways == 1 ? " <-x- " : " <-x-> ") + hosts_[f.other]->name();
        note(text);
        if (ways != 1)
            network_.cut(f.host, f.other);
        if (ways != 0)
            network_.cut(f.other, f.host);
        scheduler_.call_after(*domain_, f.span, [this, a = f.host, b = f.other, round = round_] {
            if (round != round_)
                return;
            note(hosts_[a]->name() + " and " + hosts_[b]->name() + " reach each other again");
            network_.mend(a, b);
            network_.mend(b, a);
        });
    }

    world_options options_;
    scheduler scheduler_;
    scheduler::domain* domain_;
    network network_;
    history history_;
    std::vector<std::unique_ptr<host>> hosts_;
    std::vector<fault_event> plan_;
    std::vector<finding> findings_;
    std::uint64_t round_ = 0;
    bool troubled_ = false;    // faults come
    bool supervising_ = false; // who is down is started again
    std::exception_ptr failed_;
};

} // namespace cosaga::testing
