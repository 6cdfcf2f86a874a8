// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/codec/json.hpp>
#include <cosaga/receipt.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <future>
#include <vector>

namespace {

namespace asio = boost::asio;

/// What the coroutines of the sender share; all but the atomics on its thread only.
struct hop_loop {
    explicit hop_loop(std::size_t outstanding) : latency{outstanding} {}

    bench::progress done{0};
    std::atomic<bool> stopping{false};
    bench::hop_latencies latency;
    std::uint64_t last_number = 0;
};

/// One message after another, each from the business transaction here until its acknowledgement is back.
template <class Node>
asio::awaitable<void> send_in_turn(Node& node, hop_loop& loop)
{
    while (!loop.stopping.load(std::memory_order_relaxed)) {
        auto const started = bench::clock::now();
        auto const order = bench::make_order(++loop.last_number);
        cosaga::receipt receipt;
        auto work = [&](auto& tx) {
            tx.execute(bench::insert_order, order.id, order.customer, bench::cents_of(order));
            receipt = tx.send_with_receipt("orders", order, {.key = order.id});
        };
        co_await node.transact(work);
        co_await receipt.acknowledged();
        loop.latency.acknowledged(started, bench::clock::now());
        loop.done.fetch_add(1, std::memory_order_relaxed);
    }
}

/// @tparam Ledger whether both sides keep one.
template <class Codec, bool Ledger = false>
void durable_hop(benchmark::State& state)
{
    auto const outstanding = static_cast<std::size_t>(state.range(0));
    bench::scratch_directory const directory;
    auto const endpoint = bench::free_endpoint();
    hop_loop loop{outstanding};
    bench::service<Codec> receiver{
        directory.file("receiver.db"), bench::create_shipments, bench::receiver_options(endpoint, outstanding)};
    receiver.watch_commits(loop.latency);
    bench::consume_orders(receiver, {.ledger_retention = std::chrono::hours{Ledger ? 24 : 0}});
    receiver.start();
    {
        bench::service<Codec> sender{
            directory.file("sender.db"), bench::create_orders, bench::sender_options(endpoint, outstanding),
            Ledger ? std::vector<cosaga::ledger_options>{{.topic = "orders"}} : std::vector<cosaga::ledger_options>{}};
        sender.start();
        std::vector<std::future<void>> running;
        for (std::size_t i = 0; i < outstanding; ++i)
            running.push_back(asio::co_spawn(sender.context(), send_in_turn(sender.node, loop), asio::use_future));
        bench::measure(state, loop.done);
        loop.stopping = true;
        for (auto& r : running)
            r.get();
    }
    loop.latency.report(state);
}

BENCHMARK(durable_hop<cosaga::binary_codec>)->Name("durable_hop/binary")->Arg(1)->Arg(64)->Arg(1024)->Arg(8192);
BENCHMARK(durable_hop<cosaga::binary_codec, true>)->Name("durable_hop/ledger")->Arg(1)->Arg(64)->Arg(1024)->Arg(8192);
BENCHMARK(durable_hop<cosaga::json_codec>)->Name("durable_hop/json")->Arg(1)->Arg(64)->Arg(1024)->Arg(8192);

} // namespace
