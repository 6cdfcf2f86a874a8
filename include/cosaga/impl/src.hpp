// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

/// What is compiled once: include it in one source of a program whose sources are all compiled with COSAGA_SEPARATE_COMPILATION.

#ifndef COSAGA_SEPARATE_COMPILATION
#error "define COSAGA_SEPARATE_COMPILATION for every source of the program, or do not include <cosaga/impl/src.hpp>"
#endif

#include <cosaga/impl/alarm.ipp>
#include <cosaga/impl/environment.ipp>
#include <cosaga/impl/event.ipp>
#include <cosaga/impl/json_document.ipp>
#include <cosaga/impl/json_lines.ipp>
#include <cosaga/impl/memory_store.ipp>
#include <cosaga/impl/memory_transport.ipp>
#include <cosaga/impl/message_id.ipp>
#include <cosaga/impl/patterns.ipp>
#include <cosaga/impl/receipt.ipp>
#include <cosaga/impl/spawn.ipp>
#include <cosaga/impl/sqlite_store.ipp>
#include <cosaga/impl/transport_handles.ipp>
#include <cosaga/impl/watch_handle.ipp>
#include <cosaga/impl/zeromq_transport.ipp>

// The patterns over every store and transport of the library. Who brings another one includes impl/patterns.ipp where they are
// made over it.
namespace cosaga::detail {

#define COSAGA_INSTANTIATE(Store, Transport) \
    template outbox_core_ptr<Store> make_outbox_core(Store&, Transport&, outbox_options); \
    template std::unique_ptr<running_consumer> make_consumer(Store&, Transport&, std::string, std::string, \
        consumer_parts<Store::transaction_type>, consumer_options const&); \
    template std::unique_ptr<coordinator_core> make_coordinator_core( \
        Store&, Transport&, outbox_core<Store::transaction_type>&, coordinator_options); \
    template std::unique_ptr<saga_core<Store::transaction_type>> make_saga_core( \
        Store&, Transport&, outbox_core<Store::transaction_type>&, std::string_view, saga_options); \
    template std::unique_ptr<node_core> make_node_core(Store&, Transport&, outbox_core<Store::transaction_type>&);
COSAGA_INSTANTIATE(sqlite_store, zeromq_transport)
COSAGA_INSTANTIATE(sqlite_store, memory_transport)
COSAGA_INSTANTIATE(memory_store, zeromq_transport)
COSAGA_INSTANTIATE(memory_store, memory_transport)
#undef COSAGA_INSTANTIATE

#define COSAGA_INSTANTIATE(Transport) \
    template std::unique_ptr<requester_core> make_requester_core(Transport&, requester_options); \
    template std::unique_ptr<component> make_responder( \
        Transport&, std::string, std::string, std::unique_ptr<responder_handler>, responder_options); \
    template std::unique_ptr<producer_core> make_producer_core(Transport&, std::unique_ptr<outcome_source>, producer_options);
COSAGA_INSTANTIATE(zeromq_transport)
COSAGA_INSTANTIATE(memory_transport)
#undef COSAGA_INSTANTIATE

#define COSAGA_INSTANTIATE(Store) \
    template std::unique_ptr<notifier_core<Store::transaction_type>> make_notifier_core( \
        Store&, message_limits const&, std::string const&, std::unique_ptr<erased_sink>, notifier_options);
COSAGA_INSTANTIATE(sqlite_store)
COSAGA_INSTANTIATE(memory_store)
#undef COSAGA_INSTANTIATE

// What most works of an SQLite store return.
template asio::awaitable<void> group_commit<sqlite_transaction>::start<void>(any_work<sqlite_transaction, void>);
template asio::awaitable<receipt> group_commit<sqlite_transaction>::start<receipt>(any_work<sqlite_transaction, receipt>);
template asio::awaitable<message_id> group_commit<sqlite_transaction>::start<message_id>(
    any_work<sqlite_transaction, message_id>);

} // namespace cosaga::detail
