// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A million records a side: what a comparison of two ledgers costs, and that of a ledger with a statement.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/detail/comparison.hpp>
#include <cosaga/detail/comparison_answer.hpp>
#include <cosaga/detail/ledger_view.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/statement.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace {

namespace asio = boost::asio;
using service = bench::service<cosaga::binary_codec>;
using cosaga::ledger_record;
using cosaga::sqlite_transaction;

constexpr std::size_t records = 1'000'000;
constexpr std::size_t newest_hour = records / 24;
constexpr cosaga::ledger_range everything{{}, {cosaga::time_point{std::chrono::seconds{4'000'000'000}}, {}}};

/// A day of messages, one each 86.4 ms.
ledger_record record_of(std::size_t n)
{
    ledger_record r;
    r.time = cosaga::time_point{std::chrono::seconds{1'700'000'000}} + std::chrono::microseconds{86'400} * static_cast<std::int64_t>(n);
    auto bytes = cosaga::message_id::first_of(r.time).bytes();
    std::mt19937 chance{static_cast<std::uint32_t>(n)};
    for (auto i = bytes.begin() + 9; i != bytes.end(); ++i)
        *i = static_cast<unsigned char>(chance());
    r.id = cosaga::message_id{bytes};
    r.key = "order-" + std::to_string(n);
    r.fields.add("cents", std::to_string(chance() % 100'000)).add("state", "paid");
    return r;
}

/// Two equal ledgers in one file, which a benchmark wounds and heals again.
class two_ledgers {
public:
    two_ledgers() { store_.run(fill()); }

    struct outcome {
        cosaga::detail::comparison::progress progress;
        std::size_t found = 0;
        std::chrono::duration<double, std::milli> here{}, there{};
    };

    /// Removes, adds or changes so many records of the second ledger.
    void wound(std::size_t count, bool clustered)
    {
        std::mt19937_64 chance{count};
        std::vector<std::size_t> numbers;
        while (numbers.size() < count) {
            auto const n = clustered ? records - 1 - chance() % newest_hour : chance() % records;
            if (std::find(numbers.begin(), numbers.end(), n) == numbers.end())
                numbers.push_back(n);
        }
        store_.run(change([&](sqlite_transaction& tx) {
            for (std::size_t i = 0; i < numbers.size(); ++i) {
                wounded_.push_back(record_of(numbers[i]));
                auto changed = wounded_.back();
                auto const at = changed.position();
                changed.fields = cosaga::ledger_fields{}.add("cents", "-1");
                if (i % 3 == 2)
                    tx.record("there", std::span{&changed, 1});
                else
                    tx.erase_records(i % 3 == 0 ? "there" : "here", std::span{&at, 1});
            }
        }));
    }
    void heal()
    {
        store_.run(change([&](sqlite_transaction& tx) {
            tx.record("here", wounded_);
            tx.record("there", wounded_);
        }));
        wounded_.clear();
    }

    outcome compare()
    {
        outcome o;
        store_.run(change([&](sqlite_transaction& tx) {
            cosaga::detail::stored_ledger_view here{tx, "here"};
            cosaga::detail::stored_ledger_view there{tx, "there"};
            cosaga::detail::comparison steps{everything, ++salt_, 1'000'000};
            cosaga::detail::comparison_answer answer{there, everything};
            std::vector<cosaga::ledger_difference> found;
            for (std::optional<std::string> request = steps.open(); request;) {
                auto const begun = bench::clock::now();
                auto const text = answer(*request);
                auto const answered = bench::clock::now();
                request = steps.next(here, text, found);
                o.there += answered - begun;
                o.here += bench::clock::now() - answered;
            }
            o.progress = steps.so_far();
            o.found = found.size();
        }));
        return o;
    }

    /// What reads the first ledger.
    auto run_with(cosaga::statement& s)
    {
        auto ignore = [](cosaga::ledger_difference const&) {};
        return store_.run(s.compare(store_.node.get_store(), "here", ignore));
    }

private:
    template <class Work>
    asio::awaitable<void> change(Work work)
    {
        co_await store_.node.get_store().transact(work);
    }

    asio::awaitable<void> fill()
    {
        constexpr std::size_t at_once = 10'000;
        std::vector<ledger_record> some;
        auto work = [&](sqlite_transaction& tx) {
            tx.record("here", some);
            tx.record("there", some);
        };
        for (std::size_t n = 0; n < records;) {
            some.clear();
            while (some.size() < at_once)
                some.push_back(record_of(n++));
            co_await store_.node.get_store().transact(work);
        }
    }

    bench::scratch_directory directory_;
    service store_{directory_.file("ledgers.db"), "CREATE TABLE unused(x)", bench::sender_options(bench::free_endpoint(), 1)};
    std::vector<ledger_record> wounded_;
    std::uint64_t salt_ = 0;
};

two_ledgers& ledgers()
{
    static two_ledgers made; // takes half a minute
    return made;
}

/// So many differences, in the newest hour or anywhere. Work is that of all requests together, on each side.
void compare(benchmark::State& state)
{
    auto const differences = static_cast<std::size_t>(state.range(0));
    auto& both = ledgers();
    both.wound(differences, state.range(1) != 0);
    two_ledgers::outcome o;
    std::vector<double> here;
    std::vector<double> there;
    for (auto _ : state) {
        o = both.compare();
        here.push_back(o.here.count());
        there.push_back(o.there.count());
    }
    if (o.found != differences)
        state.SkipWithError("other differences were found than there are");
    state.counters["bytes"] = static_cast<double>(o.progress.bytes_sent + o.progress.bytes_received);
    state.counters["round_trips"] = static_cast<double>(o.progress.round_trips);
    state.counters["here_ms"] = bench::median(here);
    state.counters["there_ms"] = bench::median(there);
    both.heal();
}

/// Peak of the resident memory since the last call.
double peak_megabytes()
{
    double peak = 0;
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:"))
            peak = std::stod(line.substr(6)) * 1024 / 1e6;
    std::ofstream{"/proc/self/clear_refs"} << 5;
    return peak;
}

/// A statement in CSV with as many lines, in no order, of which some are wrong.
void statement(benchmark::State& state)
{
    bench::scratch_directory const directory;
    auto const file = directory.file("statement.csv");
    {
        std::vector<std::uint32_t> order(records);
        for (std::uint32_t n = 0; n < records; ++n)
            order[n] = n;
        std::shuffle(order.begin(), order.end(), std::mt19937{1});
        std::ofstream out{file};
        out << "id,booked,cents,state,remark\n";
        for (auto const n : order) {
            auto const r = record_of(n);
            out << r.id.to_string() << ",2023-11-14," << (n % 100'000 == 0 ? "-1" : *r.fields.find("cents")) << ",paid,\"Order, paid\"\n";
        }
    }
    auto& both = ledgers();
    cosaga::statement_options options;
    options.columns = {{"cents"}, {"state"}};
    peak_megabytes();
    auto const before = bench::resident_megabytes();
    for (auto _ : state) {
        cosaga::statement day{options};
        std::ifstream in{file};
        day.read(in);
        auto const sum = both.run_with(day);
        if (sum.differing != records / 100'000 || sum.in_statement != records || sum.equal + sum.differing != records)
            state.SkipWithError("other differences were found than there are");
    }
    state.counters["peak_MB"] = peak_megabytes();
    state.counters["peak_above_idle_MB"] = std::max(0.0, state.counters["peak_MB"].value - before);
}

BENCHMARK(compare)->Name("reconciliation/compare")->Args({0, 0})->Args({1, 0})->Args({100, 1})->Args({100, 0})->Iterations(5)->Unit(benchmark::kMillisecond);
BENCHMARK(statement)->Name("reconciliation/statement")->Iterations(1)->Unit(benchmark::kMillisecond)->UseRealTime();

} // namespace
