// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/reconciled_fields.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga {

namespace detail {

template <class Prepare, class Body>
struct prepared_by {
    using type = typename std::invoke_result_t<Prepare&, Body const&>::value_type;
};
template <class Body>
struct prepared_by<no_preparation, Body> {
    using type = std::monostate;
};

template <class Handler, class Prepare>
struct consumer_functions {
    Handler handler;
    Prepare prepare;
};

template <class Outbox, class Handler, class Prepare, class Body, class... Bodies>
class typed_message_bodies final : public message_bodies<typename Outbox::store_type::transaction_type> {
    using store_transaction_type = typename Outbox::store_type::transaction_type;
    using item = taken_message<store_transaction_type>;
    using functions = consumer_functions<Handler, Prepare>;

public:
    typed_message_bodies(Outbox& o, std::shared_ptr<functions> f) : outbox_{&o}, functions_{std::move(f)} {}

    void add(item& m, std::string_view topic) override
    {
        auto& e = entries_.emplace_back();
        e.body = decode_body<typename Outbox::codec_type, Body, Bodies...>(m.row.content, topic);
        m.bodies = this;
        m.at = entries_.size() - 1;
        if (auto* const wrong = std::get_if<detail::not_applicable>(&e.body))
            m.not_applicable = std::move(wrong->reason);
    }

    void clear() noexcept override { entries_.clear(); }

    void call(store_transaction_type& tx, item const& m) override
    {
        auto sending = outbox_->adopt(tx);
        auto& e = entries_[m.at];
        std::visit([&](auto const& body) { call(sending, body, m, e); }, e.body);
    }

    asio::awaitable<void> prepare(item& m) override
    {
        if constexpr (prepares)
            return run_preparation(m);
        else
            return {}; // never called: no coroutine has to be compiled
    }

    ledger_fields reconciled(item const& m) override
    {
        return std::visit([](auto const& body) { return reconciled_fields(body); }, entries_[m.at].body);
    }

    static constexpr bool prepares = !std::is_same_v<Prepare, no_preparation>;

private:
    using decoded = std::variant<not_applicable, Body, Bodies...>;

    struct entry {
        decoded body;
        typename prepared_by<Prepare, Body>::type outcome{};
    };

    asio::awaitable<void> run_preparation(item& m)
    {
        auto& e = entries_[m.at];
        auto const* const body = std::get_if<Body>(&e.body);
        m.unprepared = nullptr;
        if (!body)
            co_return;
        try {
            e.outcome = co_await functions_->prepare(*body);
        } catch (...) {
            m.unprepared = std::current_exception();
        }
    }

    template <class Some>
    void call(typename Outbox::transaction& tx, Some const& body, item const& m, entry& e)
    {
        auto& handler = functions_->handler;
        if constexpr (std::is_same_v<Some, not_applicable>)
            throw make_error(errc::unsupported_type, m.not_applicable);
        else if constexpr (prepares)
            handler(tx, body, std::as_const(e.outcome));
        else if constexpr (std::is_invocable_v<Handler&, typename Outbox::transaction&, Some const&, message const&>)
            handler(tx, body, m.row.content);
        else
            handler(tx, body);
    }

    Outbox* outbox_;
    std::shared_ptr<functions> functions_;
    std::vector<entry> entries_;
};

} // namespace detail

/// Receives the messages of a topic under a consumer's name and applies each exactly once.
///
/// A received batch is deduplicated, applied and acknowledged with one local transaction. The handler is called
/// as `handler(transaction&, body const&)` or `handler(transaction&, body const&, message const&)`, on the store's
/// thread; it must not block. What it sends leaves with the commit. It may be called more than once for a message, when another
/// of its batch throws or the commit fails: all that it does must be done through the transaction. If it throws, its
/// changes alone are rolled back, and the message moves to the inbox queue of the message table, from where it is tried again on the schedule and
/// parked when that ends. Until then it holds back its own key only.
///
/// With a `Prepare`, `awaitable<P> prepare(body const&)` runs before the transaction, several at a time, and the
/// handler is called as `handler(transaction&, body const&, P const&)`. It runs at least once for each message that is applied.
/// @par Thread safety
/// `counters` from any thread. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <class Outbox, class Handler, class Prepare, class... Bodies>
class consumer final : public running_consumer {
public:
    /// @throws system_error `errc::bad_configuration` when the retention is not longer than the retries take, or a limit is 0.
    consumer(Outbox& o, std::string topic, std::string name, Prepare prepare, Handler handler,
        consumer_options const& options)
        : core_{detail::make_consumer(o.get_store(), o.get_transport(), std::move(topic), std::move(name),
              make_parts(o, std::move(prepare), std::move(handler)), options)}
    {
    }
    consumer(consumer const&) = delete;
    consumer& operator=(consumer const&) = delete;

    queue_name const& queue() const noexcept override { return core_->queue(); }
    consumer_counters counters() const noexcept override { return core_->counters(); }
    void start() override { core_->start(); }
    asio::awaitable<void> stop() override { return core_->stop(); }

private:
    static auto make_parts(Outbox& o, Prepare prepare, Handler handler)
    {
        using functions = detail::consumer_functions<Handler, Prepare>;
        using bodies = detail::typed_message_bodies<Outbox, Handler, Prepare, Bodies...>;
        std::shared_ptr<functions> const f{new functions{std::move(handler), std::move(prepare)}};
        detail::consumer_parts<typename Outbox::store_type::transaction_type> parts;
        parts.incoming = std::make_unique<bodies>(o, f);
        parts.due = std::make_unique<bodies>(o, f);
        parts.prepares = bodies::prepares;
        return parts;
    }

    std::unique_ptr<running_consumer> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/consumer.ipp>
#endif
