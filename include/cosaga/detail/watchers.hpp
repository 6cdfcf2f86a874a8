// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/storage.hpp>

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace cosaga::detail {

class watcher_registry;

/// One function that is told about commits. It is called and ended under its own lock.
class watcher {
public:
    watcher(std::function<void(commit_notice)> f, queue_name queue) : function_{std::move(f)}, queue_{std::move(queue)} {}

    queue_name const& queue() const noexcept { return queue_; }

    void call(commit_notice notice, environment& env) noexcept
    {
        std::lock_guard const lock{mutex_};
        if (!function_ || ended_)
            return;
        calling_ = true;
        try {
            function_(std::move(notice));
        } catch (std::exception const& e) {
            report(env, e.what());
        } catch (...) {
            report(env, "unknown exception");
        }
        calling_ = false;
        if (ended_)
            function_ = nullptr;
    }

    /// Waits for a running call, unless made from within it.
    void end()
    {
        std::lock_guard const lock{mutex_};
        ended_ = true;
        if (!calling_)
            function_ = nullptr;
    }

private:
    void report(environment& env, char const* what) noexcept
    {
        try {
            env.report("a watcher of queue " + queue_.topic + "/" + queue_.consumer + " threw: " + what);
        } catch (...) { // nowhere left to tell it
        }
    }

    std::recursive_mutex mutex_; // recursive: a function may end its own watch
    std::function<void(commit_notice)> function_;
    queue_name queue_;
    bool calling_ = false;
    bool ended_ = false;
};

/// The watchers of a store, by queue. Any thread.
class watcher_registry {
public:
    using list = std::vector<std::shared_ptr<watcher>>;

    void add(std::shared_ptr<watcher> w)
    {
        std::lock_guard const lock{mutex_};
        by_queue_[w->queue()].push_back(std::move(w));
    }

    void remove(std::shared_ptr<watcher> const& w)
    {
        std::lock_guard const lock{mutex_};
        auto const found = by_queue_.find(w->queue());
        if (found == by_queue_.end())
            return;
        std::erase(found->second, w);
        if (found->second.empty())
            by_queue_.erase(found);
    }

    list of(queue_name const& queue) const
    {
        std::lock_guard const lock{mutex_};
        auto const found = by_queue_.find(queue);
        return found == by_queue_.end() ? list{} : found->second;
    }

    list all() const
    {
        std::lock_guard const lock{mutex_};
        list sum;
        for (auto const& [queue, some] : by_queue_)
            sum.insert(sum.end(), some.begin(), some.end());
        return sum;
    }

    bool empty() const
    {
        std::lock_guard const lock{mutex_};
        return by_queue_.empty();
    }

private:
    mutable std::mutex mutex_;
    std::map<queue_name, list> by_queue_;
};

} // namespace cosaga::detail
