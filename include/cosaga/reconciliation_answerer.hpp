// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/comparison_answer.hpp>
#include <cosaga/error.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/reconciler_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

namespace detail {

inline std::vector<std::byte> bytes_of(std::string_view text)
{
    auto const* const data = reinterpret_cast<std::byte const*>(text.data());
    return {data, data + text.size()};
}

inline std::string_view text_of(std::vector<std::byte> const& bytes)
{
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

} // namespace detail

/// Answers reconcilers from the ledger that a consumer keeps: for `node.respond`.
///
/// @code
/// node.consume<order>("orders", "warehouse", handler, {.ledger_retention = 30 * 24h});
/// node.respond<cosaga::reconciliation_request>(
///     "orders.reconcile", "warehouse", cosaga::reconciliation_answerer{store, "orders", "warehouse"});
/// @endcode
/// It remembers nothing between two requests, and changes nothing. Who asks is not known here: whoever may send to the
/// topic of requests sees what the ledger keeps.
template <store Store>
class reconciliation_answerer {
public:
    reconciliation_answerer(Store& s, std::string topic, std::string consumer, reconciliation_options const& options = {})
        : store_{&s}, topic_{std::move(topic)}, consumer_{std::move(consumer)}, options_{options}
    {
    }

    asio::awaitable<reconciliation_answer> operator()(reconciliation_request const& q)
    {
        if (q.topic != topic_ || q.consumer != consumer_)
            throw make_error(errc::not_found, "this is the consumer '" + consumer_ + "' of the topic '" + topic_ + "'");
        reconciliation_answer a;
        auto work = [&](typename Store::transaction_type& tx) {
            auto const since = std::max(tx.open_ledger(inbox_ledger(topic_, consumer_, {})), tx.now() - options_.retention);
            detail::stored_ledger_view ledger{tx, inbox_ledger(topic_, consumer_, q.source)};
            detail::comparison_answer answer{ledger, {{since, {}}, {tx.now() - options_.grace, {}}}};
            a.comparison = detail::bytes_of(answer(detail::text_of(q.comparison)));
        };
        co_await store_->transact(work);
        co_return a;
    }

private:
    Store* store_;
    std::string topic_;
    std::string consumer_;
    reconciliation_options options_;
};

} // namespace cosaga
