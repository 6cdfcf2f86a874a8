// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transactional_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga {

/// Where the local transactions of a producer live, and how to find out later what became of one.
///
/// | expression          | type                                   | meaning |
/// |---------------------|----------------------------------------|---------|
/// | `r.run(id, local)`  | `asio::awaitable<void>`                | runs `local` as the local transaction with that id; throws when it did not commit, or when that cannot be said |
/// | `r.check(id)`       | `asio::awaitable<transaction_outcome>` | what became of it; once it has said *rollback*, a `run` with that id never commits |
///
/// `check` is called for transactions of any instance of the service, also before this process was started. What it throws
/// counts as unknown. `fence` is the model for a store; over another resource build the same with `fence_marks`.
template <class R>
concept transaction_resource = requires(R& r, message_id const& id) {
    { r.check(id) } -> std::same_as<asio::awaitable<transaction_outcome>>;
};

/// How a fence is built over anything that can insert a mark for an id if there is none, and tell what is there.
///
/// In the local transaction, before its effect and committed with it: insert `committed`, and `enter` with what was there. In the check,
/// as a transaction of its own: insert `rolled_back`, and `decide` by what was there.
struct fence_marks {
    static constexpr std::string_view committed = "committed";
    static constexpr std::string_view rolled_back = "rolled back";

    /// @param found the mark that was there, or nothing.
    /// @throws system_error `errc::transaction_fenced` if there was one: the local transaction has to roll back.
    static void enter(std::optional<std::string> const& found)
    {
        if (!found)
            return;
        throw make_error(errc::transaction_fenced,
            *found == committed ? "the local transaction with this id has committed already"
                                : "the local transaction comes too late: a check-back was answered that it did not commit");
    }

    /// @param found the mark that was there, or nothing: then `rolled_back` is there now.
    static transaction_outcome decide(std::optional<std::string> const& found)
    {
        return found && *found == committed ? transaction_outcome::commit : transaction_outcome::rollback;
    }
};

/// Local transactions of a store, with a mark for each id: check-backs are answered without any code of the user's.
///
/// A check waits for a transaction that is running; one that comes later fails with `errc::transaction_fenced`.
/// @par Thread safety
/// any number of coroutines on any threads.
template <store Store>
class fence {
public:
    using transaction_type = typename Store::transaction_type;

    /// @param retention how long marks are kept; must exceed the time in which check-backs can come, those about half messages that were
    /// parked and resumed included. About older transactions a check says *unknown*, and a later local transaction fails.
    explicit fence(Store& s, duration retention = std::chrono::hours{24 * 30}) : store_{&s}, retention_{retention} {}

    /// Runs `local(transaction&)` in a local transaction with the mark of that id.
    template <std::invocable<transaction_type&> Local>
    asio::awaitable<void> run(message_id id, Local& local)
    {
        auto work = [&](transaction_type& tx) {
            if (is_forgotten(tx, id))
                throw make_error(errc::transaction_fenced, "the local transaction comes after the retention of marks");
            fence_marks::enter(insert(tx, id, fence_marks::committed));
            local(tx);
            if (++runs_ % purge_every == 0)
                tx.purge_marks(scope, tx.now() - retention_, 2 * purge_every);
        };
        co_await store_->transact(work);
    }

    asio::awaitable<transaction_outcome> check(message_id id)
    {
        auto outcome = transaction_outcome::unknown;
        auto work = [&](transaction_type& tx) {
            if (!is_forgotten(tx, id))
                outcome = fence_marks::decide(insert(tx, id, fence_marks::rolled_back));
        };
        co_await store_->transact(work);
        co_return outcome;
    }

private:
    static constexpr std::string_view scope = "transactions";
    static constexpr std::size_t purge_every = 64;

    // Its mark may be purged by now.
    bool is_forgotten(transaction_type& tx, message_id const& id) const
    {
        return !id.is_time_ordered() || id.time() < tx.now() - retention_;
    }
    static std::optional<mark> insert(transaction_type& tx, message_id const& id, std::string_view value)
    {
        return tx.insert_marks(scope, {&id, 1}, mark{value}).front();
    }

    Store* store_;
    duration retention_;
    std::size_t runs_ = 0; // on the store's thread
};

} // namespace cosaga
