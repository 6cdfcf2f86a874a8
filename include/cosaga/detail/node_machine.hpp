// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/node_core.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <csignal>

namespace cosaga::detail {

template <store Store, transport Transport>
class node_machine final : public node_core {
public:
    node_machine(Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox)
        : store_{&s}, transport_{&t}, outbox_{&outbox}
    {
    }

    asio::awaitable<void> start() override
    {
        for (auto& c : consumers)
            c->start();
        for (auto& r : responders)
            r->start();
        if (requester)
            requester->start();
        transport_->start();
        co_await outbox_->start();
    }

    asio::awaitable<void> stop() override
    {
        for (auto& c : consumers)
            co_await c->stop();
        for (auto& r : responders)
            co_await r->stop();
        if (requester)
            co_await requester->stop();
        co_await outbox_->stop();
        co_await transport_->close();
        co_await store_->close();
    }

    asio::awaitable<void> run() override
    {
        asio::signal_set signals{store_->get_environment().get_executor(), SIGINT, SIGTERM};
        co_await start();
        co_await signals.async_wait(asio::use_awaitable);
        co_await stop();
    }

private:
    Store* store_;
    Transport* transport_;
    outbox_core<typename Store::transaction_type>* outbox_;
};

} // namespace cosaga::detail
