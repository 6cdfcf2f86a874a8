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
#include <memory>
#include <utility>

namespace cosaga::detail {

/// A saga that runs before it is in the store: its row is written with its first transaction, so that to begin costs no group of its own.
///
/// Who has begun it waits for `decided`, and then finds the outcome. Until then nobody was told of it: if its first transaction does not commit, it
/// has never been. Only the run owns this: destroying it destroys who waits.
class saga_birth {
public:
    struct outcome {
        bool fresh = false; ///< whether it was begun by this
        std::exception_ptr failed;
    };

    saga_birth(saga_row row, saga_note begun, duration lease, asio::any_io_executor const& strand, std::shared_ptr<outcome> o)
        : decided{strand}, outcome_{std::move(o)}, row_{std::move(row)}, begun_{std::move(begun)}, lease_{lease}
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

    void decide(outcome o)
    {
        *outcome_ = std::move(o);
        decided.notify();
    }

    event decided;
    bool alone = false; ///< it is being written without anything else

private:
    std::shared_ptr<outcome> outcome_;
    saga_row row_;
    saga_note begun_;
    duration lease_;
};

} // namespace cosaga::detail
