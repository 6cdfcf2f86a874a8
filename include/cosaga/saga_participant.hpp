// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/component.hpp>
#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/participant_bodies.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/consumer.ipp>
#endif

namespace cosaga {

struct saga_participant_options {
    std::string topic;          ///< on which commands arrive
    std::string name{};         ///< of this consumer; the service's unless given
    consumer_options consumer{};
    /// How long it is remembered what was done for whom; must exceed the time in which a saga can ask again.
    duration retention = std::chrono::hours{24 * 30};
};

/// Carries out what sagas elsewhere call, each command with exactly one effect.
///
/// @code
/// cosaga::saga_participant payments{node.get_outbox(), {.topic = "payments"}};
/// payments.handle<charge>([](auto& tx, charge const& c) {
///     if (!covers(tx, c))
///         throw cosaga::refusal("no funds");
///     return payment{book(tx, c)};
/// });
/// payments.handle<refund>([](auto& tx, refund const& r) { unbook(tx, r.id); });
/// node.attach(payments);
/// @endcode
/// A handler is called as `Reply f(transaction&, Command const&)` on the store's thread, in the transaction in which the command is remembered and the answer
/// is staged. Whether a command is an action, its compensation or its confirmation is what the saga called it for. A barrier on the marks
/// table makes any order and number of them safe:
/// @li a command that comes again gets the first answer, and does nothing;
/// @li a compensation that comes before its action succeeds and does nothing; the action, should it come later, is refused;
/// @li a compensation of what was refused does nothing; a confirmation of what is not there is refused.
///
/// A handler that throws with `remedy::compensate` (`refusal`) has said no, for good; of one that throws `still_ongoing` nothing is kept and the saga asks again; anything else
/// is tried again by the consumer, and becomes a dead letter when its schedule ends.
///
/// The transport needs a route of the sagas' reply topic to their service.
/// @par Thread safety
/// `handle` before `start`. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <class Outbox>
class saga_participant final : public component {
    using store_transaction = typename Outbox::store_type::transaction_type;
    using codec_type = typename Outbox::codec_type;
    using bodies = detail::participant_bodies<store_transaction>;

public:
    using transaction = typename Outbox::transaction;

    /// @throws system_error `errc::bad_configuration`
    saga_participant(Outbox& o, saga_participant_options options)
        : outbox_{&o}, barrier_{std::make_shared<detail::participant_barrier<store_transaction>>(o.core(), options.topic, codec_type::content_type, options.retention)}
    {
        if (options.retention <= options.consumer.retention)
            throw make_error(errc::bad_configuration, "participant: the retention must exceed that of the consumer: a command may come again for as long");
        if (options.consumer.ledger_retention > duration::zero())
            throw make_error(errc::bad_configuration, "participant: commands are in no ledger; what became of them is in the sagas' journals");
        detail::consumer_parts<store_transaction> parts;
        parts.incoming = std::make_unique<bodies>(barrier_);
        parts.due = std::make_unique<bodies>(barrier_);
        auto name = options.name.empty() ? o.service() : std::move(options.name);
        consumer_ = detail::make_consumer(
            o.get_store(), o.get_transport(), std::move(options.topic), std::move(name), std::move(parts), options.consumer);
    }

    /// Registers the handler of one type of command.
    template <class Command, class Handler>
    void handle(Handler handler)
    {
        using reply = std::remove_cvref_t<std::invoke_result_t<Handler&, transaction&, Command const&>>;
        static_assert(codec<codec_type, Command>, "the codec cannot decode this command: describe it with BOOST_DESCRIBE_STRUCT");
        barrier_->handle(std::string{message_type_of<Command>()}, [f = std::move(handler), o = outbox_](store_transaction& base, std::string const& payload) mutable {
            auto const command = codec_type::template decode<Command>(payload);
            auto tx = o->adopt(base);
            detail::remembered_answer answer{detail::answer_success, {}, {}};
            if constexpr (std::is_void_v<reply>) {
                f(tx, command);
            } else {
                static_assert(codec<codec_type, reply>, "the codec cannot encode this reply: describe it with BOOST_DESCRIBE_STRUCT");
                answer.payload = codec_type::encode(f(tx, command));
                answer.type = message_type_of<reply>();
            }
            return answer;
        });
    }

    void start() override { consumer_->start(); }
    asio::awaitable<void> stop() override { return consumer_->stop(); }

    consumer_counters counters() const noexcept { return consumer_->counters(); }

private:
    Outbox* outbox_;
    std::shared_ptr<detail::participant_barrier<store_transaction>> barrier_;
    std::unique_ptr<running_consumer> consumer_;
};

} // namespace cosaga
