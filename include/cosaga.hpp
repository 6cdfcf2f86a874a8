// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

/// Everything that the default needs: SQLite for the store, ZeroMQ for the transport, JSON for the bodies.

#include <cosaga/codec/json.hpp>
#include <cosaga/coordinator.hpp>
#include <cosaga/dead_letters.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/inbox.hpp>
#include <cosaga/node.hpp>
#include <cosaga/notification_query.hpp>
#include <cosaga/notifier.hpp>
#include <cosaga/reconciler.hpp>
#include <cosaga/saga.hpp>
#include <cosaga/saga_participant.hpp>
#include <cosaga/state_sources.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/transactional_producer.hpp>
#include <cosaga/transport_sink.hpp>
#include <cosaga/transport/zeromq.hpp>

#ifdef COSAGA_SEPARATE_COMPILATION
namespace cosaga::detail {
extern template asio::awaitable<void> group_commit<sqlite_transaction>::start<void>(any_work<sqlite_transaction, void>);
extern template asio::awaitable<receipt> group_commit<sqlite_transaction>::start<receipt>(
    any_work<sqlite_transaction, receipt>);
extern template asio::awaitable<message_id> group_commit<sqlite_transaction>::start<message_id>(
    any_work<sqlite_transaction, message_id>);
} // namespace cosaga::detail
#endif
