// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/json.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/receiver_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace cosaga {

namespace detail {

/// What a receiver applies with: an outbox, whose handlers may send, or a store alone.
template <class Target>
struct webhook_target {
    using store_type = Target;
    using codec_type = json_codec;
    using transaction = typename Target::transaction_type;

    static store_type& store_of(Target& t) noexcept { return t; }
    static transaction adopt(Target&, typename store_type::transaction_type const& tx) { return tx; }
};

template <class Target>
    requires requires { typename Target::store_type; }
struct webhook_target<Target> {
    using store_type = typename Target::store_type;
    using codec_type = typename Target::codec_type;
    using transaction = typename Target::transaction;

    static store_type& store_of(Target& t) noexcept { return t.get_store(); }
    static transaction adopt(Target& t, typename store_type::transaction_type const& tx) { return t.adopt(tx); }
};

} // namespace detail

/// Verifies webhooks, drops those that were seen, and applies each in a local transaction: a function that works with any HTTP server.
///
/// @code
/// webhook_receiver_options options;
/// options.name = "payments";
/// options.secrets = [&] { return std::vector<webhook_secret>{current, previous}; };
/// webhook_receiver<sqlite_store, payment_settled> payments{store, options};
/// auto settle = [](auto& tx, payment_settled const& p) { tx.execute("UPDATE orders SET paid = 1 WHERE id = ?", p.order); };
/// webhook_answer const answer = co_await payments.receive(request, settle);
/// @endcode
/// | answered | when |
/// |----------|------|
/// | 200      | applied now, or before |
/// | 400      | the headers of the signature, or the message, are malformed, or no handler takes its type |
/// | 401      | no signature is right, or the timestamp is out of tolerance |
/// | 405, 413 | not a `POST`; larger than allowed |
/// | 500, 503 | the handler threw; the store failed, or the secrets cannot be had: the sender tries again |
///
/// The id by which it is remembered is `webhook-id`, which is signed. What a message says in headers `ce-...` is not: have senders use TLS, and the
/// structured format where it matters. Marks are kept in the scope of a consumer of that topic and name, and purged after the retention.
/// @tparam Target an `outbox` or a `store`.
/// @tparam Bodies the types of messages that the handler takes; none: it is called as `handler(transaction&, message const&)`.
/// @par Thread safety
/// any number of coroutines on any threads.
template <class Target, class... Bodies>
class webhook_receiver {
    using target_type = detail::webhook_target<Target>;
    using store_type = typename target_type::store_type;
    using store_transaction_type = typename store_type::transaction_type;

public:
    using transaction = typename target_type::transaction;

    /// @throws system_error `errc::bad_configuration`: no secrets or name, or a retention that is not longer than the tolerance.
    webhook_receiver(Target& target, webhook_receiver_options options)
        : target_{&target},
          options_{detail::checked(std::move(options))},
          scope_{detail::inbox_scope(options_.topic, options_.name)}
    {
    }
    webhook_receiver(webhook_receiver const&) = delete;
    webhook_receiver& operator=(webhook_receiver const&) = delete;

    /// Takes one request.
    /// @param request and handler are used until it completes.
    /// @param handler `void(transaction&, Body const&)` or with the `message const&` behind, on the store's thread; see `consumer`. It may be called
    /// again for a request whose transaction failed.
    /// @par Completes with
    /// the answer; its `detail` says for the own log what the sender is not told.
    /// @par Cancellation
    /// before the transaction started: nothing happened. After: it runs to its end.
    template <class Handler>
    asio::awaitable<webhook_answer> receive(webhook_request const& request, Handler& handler)
    {
        auto& store = target_type::store_of(*target_);
        auto const now = store.get_environment().now();
        auto taken = detail::take_webhook(request, options_, now);
        if (!taken.accepted)
            co_return std::move(taken.answer);
        auto body = decode(taken.content);
        if (auto const* const wrong = std::get_if<detail::not_applicable>(&body))
            co_return detail::refuse_webhook(400, wrong->reason);

        bool fresh = false;
        std::exception_ptr failed;
        auto work = [&](store_transaction_type& tx) {
            fresh = std::visit([&](auto const& b) { return apply_in(tx, handler, b, taken.content); }, body);
        };
        try {
            co_await store.transact(work);
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed)
            co_return detail::fail_webhook(failed);
        purge_sometimes(store, now);
        co_return detail::accept_webhook(fresh);
    }

    /// Applies what was learnt in another way, by asking for it, as if the webhook with that id had come: once with it, whichever is first.
    /// @param id what the webhook has as `webhook-id`: the notification's.
    /// @param body and handler are used until it completes. The message that the handler sees has no headers.
    /// @par Completes with
    /// false if it was applied before.
    /// @par Errors
    /// @li whatever the handler throws, or the store; then nothing was applied.
    /// @par Cancellation
    /// as `receive`.
    template <class Body, class Handler>
        requires(std::is_same_v<Body, Bodies> || ...)
    asio::awaitable<bool> apply(std::string id, Body const& body, Handler& handler)
    {
        auto& store = target_type::store_of(*target_);
        message m;
        m.id = message_id::from_foreign(options_.name, id);
        m.topic = options_.topic;
        m.type = message_type_of<Body>();
        m.source = options_.name;
        m.time = store.get_environment().now();
        bool fresh = false;
        auto work = [&](store_transaction_type& tx) { fresh = apply_in(tx, handler, body, m); };
        co_await store.transact(work);
        co_return fresh;
    }

private:
    using decoded = std::conditional_t<sizeof...(Bodies) == 0, std::variant<detail::not_applicable, std::monostate>,
        std::variant<detail::not_applicable, Bodies...>>;
    static constexpr std::uint64_t purge_every = 256;
    static constexpr std::size_t most_purged = 1024; // in one transaction

    decoded decode(message const& m) const
    {
        if constexpr (sizeof...(Bodies) == 0)
            return decoded{std::monostate{}};
        else
            return detail::decode_body<typename target_type::codec_type, Bodies...>(m, options_.topic);
    }

    // False if it was applied before.
    template <class Handler, class Body>
    bool apply_in(store_transaction_type& tx, Handler& handler, Body const& body, message const& m)
    {
        std::span<message_id const> const id{&m.id, 1};
        if (tx.insert_marks(scope_, id, mark{}).front())
            return false;
        auto applying = target_type::adopt(*target_, tx);
        call(handler, applying, body, m);
        return true;
    }

    template <class Handler, class Body>
    static void call(Handler& handler, transaction& tx, Body const& body, message const& m)
    {
        if constexpr (std::is_same_v<Body, std::monostate>)
            handler(tx, m);
        else if constexpr (std::is_same_v<Body, detail::not_applicable>)
            throw make_error(errc::unsupported_type, body.reason);
        else if constexpr (std::is_invocable_v<Handler&, transaction&, Body const&, message const&>)
            handler(tx, body, m);
        else
            handler(tx, body);
    }

    void purge_sometimes(store_type& store, time_point now)
    {
        if (received_.fetch_add(1, std::memory_order_relaxed) % purge_every != 0)
            return;
        store.defer([scope = scope_, before = now - options_.retention](store_transaction_type& tx) {
            tx.purge_marks(scope, before, most_purged);
        });
    }

    Target* target_;
    webhook_receiver_options options_;
    std::string scope_;
    std::atomic<std::uint64_t> received_ = 0;
};

} // namespace cosaga
