// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/testing/faults.hpp>
#include <cosaga/testing/host.hpp>
#include <cosaga/testing/world.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Hosts that go through bad times, and what must hold when these are over.
///
/// A run makes one object, builds a world with it, and lets faults come for a while. Then nothing more goes wrong, and the hosts run until
/// nothing is under way: from time to time all services are stopped, and each host is audited from what it has on its disk.
class scenario {
public:
    virtual ~scenario() = default;

    /// Adds the hosts.
    virtual void build(world& w) = 0;

    /// Reads what a host has on its disk, while its service is down; replaces what it has found there before.
    /// @return true when nothing is under way from here any more.
    virtual asio::awaitable<bool> audit(host& h) = 0;

    /// Adds a finding for each promise that was not kept. Every host was audited, and nothing is under way.
    virtual void check(world& w) = 0;
};

using scenario_maker = std::function<std::unique_ptr<scenario>()>;

struct run_options {
    std::uint64_t seed = 1;
    testing::faults faults = faults::all();
    std::vector<std::size_t> without{};         ///< faults of the plan that do not come
    duration span = std::chrono::minutes{1};    ///< of bad times
    duration patience = std::chrono::hours{3};  ///< how long things may be under way afterwards
    bool recording = false;
};

struct run_result {
    std::vector<finding> findings;
    std::uint64_t trace_hash = 0;
    std::uint64_t steps = 0;
    duration simulated{};
    std::size_t planned = 0; ///< faults of the plan
    std::string history;     ///< about the subject of the first finding, if it was recorded
};

/// Lets the hosts run without faults until every audit says that nothing is under way.
/// @return false if that takes longer than `patience`.
inline bool settle(scenario& s, world& w, duration patience)
{
    auto const until = w.get_scheduler().now() + patience;
    for (duration step = std::chrono::seconds{10}; w.get_scheduler().now() < until; step = std::min<duration>(2 * step, std::chrono::minutes{20})) {
        w.run_for(step);
        w.stop_all();
        bool at_rest = true;
        for (auto const& h : w.hosts()) {
            bool done = false;
            w.run_on(*h, [&](host& at) -> asio::awaitable<void> { done = co_await s.audit(at); });
            at_rest = at_rest && done;
        }
        if (at_rest)
            return true;
    }
    return false;
}

/// One run of a scenario. The same options give the same result.
inline run_result run_scenario(scenario_maker const& make, run_options const& options)
{
    auto const s = make();
    world w{{options.seed, options.faults, options.without, options.recording}};
    try {
        s->build(w);
        w.run_with_faults(options.span);
        if (settle(*s, w, options.patience))
            s->check(w);
        else
            w.add_finding("something is still under way, long after the last fault");
    } catch (std::exception const& e) {
        w.add_finding(std::string{"an exception: "} + e.what());
    }
    run_result r;
    r.findings = w.findings();
    r.trace_hash = w.get_scheduler().trace_hash();
    r.steps = w.get_scheduler().steps();
    r.simulated = w.get_scheduler().now().time_since_epoch();
    r.planned = w.plan().size();
    if (options.recording && !r.findings.empty())
        r.history = w.get_history().about(r.findings.front().subject);
    return r;
}

/// Looks for a shorter run with the same seed that still breaks a promise: without kinds of faults, for a shorter time, and
/// without single faults.
/// @param options of a run that broke one. @param most runs that are tried.
inline run_options shrink(scenario_maker const& make, run_options options, std::size_t most = 300)
{
    std::size_t tried = 0;
    auto const fails = [&](run_options const& o) { return tried < most && (++tried, !run_scenario(make, o).findings.empty()); };
    auto const keep_if_it_fails = [&](run_options o) {
        bool const failed = fails(o);
        if (failed)
            options = std::move(o);
        return failed;
    };
    for (auto const kind : faults::kinds) {
        auto o = options;
        o.faults.remove(kind);
        keep_if_it_fails(std::move(o));
    }
    for (bool shorter = true; shorter && options.span > std::chrono::seconds{2};) {
        auto o = options;
        o.span = std::chrono::floor<std::chrono::seconds>(options.span / 2); // as the runner takes it
        shorter = keep_if_it_fails(std::move(o));
    }
    // Halves, quarters and so on of what is left of the plan (Zeller, "Simplifying and isolating failure-inducing input", 2002).
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < run_scenario(make, options).planned; ++i)
        left.push_back(i);
    for (auto piece = (left.size() + 1) / 2; piece > 0 && tried < most; piece = piece > 1 ? (piece + 1) / 2 : 0)
        for (std::size_t at = 0; at < left.size() && tried < most;) {
            auto const end = std::min(left.size(), at + piece);
            auto o = options;
            o.without.insert(o.without.end(), left.begin() + static_cast<std::ptrdiff_t>(at), left.begin() + static_cast<std::ptrdiff_t>(end));
            if (keep_if_it_fails(std::move(o)))
                left.erase(left.begin() + static_cast<std::ptrdiff_t>(at), left.begin() + static_cast<std::ptrdiff_t>(end));
            else
                at = end;
        }
    return options;
}

} // namespace cosaga::testing
