// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/ledger_wire.hpp>
#include <cosaga/detail/mends.hpp>
#include <cosaga/detail/time_text.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/ledger_difference.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_query.hpp>
#include <cosaga/state_query.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga {

namespace detail {

inline state_answer answer_of(located_row const& found, std::string kind)
{
    state_answer a;
    a.of = std::move(kind);
    a.state = found.state == message_state::dead ? "parked" : "pending";
    a.attempts = found.row.attempts;
    if (found.state != message_state::dead && found.row.due_at > time_point{})
        a.next_attempt = time_text(found.row.due_at);
    a.reason = found.row.last_error;
    return a;
}

inline state_answer answer_of(transaction_outcome outcome, std::string kind)
{
    constexpr std::string_view words[] = {"committed", "rolled_back", "ongoing", "unknown"};
    state_answer a;
    a.of = std::move(kind);
    a.state = words[static_cast<std::size_t>(outcome)];
    return a;
}

} // namespace detail

/// What became of messages that a store has sent: from its outbox, and from its ledger where it keeps one of the topic. Changes nothing.
///
/// Without a ledger nothing is known of a message that has left the outbox.
template <store Store>
class message_states {
public:
    /// @param retention of the ledgers: older messages may have been forgotten.
    explicit message_states(Store& s, duration retention = std::chrono::days{30}) : store_{&s}, retention_{retention} {}

    asio::awaitable<std::optional<state_answer>> operator()(state_query const& q)
    {
        std::optional<state_answer> found;
        auto const id = message_id::parse(q.id);
        if (!id || !q.is_of("message") || q.topic.empty() || q.consumer.empty())
            co_return found;
        auto work = [&](transaction_type& tx) { found = look_up(tx, *id, q); };
        co_await store_->transact(work);
        co_return found;
    }

private:
    using transaction_type = typename Store::transaction_type;
    // Around the time of an id: its transaction may have begun somewhat before.
    static constexpr duration window = std::chrono::seconds{5};
    static constexpr std::size_t most_looked_at = 4096;

    std::optional<state_answer> look_up(transaction_type& tx, message_id const& id, state_query const& q) const
    {
        queue_name const queue{queue_side::outbox, q.topic, q.consumer};
        for (auto const& row : tx.find({&id, 1}))
            if (row.queue == queue)
                return detail::answer_of(row, "message");
        ledger_difference wanted;
        wanted.here.emplace();
        wanted.here->id = id;
        wanted.here->time = is_exact(q) ? time_point{duration{q.time_us}} : id.time();
        auto const ledger = outbox_ledger(q.topic);
        auto const kept = tx.ledgers();
        bool const keeps = std::binary_search(kept.begin(), kept.end(), ledger);
        bool const recorded = keeps && is_recorded(tx, ledger, *wanted.here, is_exact(q));
        state_answer a;
        a.of = "message";
        if (keeps && !recorded && is_exact(q) && wanted.here->time >= std::max(tx.open_ledger(ledger), tx.now() - retention_))
            a.state = "not_sent";
        else if (detail::mends{{}, q.topic, q.consumer}.waiting(tx, {&wanted, 1}).front())
            a.state = "pending";
        else if (recorded)
            a.state = "delivered";
        else
            return std::nullopt;
        return a;
    }

    static bool is_exact(state_query const& q) noexcept
    {
        return q.time_us > 0 && static_cast<std::uint64_t>(q.time_us) < detail::max_wire_time;
    }

    static bool is_recorded(transaction_type& tx, std::string const& ledger, ledger_record const& wanted, bool exact)
    {
        if (!exact && !wanted.id.is_time_ordered())
            return false;
        auto const at = wanted.position();
        ledger_range const range = exact ? ledger_range{at, detail::position_after(at)}
                                         : ledger_range{{wanted.time - window, {}}, {wanted.time + window, {}}};
        auto const records = tx.read_records(ledger, range, most_looked_at);
        return std::any_of(records.begin(), records.end(), [&](ledger_record const& r) { return r.id == wanted.id; });
    }

    Store* store_;
    duration retention_;
};

/// What became of the half messages that a coordinator has in its store. Changes nothing.
template <store Store>
class half_message_states {
public:
    explicit half_message_states(Store& s) : store_{&s} {}

    asio::awaitable<std::optional<state_answer>> operator()(state_query const& q)
    {
        std::optional<state_answer> found;
        auto const id = message_id::parse(q.id);
        if (!id || !q.is_of("half_message") || q.service.empty())
            co_return found;
        auto work = [&](typename Store::transaction_type& tx) {
            for (auto const& row : tx.find({&*id, 1}))
                if (row.queue.side == queue_side::inbox && row.queue.topic == half_messages_topic && row.queue.consumer == q.service)
                    found = detail::answer_of(row, "half_message");
            if (found)
                return;
            if (auto const outcome = find_mark(tx, detail::half_messages_scope(q.service), *id))
                found = detail::answer_of(fence_marks::decide(outcome), "half_message");
        };
        co_await store_->transact(work);
        co_return found;
    }

private:
    Store* store_;
};

/// What became of local transactions, from the resource that answers the check-backs of a producer. An answer "rolled_back" is for ever: a
/// local transaction with that id that comes later fails.
template <transaction_resource Resource>
class transaction_states {
public:
    explicit transaction_states(Resource& r) : resource_{&r} {}

    /// Only for who asks for a transaction by name: to ask is to decide.
    asio::awaitable<std::optional<state_answer>> operator()(state_query const& q)
    {
        std::optional<state_answer> found;
        auto const id = message_id::parse(q.id);
        if (!id || q.of != "transaction")
            co_return found;
        auto const outcome = co_await resource_->check(*id);
        found = detail::answer_of(outcome, "transaction");
        co_return found;
    }

private:
    Resource* resource_;
};

/// What became of the sagas of a store, whichever process runs them. Changes nothing.
template <store Store>
class saga_states {
public:
    explicit saga_states(Store& s) : store_{&s} {}

    asio::awaitable<std::optional<state_answer>> operator()(state_query const& q)
    {
        constexpr std::string_view words[] = {"running", "compensating", "confirming", "paused", "done", "undone"};
        std::optional<state_answer> found;
        if (!q.is_of("saga") || q.id.size() > max_saga_id)
            co_return found;
        std::optional<saga_row> row;
        auto work = [&](typename Store::transaction_type& tx) { row = tx.find_saga(q.id); };
        co_await store_->transact(work);
        if (!row)
            co_return found;
        found.emplace();
        found->of = "saga";
        found->state = words[static_cast<std::size_t>(row->state)];
        found->reason = std::move(row->reason);
        co_return found;
    }

private:
    Store* store_;
};

/// What became of notifications, from their notifier.
template <class Notifier>
class notification_states {
public:
    explicit notification_states(Notifier& n) : notifier_{&n} {}

    asio::awaitable<std::optional<state_answer>> operator()(state_query const& q)
    {
        std::optional<state_answer> found;
        auto const id = message_id::parse(q.id);
        if (!id || !q.is_of("notification"))
            co_return found;
        auto const known = co_await notifier_->find(*id);
        if (!known)
            co_return found;
        auto a = answer_of(*known);
        found.emplace();
        found->of = "notification";
        found->state = std::move(a.state);
        found->attempts = a.attempts;
        found->next_attempt = std::move(a.next_attempt);
        found->reason = std::move(a.reason);
        co_return found;
    }

private:
    Notifier* notifier_;
};

} // namespace cosaga
