// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/memory_tables.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <atomic>
#include <cstddef>
#include <memory>

namespace cosaga {
class memory_transaction;
}

namespace cosaga::detail {

/// The engine of `group_worker` over tables in memory.
class memory_engine {
public:
    using transaction_type = memory_transaction;
    /// One by one, so that a simulation explores every order of the coroutines that a commit resumes.
    static constexpr std::size_t completions_per_post = 1;

    explicit memory_engine(memory_disk* disk)
        : disk_{disk ? disk : &own_}, powered_{disk_->powered_}, tables_{*disk_}
    {
    }

    void begin(time_point now)
    {
        if (!*powered_)
            throw make_error(errc::store_failed, "the power is off");
        fail_if(begin_failures_, begin_error_, "BEGIN was made to fail");
        now_ = now;
        tables_.begin();
    }
    void savepoint() noexcept { tables_.savepoint(); }
    void release() noexcept { tables_.release(); }
    void rollback_to() noexcept { tables_.rollback_to(); }
    memory_transaction handle() noexcept;
    void check() const noexcept {}
    bool lost() const noexcept { return false; }
    bool crowded() const noexcept { return false; }
    void commit()
    {
        try {
            fail_if(commit_failures_, commit_error_, "COMMIT was made to fail");
            if (disk_->fails_ && disk_->fails_())
                throw make_error(errc::store_failed, "COMMIT was made to fail");
        } catch (...) {
            rollback();
            throw;
        }
    }
    void rollback() noexcept { tables_.rollback(); }
    template <class F>
    void notices(F&& f)
    {
        tables_.notices(f);
    }
    void maintain() noexcept {}
    bool changed_elsewhere() noexcept { return false; }
    void look_elsewhere() noexcept {}
    void shut() noexcept {}

    void fail_next_commits(std::size_t n, errc e)
    {
        commit_error_ = e;
        commit_failures_ = n;
    }
    void fail_next_begins(std::size_t n, errc e)
    {
        begin_error_ = e;
        begin_failures_ = n;
    }

private:
    static void fail_if(std::atomic<std::size_t>& failures, std::atomic<errc> const& error, char const* what)
    {
        if (failures == 0)
            return;
        --failures;
        throw make_error(error, what);
    }

    memory_disk own_;
    memory_disk* disk_;
    std::shared_ptr<bool> powered_; // that of the disk when the store was opened
    memory_tables tables_;
    time_point now_{};
    std::atomic<std::size_t> commit_failures_{0};
    std::atomic<std::size_t> begin_failures_{0};
    std::atomic<errc> commit_error_{errc::store_failed};
    std::atomic<errc> begin_error_{errc::store_busy};
};

} // namespace cosaga::detail
