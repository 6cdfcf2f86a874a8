// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Notifications from `notify` in a local transaction to the recorded outcome, all durable, to a sink that answers at once.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/notifier.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

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
using tickets = asio::experimental::channel<void(boost::system::error_code)>;

struct instant_sink {
    asio::awaitable<cosaga::attempt_result> deliver(std::string const& destination, cosaga::message const&)
    {
        cosaga::attempt_result result;
        result.outcome = destination == "dead" ? cosaga::attempt_outcome::failed : cosaga::attempt_outcome::delivered;
        co_return result;
    }
    void check(std::string const&) {}
};

struct bank {
    bank() { payments.node.attach(notifier); }
    ~bank() { payments.run(payments.node.stop()); }

    asio::awaitable<void> notify_one(std::size_t destinations)
    {
        auto const order = bench::make_order(++last_number);
        auto const to = "merchant" + std::to_string(last_number % destinations);
        auto work = [&](auto& tx) {
            tx.execute(bench::insert_order, order.id, order.customer, bench::cents_of(order));
            tx.notify(to, order);
        };
        co_await notifier.transact(work);
    }

    /// Lets as many be under way at a time as are wanted, from the first step to the recorded outcome.
    asio::awaitable<void> issue(std::size_t most)
    {
        std::size_t issued = 0;
        while (!stopping.load(std::memory_order_relaxed)) {
            done.store(notifier.counters().delivered, std::memory_order_relaxed);
            for (; issued < done.load(std::memory_order_relaxed) + most && free.try_send(boost::system::error_code{}); ++issued)
                ;
            cosaga::duration const pause = std::chrono::microseconds{100};
            co_await payments.node.get_store().get_environment().sleep_for(pause);
        }
        free.close();
    }
    asio::awaitable<void> send(std::size_t destinations)
    {
        for (;;) {
            try {
                co_await free.async_receive(asio::use_awaitable);
            } catch (boost::system::system_error const&) {
                co_return;
            }
            co_await notify_one(destinations);
        }
    }

    /// Notifications for a destination that refuses everything.
    asio::awaitable<void> fill(std::size_t count)
    {
        constexpr std::size_t at_once = 1000;
        for (std::size_t stored = 0; stored < count; stored += at_once) {
            auto work = [&](auto& tx) {
                for (std::size_t i = 0; i < at_once; ++i)
                    tx.notify("dead", bench::make_order(stored + i));
            };
            co_await notifier.transact(work);
        }
    }

    void run(benchmark::State& state, std::size_t outstanding, std::size_t destinations)
    {
        std::vector<std::future<void>> running;
        running.push_back(asio::co_spawn(payments.context(), issue(outstanding), asio::use_future));
        for (std::size_t i = 0; i < outstanding; ++i)
            running.push_back(asio::co_spawn(payments.context(), send(destinations), asio::use_future));
        bench::measure(state, done);
        stopping = true;
        for (auto& r : running)
            r.get();
    }

    bench::scratch_directory directory;
    service payments{directory.file("payments.db"), bench::create_orders, bench::sender_options(bench::free_endpoint(), 1024)};
    instant_sink sink;
    cosaga::notifier<service::node_type::outbox_type, instant_sink> notifier{payments.node.get_outbox(), sink};
    tickets free{payments.context(), 1024};
    bench::progress done{0};
    std::atomic<bool> stopping{false};
    std::uint64_t last_number = 0;
};

/// Outstanding, and among how many destinations.
void notification(benchmark::State& state)
{
    bank b;
    b.payments.start();
    b.run(state, static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)));
}

/// The same while so many wait for a destination that refuses everything.
void backlog(benchmark::State& state)
{
    auto const before = bench::resident_megabytes();
    bank b;
    b.payments.start();
    b.payments.run(b.fill(static_cast<std::size_t>(state.range(0))));
    b.run(state, 1024, 1000);
    state.counters["resident_MB"] = bench::resident_megabytes() - before;
}

BENCHMARK(notification)->Name("notification/binary")->Args({1, 1})->Args({1024, 1})->Args({1024, 1000});
BENCHMARK(backlog)->Name("notification/backlog")->Arg(1'000'000);

} // namespace
