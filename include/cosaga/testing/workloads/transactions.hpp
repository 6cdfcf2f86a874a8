// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/coordinator.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>
#include <cosaga/testing/workloads/numbered.hpp>
#include <cosaga/transactional_producer.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Transactional messages from two producers by way of two coordinators to two named consumers: each local transaction is
/// committed and its message applied once by each consumer, or neither.
///
/// Local transactions commit, throw, or are interrupted by crashes; some messages are delayed or have a key.
/// @tparam Resource over a store: where the local transactions live.
template <class Platform = memory_platform, template <class> class Resource = fence>
class transactions final : public scenario {
public:
    void build(world& w) override
    {
        outcomes_.clear();
        for (auto const* const name : producers)
            w.template add_host<producer>(name, this);
        for (auto const* const name : coordinators)
            w.template add_host<coordinator_service>(name);
        for (auto const* const name : consumers)
            w.template add_host<counting_consumer<Platform>>(name, std::string{"items"});
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            committed_[h.name()] = Platform::entries(tx, "sent");
            applied_[h.name()] = Platform::entries(tx, "applied");
            parked_[h.name()].clear();
            for (auto const& queue : tx.queues())
                for (auto const& row : tx.read(queue, message_state::dead, 0, 1000))
                    parked_[h.name()].push_back(row.last_error);
            at_rest = count_pending(tx) == 0;
        };
        co_await store->transact(read);
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        for (auto const& [id, o] : outcomes_) {
            bool const committed = committed_[id.substr(0, id.find('/'))].contains(id);
            if (o == outcome::returned && !committed)
                w.add_finding("lost: a local transaction that had committed", id);
            if (o == outcome::threw && committed)
                w.add_finding("a local transaction that threw is there", id);
            if (o == outcome::conflict)
                w.add_finding("a message was dropped though its local transaction committed", id);
            for (auto const* const name : consumers)
                compare(w, name, id, committed);
        }
        for (auto const* const name : consumers)
            for (auto const& [id, n] : applied_[name])
                if (!outcomes_.contains(id))
                    w.add_finding("a message was applied that nobody sent", id);
        for (auto const& [name, reasons] : parked_)
            for (auto const& why : reasons)
                w.add_finding("parked at " + name + ": " + why);
    }

private:
    static constexpr std::array producers{"producer1", "producer2"};
    static constexpr std::array coordinators{"coordinator1", "coordinator2"};
    static constexpr std::array consumers{"billing", "archive"};
    enum class outcome { attempted, threw, unknown, conflict, returned };

    using store_type = typename Platform::store_type;
    using transport_type = typename Platform::transport_type;
    using node_type = node<store_type, transport_type>;

    void compare(world& w, std::string const& consumer, std::string const& id, bool committed)
    {
        auto const found = applied_[consumer].find(id);
        auto const times = found == applied_[consumer].end() ? std::string{"0"} : found->second;
        if (times != (committed ? "1" : "0"))
            w.add_finding(std::string{committed ? "a committed" : "an uncommitted"} + " message was applied " + times + " times by " + consumer, id);
    }

    class producer {
    public:
        producer(host& h, transactions* test)
            : at_{&h}, test_{test}, store_{Platform::open(h)},
              transport_{Platform::connect(h, h.name(),
                  {{std::string{transactions_topic}, coordinators[0], {coordinators[0]}},
                      {std::string{transactions_topic}, coordinators[1], {coordinators[1]}}})},
              node_{*store_, *transport_, {.service = h.name(), .relay = {.poll_interval = seldom}}}, resource_{*store_},
              producer_{*transport_, resource_, {.service = h.name(), .coordinators = {coordinators[0], coordinators[1]}}}
        {
            node_.attach(producer_);
        }

        asio::awaitable<void> run() { return node_.run(produce()); }

        asio::awaitable<void> send(numbered const& n, std::uint64_t how)
        {
            auto& o = test_->outcomes_[n.id];
            bool const throws = (how & 7) == 0;
            auto const key = std::to_string(how >> 8 & 3);
            transaction_options options;
            options.key = (how & 8) == 0 ? std::string_view{} : std::string_view{key};
            options.delay = (how & 0x70) == 0 ? duration{std::chrono::seconds{how >> 16 & 15}} : duration::zero();
            // Some are asked about before they have begun.
            std::chrono::milliseconds const first{1 + (how >> 20 & 0xfff)};
            options.checks = check_options{.first = first, .interval = std::chrono::seconds{5}, .cap = std::chrono::minutes{1}, .most = 30};
            at_->note(throws ? "sends, and throws" : "sends", n.id);
            auto local = [&](auto& tx) {
                Platform::put(tx, "sent", n.id, "yes");
                if (throws)
                    throw std::runtime_error{"no"};
            };
            try {
                co_await producer_.send("items", n, local, options);
                o = outcome::returned;
                at_->note("committed", n.id);
            } catch (boost::system::system_error const& e) {
                o = e.code() == errc::transaction_unknown ? outcome::unknown : e.code() == errc::transaction_conflict ? outcome::conflict : outcome::threw;
                at_->note(e.what(), n.id);
            } catch (std::exception const& e) {
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

        host* at_;
        transactions* test_;
        std::unique_ptr<store_type> store_;
        std::unique_ptr<transport_type> transport_;
        node_type node_;
        Resource<store_type> resource_;
        transactional_producer<transport_type, Resource<store_type>> producer_;
    };

    class coordinator_service {
    public:
        explicit coordinator_service(host& h)
            : at_{&h}, store_{Platform::open(h)},
              transport_{Platform::connect(h, h.name(),
                  {{"items", consumers[0], {consumers[0]}}, {"items", consumers[1], {consumers[1]}},
                      {std::string{checks_topic}, producers[0], {producers[0]}}, {std::string{checks_topic}, producers[1], {producers[1]}}})},
              node_{*store_, *transport_, {.service = h.name(), .relay = {.poll_interval = seldom}}}, coordinator_{node_.get_outbox(), {.name = h.name()}}
        {
            node_.attach(coordinator_);
        }

        asio::awaitable<void> run() { return node_.run(at_->until_stopped()); }

    private:
        host* at_;
        std::unique_ptr<store_type> store_;
        std::unique_ptr<transport_type> transport_;
        node_type node_;
        coordinator<typename node_type::outbox_type> coordinator_;
    };

    std::map<std::string, outcome> outcomes_; // by id
    std::map<std::string, std::map<std::string, std::string>> committed_; // by producer
    std::map<std::string, std::map<std::string, std::string>> applied_;   // by consumer: how often each id
    std::map<std::string, std::vector<std::string>> parked_;              // by host: why
};

} // namespace cosaga::testing
