// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/detail/coordinator_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/transactional_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <utility>

namespace cosaga {

/// Keeps half messages for producers until their local transactions are decided, and asks back about those of which it hears nothing.
///
/// @code
/// cosaga::node node{store, transport, {.service = "coordinator"}};
/// cosaga::coordinator coordinator{node.get_outbox(), {.name = "coordinator"}};
/// node.attach(coordinator);
/// co_await node.run();
/// @endcode
/// A half message is stored in the message table, invisible to consumers. Its commit hands it to the outbox, in order per key with
/// other commits; its rollback drops it. If neither comes, the service that sent it is asked; after the last check it is parked as a
/// dead letter of the inbox, under `half_messages_topic`: `dead_letters::redrive` asks again from the start, `purge` discards it. An
/// outcome that comes while it is parked still counts.
///
/// Outcomes are remembered: who commits what was rolled back, rolls back what was committed, or resolves what is not here, is told so
/// and changes nothing. Only the service that sent a half message, as the transport knows it, can resolve it.
///
/// The transport needs a route of `checks_topic` to every producing service, and one of every topic that they send to.
/// Several coordinators may run side by side, each with a store of its own.
/// @par Thread safety
/// `counters` from any thread. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <class Outbox>
class coordinator final : public component {
public:
    /// @throws system_error `errc::bad_configuration`, `errc::bad_argument`
    coordinator(Outbox& o, coordinator_options options)
        : core_{detail::make_coordinator_core(o.get_store(), o.get_transport(), o.core(), std::move(options))}
    {
    }

    void start() override { core_->start(); }

    /// Takes nothing more. What is not decided stays in the store.
    asio::awaitable<void> stop() override { return core_->stop(); }

    coordinator_counters counters() const { return core_->counters(); }

private:
    std::unique_ptr<detail::coordinator_core> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/coordinator.ipp>
#endif
