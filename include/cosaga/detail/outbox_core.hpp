// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/outbox_options.hpp>
#include <cosaga/receipt.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// The part of an outbox that knows nothing of bodies, so that it can be compiled apart from their types.
template <class Tx>
class outbox_core {
public:
    outbox_core() = default;
    outbox_core(outbox_core const&) = delete;
    outbox_core& operator=(outbox_core const&) = delete;
    virtual ~outbox_core() = default;

    virtual std::string const& service() const noexcept = 0;
    /// A message without type and payload.
    virtual message compose(Tx& tx, std::string_view topic, send_options const& options) = 0;
    virtual bool keeps_ledger(std::string_view topic) const noexcept = 0;
    /// @param kept what a ledger of the topic keeps of the body; null: the message is in no ledger, or is there already.
    virtual void stage(Tx& tx, message m, duration delay, ledger_fields const* kept = nullptr) = 0;
    virtual receipt expect(message const& m) = 0;
    virtual asio::awaitable<void> start() = 0;
    virtual asio::awaitable<void> stop() = 0;
    virtual asio::awaitable<std::vector<destination_status>> status() = 0;
};

template <class Store>
using outbox_core_ptr = std::unique_ptr<outbox_core<typename Store::transaction_type>>;

/// Defined in impl/outbox.ipp, away from those who use it.
template <class Store, class Transport>
outbox_core_ptr<Store> make_outbox_core(Store& s, Transport& t, outbox_options options);

} // namespace cosaga::detail
