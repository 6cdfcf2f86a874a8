// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/reconciled_fields.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/outbox_options.hpp>
#include <cosaga/receipt.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga {

/// The local message table: a message is sent if and only if the local transaction that staged it committed.
///
/// @code
/// co_await outbox.transact([&](auto& tx) {
///     tx.execute("INSERT INTO orders VALUES (?, ?)", o.id, o.cents);
///     tx.send("orders", o, {.key = o.id});
/// });
/// @endcode
/// One row is stored for each destination of the topic; a relay for each sends it until it is acknowledged, and keeps on after a
/// restart. Without `start` messages are stored only, and some other process relays them.
/// @par Thread safety
/// any number of coroutines on any threads; `start` and `stop` once each.
template <store Store, transport Transport, class Codec>
class outbox {
public:
    using store_type = Store;
    using transport_type = Transport;
    using codec_type = Codec;

    /// A local transaction of the store that can also send. Valid inside the function handed to `transact`.
    class transaction : public Store::transaction_type {
    public:
        transaction(typename Store::transaction_type const& base, outbox& o)
            : Store::transaction_type{base}, outbox_{&o}
        {
        }

        /// Stages a message: it leaves if and only if this transaction commits.
        /// @param topic must have a route in the transport.
        /// @return its id, which consumers see.
        /// @throws system_error `errc::no_route`, `errc::limit_exceeded`, `errc::bad_argument`, or what the codec throws.
        template <class Body>
        message_id send(std::string_view topic, Body const& body, send_options const& options = {})
        {
            auto m = outbox_->compose(*this, topic, body, options);
            auto const id = m.id;
            stage(std::move(m), body, options.delay);
            return id;
        }

        /// Like `send`, and lets a coroutine wait until every destination has taken the message.
        template <class Body>
        receipt send_with_receipt(std::string_view topic, Body const& body, send_options const& options = {})
        {
            auto m = outbox_->compose(*this, topic, body, options);
            auto expected = outbox_->core_->expect(m);
            stage(std::move(m), body, options.delay);
            return expected;
        }

        /// Stages a message that was made elsewhere, as it is: its id, time and source are kept.
        void forward(message m) { outbox_->core_->stage(*this, std::move(m), duration::zero()); }

    private:
        template <class Body>
        void stage(message m, Body const& body, duration delay)
        {
            if (!outbox_->core_->keeps_ledger(m.topic))
                return outbox_->core_->stage(*this, std::move(m), delay);
            auto const kept = detail::reconciled_fields(body);
            outbox_->core_->stage(*this, std::move(m), delay, &kept);
        }

        outbox* outbox_;
    };

    /// @throws system_error `errc::bad_configuration` for an empty or too long service name, or an empty window.
    outbox(Store& s, Transport& t, outbox_options options)
        : store_{&s}, transport_{&t}, core_{detail::make_outbox_core(s, t, std::move(options))}
    {
    }
    outbox(outbox const&) = delete;
    outbox& operator=(outbox const&) = delete;

    Store& get_store() noexcept { return *store_; }
    Transport& get_transport() noexcept { return *transport_; }
    std::string const& service() const noexcept { return core_->service(); }

    /// Runs `work(transaction&)` as one local transaction and resumes when it is durable, messages included.
    /// @copydetails Store::transact
    template <class Work>
    auto transact(Work&& work)
    {
        return store_->transact(with_outbox<Work>{this, {std::forward<Work>(work)}});
    }

    /// Runs `work(transaction&)` inside a transaction of the store that has begun already.
    transaction adopt(typename Store::transaction_type const& tx) { return transaction{tx, *this}; }

    /// Starts relaying, also what earlier runs of the process left.
    asio::awaitable<void> start() { return core_->start(); }

    /// Stops relaying. What is not acknowledged stays in the table.
    asio::awaitable<void> stop() { return core_->stop(); }

    /// The state of every destination, from the store.
    asio::awaitable<std::vector<destination_status>> status() { return core_->status(); }

    detail::outbox_core<typename Store::transaction_type>& core() noexcept { return *core_; }

private:
    template <class Work>
    struct with_outbox {
        // An lvalue is referred to, as in a call; an rvalue moves along.
        struct holder {
            std::conditional_t<std::is_lvalue_reference_v<Work>, Work, std::remove_cvref_t<Work>> work;
        };
        outbox* self;
        holder held;

        decltype(auto) operator()(typename Store::transaction_type& base)
        {
            transaction tx{base, *self};
            return held.work(tx);
        }
    };

    template <class Body>
    message compose(transaction& tx, std::string_view topic, Body const& body, send_options const& options)
    {
        static_assert(codec<Codec, Body>, "the codec cannot encode this body: describe it with BOOST_DESCRIBE_STRUCT");
        auto m = core_->compose(tx, topic, options);
        m.type = message_type_of<Body>();
        m.content_type = Codec::content_type;
        m.payload = Codec::encode(body);
        return m;
    }

    Store* store_;
    Transport* transport_;
    detail::outbox_core_ptr<Store> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/outbox.ipp>
#endif
