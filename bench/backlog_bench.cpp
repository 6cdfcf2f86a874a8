// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;
using service = bench::service<cosaga::binary_codec>;

/// A sender whose consumer is away.
class lonely_sender {
public:
    explicit lonely_sender(std::string const& path, std::string const& endpoint)
        : service_{path, bench::create_orders, bench::sender_options(endpoint, 1)}
    {
        service_.start();
    }

    std::uint64_t stored() const noexcept { return last_number_; }

    /// Adds rows up to `count`, many in a transaction.
    void fill(std::size_t count) { service_.run(do_fill(count)); }

    /// Seconds for `count` transactions of one message each, by so many coroutines.
    double time_transact(std::size_t concurrency, std::size_t count)
    {
        auto const begun = bench::clock::now();
        std::size_t left = count;
        std::vector<std::future<void>> running;
        for (std::size_t i = 0; i < concurrency; ++i)
            running.push_back(asio::co_spawn(service_.context(), transact_in_turn(left), asio::use_future));
        for (auto& r : running)
            r.get();
        return std::chrono::duration<double>{bench::clock::now() - begun}.count();
    }

private:
    template <class Transaction>
    void place(Transaction& tx)
    {
        auto const o = bench::make_order(++last_number_);
        tx.execute(bench::insert_order, o.id, o.customer, bench::cents_of(o));
        tx.send("orders", o, {.key = o.id});
    }

    asio::awaitable<void> do_fill(std::size_t count)
    {
        constexpr std::size_t at_once = 256;
        auto work = [&](auto& tx) {
            for (std::size_t i = 0; i < at_once && last_number_ < count; ++i)
                place(tx);
        };
        while (last_number_ < count)
            co_await service_.node.transact(work);
    }

    asio::awaitable<void> transact_in_turn(std::size_t& left)
    {
        auto work = [this](auto& tx) { place(tx); };
        while (left > 0) {
            --left;
            co_await service_.node.transact(work);
        }
    }

    std::uint64_t last_number_ = 0; // used by the works, one at a time
    service service_;
};

/// How many times as long `transact` takes with a backlog as with an empty table. Both take turns for a moment each, so that
/// whatever else the machine does slows both.
double slowdown(lonely_sender& full, bench::scratch_directory const& directory, std::string const& endpoint,
    std::size_t concurrency, std::size_t count)
{
    lonely_sender empty{directory.file(("empty-" + std::to_string(concurrency) + ".db").c_str()), endpoint};
    std::vector<double> with_backlog;
    std::vector<double> without;
    for (int round = 0; round < 17; ++round) {
        without.push_back(empty.time_transact(concurrency, count));
        with_backlog.push_back(full.time_transact(concurrency, count));
    }
    return bench::median(with_backlog) / bench::median(without);
}

/// Seconds from the consumer's start to the last effect.
double time_drain(bench::scratch_directory const& directory, std::string const& endpoint, std::uint64_t rows)
{
    service receiver{directory.file("receiver.db"), bench::create_shipments, bench::receiver_options(endpoint, 1)};
    bench::consume_orders(receiver);
    auto const begun = bench::clock::now();
    receiver.start();
    while (receiver.node.consumers().front()->counters().applied < rows)
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    return std::chrono::duration<double>{bench::clock::now() - begun}.count();
}

/// A consumer is away while rows pile up, then it comes.
void backlog_drain(benchmark::State& state)
{
    auto const rows = static_cast<std::size_t>(state.range(0));
    double seconds = 0;
    double drained = 0;
    for (auto _ : state) {
        bench::scratch_directory const directory;
        auto const endpoint = bench::free_endpoint();
        lonely_sender sender{directory.file("sender.db"), endpoint};
        sender.fill(rows);
        state.counters["resident_MB"] = bench::resident_megabytes();
        state.counters["transact_ratio_1"] = slowdown(sender, directory, endpoint, 1, 32);
        state.counters["transact_ratio_1024"] = slowdown(sender, directory, endpoint, 1024, 2 * 1024);
        seconds += time_drain(directory, endpoint, sender.stored());
        drained += static_cast<double>(sender.stored());
    }
    state.counters["items_per_second"] = drained / seconds;
}

BENCHMARK(backlog_drain)->Name("backlog/drain")->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

} // namespace
