// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/node_core.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <csignal>
#include <exception>
#include <utility>

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
        std::exception_ptr failed;
        try {
            co_await start_all();
        } catch (...) {
            failed = std::current_exception();
        }
        if (!failed)
            co_return;
        co_await stop(); // the caller will destroy what runs
        std::rethrow_exception(failed);
    }

    asio::awaitable<void> stop() override
    {
        if (std::exchange(stopped_, true))
            co_return;
        for (auto& c : consumers)
            co_await c->stop();
        for (auto* c : components)
            co_await c->stop();
        co_await outbox_->stop();
        co_await transport_->close();
        co_await store_->close();
    }

    asio::awaitable<void> run() override
    {
        return run(wait_for_signal());
    }

    asio::awaitable<void> run(asio::awaitable<void> body) override
    {
        co_await start();
        std::exception_ptr failed;
        try {
            co_await std::move(body);
        } catch (...) {
            failed = std::current_exception();
        }
        co_await stop();
        if (failed)
            std::rethrow_exception(failed);
    }

private:
    asio::awaitable<void> start_all()
    {
        for (auto& c : consumers)
            c->start();
        for (auto* c : components)
            c->start();
        transport_->start();
        co_await outbox_->start();
    }

    asio::awaitable<void> wait_for_signal()
    {
        asio::signal_set signals{store_->get_environment().get_executor(), SIGINT, SIGTERM};
        co_await signals.async_wait(asio::use_awaitable);
    }

    Store* store_;
    Transport* transport_;
    outbox_core<typename Store::transaction_type>* outbox_;
    bool stopped_ = false;
};

} // namespace cosaga::detail
