// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/outbox.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/transport/memory.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <future>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;

/// A store, and coroutines that use it again and again on a thread of their own.
class store_loop {
public:
    store_loop()
    {
        asio::co_spawn(context_, create(), asio::use_future).get();
    }
    store_loop(store_loop const&) = delete;
    store_loop& operator=(store_loop const&) = delete;
    ~store_loop()
    {
        guard_.reset();
        thread_.join();
    }

    /// @param turn a coroutine function that adds to `done` what it did.
    template <class Turn>
    void run(benchmark::State& state, std::size_t concurrency, Turn turn)
    {
        std::vector<std::future<void>> running;
        for (std::size_t i = 0; i < concurrency; ++i)
            running.push_back(asio::co_spawn(context_, repeat(turn), asio::use_future));
        bench::measure(state, done);
        stopping_ = true;
        for (auto& r : running)
            r.get();
        latency.report(state);
    }

private:
    asio::awaitable<void> create()
    {
        auto work = [](auto& tx) {
            tx.execute(bench::create_orders);
            tx.execute(bench::create_ballast);
        };
        co_await store.transact(work);
        auto fill = [](auto& tx) { tx.execute(bench::insert_ballast); };
        for (int i = 0; i < bench::ballast_rows; ++i)
            co_await store.transact(fill);
    }

    template <class Turn>
    asio::awaitable<void> repeat(Turn& turn)
    {
        while (!stopping_.load(std::memory_order_relaxed)) {
            auto const started = bench::clock::now();
            co_await turn();
            latency.add(bench::clock::now() - started);
        }
    }

    bench::scratch_directory directory_;
    asio::io_context context_{1};
    asio::executor_work_guard<asio::io_context::executor_type> guard_ = asio::make_work_guard(context_);
    cosaga::system_environment env_{context_.get_executor()};

public:
    cosaga::environment& env = env_;
    cosaga::sqlite_store store{env_, directory_.file("store.db")};
    bench::progress done{0};
    bench::latencies latency;

private:
    std::atomic<bool> stopping_{false};
    std::thread thread_{[this] { context_.run(); }};
};

/// One business row for each transaction.
void transact(benchmark::State& state)
{
    store_loop loop;
    std::uint64_t last = 0;
    auto turn = [&]() -> asio::awaitable<void> {
        auto const o = bench::make_order(++last);
        auto work = [&](auto& tx) { tx.execute(bench::insert_order, o.id, o.customer, bench::cents_of(o)); };
        co_await loop.store.transact(work);
        loop.done.fetch_add(1, std::memory_order_relaxed);
    };
    loop.run(state, static_cast<std::size_t>(state.range(0)), turn);
}

/// One business row and a message for each transaction, what a service pays for sending instead of only writing.
///
/// No relay runs, as if every other process had it: with relay, receiver and the deletion of what was acknowledged it is
/// `durable_hop`. So the messages stay in the table, which grows.
void transact_with_message(benchmark::State& state)
{
    store_loop loop;
    cosaga::memory_transport_options options;
    options.routes = {{"orders", "warehouse"}};
    cosaga::memory_transport transport{loop.env, options};
    cosaga::outbox<cosaga::sqlite_store, cosaga::memory_transport, cosaga::binary_codec> outbox{
        loop.store, transport, {.service = "shop"}};
    std::uint64_t last = 0;
    auto turn = [&]() -> asio::awaitable<void> {
        auto const o = bench::make_order(++last);
        auto work = [&](auto& tx) {
            tx.execute(bench::insert_order, o.id, o.customer, bench::cents_of(o));
            tx.send("orders", o, {.key = o.id});
        };
        co_await outbox.transact(work);
        loop.done.fetch_add(1, std::memory_order_relaxed);
    };
    loop.run(state, static_cast<std::size_t>(state.range(0)), turn);
}

/// Batches of ids marked as seen: all of them new, or all of them seen before.
void dedupe(benchmark::State& state, bool seen)
{
    constexpr std::size_t batch = 1024;
    store_loop loop;
    cosaga::message_id_generator next{loop.env};
    std::vector<cosaga::message_id> ids(batch);
    for (auto& id : ids)
        id = next();
    auto turn = [&]() -> asio::awaitable<void> {
        if (!seen)
            for (auto& id : ids)
                id = next();
        auto work = [&](auto& tx) { tx.insert_marks("inbox/orders/warehouse", ids, cosaga::mark{}); };
        co_await loop.store.transact(work);
        loop.done.fetch_add(batch, std::memory_order_relaxed);
    };
    loop.run(state, 1, turn);
}

BENCHMARK(transact)->Arg(1)->Arg(16)->Arg(64)->Arg(1024);
BENCHMARK(transact_with_message)->Arg(1)->Arg(16)->Arg(64)->Arg(1024);
BENCHMARK_CAPTURE(dedupe, new, false)->Name("dedupe/new");
BENCHMARK_CAPTURE(dedupe, seen, true)->Name("dedupe/seen");

} // namespace
