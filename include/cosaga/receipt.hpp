// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/message_id.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <utility>

namespace cosaga {

namespace asio = boost::asio;

namespace detail {
struct receipt_state;
} // namespace detail

/// The expectation that a sent message is acknowledged, made by `tx.send_with_receipt`.
///
/// It lives in memory: after a restart the message is still delivered, but nobody waits for it.
/// @par Thread safety
/// any number of coroutines on any threads may wait.
class receipt {
public:
    receipt() = default;
    explicit receipt(std::shared_ptr<detail::receipt_state> state) : state_{std::move(state)} {}

    message_id id() const;

    /// Suspends until every destination of the message has taken responsibility for it.
    /// @par Errors
    /// @li `errc::dead_lettered` - a destination refused it, or its retry schedule ended; the context says why.
    /// @li `errc::transport_closed` - the outbox was stopped first; the message is sent after the next start.
    /// @par Cancellation
    /// throws `operation_aborted`; the message is not affected, and it may be awaited again.
    /// @pre it was returned by a transaction that committed.
    asio::awaitable<void> acknowledged() const;

private:
    std::shared_ptr<detail::receipt_state> state_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/receipt.ipp>
#endif
