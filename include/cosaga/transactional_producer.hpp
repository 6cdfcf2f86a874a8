// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/codec/json.hpp>
#include <cosaga/component.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/producer_core.hpp>
#include <cosaga/detail/safe_to_await.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <exception>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cosaga {

/// Sends transactional messages: visible to consumers if and only if the local transaction committed, without a message table beside its data.
///
/// @code
/// cosaga::fence fence{store};
/// cosaga::transactional_producer producer{transport, fence, {.service = "shop", .coordinators = {"coordinator"}}};
/// node.attach(producer);
/// ...
/// auto place = [&](auto& tx) { tx.execute("INSERT INTO orders VALUES (?, ?)", o.id, o.cents); };
/// co_await producer.send("orders", o, place);
/// @endcode
/// A coordinator stores the message as a half message; then the local transaction runs; then the coordinator is told its outcome. If it is
/// never told, it asks any instance of this service, which answers by what the resource says of that transaction.
///
/// The transport needs a route of `transactions_topic` to each coordinator, and an endpoint where coordinators reach this service.
/// @tparam Resource a `transaction_resource`: a `fence` over a store, or the user's own over anything else.
/// @par Thread safety
/// `send` from any number of coroutines on any threads. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <transport Transport, transaction_resource Resource, class Codec = json_codec>
class transactional_producer final : public component {
public:
    /// @throws system_error `errc::bad_configuration`; `errc::no_route` for a coordinator that the transport does not know.
    transactional_producer(Transport& t, Resource& r, producer_options options)
        : resource_{&r}, core_{detail::make_producer_core(t, std::make_unique<source>(r), std::move(options))}
    {
    }

    void start() override { core_->start(); }

    /// Ends sending and answering: nothing new is sent, local transactions that have begun run to their end, and a coordinator is told of
    /// them if it takes that within `producer_options::resolve_timeout`. Other outcomes are found by check-backs later.
    asio::awaitable<void> stop() override { return core_->stop(); }

    /// Has the message stored as a half message, runs `local`, and commits or drops the message by its outcome.
    ///
    /// Resumes when the coordinator has taken the outcome, or after `producer_options::resolve_timeout`: the outcome is certain by then, and is
    /// told to it again until it has taken it.
    /// @param local what the resource runs: over a `fence`, `void(transaction&)`. An lvalue must outlive the call.
    /// @return the id of the message, which consumers see.
    /// @par Errors
    /// @li `errc::unreachable` - no coordinator took the message in time: `local` was not started.
    /// @li `errc::rejected` - the coordinator refused the message: `local` was not started. The context says why.
    /// @li `errc::limit_exceeded`, `errc::bad_argument`, or what the codec throws: the same.
    /// @li `errc::transport_closed` - the producer is not running, or was stopped before: the same.
    /// @li what `local` or the resource throws - the local transaction was rolled back, and the message dropped.
    /// @li `errc::transaction_unknown` - whether the local transaction committed cannot be said: a check-back will find out.
    /// @li `errc::transaction_conflict` - the local transaction committed, but the message had been dropped by an operator or a wrong answer to
    ///     a check-back.
    /// @par Cancellation
    /// before the half message is stored: `local` is not started. After that it runs to its end.
    template <class Body, class Local>
    asio::awaitable<message_id> send(std::string_view topic, Body const& body, Local&& local, transaction_options const& options = {})
    {
        static_assert(codec<Codec, Body>, "the codec cannot encode this body: describe it with BOOST_DESCRIBE_STRUCT");
        static_assert(detail::safe_to_await<Local>, "name the function object first: g++ 12 destroys it twice (GCC PR 99576)");
        auto m = core_->compose(topic, options);
        m.type = message_type_of<Body>();
        m.content_type = Codec::content_type;
        m.payload = Codec::encode(body);
        return run<Local>(std::move(m), std::forward<Local>(local));
    }

private:
    class source final : public detail::outcome_source {
    public:
        explicit source(Resource& r) : resource_{&r} {}
        asio::awaitable<transaction_outcome> check(message_id id) override { return resource_->check(id); }

    private:
        Resource* resource_;
    };

    // An lvalue is referred to, as in a call; an rvalue moves along.
    template <class Local>
    asio::awaitable<message_id> run(message m, Local local)
    {
        auto const running = core_->enter();
        auto const half = co_await core_->prepare(std::move(m));
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        std::exception_ptr failed;
        try {
            co_await resource_->run(half.id, local);
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed) {
            auto const outcome = co_await core_->find_out(half.id);
            if (outcome == transaction_outcome::rollback) {
                core_->tell(half, outcome);
                std::rethrow_exception(failed);
            }
            if (outcome != transaction_outcome::commit)
                throw make_error(errc::transaction_unknown, detail::describe(failed));
        }
        co_await core_->resolve(half, transaction_outcome::commit);
        co_return half.id;
    }

    Resource* resource_;
    std::unique_ptr<detail::producer_core> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/transactional_producer.ipp>
#endif
