// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>
#include <cosaga/testing/workloads/numbered.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// What became of every message that somebody tried to send: attempted, acknowledged, applied, lost, doubled.
///
/// Two hosts send, from several coroutines at once, to two named consumers: some messages with a key, a delay or a receipt, some
/// of them from local transactions that throw. A message whose `transact` returned is applied once by each consumer; one whose `transact` threw by
/// none; one that a crash interrupted by both or by none.
template <class Platform = memory_platform>
class total_queue final : public scenario {
public:
    void build(world& w) override
    {
        outcomes_.clear();
        for (auto const* const name : producers)
            w.template add_host<producer>(name, this);
        for (auto const* const name : consumers)
            w.template add_host<counting_consumer<Platform>>(name, std::string{"items"});
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            applied_[h.name()] = Platform::entries(tx, "applied");
            at_rest = count_pending(tx) == 0;
        };
        co_await store->transact(read);
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        for (auto const& [id, o] : outcomes_) {
            auto const first = times(consumers[0], id);
            auto const second = times(consumers[1], id);
            auto const found = " was applied " + std::to_string(first) + " and " + std::to_string(second) + " times";
            if (first > 1 || second > 1)
                w.add_finding("doubled: a message" + found, id);
            else if (o == outcome::returned && first + second != 2)
                w.add_finding("lost: a message that was sent" + found, id);
            else if (o == outcome::acknowledged && first + second != 2)
                w.add_finding("lost: a message that was acknowledged" + found, id);
            else if (o == outcome::threw && first + second != 0)
                w.add_finding("a message of a transaction that threw" + found, id);
            else if (first != second)
                w.add_finding("half: a message" + found, id);
        }
        for (auto const* const name : consumers)
            for (auto const& [id, n] : applied_[name])
                if (!outcomes_.contains(id))
                    w.add_finding("a message was applied that nobody sent", id);
    }

private:
    static constexpr std::array producers{"producer1", "producer2"};
    static constexpr std::array consumers{"billing", "archive"};
    enum class outcome { attempted, threw, returned, acknowledged };

    int times(std::string const& consumer, std::string const& id)
    {
        auto const& all = applied_[consumer];
        auto const found = all.find(id);
        return found == all.end() ? 0 : std::stoi(found->second);
    }

    using node_type = node<typename Platform::store_type, typename Platform::transport_type>;

    class producer {
    public:
        producer(host& h, total_queue* test)
            : at_{&h}, test_{test}, store_{Platform::open(h)},
              transport_{Platform::connect(h, h.name(), {{"items", consumers[0], {consumers[0]}}, {"items", consumers[1], {consumers[1]}}})},
              node_{*store_, *transport_, {.service = h.name(), .relay = {.poll_interval = seldom}}}
        {
        }

        asio::awaitable<void> run() { return node_.run(produce()); }

        asio::awaitable<void> send(numbered const& n, std::uint64_t how)
        {
            auto& o = test_->outcomes_[n.id];
            auto const throws = (how & 7) == 0;
            auto const key = std::to_string(how >> 8 & 3);
            send_options options;
            options.key = (how & 8) == 0 ? std::string_view{} : std::string_view{key};
            options.delay = (how & 0x70) == 0 ? duration{std::chrono::seconds{how >> 16 & 15}} : duration::zero();
            at_->note(throws ? "sends, and throws" : "sends", n.id);
            auto work = [&](auto& tx) {
                Platform::put(tx, "sent", n.id, "yes");
                auto expected = tx.send_with_receipt("items", n, options);
                if (throws)
                    throw std::runtime_error{"no"};
                return expected;
            };
            try {
                auto const expected = co_await node_.transact(work);
                o = outcome::returned;
                at_->note("committed", n.id);
                if ((how & 0x80) == 0)
                    co_return;
                bool const acknowledged = co_await is_acknowledged(expected);
                if (acknowledged)
                    o = outcome::acknowledged;
            } catch (std::exception const& e) {
                if (o == outcome::attempted)
                    o = outcome::threw;
                at_->note(e.what(), n.id);
            }
        }

    private:
        asio::awaitable<void> produce()
        {
            using namespace asio::experimental::awaitable_operators;
            co_await (send_numbered(*at_, *this) && send_numbered(*at_, *this) && send_numbered(*at_, *this));
            co_await at_->until_stopped();
        }

        asio::awaitable<bool> is_acknowledged(receipt const& expected)
        {
            using namespace asio::experimental::awaitable_operators;
            auto const first = co_await (expected.acknowledged() || at_->get_environment().sleep_for(std::chrono::seconds{30}));
            co_return first.index() == 0;
        }

        host* at_;
        total_queue* test_;
        std::unique_ptr<typename Platform::store_type> store_;
        std::unique_ptr<typename Platform::transport_type> transport_;
        node_type node_;
    };

    std::map<std::string, outcome> outcomes_;                          // by id
    std::map<std::string, std::map<std::string, std::string>> applied_; // by consumer: how often each id
};

} // namespace cosaga::testing
