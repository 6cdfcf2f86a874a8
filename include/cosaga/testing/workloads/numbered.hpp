// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/describe/class.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace cosaga::testing {

/// A message of a workload, which knows it by its id.
struct numbered {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(numbered, (), (id))

/// While load is wanted: `co_await s.send(n, how)` from time to time, with a new id, and with chance to decide how.
template <class Service>
asio::awaitable<void> send_numbered(host& h, Service& s)
{
    auto& env = h.get_environment();
    while (h.wants_load()) {
        auto const pause = env.get_scheduler().random_between({}, std::chrono::milliseconds{1500});
        co_await env.sleep_for(pause);
        numbered n;
        n.id = h.name() + '/' + std::to_string(env.random() >> 16);
        co_await s.send(n, env.get_scheduler().random());
    }
}

/// A service that counts in its table "applied" how often the effect of each message happened there.
template <class Platform>
class counting_consumer {
public:
    counting_consumer(host& h, std::string topic)
        : at_{&h}, store_{Platform::open(h)}, transport_{Platform::connect(h, h.name(), {})},
          node_{*store_, *transport_, {.service = h.name(), .relay = {.poll_interval = seldom}}}
    {
        node_.template consume<numbered>(std::move(topic), h.name(), [at = at_](auto& tx, numbered const& n) {
            at->note("applies", n.id);
            auto const had = Platform::get(tx, "applied", n.id);
            Platform::put(tx, "applied", n.id, std::to_string((had ? std::stoi(*had) : 0) + 1));
        }, {.poll_interval = seldom});
    }

    asio::awaitable<void> run() { return node_.run(at_->until_stopped()); }

private:
    host* at_;
    std::unique_ptr<typename Platform::store_type> store_;
    std::unique_ptr<typename Platform::transport_type> transport_;
    node<typename Platform::store_type, typename Platform::transport_type> node_;
};

} // namespace cosaga::testing
