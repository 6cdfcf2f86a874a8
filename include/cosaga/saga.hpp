// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/component.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/saga_context.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga {

/// Runs sagas: coroutines whose steps are journaled, that survive crashes, and that undo themselves when the business says no.
///
/// @code
/// cosaga::node node{store, transport, {.service = "shop"}};
/// cosaga::saga_engine sagas{node.get_outbox(), {.reply_topic = "shop.answers"}};
/// sagas.define<order>("place order", 1, place_order);                     // see saga_context
/// sagas.compensate<release>([](auto& tx, release const& r) { tx.execute("UPDATE ...", r.id); });
/// node.attach(sagas);
/// co_await node.start();
/// co_await sagas.begin("place order", o.id, o);
/// auto const r = co_await sagas.result<receipt>(o.id);
/// @endcode
/// A saga ends `done` or `undone`, over any number of crashes of any process; or it is visibly `paused`, with the reason, until somebody acts.
/// What it did is undone in reverse order of completion, each compensation tried until it succeeds. The decision to undo is durable: no crash turns it forward
/// again.
///
/// Several processes may share a store. A saga runs in one of them, which holds its lease; when that is gone for as long as a lease, another
/// takes over. Every write checks the lease, so that one who was only slow can no longer do anything. A saga that waits for long leaves the memory until
/// it is woken: what sleeps costs rows only.
///
/// A saga is only run by code that registered its name and version. It begins with the highest version registered; keep the earlier ones registered until their
/// sagas have ended.
///
/// Bodies run on the engine's strand: an effect that computes for long belongs on an executor of its own.
/// @par Thread safety
/// `define` and `compensate` before `start`. The other members from any number of coroutines on any threads. `start` once; `stop` once, before
/// destruction unless the executor no longer runs.
template <class Outbox>
class saga_engine final : public component {
    using store_transaction = typename Outbox::store_type::transaction_type;
    using codec_type = typename Outbox::codec_type;

public:
    using context = saga_context<Outbox>;
    using transaction = typename Outbox::transaction;

    /// @throws system_error `errc::bad_configuration`
    saga_engine(Outbox& o, saga_options options)
        : outbox_{&o},
          core_{detail::make_saga_core(o.get_store(), o.get_transport(), o.core(), codec_type::content_type, std::move(options))}
    {
    }

    /// Registers `body(context&, Input)`, which returns an `asio::awaitable` of something that the codec can encode, or of `void`.
    /// @param version of the body, 1 or more. Change it when the body no longer takes the same steps with the same outcomes.
    /// @throws system_error `errc::bad_configuration` if that name and version is registered already.
    template <class Input, class Body>
    void define(std::string name, std::uint32_t version, Body body)
    {
        static_assert(codec<codec_type, Input>, "the codec cannot decode this input: describe it with BOOST_DESCRIBE_STRUCT");
        detail::saga_definition<store_transaction> d;
        d.name = std::move(name);
        d.version = version;
        d.body = [f = std::move(body), o = outbox_](detail::saga_branch<store_transaction>& b, std::string const& input) {
            return run<Input>(f, b, *o, input);
        };
        core_->define(std::move(d));
    }

    /// Registers what compensates steps and effects that were called with `undo<Command>(...)`: `void f(transaction&, Command const&)`, a local
    /// transaction that happens exactly once; or `asio::awaitable<void> f(Command const&, message_id key)`, which may happen more than once, with the same key.
    template <class Command, class Handler>
    void compensate(Handler handler)
    {
        static_assert(codec<codec_type, Command>, "the codec cannot decode this compensation: describe it with BOOST_DESCRIBE_STRUCT");
        detail::saga_compensation<store_transaction> c;
        if constexpr (std::is_invocable_v<Handler&, Command const&, message_id>)
            c.outside = [f = std::move(handler)](std::string payload, message_id key) { return run_outside<Command>(f, std::move(payload), key); };
        else
            c.local = [f = std::move(handler), o = outbox_](store_transaction& base, std::string const& payload) {
                auto tx = o->adopt(base);
                auto const command = codec_type::template decode<Command>(payload);
                f(tx, command);
            };
        core_->compensate(std::string{message_type_of<Command>()}, std::move(c));
    }

    void start() override { core_->start(); }

    /// Takes no saga any more, and destroys the coroutines of those that run where they wait: nothing is undone, and they go on after the next start, or in
    /// another process. A transaction that runs is finished; an outside effect has `saga_options::grace`.
    asio::awaitable<void> stop() override { return core_->stop(); }

    /// Begins a saga. It is durable when this resumes: it is stored with its own first transaction.
    /// @param id 1 to 255 bytes.
    /// @return false if that saga was begun before, and is or was running, or has ended and is not purged yet.
    /// @par Errors
    /// @li `errc::saga_unregistered` - no saga of that name is registered here.
    /// @li `errc::saga_conflict` - the id belongs to a saga with another name or input.
    /// @li `errc::bad_argument` - an empty or too long id, a deadline that is not greater than 0.
    template <class Input>
    asio::awaitable<bool> begin(std::string_view name, std::string_view id, Input const& input, begin_options const& options = {})
    {
        return core_->begin(std::string{name}, std::string{id}, codec_type::encode(input), options);
    }
    /// The same inside a transaction of the outbox or the store: the saga is begun if and only if that commits.
    template <class Input>
    bool begin_in(store_transaction& tx, std::string_view name, std::string_view id, Input const& input, begin_options const& options = {})
    {
        return core_->begin(tx, name, id, codec_type::encode(input), options);
    }

    /// Waits for the end of a saga, wherever it runs, also after it has ended.
    /// @par Errors
    /// @li `errc::saga_undone` - what it did was undone; the context says why.
    /// @li `errc::not_found` - there is no such saga, or it was purged.
    /// @li `errc::store_closed` - the engine was stopped meanwhile.
    /// @par Cancellation
    /// ends the waiting, not the saga.
    template <class Result>
    asio::awaitable<Result> result(std::string id)
    {
        auto const encoded = co_await core_->result(std::move(id));
        if constexpr (!std::is_void_v<Result>)
            co_return codec_type::template decode<Result>(encoded);
    }

    /// Sends an event to a saga that has begun, for its `receive` of that name. It is durable when this resumes.
    /// @par Errors
    /// `errc::not_found`, `errc::saga_ended`
    template <class Event>
    asio::awaitable<void> send(std::string_view id, std::string_view name, Event const& event)
    {
        return core_->send(std::string{id}, std::string{name}, codec_type::encode(event));
    }
    /// The same inside a transaction: in the handler of a consumer, each message is sent on as one event.
    template <class Event>
    void send_in(store_transaction& tx, std::string_view id, std::string_view name, Event const& event)
    {
        core_->send(tx, id, name, codec_type::encode(event));
    }

    // for operators; each throws `errc::not_found` or `errc::saga_ended`

    /// Has a saga undone, one that is paused too. Resumes when that is decided for good, not when it is done.
    /// @par Errors
    /// `errc::saga_ended` - also for one that is being confirmed.
    asio::awaitable<void> cancel(std::string id, std::string reason) { return core_->cancel(std::move(id), std::move(reason)); }
    /// Lets a paused saga go on the way it went.
    asio::awaitable<void> resume(std::string id) { return core_->resume(std::move(id)); }
    /// Ends the waiting of a saga for the next attempt of something that failed; a participant that has not answered is asked again.
    asio::awaitable<void> retry(std::string id) { return core_->retry(std::move(id)); }
    /// Lets a saga that is being undone or confirmed go on without doing that for one step.
    /// @param step as in its journal.
    asio::awaitable<void> skip(std::string id, std::string step, std::string reason)
    {
        return core_->skip(std::move(id), std::move(step), std::move(reason));
    }
    /// Ends a saga as it is, `done` (without a result) or `undone`, and leaves what it did to the operator.
    asio::awaitable<void> finish(std::string id, saga_state state, std::string reason)
    {
        return core_->finish(std::move(id), state, std::move(reason));
    }

    /// Nothing if there is no such saga, or it was purged.
    asio::awaitable<std::optional<saga_info>> find(std::string id) { return core_->find(std::move(id)); }
    /// At most `most` sagas in a state, by id.
    /// @param after the id of the last one before, empty at first.
    asio::awaitable<std::vector<saga_info>> list(saga_state state, std::string after = {}, std::size_t most = 100)
    {
        return core_->list(state, std::move(after), most);
    }
    /// All that is known of a saga, in order.
    asio::awaitable<std::vector<saga_event>> journal(std::string id) { return core_->journal(std::move(id)); }

    saga_counters counters() const { return core_->counters(); }

private:
    template <class Input, class Body>
    static asio::awaitable<std::string> run(Body const& f, detail::saga_branch<store_transaction>& b, Outbox& o, std::string const& input)
    {
        using result = typename std::invoke_result_t<Body const&, context&, Input>::value_type;
        context c{b, o};
        auto decoded = codec_type::template decode<Input>(input);
        if constexpr (std::is_void_v<result>) {
            co_await f(c, std::move(decoded));
            co_return std::string{};
        } else {
            static_assert(codec<codec_type, result>, "the codec cannot encode this result: describe it with BOOST_DESCRIBE_STRUCT");
            auto const r = co_await f(c, std::move(decoded));
            co_return codec_type::encode(r);
        }
    }

    template <class Command, class Handler>
    static asio::awaitable<void> run_outside(Handler const& f, std::string payload, message_id key)
    {
        auto const command = codec_type::template decode<Command>(payload);
        co_await f(command, key);
    }

    Outbox* outbox_;
    std::unique_ptr<detail::saga_core<store_transaction>> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/saga.ipp>
#endif
