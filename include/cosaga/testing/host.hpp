// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/testing/faults.hpp>
#include <cosaga/testing/history.hpp>
#include <cosaga/testing/network.hpp>
#include <cosaga/testing/scheduler.hpp>
#include <cosaga/testing/virtual_environment.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// How a host comes down in the middle of things.
enum class crash_kind : std::uint8_t {
    kill,      ///< the program dies; the machine has what it has written, synced or not
    lose_power ///< the disk has what was synced, and anything of the rest
};

class world;

/// One machine of a world, with the service that it runs at every boot.
///
/// A crash destroys the service, and its coroutines where they are suspended; what is `durable` stays.
class host {
public:
    host(host const&) = delete;
    host& operator=(host const&) = delete;

    std::string const& name() const noexcept { return name_; }
    host_number number() const noexcept { return number_; }
    bool is_up() const noexcept { return environment_ != nullptr; }

    /// Clock, timers, chance and executor, from one boot to the next crash or end.
    virtual_environment& get_environment() noexcept { return *environment_; }

    /// A thing that survives crashes: a `memory_disk`, `simulated_files`, or what the test wants to remember. There is one of
    /// each type, made when it is first asked for: from `host&`, from a source of random bits, or from nothing.
    ///
    /// Its `lose_power()`, if it has one, is called at each crash before the service is destroyed; `kill()` instead, if it has that,
    /// when the program dies and the machine does not.
    template <class T>
    T& durable()
    {
        for (auto const& d : durables_)
            if (auto* const found = dynamic_cast<durable_holder<T>*>(d.get()))
                return found->value;
        auto made = std::make_unique<durable_holder<T>>(*this);
        auto& value = made->value;
        made->set_faults(faults_);
        durables_.push_back(std::move(made));
        return value;
    }

    /// Suspends until the service is to end in order. One coroutine at a time.
    asio::awaitable<void> until_stopped() { return stopping_->wait(); }

    /// True while load should be made: faults come, and the service is not to end. Then it waits with `until_stopped`.
    bool wants_load() const noexcept { return *troubled_ && !stop_asked_; }

    /// Adds to the history what happens here.
    void note(std::string_view what, std::string_view subject = {})
    {
        history_->add(scheduler_->now().time_since_epoch(), name_, what, subject);
    }

    network& get_network() noexcept { return *network_; }
    /// The number of the host of that name. @throws std::out_of_range
    host_number find(std::string_view name) const { return find_(name); }

private:
    friend world;

    struct durable_base {
        virtual ~durable_base() = default;
        virtual void crash(crash_kind kind) = 0;
        virtual bool crash_at(std::uint64_t n, crash_kind kind, std::function<void()> then) = 0;
        virtual void set_faults(faults const& f) = 0;
    };
    template <class T>
    struct durable_holder final : durable_base {
        explicit durable_holder(host& h) : value(make(h)), owner{&h} {}

        static T make(host& h)
        {
            using random_source = std::function<std::uint64_t()>;
            if constexpr (std::is_constructible_v<T, host&>)
                return T(h);
            else if constexpr (std::is_constructible_v<T, random_source>)
                return T(random_source{[s = h.scheduler_] { return s->random(); }});
            else
                return T();
        }
        void crash(crash_kind kind) override
        {
            if constexpr (requires(T& t) { t.kill(); })
                if (kind == crash_kind::kill)
                    return value.kill();
            if constexpr (requires(T& t) { t.lose_power(); })
                value.lose_power();
        }
        bool crash_at(std::uint64_t n, crash_kind kind, std::function<void()> then) override
        {
            if constexpr (requires(T& t) { t.kill_at(n, then); })
                if (kind == crash_kind::kill)
                    return value.kill_at(n, std::move(then)), true;
            if constexpr (requires(T& t) { t.lose_power_at(n, then); })
                return value.lose_power_at(n, std::move(then)), true;
            return false;
        }
        void set_faults(faults const& f) override
        {
            if constexpr (requires(T& t) { t.set_faults(f.disk); })
                value.set_faults(f.disk);
            if constexpr (requires(T& t) { t.fail_commits(std::function<bool()>{}); })
                value.fail_commits([s = owner->scheduler_, p = f.failing_groups] { return s->chance(p); });
        }

        T value;
        host* owner;
    };

    struct booted {
        std::shared_ptr<void> service; // not in a coroutine's frame, where it would keep itself: the frame may wait for it
        asio::awaitable<void> main;
    };
    using program = std::function<booted(host&)>;

    host(std::string name, host_number number, program p, scheduler& s, network& n, history& h,
        bool const& troubled, std::function<host_number(std::string_view)> find)
        : name_{std::move(name)}, number_{number}, program_{std::move(p)}, scheduler_{&s}, network_{&n}, history_{&h},
          troubled_{&troubled}, find_{std::move(find)}
    {
    }

    std::string name_;
    host_number number_;
    program program_;
    scheduler* scheduler_;
    network* network_;
    history* history_;
    bool const* troubled_; // of the world
    std::function<host_number(std::string_view)> find_;
    faults faults_;
    std::vector<std::unique_ptr<durable_base>> durables_; // in the order of making: no other is the same in every build
    duration clock_offset_{};
    std::uint64_t boots_ = 0;
    std::unique_ptr<virtual_environment> environment_;
    std::unique_ptr<detail::event> stopping_;
    std::shared_ptr<void> service_;
    bool stop_asked_ = false;
    std::optional<std::uint64_t> crash_in_; // steps
    testing::crash_kind crash_kind_{};      // of that crash
    duration down_for_{};                   // and the time until the next boot
};

} // namespace cosaga::testing
