// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/component.hpp>
#include <cosaga/detail/notifier_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/notification_sink.hpp>

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

/// Sends notices that need not arrive: each is tried on a schedule, then given up, which is recorded.
///
/// @code
/// cosaga::node node{store, transport, {.service = "payments"}};
/// cosaga::transport_sink sink{transport};                       // or a webhook_sink
/// cosaga::notifier notifier{node.get_outbox(), sink, {.schedule = cosaga::notification_schedule::fifteen_in_a_day()}};
/// node.attach(notifier);
/// ...
/// co_await notifier.transact([&](auto& tx) {
///     tx.execute("UPDATE payments SET state = 'paid' WHERE id = ?", p.id);
///     tx.notify("merchant1", paid{p.id, p.cents});
/// });
/// auto const n = co_await notifier.find(id);                    // pending, delivered, given up; with all attempts
/// @endcode
/// A notification may come more than once, in any order, or never: its receiver has to be idempotent, and may ask what became of it. It has the
/// same id at every attempt. Attempts are recorded after they were made, many in one transaction: one that a crash interrupts is made again.
///
/// A destination that refuses or hangs delays no other: each has its own limit of attempts in flight, and those of which the last attempt failed
/// share half of all. After some failures in a row it is left alone for a while, then tried with one; what is due meanwhile waits, and is given
/// up when its time is over. One that says `attempt_outcome::gone` is disabled, durably: what is pending there, and what is made for it later, is
/// given up until `enable`.
///
/// What was given up is a dead letter of the outbox, under `topic()`: `dead_letters` lists, redrives and purges it as well.
/// One notifier runs for a name and store. In memory it has what is in flight, and a few hundred bytes for each destination with something pending.
/// @par Thread safety
/// any number of coroutines on any threads. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <class Outbox, notification_sink Sink, class Codec = typename Outbox::codec_type>
class notifier final : public component {
public:
    /// A local transaction that can also send and notify. Valid inside the function handed to `transact`.
    class transaction : public Outbox::transaction {
    public:
        transaction(typename Outbox::transaction const& base, notifier& n) : Outbox::transaction{base}, notifier_{&n} {}

        /// Stages a notification: it is made if and only if this transaction commits. For a disabled destination it is given up at once.
        /// @param destination as the sink understands it; 1 to 2,048 bytes.
        /// @return its id, which the receiver sees.
        /// @throws system_error `errc::bad_argument`, `errc::limit_exceeded`, or what the codec throws.
        template <class Body>
        message_id notify(std::string_view destination, Body const& body, notification_options const& options = {})
        {
            return notifier_->core_->stage(*this, destination, compose(body), options);
        }

    private:
        notifier* notifier_;
    };

    /// @param s is told to check destinations from any thread, and delivers on the store's executor.
    /// @throws system_error `errc::bad_configuration`
    notifier(Outbox& o, Sink& s, notifier_options options = {})
        : outbox_{&o},
          core_{detail::make_notifier_core(o.get_store(), o.get_transport().limits(), o.service(), std::make_unique<erased>(s), std::move(options))}
    {
    }

    void start() override { core_->start(); }

    /// Begins no more attempts. Those that run have five seconds to end; any other is made again later.
    asio::awaitable<void> stop() override { return core_->stop(); }

    /// Runs `work(transaction&)` as one local transaction and resumes when it is durable, messages and notifications included.
    /// @copydetails Outbox::transact
    template <class Work>
    auto transact(Work&& work)
    {
        return outbox_->transact(with_notifier<Work>{this, {std::forward<Work>(work)}});
    }

    /// Notifies inside a transaction of the outbox or the store that has begun already.
    transaction adopt(typename Outbox::store_type::transaction_type const& tx) { return transaction{outbox_->adopt(tx), *this}; }

    /// Makes a notification in a local transaction of its own.
    /// @copydetails transaction::notify
    template <class Body>
    asio::awaitable<message_id> notify(std::string_view destination, Body const& body, notification_options const& options = {})
    {
        return core_->store(std::string{destination}, compose(body), options);
    }

    /// What is known of a notification; nothing if it was never made, was purged, or was delivered before the retention.
    asio::awaitable<std::optional<notification>> find(message_id id) { return core_->find(id); }

    /// Those of a destination that are pending or given up, at most `most`, by the time at which they came into that state.
    /// @param after the `position` of the last one before, 0 at first.
    /// @throws system_error `errc::bad_argument` for `notification_state::delivered`: those can only be found by id.
    asio::awaitable<std::vector<notification>> list(
        std::string destination, notification_state state, std::int64_t after = 0, std::size_t most = 100)
    {
        return core_->list(std::move(destination), state, after, most);
    }

    /// Every destination that was ever notified, sorted.
    asio::awaitable<std::vector<notified_destination>> destinations() { return core_->destinations(); }

    /// Begins the schedule of a given-up notification anew, at once. @return false if there is none with that id.
    asio::awaitable<bool> restart(message_id id) { return core_->restart(id); }

    /// The same for all that were given up at a destination, or at all of them if it is empty. @return how many.
    /// @param reason_contains part of the reason, if not empty.
    asio::awaitable<std::size_t> restart_all(std::string destination, std::string reason_contains = {})
    {
        return core_->restart_all(std::move(destination), std::move(reason_contains));
    }

    /// Lets notifications go to a disabled destination again. What was given up there stays so until it is started again.
    /// @return false if it was not disabled.
    asio::awaitable<bool> enable(std::string destination) { return core_->enable(std::move(destination)); }

    notifier_counters counters() const { return core_->counters(); }

    /// The topic of its queues in the message table.
    std::string const& topic() const noexcept { return core_->topic(); }

private:
    using store_transaction = typename Outbox::store_type::transaction_type;

    class erased final : public detail::erased_sink {
    public:
        explicit erased(Sink& s) : sink_{&s} {}
        asio::awaitable<attempt_result> deliver(std::string const& destination, message const& m) override
        {
            return sink_->deliver(destination, m);
        }
        void check(std::string const& destination) override { sink_->check(destination); }

    private:
        Sink* sink_;
    };

    template <class Work>
    struct with_notifier {
        // An lvalue is referred to, as in a call; an rvalue moves along.
        struct holder {
            std::conditional_t<std::is_lvalue_reference_v<Work>, Work, std::remove_cvref_t<Work>> work;
        };
        notifier* self;
        holder held;

        decltype(auto) operator()(typename Outbox::transaction& base)
        {
            transaction tx{base, *self};
            return held.work(tx);
        }
    };

    template <class Body>
    static message compose(Body const& body)
    {
        static_assert(codec<Codec, Body>, "the codec cannot encode this body: describe it with BOOST_DESCRIBE_STRUCT");
        message m;
        m.type = message_type_of<Body>();
        m.content_type = Codec::content_type;
        m.payload = Codec::encode(body);
        return m;
    }

    Outbox* outbox_;
    std::unique_ptr<detail::notifier_core<store_transaction>> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/notifier.ipp>
#endif
