// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/json.hpp>
#include <cosaga/dead_letters.hpp>
#include <cosaga/inbox.hpp>
#include <cosaga/node.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/testing/virtual_environment.hpp>
#include <cosaga/transport/memory.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/describe/class.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga_tests {

namespace asio = boost::asio;
using namespace std::chrono_literals;

struct order {
    std::string id;
    std::int64_t cents = 0;

    friend bool operator==(order const&, order const&) = default;
};
BOOST_DESCRIBE_STRUCT(order, (), (id, cents))

struct refund {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(refund, (), (id))

/// Runs a coroutine on a virtual environment to its end, and gives or throws what it does.
template <class T>
T run(cosaga::testing::virtual_environment& env, asio::awaitable<T> work)
{
    bool done = false;
    std::exception_ptr failed;
    std::optional<std::conditional_t<std::is_void_v<T>, char, T>> result;
    auto const finish = [&](std::exception_ptr e) {
        failed = e;
        done = true;
    };
    if constexpr (std::is_void_v<T>)
        asio::co_spawn(env.get_executor(), std::move(work), finish);
    else
        asio::co_spawn(env.get_executor(), std::move(work), [&](std::exception_ptr e, T value) {
            finish(e);
            result = std::move(value);
        });
    env.run_until([&] { return done; });
    if (failed)
        std::rethrow_exception(failed);
    if (!done)
        throw std::runtime_error{"the coroutine never ended"};
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

using memory_node = cosaga::node<cosaga::memory_store, cosaga::memory_transport>;

/// One service with a disk that outlives it.
struct service {
    service(cosaga::testing::virtual_environment& e, cosaga::memory_transport& t, std::string name)
        : env{&e}, network{&t}, options{.service = std::move(name)}
    {
        boot();
    }

    void boot()
    {
        node.reset();
        store.reset();
        store = std::make_unique<cosaga::memory_store>(*env, disk);
        node = std::make_unique<memory_node>(*store, *network, options);
    }

    /// Stops what runs, but not the network that all share, and begins again with what is on the disk.
    void restart()
    {
        for (auto const& c : node->consumers())
            run(*env, c->stop());
        run(*env, node->get_outbox().stop());
        boot();
    }

    /// Entries of a business table.
    std::map<std::string, std::string> table(std::string const& name)
    {
        std::map<std::string, std::string> found;
        auto read = [&](auto& tx) { found = tx.entries(name); };
        run(*env, store->transact(read));
        return found;
    }

    std::size_t count(cosaga::queue_name const& queue, cosaga::message_state state)
    {
        auto read = [&](auto& tx) { return tx.count(queue, state); };
        return run(*env, store->transact(read));
    }

    cosaga::testing::virtual_environment* env;
    cosaga::memory_transport* network;
    cosaga::node_options options;
    cosaga::memory_disk disk;
    std::unique_ptr<cosaga::memory_store> store;
    std::unique_ptr<memory_node> node;
};

/// A shop that sends orders to a warehouse, on a network in memory and in virtual time.
struct two_services : ::testing::Test {
    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport network{env, {.routes = {{.topic = "orders", .consumer = "warehouse"},
                                               {.topic = "shipped", .consumer = "shop"},
                                               {.topic = "replies", .consumer = "shop"},
                                               {.topic = "news", .consumer = "mail"},
                                               {.topic = "news", .consumer = "archive"}}}};
    service shop{env, network, "shop"};
    service warehouse{env, network, "warehouse"};
    cosaga::queue_name const outgoing{cosaga::queue_side::outbox, "orders", "warehouse"};
    cosaga::queue_name const incoming{cosaga::queue_side::inbox, "orders", "warehouse"};

    void place(std::string id, cosaga::send_options options = {})
    {
        auto work = [&](auto& tx) {
            tx.put("orders", id, "placed");
            tx.send("orders", order{id, 100}, options);
        };
        run(env, shop.node->transact(work));
    }

    /// The warehouse ships what comes, in order; counts how often each came in `times`.
    void ship_everything(cosaga::consumer_options const& options = {})
    {
        warehouse.node->consume<order>("orders", "warehouse",
            [this](auto& tx, order const& o) {
                ++times[o.id];
                if (auto const failing = failures.find(o.id); failing != failures.end() && failing->second > 0) {
                    --failing->second;
                    tx.put("shipments", o.id, "half done");
                    tx.send("shipped", o);
                    throw std::runtime_error{"no box for " + o.id};
                }
                tx.put("shipments", o.id, std::to_string(o.cents));
                shipped.push_back(o.id);
            },
            options);
    }

    std::map<std::string, int> times;    // how often the handler saw an order
    std::map<std::string, int> failures; // how often it will throw
    std::vector<std::string> shipped;    // in the order of applying, rolled back ones included
};

} // namespace cosaga_tests
