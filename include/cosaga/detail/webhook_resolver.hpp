// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Looks names up on threads that may block, so that a name server that does not answer holds back nobody but who asks for that name.
///
/// A name is looked up once for all that ask at the same time, and its addresses are remembered for a while.
/// @par Thread safety
/// any number of coroutines on any threads.
class webhook_resolver {
public:
    using addresses = std::vector<asio::ip::address>;
    using lookup = std::function<addresses(std::string const& host)>;
    /// Names that are remembered or looked up; more are refused.
    static constexpr std::size_t max_names = 10'000;

    webhook_resolver(environment& env, std::size_t threads, duration memory, lookup f)
        : shared_{std::make_shared<shared>(env, memory, std::move(f))}, lanes_(threads)
    {
    }
    webhook_resolver(webhook_resolver const&) = delete;
    webhook_resolver& operator=(webhook_resolver const&) = delete;
    /// Waits for lookups that have begun.
    ~webhook_resolver()
    {
        std::lock_guard const lock{shared_->mutex};
        shared_->closed = true;
    }

    /// Resumes with the addresses, none when there is no such name.
    /// @par Cancellation
    /// throws `operation_aborted` at once; the lookup goes on.
    asio::awaitable<addresses> resolve(std::string host, asio::any_io_executor executor)
    {
        auto const found = find(host, executor);
        if (!found)
            co_return addresses{};
        co_await found->done.wait();
        co_return found->result;
    }

private:
    // Of one who waits.
    struct waiter {
        explicit waiter(asio::any_io_executor executor) : done{std::move(executor)} {}
        event done;
        addresses result;
    };

    struct name {
        std::vector<std::shared_ptr<waiter>> waiters;
        bool known = false;
        addresses result;
        steady_time until{};
    };

    struct shared {
        shared(environment& e, duration m, lookup f) : env{&e}, memory{m}, look_up{std::move(f)} {}

        void run(std::string const& host)
        {
            {
                std::lock_guard const lock{mutex};
                if (closed)
                    return;
            }
            addresses result;
            try {
                result = look_up(host);
            } catch (...) { // no address
            }
            auto const until = env->steady_now() + memory;
            std::lock_guard const lock{mutex};
            auto& n = names[host];
            n.known = true;
            n.result = std::move(result);
            n.until = until;
            for (auto const& w : n.waiters) {
                w->result = n.result;
                w->done.notify();
            }
            n.waiters.clear();
        }

        environment* env;
        duration memory;
        lookup look_up;
        std::mutex mutex;
        bool closed = false;
        std::unordered_map<std::string, name> names;
    };

    struct lane {
        std::unique_ptr<worker> on;
        std::size_t queued = 0;
    };

    std::shared_ptr<waiter> find(std::string const& host, asio::any_io_executor const& executor)
    {
        auto const now = shared_->env->steady_now();
        std::lock_guard const lock{shared_->mutex};
        auto& names = shared_->names;
        if (names.size() >= max_names)
            std::erase_if(names, [&](auto const& n) { return n.second.known && n.second.until <= now; });
        if (names.size() >= max_names && !names.contains(host))
            return nullptr;
        auto& n = names[host];
        auto w = std::make_shared<waiter>(executor);
        if (n.known && n.until > now) {
            w->result = n.result;
            w->done.notify();
            return w;
        }
        n.known = false;
        n.waiters.push_back(w);
        if (n.waiters.size() == 1)
            start(host);
        return w;
    }

    void start(std::string const& host)
    {
        auto& least = *std::min_element(lanes_.begin(), lanes_.end(), [](lane const& a, lane const& b) { return a.queued < b.queued; });
        if (!least.on)
            least.on = shared_->env->start_worker();
        ++least.queued;
        post_to(least.on->get_executor(), [s = shared_, &least, host] {
            s->run(host);
            std::lock_guard const lock{s->mutex};
            --least.queued;
        });
    }

    std::shared_ptr<shared> shared_;
    std::vector<lane> lanes_; // destroyed first: its threads are joined
};

} // namespace cosaga::detail
