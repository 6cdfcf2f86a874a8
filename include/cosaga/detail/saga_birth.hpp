// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/saga_children.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <exception>
#include <string>
#include <utility>

namespace cosaga::detail {

/// A saga that runs before it is in the store: its row is written with its first transaction, so that to begin costs no group of its own.
///
/// Who has begun it waits for `decided`. Until then nobody was told of it: if its first transaction does not commit, it has never been.
class saga_birth {
public:
    saga_birth(saga_row row, saga_note begun, duration lease, asio::any_io_executor const& strand)
        : decided{strand}, row_{std::move(row)}, begun_{std::move(begun)}, lease_{lease}
    {
    }

    /// On the store's thread, first in every transaction of the saga while it is not decided.
    /// @throws system_error if the saga was begun before, or the id belongs to another.
    template <class Tx>
    void insert(Tx& tx)
    {
        if (insert_saga(tx, row_.version, row_.name, row_.id, row_.input, begun_, {}, row_.lease_owner, tx.now() + lease_))
            return;
        auto const there = tx.find_saga(row_.id);
        if (!there || there->lease_owner != row_.lease_owner || there->epoch != row_.epoch)
            throw make_error(errc::transaction_fenced, "the saga was begun before");
        // Another branch of this one was first.
    }

    // on the engine's strand

    void succeed() { decide(true, nullptr); }
    /// @param why null if the saga was begun before.
    void fail(std::exception_ptr why) { decide(false, std::move(why)); }

    event decided;
    bool fresh = false;         ///< once decided: whether it was begun by this
    std::exception_ptr failed;  ///< once decided
    bool alone = false;         ///< it is being written without anything else

private:
    void decide(bool is_fresh, std::exception_ptr why)
    {
        fresh = is_fresh;
        failed = std::move(why);
        decided.notify();
    }

    saga_row row_;
    saga_note begun_;
    duration lease_;
};

} // namespace cosaga::detail
