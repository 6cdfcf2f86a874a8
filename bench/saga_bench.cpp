// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Sagas of local steps, all journaled and durable. The yardstick is transact/1024 in the same run.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/saga.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/describe/class.hpp>

#include <malloc.h>
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;
using service = bench::service<cosaga::binary_codec>;
using engine_type = cosaga::saga_engine<service::node_type::outbox_type>;

struct errand {
    std::uint64_t number = 0;
    std::uint32_t steps = 0;
};
BOOST_DESCRIBE_STRUCT(errand, (), (number, steps))

/// Bytes in use on the heap: what is resident says nothing after other benchmarks.
double heap_bytes()
{
    auto const all = ::mallinfo2();
    return static_cast<double>(all.uordblks) + static_cast<double>(all.hblkhd);
}

/// A service whose sagas write one business row in each step, and others that sleep.
class shop {
public:
    shop() { open(); }
    ~shop() { close(); }

    void open()
    {
        cosaga::saga_options options;
        options.park_after = std::chrono::milliseconds{100};
        engine = std::make_unique<engine_type>(here.node.get_outbox(), options);
        engine->define<errand>("run errands", 1, [this](engine_type::context& s, errand e) { return run_errands(s, e); });
        engine->define<errand>("sleep", 1, [](engine_type::context& s, errand) { return s.sleep_for(std::chrono::hours{24}); });
        engine->start();
    }
    void close() { here.run(engine->stop()); }

    asio::awaitable<void> run_one(std::uint32_t steps)
    {
        errand const e{++last, steps};
        auto const id = "errand-" + std::to_string(e.number);
        co_await engine->begin("run errands", id, e);
        co_await engine->result<void>(id);
    }
    /// Resumes behind the last step.
    asio::awaitable<void> begin_one(std::uint32_t steps)
    {
        errand const e{++last, steps};
        auto const until = done.load() + steps;
        co_await engine->begin("run errands", "errand-" + std::to_string(e.number), e);
        while (done.load() < until)
            co_await here.node.get_store().get_environment().sleep_for(std::chrono::microseconds{20});
    }
    asio::awaitable<void> run_until(std::atomic<bool> const& stopping, std::uint32_t steps)
    {
        while (!stopping.load(std::memory_order_relaxed))
            co_await run_one(steps);
    }

    /// Lets so many begin, fall asleep and leave the memory.
    void fill(std::size_t count)
    {
        here.run(begin_sleepers(count));
        wait_until([&] { return engine->counters().begun >= count && engine->counters().active == 0 && asleep() == count; });
    }

    template <class Condition>
    static void wait_until(Condition condition)
    {
        while (!condition())
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }

    /// Counts the commits of the store from now on.
    void count_commits()
    {
        auto const note = [](unsigned, void* self, void* finished, void*) {
            if (std::string_view{sqlite3_sql(static_cast<sqlite3_stmt*>(finished))} == "COMMIT")
                static_cast<shop*>(self)->commits.fetch_add(1, std::memory_order_relaxed);
            return 0;
        };
        auto watch = [&](auto& tx) { sqlite3_trace_v2(tx.native_handle(), SQLITE_TRACE_PROFILE, note, this); };
        here.run(here.node.transact(watch));
    }

    bench::scratch_directory directory;
    service here{directory.file("shop.db"), bench::create_orders, bench::sender_options(bench::free_endpoint(), 1024)};
    std::unique_ptr<engine_type> engine;
    bench::progress done{0};
    std::atomic<std::uint64_t> commits{0};
    std::uint64_t last = 0;

private:
    asio::awaitable<void> run_errands(engine_type::context& s, errand e)
    {
        auto const o = bench::make_order(e.number);
        auto const work = [&](auto& tx) { tx.execute(bench::insert_order, o.id, o.customer, bench::cents_of(o)); };
        for (std::uint32_t i = 0; i < e.steps; ++i) {
            co_await s.step("errand", work);
            done.fetch_add(1, std::memory_order_relaxed);
        }
    }

    asio::awaitable<void> begin_sleepers(std::size_t count)
    {
        constexpr std::size_t at_once = 1000;
        for (std::size_t begun = 0; begun < count; begun += at_once) {
            auto work = [&](auto& tx) {
                for (std::size_t i = begun; i < std::min(count, begun + at_once); ++i) {
                    errand const e{i, 0};
                    engine->begin_in(tx, "sleep", "sleeper-" + std::to_string(i), e);
                }
            };
            co_await here.node.transact(work);
        }
    }

    std::size_t asleep()
    {
        std::int64_t found = 0;
        auto look = [&](auto& tx) {
            found = tx.template query<std::int64_t>("SELECT count(*) FROM cosaga_sagas WHERE lease_owner = '' AND due_at > ?1",
                tx.now().time_since_epoch().count()).front();
        };
        here.run(here.node.transact(look));
        return static_cast<std::size_t>(found);
    }
};

/// Journaled steps: so many sagas at a time, of so many steps each, one begun when another has ended.
void steps(benchmark::State& state)
{
    shop s;
    std::atomic<bool> stopping{false};
    std::vector<std::future<void>> running;
    for (std::int64_t i = 0; i < state.range(0); ++i)
        running.push_back(asio::co_spawn(s.here.context(), s.run_until(stopping, static_cast<std::uint32_t>(state.range(1))), asio::use_future));
    bench::measure(state, s.done);
    stopping = true;
    for (auto& r : running)
        r.get();
}

/// Durable groups of a saga of five steps that has the store to itself: when nobody waits for its end, and when somebody does.
void groups(benchmark::State& state)
{
    constexpr int rounds = 200;
    shop s;
    s.count_commits();
    auto const measure = [&](auto run_one) {
        auto const before = s.commits.load();
        for (int i = 0; i < rounds; ++i)
            s.here.run(run_one());
        return static_cast<double>(s.commits.load() - before) / rounds;
    };
    for (auto _ : state) {
        state.counters["groups"] = measure([&] { return s.begin_one(5); });
        state.counters["groups_awaited"] = measure([&] { return s.run_one(5); });
    }
}

/// From the start of an engine that finds so many sleeping sagas to the end of a saga that is begun then.
void recovery(benchmark::State& state)
{
    auto const sleeping = static_cast<std::size_t>(state.range(0));
    shop s;
    s.fill(sleeping);
    s.close();
    s.engine.reset();
    for (auto _ : state) {
        auto const before = heap_bytes();
        auto const begun = bench::clock::now();
        s.open();
        s.here.run(s.run_one(1));
        state.counters["seconds"] = std::chrono::duration<double>{bench::clock::now() - begun}.count();
        state.counters["bytes_each"] = std::max(0.0, heap_bytes() - before) / static_cast<double>(sleeping);
    }
}

BENCHMARK(steps)->Name("saga/steps")->Args({1, 5})->Args({1024, 5})->Args({1024, 100});
BENCHMARK(groups)->Name("saga/groups")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(recovery)->Name("saga/recovery")->Arg(100'000)->Iterations(1)->Unit(benchmark::kMillisecond);

} // namespace
