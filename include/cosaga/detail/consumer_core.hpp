// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

namespace cosaga::detail {

template <class Tx>
class message_bodies;

/// One message on its way through a transaction: from the transport (`tag`), or from the inbox queue (`row.seq`).
template <class Tx>
struct taken_message {
    std::uint64_t tag = 0;
    message_row row;
    std::string not_applicable;    ///< why it can never be applied here; empty when it can
    std::exception_ptr unprepared; ///< what the preparation threw
    message_bodies<Tx>* bodies = nullptr;
    std::size_t at = 0; ///< its decoded body among them
};

/// The decoded bodies of some messages with the handler that takes them: all of a consumer that depends on their types.
template <class Tx>
class message_bodies {
public:
    message_bodies() = default;
    message_bodies(message_bodies const&) = delete;
    message_bodies& operator=(message_bodies const&) = delete;
    virtual ~message_bodies() = default;

    /// Decodes the body of `m.row.content` and keeps it, or says in `m` why not.
    virtual void add(taken_message<Tx>& m, std::string_view topic) = 0;
    virtual void clear() noexcept = 0;
    /// Calls the handler; throws what it throws.
    virtual void call(Tx& tx, taken_message<Tx> const& m) = 0;
    /// Runs the preparation, and keeps what it returns or threw.
    virtual asio::awaitable<void> prepare(taken_message<Tx>& m) = 0;
    /// What a ledger keeps of the body, for consumers that have one.
    virtual ledger_fields reconciled(taken_message<Tx> const&) { return {}; }
};

/// How a consumer is made of its types.
template <class Tx>
struct consumer_parts {
    std::unique_ptr<message_bodies<Tx>> incoming;
    std::unique_ptr<message_bodies<Tx>> due; ///< for messages of the inbox queue
    bool prepares = false;
};

/// Defined in impl/consumer.ipp, away from those who use it.
template <class Store, class Transport>
std::unique_ptr<running_consumer> make_consumer(Store& s, Transport& t, std::string topic, std::string name,
    consumer_parts<typename Store::transaction_type> parts, consumer_options const& options);

} // namespace cosaga::detail
