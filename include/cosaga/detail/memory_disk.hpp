// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/memory_ledgers.hpp>
#include <cosaga/detail/memory_sagas.hpp>
#include <cosaga/storage.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace cosaga::detail {
class memory_engine;
class memory_tables;
}

namespace cosaga {

/// What a `memory_store` has on its disk. It outlives the store that wrote it.
/// @par Thread safety
/// none: it belongs to one store at a time.
class memory_disk {
public:
    memory_disk() = default;
    memory_disk(memory_disk const&) = delete;
    memory_disk& operator=(memory_disk const&) = delete;

    /// Cuts the power of the store that uses it: what was not committed now never is, by the store's destructor neither.
    /// The next store on the disk works. While no group runs.
    void lose_power()
    {
        *powered_ = false;
        powered_ = std::make_shared<bool>(true);
    }

    /// `f()` is asked at each commit, on the store's thread; the commit fails if it says so. Null: none fails.
    void fail_commits(std::function<bool()> f) { fails_ = std::move(f); }

private:
    friend class detail::memory_engine;
    friend class detail::memory_tables;

    struct rows {
        std::map<std::int64_t, message_row> by_seq;
        std::set<std::pair<time_point, std::int64_t>> by_due;
    };
    struct queue {
        std::int64_t last_seq = 0;
        std::array<rows, 4> states;
    };
    struct stored_mark {
        mark value;
        time_point at;
    };
    struct scope {
        std::map<message_id, stored_mark> ordered; // ids that hold their time: the old ones come first
        std::map<message_id, stored_mark> others;

        auto& of(message_id const& id) noexcept { return id.is_time_ordered() ? ordered : others; }
    };

    std::shared_ptr<bool> powered_ = std::make_shared<bool>(true);
    std::function<bool()> fails_;
    std::map<queue_name, queue> queues_;
    std::map<std::string, scope, std::less<>> marks_;
    detail::memory_saga_map sagas_;
    detail::memory_journal_map journals_;
    detail::memory_ledger_map ledgers_;
    std::map<std::string, std::map<std::string, std::string, std::less<>>, std::less<>> user_;
};

} // namespace cosaga
