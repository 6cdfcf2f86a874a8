// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/describe/class.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace cosaga::testing {

struct step_of_key {
    std::string key;
    std::int64_t number = 0;
};
BOOST_DESCRIBE_STRUCT(step_of_key, (), (key, number))

/// Messages of one key are applied in the order in which they were committed, without a gap, although handlers throw.
///
/// The sender numbers the messages of each key in the transaction that sends them; the handler, which throws now and
/// then, takes note of every number that is not the next one.
template <class Platform = memory_platform>
class key_order final : public scenario {
public:
    static constexpr std::uint64_t keys = 4;

    void build(world& w) override
    {
        w.template add_host<sender>("sender");
        w.template add_host<receiver>("receiver");
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            if (h.name() == "sender")
                sent_ = Platform::entries(tx, "numbers");
            else
                applied_ = Platform::entries(tx, "numbers");
            for (auto const& [key, what] : Platform::entries(tx, "disorder"))
                disorder_[key] = what;
            at_rest = count_pending(tx) == 0;
        };
        co_await store->transact(read);
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        for (auto const& [key, what] : disorder_)
            w.add_finding(what, key);
        for (auto const& [key, number] : sent_)
            if (applied_[key] != number)
                w.add_finding("of " + number + " messages the last one that was applied is number " + applied_[key], key);
    }

private:
    using node_type = node<typename Platform::store_type, typename Platform::transport_type>;

    class sender {
    public:
        explicit sender(host& h)
            : at_{&h}, store_{Platform::open(h)}, transport_{Platform::connect(h, "sender", {{"steps", "receiver", {"receiver"}}})},
              node_{*store_, *transport_, {.service = "sender"}}
        {
        }

        asio::awaitable<void> run() { return node_.run(send_all()); }

    private:
        asio::awaitable<void> send_all()
        {
            using namespace asio::experimental::awaitable_operators;
            co_await (send_some() && send_some());
            co_await at_->until_stopped();
        }

        asio::awaitable<void> send_some()
        {
            auto& chance = at_->get_environment().get_scheduler();
            while (at_->wants_load()) {
                auto const pause = chance.random_between({}, std::chrono::seconds{1});
                co_await at_->get_environment().sleep_for(pause);
                auto const count = 1 + chance.random_below(3);
                step_of_key s;
                s.key = std::to_string(chance.random_below(keys));
                auto work = [&](auto& tx) {
                    for (std::uint64_t n = 0; n < count; ++n) {
                        auto const last = Platform::get(tx, "numbers", s.key);
                        s.number = (last ? std::stoll(*last) : 0) + 1;
                        Platform::put(tx, "numbers", s.key, std::to_string(s.number));
                        tx.send("steps", s, {.key = s.key});
                    }
                };
                try {
                    co_await node_.transact(work);
                    at_->note("has sent up to " + std::to_string(s.number), s.key);
                } catch (std::exception const& e) {
                    at_->note(e.what(), s.key);
                }
            }
        }

        host* at_;
        std::unique_ptr<typename Platform::store_type> store_;
        std::unique_ptr<typename Platform::transport_type> transport_;
        node_type node_;
    };

    class receiver {
    public:
        explicit receiver(host& h)
            : at_{&h}, store_{Platform::open(h)}, transport_{Platform::connect(h, "receiver", {})},
              node_{*store_, *transport_, {.service = "receiver"}}
        {
            consumer_options options;
            options.retries = schedule::exponential({.cap = std::chrono::seconds{30}, .attempts = 1000});
            node_.template consume<step_of_key>("steps", "receiver", [at = at_](auto& tx, step_of_key const& s) {
                auto const last = Platform::get(tx, "numbers", s.key);
                auto const expected = (last ? std::stoll(*last) : 0) + 1;
                at->note("applies " + std::to_string(s.number), s.key);
                if (s.number != expected)
                    Platform::put(tx, "disorder", s.key, "number " + std::to_string(s.number) + " came instead of " + std::to_string(expected));
                Platform::put(tx, "numbers", s.key, std::to_string(s.number));
                if (at->get_environment().get_scheduler().chance(0.1))
                    throw std::runtime_error{"not now"};
            }, options);
        }

        asio::awaitable<void> run() { return node_.run(at_->until_stopped()); }

    private:
        host* at_;
        std::unique_ptr<typename Platform::store_type> store_;
        std::unique_ptr<typename Platform::transport_type> transport_;
        node_type node_;
    };

    std::map<std::string, std::string> sent_, applied_, disorder_; // by key
};

} // namespace cosaga::testing
