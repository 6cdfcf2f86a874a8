// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/notification_text.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_options.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/describe/class.hpp>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace cosaga {

/// What a receiver asks a sender: what became of a notification, or of the business fact behind it.
struct notification_query {
    std::string id{};      ///< of the notification, in text form; may be empty
    std::string subject{}; ///< names the fact, as both sides understand it: an order number; may be empty

    static constexpr std::string_view message_type = "cosaga.notification_query";
};
BOOST_DESCRIBE_STRUCT(notification_query, (), (id, subject))

/// The answer to a `notification_query`.
struct notification_answer {
    std::string state = "unknown"; ///< "pending", "delivered", "given_up" or "unknown"; or a word of the user's own
    std::uint32_t attempts = 0;
    std::string next_attempt{};    ///< as in "2026-01-01T00:00:15.000Z"; empty unless pending
    std::string reason{};          ///< why it was given up, or why the last attempt failed
    std::string content_type{};    ///< of `fact`; empty if there is none
    std::string fact{};            ///< what the user's query has found: what the notification would have said, and whatever else
    std::string id{};              ///< of the notification, in text form; empty if there is none

    static constexpr std::string_view message_type = "cosaga.notification_answer";
};
BOOST_DESCRIBE_STRUCT(notification_answer, (), (state, attempts, next_attempt, reason, content_type, fact, id))

/// Looks for business facts behind notifications.
///
/// | expression | type | meaning |
/// |------------|------|---------|
/// | `f(q)`     | `asio::awaitable<std::optional<notification_answer>>` | an answer, or nothing: then the state of the notification is the answer |
template <class F>
concept fact_query = requires(F& f, notification_query const& q) {
    { f(q) } -> std::same_as<asio::awaitable<std::optional<notification_answer>>>;
};

inline notification_answer answer_of(notification const& n)
{
    constexpr std::string_view names[] = {"pending", "delivered", "given_up"};
    notification_answer a;
    a.state = names[static_cast<std::size_t>(n.state)];
    a.attempts = n.attempts;
    if (n.next)
        a.next_attempt = detail::time_text(*n.next);
    a.reason = n.reason;
    a.id = n.id.to_string();
    return a;
}

/// Answers queries from what a notifier knows: for `node.respond`, or any other way by which they come.
///
/// @code
/// auto find_payment = [&](cosaga::notification_query const& q) -> asio::awaitable<std::optional<cosaga::notification_answer>> { ... };
/// node.respond<cosaga::notification_query>("payment_queries", "payments", cosaga::notification_answerer{notifier, find_payment});
/// ...
/// auto const a = co_await node.request<cosaga::notification_answer>("payment_queries", q, 5s);  // at the receiver
/// @endcode
/// Who asks is not known here: ids cannot be guessed, but what a query of the user's own tells is its own affair. Over HTTP it is known: see
/// `webhook_answerer`.
template <class Notifier, fact_query Query>
class notification_answerer {
public:
    explicit notification_answerer(Notifier& n, Query q = {}) : notifier_{&n}, query_{std::move(q)} {}

    asio::awaitable<notification_answer> operator()(notification_query const& q)
    {
        auto found = co_await query_(q);
        if (found)
            co_return std::move(*found);
        if (auto const id = message_id::parse(q.id)) {
            auto const known = co_await notifier_->find(*id);
            if (known)
                co_return answer_of(*known);
        }
        co_return notification_answer{};
    }

private:
    Notifier* notifier_;
    Query query_;
};

/// A query that finds nothing: the answer is always the state of the notification.
struct no_facts {
    asio::awaitable<std::optional<notification_answer>> operator()(notification_query const&) const { co_return std::nullopt; }
    asio::awaitable<std::optional<notification_answer>> operator()(std::string const&, notification_query const&) const { co_return std::nullopt; }
};

template <class Notifier>
notification_answerer(Notifier&) -> notification_answerer<Notifier, no_facts>;

} // namespace cosaga
