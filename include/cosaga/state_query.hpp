// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/message.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/describe/class.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// What a participant in doubt asks an initiator: what became of a message, a half message, a local transaction, a saga, a notification, or of
/// the business fact behind it.
///
/// @code
/// auto q = cosaga::state_query::of_message(m, "warehouse");  // one that is in hand, a dead letter for example
/// auto const a = co_await node.request<cosaga::state_answer>("shop.states", q, 5s);
/// if (a.state == "not_sent") ...                             // who sent it has lost it, or never committed it
/// @endcode
struct state_query {
    std::string of{};         ///< "message", "half_message", "transaction", "saga", "notification", or a word of the user's own; empty: any
    std::string id{};         ///< in text form; of a saga, its id
    std::string topic{};      ///< of a message
    std::string consumer{};   ///< of a message: which consumer's delivery is meant
    std::string service{};    ///< of a half message: who sent it
    std::int64_t time_us = 0; ///< of a message: its time, in microseconds since 1970; without it the answer may be less certain
    std::string subject{};    ///< names a fact, as both sides understand it: an order number

    static state_query of_message(message const& m, std::string consumer)
    {
        state_query q;
        q.of = "message";
        q.id = m.id.to_string();
        q.topic = m.topic;
        q.consumer = std::move(consumer);
        q.time_us = m.time.time_since_epoch().count();
        return q;
    }
    bool is_of(std::string_view kind) const noexcept { return of.empty() || of == kind; }

    static constexpr std::string_view message_type = "cosaga.state_query";
};
BOOST_DESCRIBE_STRUCT(state_query, (), (of, id, topic, consumer, service, time_us, subject))

/// The answer to a `state_query`.
///
/// | of                          | states |
/// |-----------------------------|--------|
/// | message                     | "pending", "delivered": the consumer has committed its effect, "parked" with the reason, "not_sent": nothing of the kind was committed |
/// | half_message                | "pending", "committed", "rolled_back", "parked" |
/// | transaction                 | "committed", "rolled_back": for ever; "ongoing" |
/// | saga                        | "running", "compensating", "confirming", "paused", "done", "undone"; with the reason, if there is one |
/// | notification                | "pending", "delivered", "given_up" |
/// | anything                    | "unknown": no source has heard of it, or none can say any more |
struct state_answer {
    std::string of{};
    std::string state = "unknown";
    std::uint32_t attempts = 0;
    std::string next_attempt{};  ///< as in "2026-01-01T00:00:15.000Z", while it waits for one
    std::string reason{};        ///< why it is parked or was given up, or why the last attempt failed
    std::string content_type{};  ///< of `fact`; empty if there is none
    std::string fact{};          ///< what a source of the user's own has found

    static constexpr std::string_view message_type = "cosaga.state_answer";
};
BOOST_DESCRIBE_STRUCT(state_answer, (), (of, state, attempts, next_attempt, reason, content_type, fact))

/// Knows the state of some things: gives an answer, or nothing if it has not heard of what is meant. For sources that come with the
/// library see state_sources.hpp; any function object of one's own will do.
using state_source = std::function<asio::awaitable<std::optional<state_answer>>(state_query const&)>;

/// Answers queries from the first source that has heard of what is meant: for `node.respond`.
///
/// @code
/// auto find_order = [&](cosaga::state_query const& q) -> asio::awaitable<std::optional<cosaga::state_answer>> { ... };
/// node.respond<cosaga::state_query>("shop.states", "shop",
///     cosaga::state_answerer{{find_order, cosaga::message_states{store}, cosaga::notification_states{notifier}}});
/// @endcode
/// Who asks is not known here: whoever may send to the topic is told.
class state_answerer {
public:
    explicit state_answerer(std::vector<state_source> sources) : sources_{std::move(sources)} {}

    asio::awaitable<state_answer> operator()(state_query const& q)
    {
        for (auto const& ask : sources_) {
            auto found = co_await ask(q);
            if (found)
                co_return std::move(*found);
        }
        co_return state_answer{};
    }

private:
    std::vector<state_source> sources_;
};

} // namespace cosaga
