// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Whole cycles of transactional messages: half message, local transaction, commit, delivery, effect, all durable. The yardstick is
// durable_hop/binary/1024 in the same run.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/coordinator.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/transactional_producer.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;
using service = bench::service<cosaga::binary_codec>;
using fence_type = cosaga::fence<cosaga::sqlite_store>;
using producer_type = cosaga::transactional_producer<cosaga::zeromq_transport, fence_type, cosaga::binary_codec>;

/// The three services of a cycle, each with a thread of its own.
struct cycle {
    explicit cycle(std::size_t outstanding)
        : warehouse{directory.file("warehouse.db"), bench::create_shipments, bench::receiver_options(to_warehouse, outstanding)},
          coordinator{directory.file("coordinator.db"), "CREATE TABLE unused(x)", coordinator_options(outstanding)},
          shop{directory.file("shop.db"), bench::create_orders, shop_options(outstanding)}
    {
        bench::consume_orders(warehouse);
        coordinator.node.attach(coordinating);
        shop.node.attach(producer);
    }
    ~cycle()
    {
        shop.run(shop.node.stop());
        coordinator.run(coordinator.node.stop());
    }

    void start()
    {
        warehouse.start();
        coordinator.start();
        shop.start();
    }

    /// Stores half messages that nobody will resolve: the coordinator has to ask about them all, from now on.
    void fill(std::size_t count) { coordinator.run(do_fill(count)); }

    /// Seconds for `count` cycles, so many at a time.
    double time(std::size_t outstanding, std::size_t count)
    {
        auto const before = applied();
        auto const begun = bench::clock::now();
        std::size_t left = count;
        std::vector<std::future<void>> running;
        for (std::size_t i = 0; i < outstanding; ++i)
            running.push_back(asio::co_spawn(shop.context(), send_in_turn(left), asio::use_future));
        for (auto& r : running)
            r.get();
        while (applied() < before + count)
            std::this_thread::sleep_for(std::chrono::microseconds{200});
        return std::chrono::duration<double>{bench::clock::now() - begun}.count();
    }

    asio::awaitable<void> send_in_turn(std::size_t& left)
    {
        while (left > 0) {
            --left;
            co_await send_one();
        }
    }

    asio::awaitable<void> send_until(std::atomic<bool> const& stopping)
    {
        while (!stopping.load(std::memory_order_relaxed))
            co_await send_one();
    }

    asio::awaitable<void> send_one()
    {
        auto const order = bench::make_order(++last_number);
        auto place = [&](auto& tx) { tx.execute(bench::insert_order, order.id, order.customer, bench::cents_of(order)); };
        cosaga::transaction_options options;
        options.key = order.id;
        co_await producer.send("orders", order, place, options);
    }

    asio::awaitable<void> do_fill(std::size_t count)
    {
        constexpr std::size_t at_once = 1000;
        cosaga::queue_name const queue{cosaga::queue_side::inbox, std::string{cosaga::half_messages_topic}, "shop"};
        cosaga::message_id_generator ids{coordinator.node.get_store().get_environment()};
        std::size_t stored = 0;
        auto work = [&](auto& tx) {
            std::vector<cosaga::message_row> rows(std::min(at_once, count - stored));
            for (auto& row : rows) {
                auto const order = bench::make_order(++stored);
                row.content.id = ids();
                row.content.time = tx.now();
                row.content.topic = "orders";
                row.content.key = order.id;
                row.content.type = "order";
                row.content.source = "shop";
                row.content.content_type = cosaga::binary_codec::content_type;
                row.content.payload = cosaga::binary_codec::encode(order);
                row.due_at = tx.now();
            }
            tx.append(queue, cosaga::message_state::prepared, rows);
        };
        while (stored < count)
            co_await coordinator.node.transact(work);
    }

    cosaga::zeromq_options coordinator_options(std::size_t outstanding) const
    {
        auto options = bench::sender_options(to_warehouse, outstanding);
        options.service = "coordinator";
        options.listen = {to_coordinator};
        options.routes.push_back({std::string{cosaga::checks_topic}, "shop", {to_shop}});
        return options;
    }
    cosaga::zeromq_options shop_options(std::size_t outstanding) const
    {
        auto options = bench::receiver_options(to_shop, outstanding);
        options.service = "shop";
        options.routes = {{std::string{cosaga::transactions_topic}, "coordinator", {to_coordinator}}};
        return options;
    }

    std::size_t applied() const { return warehouse.node.consumers().front()->counters().applied; }

    bench::scratch_directory directory;
    std::string to_warehouse = bench::free_endpoint();
    std::string to_coordinator = bench::free_endpoint();
    std::string to_shop = bench::free_endpoint();
    service warehouse;
    service coordinator;
    service shop;
    cosaga::coordinator<service::node_type::outbox_type> coordinating{coordinator.node.get_outbox(), {.name = "coordinator"}};
    fence_type fence{shop.node.get_store()};
    producer_type producer{shop.node.get_transport(), fence, {.service = "shop", .coordinators = {"coordinator"}}};
    std::uint64_t last_number = 0;
};

/// So many sends at a time; what is counted is their effects.
void transactional(benchmark::State& state)
{
    auto const outstanding = static_cast<std::size_t>(state.range(0));
    cycle c{outstanding};
    c.start();
    std::atomic<bool> stopping{false};
    std::vector<std::future<void>> running;
    for (std::size_t i = 0; i < outstanding; ++i)
        running.push_back(asio::co_spawn(c.shop.context(), c.send_until(stopping), asio::use_future));
    bench::measure(state, [&] { return c.applied(); });
    stopping = true;
    for (auto& r : running)
        r.get();
}

/// How many times as long cycles take while the coordinator has half messages that nobody resolves, and asks about them. Both
/// take turns for a moment each, so that whatever else the machine does slows both.
void unresolved(benchmark::State& state)
{
    constexpr std::size_t outstanding = 1024;
    auto const rows = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        auto const before = bench::resident_megabytes();
        cycle full{outstanding};
        full.fill(rows);
        full.start();
        full.time(outstanding, 8 * outstanding);
        state.counters["resident_MB"] = bench::resident_megabytes() - before;
        cycle empty{outstanding};
        empty.start();
        empty.time(outstanding, 8 * outstanding);
        std::vector<double> with_backlog;
        std::vector<double> without;
        for (int round = 0; round < 17; ++round) {
            without.push_back(empty.time(outstanding, 4 * outstanding));
            with_backlog.push_back(full.time(outstanding, 4 * outstanding));
        }
        state.counters["cycle_ratio"] = bench::median(with_backlog) / bench::median(without);
        state.counters["checks"] = static_cast<double>(full.coordinating.counters().checks);
    }
}

BENCHMARK(unresolved)->Name("transactional/unresolved")->Arg(10'000)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(transactional)->Name("transactional/binary")->Arg(1)->Arg(1024);

} // namespace
