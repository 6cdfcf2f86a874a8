// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "planted_bugs.hpp"

#include <cosaga/testing/scenario.hpp>
#include <cosaga/testing/workloads/key_order.hpp>
#include <cosaga/testing/workloads/ledger.hpp>
#include <cosaga/testing/workloads/total_queue.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace cosaga::testing;
using namespace std::chrono_literals;
namespace asio = boost::asio;

/// What a test sees of a service, across its boots.
struct log {
    std::vector<std::string> lines;
};

/// Counts in a store, once a second.
class counting_service {
public:
    explicit counting_service(host& h) : at_{&h}, store_{h.get_environment(), h.durable<cosaga::memory_disk>()}
    {
        at_->durable<log>().lines.push_back("made");
    }
    ~counting_service() { at_->durable<log>().lines.push_back("destroyed"); }

    asio::awaitable<void> run()
    {
        while (at_->wants_load()) {
            co_await at_->get_environment().sleep_for(1s);
            auto count = [](cosaga::memory_transaction& tx) {
                auto const had = tx.get("counts", "all");
                tx.put("counts", "all", std::to_string((had ? std::stoi(*had) : 0) + 1));
            };
            co_await store_.transact(count);
        }
        co_await at_->until_stopped();
        at_->durable<log>().lines.push_back("stopped");
        co_await store_.close();
    }

private:
    host* at_;
    cosaga::memory_store store_;
};

std::string count_of(world& w, host& h)
{
    std::string found;
    w.run_on(h, [&](host& at) -> asio::awaitable<void> {
        cosaga::memory_store store{at.get_environment(), at.durable<cosaga::memory_disk>()};
        auto read = [&](cosaga::memory_transaction& tx) { found = tx.get("counts", "all").value_or("0"); };
        co_await store.transact(read);
    });
    return found;
}

TEST(world, runs_services_until_they_are_stopped)
{
    world w{{.seed = 1}};
    auto& h = w.add_host<counting_service>("counter");
    w.run_with_faults(10500ms);
    w.stop_all();
    EXPECT_FALSE(h.is_up());
    EXPECT_EQ(h.durable<log>().lines, (std::vector<std::string>{"made", "stopped", "destroyed"}));
    EXPECT_EQ(count_of(w, h), "11"); // the last one was on its way
    EXPECT_TRUE(w.findings().empty());
}

TEST(world, a_crash_destroys_the_service_and_keeps_what_was_committed)
{
    world w{{.seed = 1}};
    auto& h = w.add_host<counting_service>("counter");
    w.get_scheduler().call_after(w.get_scheduler().make_domain(), 5500ms, [&] { w.crash(h, 2s); });
    w.run_with_faults(10s);
    EXPECT_TRUE(h.is_up());
    EXPECT_EQ(h.durable<log>().lines, (std::vector<std::string>{"made", "destroyed", "made"}));
    w.stop_all();
    EXPECT_EQ(count_of(w, h), "8"); // five before, two after, and the last one
}

TEST(world, a_year_takes_a_moment)
{
    world w{{.seed = 1}};
    w.add_host<counting_service>("counter");
    w.run_for(std::chrono::hours{24 * 365});
    w.stop_all();
    EXPECT_EQ(w.get_scheduler().now().time_since_epoch(), std::chrono::hours{24 * 365});
}

struct failing_service {
    explicit failing_service(host& h) : at{&h} {}
    asio::awaitable<void> run()
    {
        at->durable<log>().lines.push_back("run");
        co_await at->get_environment().sleep_for(1s);
        throw std::runtime_error{"no"};
    }
    host* at;
};

TEST(world, a_service_that_ends_is_started_again)
{
    world w{{.seed = 1}};
    auto& h = w.add_host<failing_service>("failing");
    w.run_for(4500ms);
    EXPECT_EQ(h.durable<log>().lines.size(), 3u);
}

struct stubborn_service {
    explicit stubborn_service(host& h) : at{&h} {}
    asio::awaitable<void> run() { co_await at->get_environment().sleep_for(24h); }
    host* at;
};

TEST(world, a_service_that_does_not_stop_is_a_finding)
{
    world w{{.seed = 1}};
    w.add_host<stubborn_service>("stubborn");
    w.run_for(1s);
    w.stop_all();
    ASSERT_EQ(w.findings().size(), 1u);
    EXPECT_EQ(w.findings().front().what, "the service of stubborn did not end within five minutes");
}

/// Sends numbers to each other.
struct talking_service {
    explicit talking_service(host& h) : at{&h}
    {
        at->get_network().listen(at->number(), "ear", [this](packet const& p) {
            at->durable<log>().lines.push_back(std::any_cast<std::string>(p.content));
        });
    }
    asio::awaitable<void> run()
    {
        for (int n = 0; n < 10; ++n) {
            co_await at->get_environment().sleep_for(1s);
            at->get_network().send(at->number(), 1 - at->number(), "ear", std::to_string(n));
        }
        co_await at->until_stopped();
    }
    host* at;
};

TEST(network, loses_what_is_sent_into_a_partition_in_that_direction_only)
{
    world w{{.seed = 1}};
    auto& a = w.add_host<talking_service>("a");
    auto& b = w.add_host<talking_service>("b");
    w.get_network().cut(0, 1);
    w.run_for(20s);
    EXPECT_EQ(a.durable<log>().lines.size(), 10u);
    EXPECT_TRUE(b.durable<log>().lines.empty());
}

TEST(network, loses_doubles_and_reorders)
{
    faults f;
    f.network = {.most_latency = 3s, .loss = 0.2, .duplication = 0.2};
    bool lost = false, doubled = false, reordered = false;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        world w{{.seed = seed, .faults = f}};
        auto& a = w.add_host<talking_service>("a");
        w.add_host<talking_service>("b");
        w.run_with_faults(20s);
        auto const& seen = a.durable<log>().lines;
        std::set<std::string> const different(seen.begin(), seen.end());
        lost = lost || different.size() < 10;
        doubled = doubled || different.size() < seen.size();
        reordered = reordered || !std::is_sorted(seen.begin(), seen.end());
    }
    EXPECT_TRUE(lost && doubled && reordered);
}

TEST(world, clocks_of_hosts_differ_after_jumps)
{
    faults f;
    f.jump_every = 5s;
    world w{{.seed = 3, .faults = f}};
    auto& a = w.add_host<talking_service>("a");
    auto& b = w.add_host<talking_service>("b");
    w.run_with_faults(60s);
    EXPECT_NE(a.get_environment().now(), b.get_environment().now());
    EXPECT_NE(a.get_environment().steady_now(), b.get_environment().steady_now());
}

scenario_maker const small_ledger = [] { return std::make_unique<ledger<>>(); };

TEST(run_scenario, gives_the_same_trace_for_the_same_seed)
{
    run_options options;
    options.seed = 7;
    auto const first = run_scenario(small_ledger, options);
    auto const again = run_scenario(small_ledger, options);
    EXPECT_EQ(first.trace_hash, again.trace_hash);
    EXPECT_EQ(first.steps, again.steps);
    options.recording = true; // changes nothing
    EXPECT_EQ(run_scenario(small_ledger, options).trace_hash, first.trace_hash);
    options.seed = 8;
    EXPECT_NE(run_scenario(small_ledger, options).trace_hash, first.trace_hash);
}

TEST(shrink, leaves_a_run_that_still_breaks_the_promise_with_less_going_wrong)
{
    using broken = key_order<planted::store_platform<planted::no_rollback>>;
    scenario_maker const make = [] { return std::make_unique<broken>(); };
    run_options options;
    auto const before = run_scenario(make, options);
    ASSERT_FALSE(before.findings.empty());
    auto small = shrink(make, options);
    small.recording = true;
    auto const after = run_scenario(make, small);
    ASSERT_FALSE(after.findings.empty());
    EXPECT_LT(small.span, options.span);
    EXPECT_EQ(small.faults, [] { auto none = faults::all(); for (auto const kind : faults::kinds) none.remove(kind); return none; }());
    EXPECT_NE(after.history.find("applies"), std::string::npos);
}

TEST(plan_faults, is_the_same_with_one_kind_left_out)
{
    auto f = faults::all();
    auto const whole = plan_faults(5, f, 3, 10min);
    f.remove("crash");
    auto const less = plan_faults(5, f, 3, 10min);
    std::size_t others = 0;
    for (auto const& e : whole)
        others += e.kind == fault_kind::crash ? 0 : 1;
    EXPECT_GT(whole.size(), others);
    EXPECT_EQ(less.size(), others);
}

} // namespace
