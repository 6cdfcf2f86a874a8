// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Messages per second through a transport alone: published, received, acknowledged, settled. Both services are on one
// thread, over TCP on the loopback interface. `transport/zeromq/256` has 256 messages outstanding, in batches of a quarter.
#include <cosaga/transport/memory.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <benchmark/benchmark.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
using namespace cosaga;

constexpr std::size_t payload_bytes = 128;

std::vector<envelope> make_batch(std::size_t count)
{
    std::vector<envelope> batch(count);
    std::uint64_t n = 0;
    for (auto& e : batch) {
        e.tag = n++;
        e.content.topic = "orders";
        e.content.key = "customer-" + std::to_string(n % 100);
        e.content.type = "order_placed";
        e.content.source = "shop";
        e.content.content_type = "application/json";
        e.content.payload.assign(payload_bytes, 'x');
    }
    return batch;
}

template <class Transport>
asio::awaitable<void> consume(Transport& receiver, subscription_handle& in)
{
    for (;;) {
        std::vector<delivery> batch;
        try {
            batch = co_await in.receive(512);
        } catch (boost::system::system_error const&) {
            break;
        }
        std::vector<std::uint64_t> tags;
        tags.reserve(batch.size());
        for (auto const& d : batch)
            tags.push_back(d.tag);
        in.acknowledge(std::move(tags));
    }
    co_await receiver.close();
}

template <class Transport>
asio::awaitable<void> produce(
    benchmark::State& state, Transport& sender, publisher_handle& out, subscription_handle& in, std::size_t outstanding)
{
    std::size_t const size = std::max<std::size_t>(outstanding / 4, 1);
    std::size_t flying = 0;
    std::size_t settled = 0;
    for (auto _ : state) {
        for (std::size_t done = 0; done < outstanding * 4;) {
            while (flying + size <= outstanding) {
                out.publish(make_batch(size));
                flying += size;
            }
            auto const some = co_await out.settled();
            flying -= some.size();
            done += some.size();
        }
        settled += outstanding * 4;
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(settled));
    co_await sender.close();
    in.close();
}

template <class Transport>
void run(benchmark::State& state, asio::io_context& io, Transport& sender, Transport& receiver, subscription_handle& in)
{
    auto out = sender.open_publisher("orders", "stock");
    auto const finish = [](std::exception_ptr e) {
        if (e)
            std::rethrow_exception(e);
    };
    auto const outstanding = static_cast<std::size_t>(state.range(0));
    asio::co_spawn(io, consume(receiver, in), finish);
    asio::co_spawn(io, produce(state, sender, out, in, outstanding), finish);
    io.run();
}

void zeromq(benchmark::State& state)
{
    asio::io_context io{1};
    system_environment env{io.get_executor()};
    zeromq_options listening;
    listening.listen.push_back("tcp://127.0.0.1:*");
    listening.window_messages = 8192;
    zeromq_transport receiver{env, listening};
    auto in = receiver.subscribe("orders", "stock");
    receiver.start();
    zeromq_options sending;
    sending.routes.push_back({"orders", "stock", receiver.endpoints()});
    zeromq_transport sender{env, sending};
    run(state, io, sender, receiver, in);
}

void memory(benchmark::State& state)
{
    asio::io_context io{1};
    system_environment env{io.get_executor()};
    memory_transport_options options;
    options.window_messages = 8192;
    options.routes.push_back({"orders", "stock"});
    memory_transport sender{env, options};
    memory_transport receiver{sender, env, options};
    auto in = receiver.subscribe("orders", "stock");
    receiver.start();
    run(state, io, sender, receiver, in);
}

void set_up(benchmark::internal::Benchmark* b)
{
    b->Arg(1)->Arg(64)->Arg(256)->Arg(1024)->Arg(8192)->UseRealTime();
}

BENCHMARK(zeromq)->Name("transport/zeromq")->Apply(set_up);
BENCHMARK(memory)->Name("transport/memory")->Apply(set_up);

} // namespace
