// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// Who waits for the end of sagas.
/// @par Thread safety
/// any thread.
class saga_waiters {
public:
    using handle = std::shared_ptr<event>;

    /// `e` is notified when the saga has ended here, and from time to time when it runs elsewhere.
    void add(std::string const& id, handle e)
    {
        std::lock_guard const lock{mutex_};
        waiting_.emplace(id, std::move(e));
    }
    void remove(std::string const& id, handle const& e)
    {
        std::lock_guard const lock{mutex_};
        for (auto [at, end] = waiting_.equal_range(id); at != end; ++at)
            if (at->second == e) {
                waiting_.erase(at);
                return;
            }
    }

    bool has(std::string const& id) const
    {
        std::lock_guard const lock{mutex_};
        return waiting_.contains(id);
    }
    void ended(std::string const& id)
    {
        std::lock_guard const lock{mutex_};
        for (auto [at, end] = waiting_.equal_range(id); at != end; ++at)
            at->second->notify();
    }
    template <class RunsHere>
    void poll(RunsHere runs_here)
    {
        std::lock_guard const lock{mutex_};
        for (auto const& [id, e] : waiting_)
            if (!runs_here(id))
                e->notify();
    }
    void close()
    {
        std::lock_guard const lock{mutex_};
        closed_ = true;
        for (auto const& [id, e] : waiting_)
            e->notify();
    }
    bool is_closed() const
    {
        std::lock_guard const lock{mutex_};
        return closed_;
    }

private:
    mutable std::mutex mutex_; // guards what follows
    bool closed_ = false;
    std::multimap<std::string, handle> waiting_;
};

} // namespace cosaga::detail
