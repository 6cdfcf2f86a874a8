// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Webhooks over real connections to merchants in a process of their own, some of which hang or refuse.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/notifier.hpp>
#include <cosaga/webhook/endpoint.hpp>
#include <cosaga/webhook/sink.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using service = bench::service<cosaga::json_codec>;

/// The clock that all processes of a machine have in common.
std::int64_t now_us()
{
    return std::chrono::duration_cast<std::chrono::microseconds>(bench::clock::now().time_since_epoch()).count();
}

struct notice {
    std::int64_t number = 0;
    std::int64_t made_us = 0;
};
BOOST_DESCRIBE_STRUCT(notice, (), (number, made_us))

/// A process with an endpoint: under `/takes/` it takes notices and remembers how long each was on its way, under `/hangs/` it never answers.
class merchants {
public:
    merchants()
    {
        int ends[2];
        if (::pipe(ends) != 0)
            throw std::runtime_error{"pipe"};
        process_ = ::fork();
        if (process_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(ends[1]);
            ::_exit(1);
        }
        ::close(ends[1]);
        if (::read(ends[0], &port_, sizeof port_) != sizeof port_)
            throw std::runtime_error{"the merchants cannot be started"};
        ::close(ends[0]);
    }
    merchants(merchants const&) = delete;
    merchants& operator=(merchants const&) = delete;
    ~merchants()
    {
        ::kill(process_, SIGKILL);
        ::waitpid(process_, nullptr, 0);
    }

    std::string url(std::string const& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }

private:
    static void serve(int announce)
    {
        asio::io_context io{1};
        cosaga::system_environment env{io.get_executor()};
        cosaga::webhook_endpoint endpoint{env, {.max_connections = 8192, .answer_limit = 1h}};
        bench::latencies delays;
        std::size_t taken = 0;
        endpoint.serve("/takes/", [&](cosaga::webhook_request const& r) -> asio::awaitable<cosaga::webhook_answer> {
            auto const made = r.body.find("\"made_us\":");
            delays.add(std::chrono::microseconds{now_us() - std::stoll(r.body.substr(made + 10))});
            ++taken;
            co_return cosaga::webhook_answer{};
        });
        endpoint.serve("/hangs/", [&](cosaga::webhook_request const&) -> asio::awaitable<cosaga::webhook_answer> {
            co_await env.sleep_for(cosaga::duration{1h});
            co_return cosaga::webhook_answer{};
        });
        endpoint.serve("/report", [&](cosaga::webhook_request const&) -> asio::awaitable<cosaga::webhook_answer> {
            cosaga::webhook_answer a;
            a.body = std::to_string(taken);
            for (auto const p : {0.5, 0.99, 1.0})
                a.body += ' ' + std::to_string(delays.percentile(p) / 1000);
            co_return a;
        });
        endpoint.start();
        auto const port = endpoint.port();
        if (::write(announce, &port, sizeof port) == sizeof port)
            io.run();
    }

    ::pid_t process_ = -1;
    std::uint16_t port_ = 0;
};

cosaga::webhook_sink_options sink_options()
{
    cosaga::webhook_sink_options options;
    auto const secret = cosaga::webhook_secret::make();
    options.secrets = [secret](std::string const&) { return std::vector<cosaga::webhook_secret>(1, secret); };
    options.allow_http = true;
    options.allowed_networks = {"127.0.0.0/8"};
    return options;
}

struct payments {
    payments() { node.node.attach(notifier); }
    ~payments() { node.run(node.node.stop()); }

    /// Of twenty destinations one hangs and one refuses.
    std::string destination(std::int64_t number, std::size_t destinations) const
    {
        auto const n = static_cast<std::size_t>(number) % destinations;
        if (n % 20 == 0)
            return others.url("/hangs/" + std::to_string(n));
        return n % 20 == 1 ? refusing + std::to_string(n) : others.url("/takes/" + std::to_string(n));
    }

    asio::awaitable<void> notify(std::int64_t number, std::int64_t made_us, std::string to)
    {
        notice const body{number, made_us};
        auto work = [&](auto& tx) {
            tx.execute("INSERT INTO payments VALUES (?)", number);
            tx.notify(to, body);
        };
        co_await notifier.transact(work);
    }

    /// Makes notifications at that rate, however long each takes: their delays count from when they should have been made.
    asio::awaitable<void> issue(std::int64_t per_second, std::size_t destinations, std::chrono::seconds span)
    {
        auto const begin = now_us();
        auto const count = per_second * span.count();
        for (std::int64_t issued = 0; issued < count;) {
            for (; issued < count && begin + issued * 1'000'000 / per_second <= now_us(); ++issued) {
                auto const made = begin + issued * 1'000'000 / per_second;
                asio::co_spawn(node.context(), notify(issued, made, destination(issued, destinations)), asio::detached);
            }
            co_await node.node.get_store().get_environment().sleep_for(cosaga::duration{2ms});
        }
    }

    asio::awaitable<std::string> report()
    {
        auto const answer = co_await sink.ask(others.url("/report"));
        co_return answer.body;
    }

    merchants others; // first: it forks
    bench::scratch_directory directory;
    std::string const refusing = "http://" + bench::free_endpoint().substr(6) + "/refuses/";
    service node{directory.file("payments.db"), "CREATE TABLE payments(number INTEGER PRIMARY KEY)", bench::sender_options(bench::free_endpoint(), 1024)};
    cosaga::webhook_sink sink{node.node.get_store().get_environment(), sink_options()};
    cosaga::notifier<service::node_type::outbox_type, cosaga::webhook_sink> notifier{node.node.get_outbox(), sink};
};

/// Destinations, notifications per second, seconds. `p50_ms` and `p99_ms` are from when a notification should be made to when a healthy merchant
/// has it.
void webhook(benchmark::State& state)
{
    auto const before = bench::resident_megabytes();
    payments p;
    p.node.start();
    std::chrono::seconds const span{state.range(2)};
    double most = 0;
    for (auto _ : state) {
        auto issued = asio::co_spawn(p.node.context(), p.issue(state.range(1), static_cast<std::size_t>(state.range(0)), span), asio::use_future);
        while (issued.wait_for(100ms) != std::future_status::ready)
            most = std::max(most, bench::resident_megabytes());
        issued.get();
        std::this_thread::sleep_for(2s); // for the last ones
    }
    std::istringstream report{p.node.run(p.report())};
    double taken = 0, p50 = 0, p99 = 0, longest = 0;
    report >> taken >> p50 >> p99 >> longest;
    state.counters["healthy_taken"] = taken;
    state.counters["healthy_made"] = static_cast<double>(state.range(1) * state.range(2)) * 0.9;
    state.counters["p50_ms"] = p50;
    state.counters["p99_ms"] = p99;
    state.counters["longest_ms"] = longest;
    state.counters["failed"] = static_cast<double>(p.notifier.counters().failed);
    state.counters["resident_MB"] = most - before;
}

BENCHMARK(webhook)->Name("webhook/healthy_among_others")->Args({2000, 1000, 30})->Iterations(1);

} // namespace
