// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/completion.hpp>
#include <cosaga/detail/transact_unit.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace cosaga::detail {

class receipt_registry;

/// What is known of one message. All but `registry` and `id` is guarded by the registry's mutex.
struct receipt_state {
    receipt_state(std::shared_ptr<receipt_registry> r, message_id const& i, std::size_t destinations)
        : registry{std::move(r)}, id{i}, open{destinations}
    {
    }
    receipt_state(receipt_state const&) = delete;
    receipt_state& operator=(receipt_state const&) = delete;
    ~receipt_state();

    std::shared_ptr<receipt_registry> registry;
    message_id id;
    std::size_t open;        // destinations that have not settled; none is asked any more once it is 0
    std::exception_ptr failure;
    pending_list waiters;    // each keeps this object alive
    std::atomic<bool> listed{true}; // cleared with the last access of the registry
};

/// Finds the receipts of messages that are settled, and resumes who waits for them, many at a time.
class receipt_registry : public std::enable_shared_from_this<receipt_registry> {
public:
    std::shared_ptr<receipt_state> add(message_id const& id, std::size_t destinations)
    {
        auto state = std::make_shared<receipt_state>(shared_from_this(), id, destinations);
        std::lock_guard const lock{mutex_};
        states_.emplace(id, state.get());
        return state;
    }

    /// @param ids a range of message ids that one destination accepted.
    template <class Ids>
    void accept(Ids const& ids)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            if (states_.empty())
                return;
            for (auto const& id : ids)
                if (auto const found = states_.find(id); found != states_.end())
                    accept(found, resumed);
        }
        completions::post(std::move(resumed));
    }

    void fail(message_id const& id, std::string const& why)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            auto const found = states_.find(id);
            if (found == states_.end())
                return;
            found->second->failure = std::make_exception_ptr(make_error(errc::dead_lettered, why));
            resume(*found->second, resumed);
        }
        completions::post(std::move(resumed));
    }

    /// Nothing will be settled any more in this process.
    void stop()
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            for (auto const& [id, state] : states_) {
                if (state->failure)
                    continue;
                state->failure = std::make_exception_ptr(make_error(errc::transport_closed,
                    "the outbox was stopped: the message stays in the store and is sent after the next start"));
                resume(*state, resumed);
            }
        }
        completions::post(std::move(resumed));
    }

    void wait(receipt_state& state, pending& waiter)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            waiter.queue = &state.waiters;
            state.waiters.push_back(waiter);
            if (state.open == 0 || state.failure)
                resume(state, resumed);
        }
        completions::post(std::move(resumed));
    }

    void cancel(pending& waiter)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            if (!waiter.queue)
                return; // its completion is on its way
            std::exchange(waiter.queue, nullptr)->remove(waiter);
            waiter.error = std::make_exception_ptr(
                boost::system::system_error{asio::error::operation_aborted, "acknowledged"});
            resumed.push_back(waiter);
        }
        completions::post(std::move(resumed));
    }

    void remove(message_id const& id)
    {
        std::lock_guard const lock{mutex_};
        states_.erase(id);
    }

private:
    using states = std::unordered_map<message_id, receipt_state*>;

    void accept(states::iterator found, pending_list& resumed)
    {
        auto& state = *found->second;
        if (--state.open > 0)
            return;
        resume(state, resumed);
        states_.erase(found);
        state.listed.store(false, std::memory_order_release); // from here on it may be gone
    }

    static void resume(receipt_state& state, pending_list& resumed)
    {
        while (auto* const waiter = state.waiters.pop_front()) {
            waiter->queue = nullptr;
            waiter->error = state.failure;
            resumed.push_back(*waiter);
        }
    }

    std::mutex mutex_;
    states states_;
};

inline receipt_state::~receipt_state()
{
    if (listed.load(std::memory_order_acquire))
        registry->remove(id);
}

struct cancel_receipt {
    std::weak_ptr<receipt_registry> registry;
    pending* target; // there until its completion clears the slot

    void operator()(asio::cancellation_type) const
    {
        if (auto const alive = registry.lock())
            alive->cancel(*target);
    }
};

// Not an aggregate: g++ 12 would destroy it twice (GCC PR 99576).
class initiate_receipt {
public:
    explicit initiate_receipt(std::shared_ptr<receipt_state> state) : state_{std::move(state)} {}

    template <class Handler>
    void operator()(Handler&& handler) const
    {
        using handler_type = std::remove_cvref_t<Handler>;
        auto const slot = asio::get_associated_cancellation_slot(handler);
        auto const state = state_; // the frame that holds this object may be gone before `wait` returns
        using waiting = waiter<handler_type, std::shared_ptr<receipt_state>>;
        auto* const w = make_pending<waiting>(handler_type{std::forward<Handler>(handler)}, state);
        if (slot.is_connected())
            asio::cancellation_slot{slot}.template emplace<cancel_receipt>(cancel_receipt{state->registry, w});
        state->registry->wait(*state, *w);
    }

private:
    std::shared_ptr<receipt_state> state_;
};

} // namespace cosaga::detail
