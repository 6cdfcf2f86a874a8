// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/receipt.hpp>
#include <cosaga/relay.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga {

/// What a message carries beside its body. Trivially destructible: it refers to what the caller keeps.
struct send_options {
    std::string_view key{};                ///< messages of one key and topic arrive in order; none is promised without
    duration delay{};                      ///< not visible to consumers before, counted from the commit; >= 0
    std::span<header const> headers{};     ///< lower-case names; `subject`, `traceparent`, extensions
};

struct outbox_options {
    std::string service;    ///< who sends: the `source` of every message; 1 to 255 bytes
    relay_options relay{};  ///< of each destination
};

/// The state of one destination of an outbox.
struct destination_status {
    queue_name queue;
    std::size_t pending = 0;              ///< ready rows, in flight included
    std::size_t delayed = 0;
    std::size_t dead = 0;                 ///< dead letters now
    std::optional<duration> oldest_age;   ///< of the oldest pending row
    relay_counters counters;
};

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
            outbox_->stage(*this, std::move(m), options.delay);
            return id;
        }

        /// Like `send`, and lets a coroutine wait until every destination has taken the message.
        template <class Body>
        receipt send_with_receipt(std::string_view topic, Body const& body, send_options const& options = {})
        {
            auto m = outbox_->compose(*this, topic, body, options);
            auto const& queues = outbox_->queues_of(topic);
            receipt expected{outbox_->receipts_->add(m.id, queues.size())};
            outbox_->stage(*this, std::move(m), options.delay);
            return expected;
        }

        /// Stages a message that was made elsewhere, as it is: its id, time and source are kept.
        void forward(message m) { outbox_->stage(*this, std::move(m), duration::zero()); }

    private:
        outbox* outbox_;
    };

    /// @throws system_error `errc::bad_configuration` for an empty or too long service name, or an empty window.
    outbox(Store& s, Transport& t, outbox_options options)
        : store_{&s},
          transport_{&t},
          environment_{&s.get_environment()},
          options_{std::move(options)},
          ids_{*environment_},
          receipts_{std::make_shared<detail::receipt_registry>()}
    {
        if (options_.service.empty() || options_.service.size() > t.limits().name)
            throw make_error(errc::bad_configuration, "outbox: the service name needs 1 to 255 bytes");
        if (options_.relay.window_messages == 0 || options_.relay.window_bytes == 0)
            throw make_error(errc::bad_configuration, "outbox: the relay's window must hold at least one message");
    }
    outbox(outbox const&) = delete;
    outbox& operator=(outbox const&) = delete;

    Store& get_store() noexcept { return *store_; }
    Transport& get_transport() noexcept { return *transport_; }
    std::string const& service() const noexcept { return options_.service; }

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
    asio::awaitable<void> start()
    {
        std::vector<queue_name> found;
        auto list = [&](auto& tx) {
            found = tx.queues();
            for (auto const& [topic, queues] : queues_)
                found.insert(found.end(), queues.begin(), queues.end());
        };
        co_await store_->transact(list);
        {
            std::lock_guard const lock{mutex_};
            started_ = true;
        }
        for (auto const& queue : found)
            if (queue.side == queue_side::outbox)
                relay_to(queue);
    }

    /// Stops relaying. What is not acknowledged stays in the table.
    asio::awaitable<void> stop()
    {
        std::vector<relay<Store, Transport>*> running;
        {
            std::lock_guard const lock{mutex_};
            started_ = false;
            for (auto& [queue, r] : relays_)
                running.push_back(r.get());
        }
        for (auto* r : running)
            co_await r->stop();
        receipts_->stop();
        std::lock_guard const lock{mutex_};
        relays_.clear();
    }

    /// The state of every destination, from the store.
    asio::awaitable<std::vector<destination_status>> status()
    {
        std::vector<destination_status> all;
        auto read = [&](auto& tx) {
            for (auto& queue : tx.queues()) {
                if (queue.side != queue_side::outbox)
                    continue;
                auto& s = all.emplace_back();
                s.pending = tx.count(queue, message_state::ready);
                s.delayed = tx.count(queue, message_state::delayed);
                s.dead = tx.count(queue, message_state::dead);
                for (auto const& row : tx.read(queue, message_state::ready, 0, 1))
                    s.oldest_age = tx.now() - row.content.time;
                s.queue = std::move(queue);
            }
        };
        co_await store_->transact(read);
        std::lock_guard const lock{mutex_};
        for (auto& s : all)
            if (auto const r = relays_.find(s.queue); r != relays_.end())
                s.counters = r->second->counters();
        co_return all;
    }

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
        message m;
        m.id = ids_();
        m.time = tx.now();
        m.topic = topic;
        m.key = options.key;
        m.type = message_type_of<Body>();
        m.source = options_.service;
        m.content_type = Codec::content_type;
        m.headers.assign(options.headers.begin(), options.headers.end());
        m.payload = Codec::encode(body);
        return m;
    }

    void stage(transaction& tx, message m, duration delay)
    {
        if (delay < duration::zero())
            throw make_error(errc::bad_argument, "send: the delay must not be negative");
        check_limits(m, transport_->limits());
        auto const& queues = queues_of(m.topic);
        auto const state = delay > duration::zero() ? message_state::delayed : message_state::ready;
        for (std::size_t i = 0; i < queues.size(); ++i) {
            message_row row;
            row.due_at = delay > duration::zero() ? tx.now() + delay : time_point{};
            if (i + 1 == queues.size())
                row.content = std::move(m);
            else
                row.content = m;
            tx.append(queues[i], state, std::span<message_row>{&row, 1});
        }
    }

    // Only ever called on the store's thread, one transaction at a time.
    std::vector<queue_name> const& queues_of(std::string_view topic)
    {
        auto const known = queues_.find(topic);
        if (known != queues_.end())
            return known->second;
        std::vector<queue_name> queues;
        for (auto& consumer : transport_->consumers_of(topic))
            queues.push_back({queue_side::outbox, std::string{topic}, std::move(consumer)});
        if (queues.empty())
            throw make_error(errc::no_route,
                "send: no destination is declared for the topic '" + std::string{topic} + "': add a route to the transport");
        for (auto const& queue : queues)
            relay_to(queue);
        return queues_.emplace(topic, std::move(queues)).first->second;
    }

    void relay_to(queue_name const& queue)
    {
        std::lock_guard const lock{mutex_};
        if (!started_ || relays_.contains(queue))
            return;
        std::unique_ptr<relay<Store, Transport>> made;
        try {
            made = std::make_unique<relay<Store, Transport>>(*store_, *transport_, queue, options_.relay, receipts_);
        } catch (boost::system::system_error const& e) {
            environment_->report("outbox: messages of " + queue.topic + " for " + queue.consumer
                                 + " stay in the table: " + e.what());
            return;
        }
        made->start();
        relays_.emplace(queue, std::move(made));
    }

    Store* store_;
    Transport* transport_;
    environment* environment_;
    outbox_options options_;
    message_id_generator ids_;
    std::shared_ptr<detail::receipt_registry> receipts_;
    std::map<std::string, std::vector<queue_name>, std::less<>> queues_;
    std::mutex mutex_; // guards what follows
    bool started_ = false;
    std::map<queue_name, std::unique_ptr<relay<Store, Transport>>> relays_;
};

} // namespace cosaga
