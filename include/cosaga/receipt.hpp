// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace cosaga {

namespace detail {

class receipt_registry;

struct receipt_state {
    receipt_state(std::shared_ptr<receipt_registry> r, message_id const& i, std::size_t destinations,
        asio::any_io_executor executor)
        : registry{std::move(r)}, id{i}, open{destinations}, settled{std::move(executor)}
    {
    }
    receipt_state(receipt_state const&) = delete;
    receipt_state& operator=(receipt_state const&) = delete;
    ~receipt_state();

    std::shared_ptr<receipt_registry> registry;
    message_id id;
    std::size_t open;  // destinations that have not settled; guarded by the registry's mutex, as is `error`
    std::string error;
    event settled;
};

/// Finds the receipts of messages that are settled.
class receipt_registry : public std::enable_shared_from_this<receipt_registry> {
public:
    std::shared_ptr<receipt_state> add(message_id const& id, std::size_t destinations, asio::any_io_executor executor)
    {
        auto state = std::make_shared<receipt_state>(shared_from_this(), id, destinations, std::move(executor));
        std::lock_guard const lock{mutex_};
        states_.emplace(id, state.get());
        return state;
    }

    /// @param ids a range of message ids that one destination accepted.
    template <class Ids>
    void accept(Ids const& ids)
    {
        std::lock_guard const lock{mutex_};
        if (states_.empty())
            return;
        for (auto const& id : ids)
            settle(id, {});
    }

    void fail(message_id const& id, std::string const& why)
    {
        std::lock_guard const lock{mutex_};
        settle(id, why);
    }

    void remove(message_id const& id)
    {
        std::lock_guard const lock{mutex_};
        states_.erase(id);
    }

    /// Throws what went wrong; false while a destination is open.
    bool is_settled(receipt_state const& state)
    {
        std::lock_guard const lock{mutex_};
        if (!state.error.empty())
            throw make_error(errc::dead_lettered, state.error);
        return state.open == 0;
    }

private:
    void settle(message_id const& id, std::string const& why)
    {
        auto const found = states_.find(id);
        if (found == states_.end())
            return;
        auto& state = *found->second;
        if (!why.empty())
            state.error = why;
        if (state.open > 0 && --state.open > 0 && why.empty())
            return;
        state.settled.notify();
    }

    std::mutex mutex_;
    std::unordered_map<message_id, receipt_state*> states_;
};

inline receipt_state::~receipt_state()
{
    registry->remove(id);
}

} // namespace detail

/// The expectation that a sent message is acknowledged, made by `tx.send_with_receipt`.
///
/// It lives in memory: after a restart the message is still delivered, but nobody waits for it.
/// @par Thread safety
/// one coroutine at a time.
class receipt {
public:
    receipt() = default;
    explicit receipt(std::shared_ptr<detail::receipt_state> state) : state_{std::move(state)} {}

    message_id id() const { return state_->id; }

    /// Suspends until every destination of the message has taken responsibility for it.
    /// @par Errors
    /// @li `errc::dead_lettered` - a destination refused it, or its retry schedule ended; the context says why.
    /// @par Cancellation
    /// throws `operation_aborted`; the message is not affected, and it may be awaited again.
    /// @pre it was returned by a transaction that committed.
    asio::awaitable<void> acknowledged() const
    {
        auto const state = state_;
        for (;;) {
            bool const settled = state->registry->is_settled(*state);
            if (settled)
                co_return;
            co_await state->settled.wait();
        }
    }

private:
    std::shared_ptr<detail::receipt_state> state_;
};

} // namespace cosaga
