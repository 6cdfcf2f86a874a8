// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/environment.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace cosaga::detail {

/// What transactions say about when something is due, for who reads after them.
///
/// A hint is given inside a transaction, which may still be rolled back. A transaction that is begun after the hint was taken comes after that
/// one, so it finds what is there.
/// @par Thread safety
/// any thread.
class due_hints {
public:
    using by_name = std::map<std::string, time_point>;

    /// @param wake notified with each hint.
    explicit due_hints(std::shared_ptr<event> wake) : wake_{std::move(wake)} {}

    /// Before `open` and after `close` nobody wants them.
    void open() { set_open(true); }
    void close() { set_open(false); }

    void add(std::string const& name, time_point due)
    {
        {
            std::lock_guard const lock{mutex_};
            if (!open_)
                return;
            auto& earliest = hints_.try_emplace(name, time_point::max()).first->second;
            earliest = std::min(earliest, due);
        }
        wake_->notify();
    }

    by_name take()
    {
        std::lock_guard const lock{mutex_};
        return std::exchange(hints_, {});
    }

private:
    void set_open(bool is_open)
    {
        std::lock_guard const lock{mutex_};
        open_ = is_open;
    }

    std::shared_ptr<event> wake_;
    std::mutex mutex_; // guards what follows
    bool open_ = false;
    by_name hints_;
};

} // namespace cosaga::detail
