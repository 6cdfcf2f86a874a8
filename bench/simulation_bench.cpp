// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// How much virtual time the simulation gets through: a run is a minute with all faults, and what it takes to come to rest.
#include <cosaga/testing/scenario.hpp>
#include <cosaga/testing/sqlite_platform.hpp>
#include <cosaga/testing/workloads/crash_points.hpp>
#include <cosaga/testing/workloads/ledger.hpp>
#include <cosaga/testing/zeromq_platform.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <memory>

namespace {

using namespace cosaga::testing;

template <class Scenario>
void run_seeds(benchmark::State& state)
{
    run_options options;
    double simulated = 0;
    std::uint64_t steps = 0;
    for (auto _ : state) {
        auto const r = run_scenario([] { return std::make_unique<Scenario>(); }, options);
        if (!r.findings.empty()) {
            state.SkipWithError(r.findings.front().what.c_str());
            return;
        }
        ++options.seed;
        simulated += std::chrono::duration<double>(r.simulated).count();
        steps += r.steps;
    }
    state.counters["times_real_time"] = benchmark::Counter(simulated, benchmark::Counter::kIsRate);
    state.counters["steps/s"] = benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsRate);
}

BENCHMARK(run_seeds<ledger<>>)->Name("simulation/ledger_of_4_hosts/memory")->Unit(benchmark::kMillisecond);
BENCHMARK(run_seeds<ledger<zeromq_platform>>)->Name("simulation/ledger_of_4_hosts/zeromq")->Unit(benchmark::kMillisecond);
BENCHMARK(run_seeds<ledger<sqlite_platform>>)->Name("simulation/ledger_of_4_hosts/sqlite")->Unit(benchmark::kMillisecond);
BENCHMARK(run_seeds<crash_points>)->Name("simulation/crash_point")->Unit(benchmark::kMillisecond);

} // namespace
