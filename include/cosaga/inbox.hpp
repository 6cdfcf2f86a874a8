// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/outbox.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga {

/// A message that an inbox received, with its decoded body.
template <class Body>
struct received {
    Body body;
    delivery from;
};

/// Receives, deduplicates and applies messages one at a time, each step awaited by the caller.
///
/// @code
/// auto orders = inbox<decltype(outbox), order>{outbox, "orders", "warehouse"};
/// for (;;) {
///     auto next = co_await orders.receive();
///     auto record = [&](auto& tx, order const& o) { tx.execute("INSERT INTO shipments VALUES (?)", o.id); };
///     co_await orders.apply(next, record);
/// }
/// @endcode
/// A `consumer` does the same in batches, with retries, and is the better choice for most services.
/// @par Thread safety
/// one coroutine at a time.
template <class Outbox, class Body>
class inbox {
    using store_transaction_type = typename Outbox::store_type::transaction_type;

public:
    inbox(Outbox& o, std::string topic, std::string name)
        : outbox_{&o},
          queue_{queue_side::inbox, std::move(topic), std::move(name)},
          scope_{detail::inbox_scope(queue_.topic, queue_.consumer)},
          subscription_{o.get_transport().subscribe(queue_.topic, queue_.consumer)}
    {
    }

    /// Waits for the next message. What cannot be decoded here is parked as a dead letter and passed over.
    /// @par Errors
    /// @li `errc::transport_closed` - after `close`.
    /// @par Cancellation
    /// throws `operation_aborted` and loses nothing.
    asio::awaitable<received<Body>> receive()
    {
        for (;;) {
            auto batch = co_await subscription_.receive(1);
            auto& d = batch.front();
            auto body = detail::decode_body<typename Outbox::codec_type, Body>(d.content, queue_.topic);
            if (auto* const decoded = std::get_if<Body>(&body)) {
                received<Body> r{std::move(*decoded), std::move(d)};
                co_return r;
            }
            auto park = [&](store_transaction_type& tx) {
                std::span<message_id const> const id{&d.content.id, 1};
                if (tx.insert_marks(scope_, id, mark{}).front())
                    return;
                message_row row;
                row.content = d.content;
                row.last_error = std::get<detail::not_applicable>(body).reason;
                tx.append(queue_, message_state::dead, std::span<message_row>{&row, 1});
            };
            co_await outbox_->get_store().transact(park);
            acknowledge(d);
        }
    }

    /// Applies a message in a local transaction, unless it was applied before, and acknowledges it.
    /// @param handler `void(transaction&, Body const&)`, on the store's thread. It may send. An lvalue must outlive the call.
    /// @return false for a duplicate, whose effect is there already.
    /// @par Errors
    /// whatever `handler` throws: nothing is changed or acknowledged; `retry` or `reject` it, or call again.
    /// @par Cancellation
    /// before the transaction started: nothing happened. After: it runs to its end.
    template <class Handler>
    asio::awaitable<bool> apply(received<Body> const& r, Handler& handler)
    {
        bool fresh = false;
        auto work = [&](store_transaction_type& tx) {
            std::span<message_id const> const id{&r.from.content.id, 1};
            fresh = !tx.insert_marks(scope_, id, mark{}).front();
            if (!fresh)
                return;
            auto sending = outbox_->adopt(tx);
            handler(sending, r.body);
        };
        co_await outbox_->get_store().transact(work);
        acknowledge(r.from);
        co_return fresh;
    }

    /// Gives the message back: it comes again after `delay`, and later ones of its key only after it.
    void retry(received<Body> r, duration delay) { subscription_.retry(std::move(r.from), delay); }

    /// Refuses the message for good: it becomes a dead letter at its sender.
    void reject(received<Body> const& r, std::string reason) { subscription_.reject(r.from.tag, std::move(reason)); }

    /// Ends receiving. What was not applied comes again.
    void close() { subscription_.close(); }

private:
    void acknowledge(delivery const& d)
    {
        std::vector<std::uint64_t> tags(1, d.tag);
        subscription_.acknowledge(std::move(tags));
    }

    Outbox* outbox_;
    queue_name queue_;
    std::string scope_;
    typename Outbox::transport_type::subscription_type subscription_;
};

} // namespace cosaga
