// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/group_commit.hpp>
#include <cosaga/detail/memory_engine.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <cstddef>

namespace cosaga {

/// A store without a file, for tests and the simulation.
///
/// It keeps every promise of a store except that of outliving the process. Its data may outlive the store: a
/// `memory_disk` that is handed to the next store plays a machine that was started again.
class memory_store final : public detail::group_commit<detail::memory_engine> {
public:
    /// A store with a disk of its own.
    explicit memory_store(environment& env) : group_commit{env, duration::zero(), nullptr} {}

    /// @param disk outlives the store; one store uses it at a time.
    memory_store(environment& env, memory_disk& disk) : group_commit{env, duration::zero(), &disk} {}

    /// Lets the next `n` commits fail with `e`, so that nothing of their groups is kept. Any thread.
    void fail_next_commits(std::size_t n, errc e = errc::store_failed) { engine().fail_next_commits(n, e); }

    /// Lets the next `n` groups fail to begin with `e`. Any thread.
    void fail_next_begins(std::size_t n, errc e = errc::store_busy) { engine().fail_next_begins(n, e); }

    /// Loses power: what was not committed now never is, the destructor's last commit included. Any thread.
    void crash() { engine().crash(); }
};

static_assert(store<memory_store>);

} // namespace cosaga
