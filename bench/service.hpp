// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "support.hpp"

#include <cosaga/node.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

namespace asio = boost::asio;

/// A loopback endpoint that nobody listens on yet.
inline std::string free_endpoint()
{
    asio::io_context context;
    asio::ip::tcp::acceptor const any{context, {asio::ip::address_v4::loopback(), 0}};
    return "tcp://127.0.0.1:" + std::to_string(any.local_endpoint().port());
}

/// A node with everything it stands on, on a thread of its own, as if it were a process.
template <class Codec>
class service {
public:
    using node_type = cosaga::node<cosaga::sqlite_store, cosaga::zeromq_transport, Codec>;

    service(std::string const& path, char const* schema, cosaga::zeromq_options transport_options,
        std::vector<cosaga::ledger_options> ledgers = {})
        : store_{env_, path}, transport_{env_, transport_options},
          node{store_, transport_, {.service = transport_options.service, .ledgers = std::move(ledgers)}}
    {
        run(create(schema));
    }
    service(service const&) = delete;
    service& operator=(service const&) = delete;
    ~service()
    {
        run(node.stop());
        guard_.reset();
        thread_.join();
    }

    void start() { run(node.start()); }

    /// Lets `watcher.watch_commits(sqlite3*)` see the commits of the store.
    template <class Watcher>
    void watch_commits(Watcher& watcher)
    {
        auto watch = [&](auto& tx) { watcher.watch_commits(tx.native_handle()); };
        run(node.transact(watch));
    }

    /// Runs it on the service's thread, and waits.
    template <class T>
    T run(asio::awaitable<T> what)
    {
        return asio::co_spawn(context_, std::move(what), asio::use_future).get();
    }

    asio::io_context& context() noexcept { return context_; }

private:
    asio::io_context context_{1};
    asio::executor_work_guard<asio::io_context::executor_type> guard_ = asio::make_work_guard(context_);
    cosaga::system_environment env_{context_.get_executor()};
    cosaga::sqlite_store store_;
    cosaga::zeromq_transport transport_;

public:
    node_type node;

private:
    asio::awaitable<void> create(char const* schema)
    {
        auto work = [&](auto& tx) {
            tx.execute(schema);
            tx.execute(create_ballast);
        };
        co_await node.transact(work);
        auto fill = [](auto& tx) { tx.execute(insert_ballast); };
        for (int i = 0; i < ballast_rows; ++i)
            co_await node.transact(fill);
    }

    std::thread thread_{[this] { context_.run(); }};
};

inline cosaga::zeromq_options sender_options(std::string const& endpoint, std::size_t outstanding)
{
    cosaga::zeromq_options options;
    options.service = "shop";
    options.routes = {{"orders", "warehouse", {endpoint}}};
    options.window_messages = std::max(options.window_messages, outstanding);
    return options;
}

inline cosaga::zeromq_options receiver_options(std::string const& endpoint, std::size_t outstanding)
{
    cosaga::zeromq_options options;
    options.service = "warehouse";
    options.listen = {endpoint};
    options.window_messages = std::max(options.window_messages, outstanding);
    return options;
}

template <class Codec>
void consume_orders(service<Codec>& receiver, cosaga::consumer_options const& options = {})
{
    receiver.node.template consume<order>("orders", "warehouse", [](auto& tx, order const& o) {
        tx.execute(insert_shipment, o.id, o.customer, cents_of(o));
    }, options);
}

} // namespace bench
