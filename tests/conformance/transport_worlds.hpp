// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/testing/simulated_transport.hpp>
#include <cosaga/testing/simulated_zeromq.hpp>
#include <cosaga/testing/virtual_environment.hpp>
#include <cosaga/testing/world.hpp>
#include <cosaga/transport/memory.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cosaga_tests {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// Messages of `topic` for `consumer` go to the services at `places`.
struct route {
    std::string topic;
    std::string consumer;
    std::vector<std::string> places;
};

struct window {
    std::size_t messages = 1024;
    std::size_t bytes = std::size_t{16} << 20;
};

/// What the tests may expect beyond the contract of `transport`.
struct strong_transport {
    /// A message comes again only after a connection or a subscription has ended.
    static constexpr bool repeats = false;
    /// Several messages of a key come before the first of them is settled, and all of them to one instance.
    static constexpr bool pipelines_keys = true;
    static constexpr bool has_window_of_bytes = true;
    /// When nothing has come for so long, nothing will.
    static constexpr cosaga::duration quiet = 200ms;
};

/// Lets others run, so many times.
inline asio::awaitable<void> yield(std::uint64_t times)
{
    for (; times > 0; --times)
        co_await asio::post(asio::use_awaitable);
}

/// Runs coroutines in virtual time on one thread.
class virtual_runner {
public:
    cosaga::environment& env() { return env_; }
    asio::any_io_executor executor() { return strand_; }

    template <class Test>
    void run(Test test)
    {
        bool done = false;
        std::exception_ptr failed;
        asio::co_spawn(strand_, test(), [&](std::exception_ptr e) {
            failed = e;
            done = true;
        });
        env_.run_until([&] { return done; });
        if (failed)
            std::rethrow_exception(failed);
        if (!done)
            throw std::runtime_error{"the test waits for something that never happens"};
        env_.poll();
    }

private:
    cosaga::testing::virtual_environment env_;
    asio::any_io_executor strand_ = asio::make_strand(env_.get_executor());
};

/// Runs coroutines on real threads, with a deadline. The test itself is on a strand.
template <int Threads>
class real_runner {
public:
    cosaga::environment& env() { return env_; }
    asio::any_io_executor executor() { return strand_; }

    template <class Test>
    void run(Test test)
    {
        bool done = false;
        std::exception_ptr failed;
        asio::co_spawn(strand_, test(), [&](std::exception_ptr e) {
            failed = e;
            done = true;
            io_.stop();
        });
        std::vector<std::thread> others;
        for (int i = 1; i < Threads; ++i)
            others.emplace_back([this] { io_.run_for(deadline); });
        io_.run_for(deadline);
        for (auto& t : others)
            t.join();
        if (failed)
            std::rethrow_exception(failed);
        if (!done)
            throw std::runtime_error{"the test did not end in time"};
        io_.restart();
    }

private:
    static constexpr auto deadline = 60s;
    asio::io_context io_{Threads};
    cosaga::system_environment env_{io_.get_executor()};
    asio::any_io_executor strand_ = asio::make_strand(io_.get_executor());
};

/// Services with in-process transports on one network. A place is nothing there: whoever subscribes is found.
template <class Runner>
class memory_world : public Runner, public strong_transport {
public:
    static asio::awaitable<void> let_others_run(std::uint64_t times) { return yield(times); }

    using transport_type = cosaga::memory_transport;

    std::unique_ptr<transport_type> receiver(std::string name, std::string const& /*place*/, window w = {})
    {
        cosaga::memory_transport_options options;
        options.service = std::move(name);
        options.window_messages = w.messages;
        options.window_bytes = w.bytes;
        return std::make_unique<transport_type>(network_, this->env(), options);
    }

    std::unique_ptr<transport_type> sender(std::string name, std::vector<route> const& routes)
    {
        cosaga::memory_transport_options options;
        options.service = std::move(name);
        for (auto const& r : routes)
            options.routes.push_back({r.topic, r.consumer});
        return std::make_unique<transport_type>(network_, this->env(), options);
    }

private:
    cosaga::memory_transport network_{this->env()};
};

/// Services that talk over TCP on the loopback interface.
template <class Runner>
class zeromq_world : public Runner, public strong_transport {
public:
    static asio::awaitable<void> let_others_run(std::uint64_t times) { return yield(times); }

    using transport_type = cosaga::zeromq_transport;

    std::unique_ptr<transport_type> receiver(std::string name, std::string const& place, window w = {})
    {
        cosaga::zeromq_options options;
        options.service = std::move(name);
        options.listen.push_back(endpoint(place));
        options.window_messages = w.messages;
        options.window_bytes = w.bytes;
        return std::make_unique<transport_type>(this->env(), options);
    }

    std::unique_ptr<transport_type> sender(std::string name, std::vector<route> const& routes)
    {
        cosaga::zeromq_options options;
        options.service = std::move(name);
        options.reconnect = 10ms;
        for (auto const& r : routes) {
            cosaga::zeromq_route to;
            to.topic = r.topic;
            to.consumer = r.consumer;
            for (auto const& place : r.places)
                to.endpoints.push_back(endpoint(place));
            options.routes.push_back(to);
        }
        return std::make_unique<transport_type>(this->env(), options);
    }

    /// The same for the same place, also while nobody listens there.
    std::string endpoint(std::string const& place)
    {
        auto& known = endpoints_[place];
        if (known.empty()) {
            asio::io_context io;
            asio::ip::tcp::acceptor free{io, {asio::ip::make_address("127.0.0.1"), 0}};
            known = "tcp://127.0.0.1:" + std::to_string(free.local_endpoint().port());
        }
        return known;
    }

private:
    std::map<std::string, std::string> endpoints_;
};

/// Runs coroutines on one host of a simulated world.
class simulated_runner {
public:
    explicit simulated_runner(cosaga::testing::network_faults const& faults = {})
    {
        for (auto const* const name : {"test", "senders", "a", "b"})
            world_.add_host<idle>(name);
        world_.run_for(cosaga::duration::zero());
        world_.get_network().set_faults(faults);
        strand_ = asio::make_strand(env().get_executor());
    }

    cosaga::environment& env() { return host("test").get_environment(); }
    asio::any_io_executor executor() { return strand_; }
    cosaga::testing::host& host(std::string const& name) { return world_.find_host(name); }

    // In a network nothing comes without time.
    asio::awaitable<void> let_others_run(std::uint64_t times) { return env().sleep_for(times * 200us); }

    template <class Test>
    void run(Test test)
    {
        bool done = false;
        std::exception_ptr failed;
        asio::co_spawn(strand_, test(), [&](std::exception_ptr e) {
            failed = e;
            done = true;
        });
        auto& scheduler = world_.get_scheduler();
        auto const until = scheduler.now() + 1h;
        scheduler.run_until([&] { return done || scheduler.now() > until; });
        if (failed)
            std::rethrow_exception(failed);
        if (!done)
            throw std::runtime_error{"the test waits for something that never happens, seed " + std::to_string(seed_)};
        scheduler.poll();
    }

private:
    struct idle {
        explicit idle(cosaga::testing::host& h) : at{&h} {}
        asio::awaitable<void> run() { return at->until_stopped(); }
        cosaga::testing::host* at;
    };

    static inline std::uint64_t seeds_ = 0; // a test that is repeated is another one

    std::uint64_t seed_ = ++seeds_;
    cosaga::testing::world world_{{.seed = seed_}};
    asio::any_io_executor strand_;
};

struct no_faults {
    static constexpr bool any = false;
    static cosaga::testing::network_faults make() { return {}; }
};
struct bad_network {
    static constexpr bool any = true;
    static cosaga::testing::network_faults make()
    {
        cosaga::testing::network_faults f;
        f.loss = 0.05;
        f.duplication = 0.05;
        f.delay = 0.02;
        f.reset = 0.02;
        return f;
    }
};

/// Services with simulated transports on hosts of a world. A place is a host.
template <class Faults>
class simulated_world : public simulated_runner {
public:
    using transport_type = cosaga::testing::simulated_transport;
    static constexpr bool repeats = Faults::any;
    static constexpr bool pipelines_keys = false;
    static constexpr bool has_window_of_bytes = false;
    static constexpr cosaga::duration quiet = Faults::any ? 30s : 2s;

    simulated_world() : simulated_runner{Faults::make()} {}

    std::unique_ptr<transport_type> receiver(std::string name, std::string const& place, window w = {})
    {
        cosaga::testing::simulated_transport_options options;
        options.service = std::move(name);
        options.window_messages = w.messages;
        return std::make_unique<transport_type>(host(place), options);
    }

    std::unique_ptr<transport_type> sender(std::string name, std::vector<route> const& routes)
    {
        cosaga::testing::simulated_transport_options options;
        options.service = std::move(name);
        options.window_messages = window{}.messages;
        for (auto const& r : routes)
            options.routes.push_back({r.topic, r.consumer, r.places});
        return std::make_unique<transport_type>(host("senders"), options);
    }
};

/// Services with the ZeroMQ protocol over simulated sockets.
template <class Faults>
class simulated_zeromq_world : public simulated_runner {
public:
    using transport_type = cosaga::zeromq_transport;
    static constexpr bool repeats = Faults::any;
    static constexpr bool pipelines_keys = !Faults::any; // after a reset a key may be at several instances
    static constexpr bool has_window_of_bytes = true;
    static constexpr cosaga::duration quiet = Faults::any ? 30s : 2s;

    simulated_zeromq_world() : simulated_runner{Faults::make()} {}

    std::unique_ptr<transport_type> receiver(std::string name, std::string const& place, window w = {})
    {
        cosaga::zeromq_options options;
        options.service = std::move(name);
        options.listen.push_back(endpoint(place));
        options.window_messages = w.messages;
        options.window_bytes = w.bytes;
        return make(place, options);
    }

    std::unique_ptr<transport_type> sender(std::string name, std::vector<route> const& routes)
    {
        cosaga::zeromq_options options;
        options.service = std::move(name);
        options.reconnect = 10ms;
        for (auto const& r : routes) {
            cosaga::zeromq_route to;
            to.topic = r.topic;
            to.consumer = r.consumer;
            for (auto const& place : r.places)
                to.endpoints.push_back(endpoint(place));
            options.routes.push_back(to);
        }
        return make("senders", options);
    }

    static std::string endpoint(std::string const& place) { return "tcp://" + place + ":7000"; }

private:
    std::unique_ptr<transport_type> make(std::string const& on, cosaga::zeromq_options options)
    {
        auto& h = host(on);
        options.insecure = true;
        return std::make_unique<transport_type>(
            h.get_environment(), std::move(options), std::make_unique<cosaga::testing::simulated_zeromq>(h));
    }
};

} // namespace cosaga_tests
