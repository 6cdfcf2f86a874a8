// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/testing/disk_faults.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::testing {

/// What goes wrong with what is sent between hosts.
struct network_faults {
    duration least_latency = std::chrono::microseconds{100};
    duration most_latency = std::chrono::milliseconds{5}; ///< uniformly between the two, so that packets overtake each other
    double loss = 0;        ///< probability, of each packet
    double duplication = 0; ///< the same
    double delay = 0;       ///< the same: of being delayed by up to `longest_delay` more
    duration longest_delay = std::chrono::seconds{20};
    double refusal = 0;     ///< probability that a transport cannot send a message this time
    double reset = 0;       ///< probability, of each frame of a connection, that the connection dies with what is on its way

    bool operator==(network_faults const&) const = default;
};

/// What goes wrong in a world. Times are means; zero: never.
struct faults {
    duration crash_every{};     ///< of each host: it is killed or its power is cut, between two steps or in the middle of writing
    duration stop_every{};      ///< of each host: it is stopped in order, and started again
    duration down_for = std::chrono::seconds{5}; ///< the longest time until it is started again
    duration partition_every{}; ///< of each pair of hosts: packets are lost, one way or both
    duration partition_for = std::chrono::seconds{10}; ///< the longest
    duration jump_every{};      ///< of each host: its wall clock jumps
    duration longest_jump = std::chrono::hours{1}; ///< how far it is from the truth at most
    duration slow_disk{};       ///< the longest time until a store begins what it is given
    double failing_groups = 0;  ///< probability that a commit of a store in memory fails
    disk_faults disk{};         ///< of simulated files
    network_faults network{};

    bool operator==(faults const&) const = default;

    static faults none() { return {}; }

    /// Everything at once, often enough for a minute.
    static faults all()
    {
        using namespace std::chrono_literals;
        faults f;
        f.crash_every = 20s;
        f.stop_every = 40s;
        f.partition_every = 30s;
        f.jump_every = 30s;
        f.slow_disk = 3ms;
        f.failing_groups = 0.01;
        f.disk = {.read_error = 0.0002, .write_error = 0.002, .sync_error = 0.002, .full = 0.001};
        f.network.loss = 0.05;
        f.network.duplication = 0.05;
        f.network.delay = 0.01;
        f.network.refusal = 0.01;
        f.network.reset = 0.002;
        return f;
    }

    /// The names of the kinds that can be left out.
    static constexpr std::array<std::string_view, 10> kinds{
        "crash", "stop", "partition", "clock", "slow", "disk", "loss", "duplication", "delay", "reset"};

    /// Leaves out one kind.
    /// @throws system_error `errc::bad_argument` for a name that is none of `kinds`.
    void remove(std::string_view kind)
    {
        if (kind == "crash")
            crash_every = {};
        else if (kind == "stop")
            stop_every = {};
        else if (kind == "partition")
            partition_every = {};
        else if (kind == "clock")
            jump_every = {};
        else if (kind == "slow")
            slow_disk = {};
        else if (kind == "disk") {
            disk = {};
            failing_groups = 0;
        } else if (kind == "loss") {
            network.loss = 0;
            network.refusal = 0;
        } else if (kind == "duplication")
            network.duplication = 0;
        else if (kind == "delay")
            network.delay = 0;
        else if (kind == "reset")
            network.reset = 0;
        else
            throw make_error(errc::bad_argument, "no such kind of fault: " + std::string{kind});
    }
};

enum class fault_kind : std::uint8_t { crash, stop, partition, jump };

/// One fault at its time.
struct fault_event {
    duration at{};
    fault_kind kind = fault_kind::crash;
    std::size_t host = 0;
    std::size_t other = 0;     ///< the other end of a partition
    std::uint64_t chance = 0;  ///< decides the details
    duration span{};           ///< how long it lasts, or how far the clock is off afterwards
};

/// The faults that come at a time, for `hosts` hosts and a run of `span`, in order. Leaving out one kind does not change the others.
inline std::vector<fault_event> plan_faults(std::uint64_t seed, faults const& f, std::size_t hosts, duration span)
{
    std::vector<fault_event> plan;
    auto const each = [&](fault_kind kind, duration mean, duration longest, std::size_t host, std::size_t other) {
        if (mean <= duration::zero())
            return;
        // Not std::seed_seq or a distribution: their results are their library's own.
        std::mt19937_64 engine{seed * 1'000'003u + static_cast<std::uint64_t>(kind) * 10'007u + host * 101u + other};
        auto const part = [&] { return static_cast<double>(engine() >> 11) * 0x1.0p-53; };
        auto at = duration::zero();
        for (;;) {
            at += duration{1 + static_cast<duration::rep>(-std::log1p(-part()) * static_cast<double>(mean.count()))};
            if (at >= span)
                return;
            auto const lasting = duration{static_cast<duration::rep>(part() * static_cast<double>(longest.count()))};
            plan.push_back({at, kind, host, other, engine(), lasting});
        }
    };
    for (std::size_t h = 0; h < hosts; ++h) {
        each(fault_kind::crash, f.crash_every, f.down_for, h, 0);
        each(fault_kind::stop, f.stop_every, f.down_for, h, 0);
        each(fault_kind::jump, f.jump_every, f.longest_jump, h, 0);
        for (std::size_t other = h + 1; other < hosts; ++other)
            each(fault_kind::partition, f.partition_every, f.partition_for, h, other);
    }
    std::stable_sort(plan.begin(), plan.end(), [](auto const& a, auto const& b) { return a.at < b.at; });
    return plan;
}

} // namespace cosaga::testing
