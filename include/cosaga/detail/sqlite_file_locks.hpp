// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace cosaga::detail {

class sqlite_file_lock;

/// Who has which of SQLite's locks of one file (sqlite.org/lockingv3.html).
struct sqlite_file_locks {
    int shared = 0;
    sqlite_file_lock const* reserved = nullptr;
    sqlite_file_lock const* pending = nullptr; ///< or exclusive
};

/// The lock of one connection.
class sqlite_file_lock {
public:
    explicit sqlite_file_lock(std::shared_ptr<sqlite_file_locks> all) noexcept : all_{std::move(all)} {}
    sqlite_file_lock(sqlite_file_lock const&) = delete;
    sqlite_file_lock& operator=(sqlite_file_lock const&) = delete;
    ~sqlite_file_lock() { give_up(SQLITE_LOCK_NONE); }

    int take(int level) noexcept
    {
        if (level_ >= level)
            return SQLITE_OK;
        auto& all = *all_;
        if (all.pending && all.pending != this)
            return SQLITE_BUSY;
        if (level == SQLITE_LOCK_SHARED) {
            ++all.shared;
        } else {
            if (all.reserved && all.reserved != this)
                return SQLITE_BUSY;
            if (level == SQLITE_LOCK_RESERVED) {
                all.reserved = this;
            } else {
                all.pending = this; // no new readers
                level_ = SQLITE_LOCK_PENDING;
                if (all.shared > 1)
                    return SQLITE_BUSY;
            }
        }
        level_ = level;
        return SQLITE_OK;
    }

    void give_up(int level) noexcept
    {
        if (level_ <= level)
            return;
        if (all_->reserved == this)
            all_->reserved = nullptr;
        if (all_->pending == this)
            all_->pending = nullptr;
        if (level == SQLITE_LOCK_NONE)
            --all_->shared;
        level_ = level;
    }

    bool is_reserved() const noexcept { return all_->reserved || all_->pending; }

private:
    std::shared_ptr<sqlite_file_locks> all_;
    int level_ = SQLITE_LOCK_NONE;
};

/// What the connections to one file share, as long as one of them lives.
struct sqlite_shared_memory {
    std::vector<std::unique_ptr<char[]>> regions;
    std::array<int, SQLITE_SHM_NLOCK> locks{}; ///< how many share it; -1: one has it for itself
};

/// One connection's part in it.
class sqlite_shared_memory_user {
public:
    explicit sqlite_shared_memory_user(std::weak_ptr<sqlite_shared_memory>& of) : all_{of.lock()}
    {
        if (!all_)
            of = all_ = std::make_shared<sqlite_shared_memory>();
    }
    sqlite_shared_memory_user(sqlite_shared_memory_user const&) = delete;
    sqlite_shared_memory_user& operator=(sqlite_shared_memory_user const&) = delete;
    ~sqlite_shared_memory_user() { give_up(~0u); }

    /// @return null if there is no such region.
    void volatile* map(std::size_t region, std::size_t size, bool extend)
    {
        auto& regions = all_->regions;
        while (extend && regions.size() <= region)
            regions.push_back(std::make_unique<char[]>(size));
        return region < regions.size() ? regions[region].get() : nullptr;
    }

    /// The locks [offset, offset + n), with the flags of xShmLock.
    int lock(unsigned offset, unsigned n, int flags) noexcept
    {
        auto const mask = ((1u << n) - 1u) << offset;
        auto const begin = all_->locks.begin() + offset;
        auto const end = begin + n;
        if ((flags & SQLITE_SHM_UNLOCK) != 0) {
            give_up(mask);
        } else if ((flags & SQLITE_SHM_SHARED) != 0) {
            if ((shared_ & mask) != 0)
                return SQLITE_OK;
            if (*begin < 0)
                return SQLITE_BUSY;
            ++*begin;
            shared_ |= mask;
        } else {
            if (std::any_of(begin, end, [](int l) { return l != 0; }))
                return SQLITE_BUSY;
            std::fill(begin, end, -1);
            exclusive_ |= mask;
        }
        return SQLITE_OK;
    }

private:
    void give_up(unsigned mask) noexcept
    {
        for (unsigned i = 0; i < all_->locks.size(); ++i) {
            auto const bit = 1u << i & mask;
            if ((exclusive_ & bit) != 0)
                all_->locks[i] = 0;
            else if ((shared_ & bit) != 0)
                --all_->locks[i];
        }
        exclusive_ &= ~mask;
        shared_ &= ~mask;
    }

    std::shared_ptr<sqlite_shared_memory> all_;
    unsigned shared_ = 0;
    unsigned exclusive_ = 0;
};

} // namespace cosaga::detail
