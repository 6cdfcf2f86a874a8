// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/describe/class.hpp>

#include <benchmark/benchmark.h>

#include <linux/magic.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace bench {

using clock = std::chrono::steady_clock;

/// Holds the database files of one measurement; removed with it.
class scratch_directory {
public:
    scratch_directory()
    {
        auto const* const chosen = std::getenv("COSAGA_BENCH_DIR");
        auto pattern = std::filesystem::absolute(chosen ? chosen : ".") / "cosaga_bench_XXXXXX";
        std::string name = pattern.string();
        if (!::mkdtemp(name.data()))
            throw std::runtime_error{"cannot make " + name + ": set COSAGA_BENCH_DIR to a directory on a disk"};
        path_ = name;
        struct statfs found{};
        if (::statfs(name.c_str(), &found) == 0 && found.f_type == TMPFS_MAGIC) {
            std::filesystem::remove_all(path_);
            throw std::runtime_error{"nothing is durable on a tmpfs: set COSAGA_BENCH_DIR to a directory on a disk"};
        }
    }
    scratch_directory(scratch_directory const&) = delete;
    scratch_directory& operator=(scratch_directory const&) = delete;
    ~scratch_directory()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string file(char const* name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

/// Counts hops, on any thread, while `measure` looks on.
using progress = std::atomic<std::size_t>;

/// Lets other threads work for as long as Google Benchmark wants, and reports what they did by the wall clock.
///
/// An iteration is a slice of time. So names stay plain (UseRealTime and MinTime append themselves to them), the work runs on
/// from one iteration to the next, and the thread of the benchmark takes no processor from it.
template <std::invocable Count>
void measure(benchmark::State& state, Count const& done)
{
    constexpr std::chrono::milliseconds slice{250};
    std::this_thread::sleep_for(slice); // until everything is connected, allocated and cached
    auto const before = done();
    auto const begun = clock::now();
    for (auto _ : state)
        std::this_thread::sleep_for(slice);
    auto const elapsed = std::chrono::duration<double>{clock::now() - begun};
    state.counters["items_per_second"] = static_cast<double>(done() - before) / elapsed.count();
}

inline void measure(benchmark::State& state, progress const& done)
{
    measure(state, [&] { return done.load(); });
}

/// Latencies of single transactions or hops, from the call of `transact` (or what stands for it). Used by one thread.
class latencies {
public:
    void add(clock::duration d) { micros_.push_back(std::chrono::duration<float, std::micro>{d}.count()); }
    void clear() { micros_.clear(); }

    double percentile(double p)
    {
        if (micros_.empty())
            return 0;
        auto const at = micros_.begin() + static_cast<std::ptrdiff_t>(p * static_cast<double>(micros_.size() - 1));
        std::nth_element(micros_.begin(), at, micros_.end());
        return static_cast<double>(*at);
    }

    void report(benchmark::State& state, std::string const& prefix = {})
    {
        state.counters[prefix + "p50_us"] = percentile(0.50);
        state.counters[prefix + "p99_us"] = percentile(0.99);
    }

private:
    std::vector<float> micros_;
};

/// What a sender measures of its hops.
///
/// `p50_us` is to the acknowledgement back at the sender: the first moment at which it knows that the effect is committed.
/// With one message outstanding there is also `effect_p50_us`, to the effect committed: to the moment at which the COMMIT of the
/// receiver has returned, as SQLite's own profile tells it. Both ends are in one process, so one clock tells it, and the
/// acknowledgement, which is sent later, orders the two.
class hop_latencies {
public:
    /// @param outstanding messages at a time.
    explicit hop_latencies(std::size_t outstanding) : alone_{outstanding == 1} {}

    /// @param db the receiver's connection.
    void watch_commits(sqlite3* db)
    {
        if (!alone_)
            return; // it would cost every statement some time
        auto const note = [](unsigned, void* self, void* finished, void*) {
            if (std::string_view{sqlite3_sql(static_cast<sqlite3_stmt*>(finished))} == "COMMIT")
                static_cast<hop_latencies*>(self)->committed_.store(clock::now(), std::memory_order_release);
            return 0;
        };
        sqlite3_trace_v2(db, SQLITE_TRACE_PROFILE, note, this);
    }
    /// On the sender's thread.
    void acknowledged(clock::time_point started, clock::time_point now)
    {
        to_acknowledgement_.add(now - started);
        if (alone_)
            to_effect_.add(committed_.load(std::memory_order_acquire) - started);
    }

    void report(benchmark::State& state)
    {
        to_acknowledgement_.report(state);
        if (alone_)
            to_effect_.report(state, "effect_");
    }

private:
    bool alone_;
    std::atomic<clock::time_point> committed_{};
    latencies to_acknowledgement_;
    latencies to_effect_;
};

inline double resident_megabytes()
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmRSS:"))
            return std::stod(line.substr(6)) * 1024 / 1e6;
    return 0;
}

inline double median(std::vector<double> values)
{
    auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

struct order_line {
    std::string sku;
    int quantity = 1;
    std::int64_t price_cents = 0;
};
BOOST_DESCRIBE_STRUCT(order_line, (), (sku, quantity, price_cents))

struct order {
    std::string id;
    std::int64_t customer = 0;
    std::vector<order_line> lines;

    static constexpr std::string_view reconciled[] = {"customer"};
};
BOOST_DESCRIBE_STRUCT(order, (), (id, customer, lines))

inline order make_order(std::uint64_t number)
{
    auto digits = std::to_string(number);
    digits.insert(0, digits.size() < 9 ? 9 - digits.size() : 0, '0');
    return {"order-" + digits, static_cast<std::int64_t>(number % 5000),
        {{"SKU-1001", 2, 1999}, {"SKU-2002", 1, 24950}, {"SKU-3003", 12, 350}}};
}

inline std::int64_t cents_of(order const& o)
{
    std::int64_t sum = 0;
    for (auto const& line : o.lines)
        sum += line.quantity * line.price_cents;
    return sum;
}

// The business rows of both ends, the same in every variant.
inline constexpr char create_orders[] = "CREATE TABLE orders(number INTEGER PRIMARY KEY, id TEXT NOT NULL, customer INTEGER NOT NULL, cents INTEGER NOT NULL)";
inline constexpr char insert_order[] = "INSERT INTO orders(id, customer, cents) VALUES(?1, ?2, ?3)";
inline constexpr char create_shipments[] = "CREATE TABLE shipments(number INTEGER PRIMARY KEY, order_id TEXT NOT NULL, customer INTEGER NOT NULL, cents INTEGER NOT NULL)";
inline constexpr char insert_shipment[] = "INSERT INTO shipments(order_id, customer, cents) VALUES(?1, ?2, ?3)";

// A log that grows is much slower to sync than one that is written over, which every database does for all but the first moments
// of its life. So every file begins with rows that take its log through a checkpoint.
inline constexpr char create_ballast[] = "CREATE TABLE ballast(bytes BLOB NOT NULL)";
inline constexpr char insert_ballast[] = "INSERT INTO ballast VALUES(zeroblob(1048576))";
inline constexpr int ballast_rows = 12;

} // namespace bench
