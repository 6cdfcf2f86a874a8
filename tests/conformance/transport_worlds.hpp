// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/testing/virtual_environment.hpp>
#include <cosaga/transport/memory.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>

#include <chrono>
#include <cstddef>
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
class memory_world : public Runner {
public:
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
class zeromq_world : public Runner {
public:
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

} // namespace cosaga_tests
