// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/notification_rows.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/node.hpp>
#include <cosaga/notifier.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>
#include <cosaga/testing/workloads/numbered.hpp>
#include <cosaga/transport_sink.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Best-effort notifications from two senders to two merchants: each that was committed is delivered or recorded as given up, none is
/// forgotten, and none is applied more than once.
///
/// Answers are lost, merchants say that they want nothing any more, and what was given up is started again from time to time.
template <class Platform = memory_platform>
class notifications final : public scenario {
public:
    void build(world& w) override
    {
        outcomes_.clear();
        for (auto const* const name : senders)
            w.template add_host<sender>(name, this);
        for (auto const* const name : merchants)
            w.template add_host<counting_consumer<Platform>>(name, std::string{notifications_topic});
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto read = [&](auto& tx) {
            detail::notification_rows<typename store_type::transaction_type> const rows{notifier_options{}};
            Platform::verify(tx);
            applied_[h.name()] = Platform::entries(tx, "applied");
            states_[h.name()].clear();
            for (auto const& [id, notification_id] : Platform::entries(tx, "made")) {
                auto const n = rows.find(tx, *message_id::parse(notification_id));
                states_[h.name()][id] = n ? std::optional{n->state} : std::nullopt;
            }
            at_rest = count_pending(tx) == 0;
        };
        co_await store->transact(read);
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        std::set<std::string> made;
        for (auto const* const name : senders)
            for (auto const& [id, state] : states_[name]) {
                made.insert(id);
                auto const n = times(id);
                if (!state)
                    w.add_finding("forgotten: a notification that was committed", id);
                else if (*state == notification_state::pending)
                    w.add_finding("a notification is pending at the end", id);
                else if (*state == notification_state::delivered && n == 0)
                    w.add_finding("a delivered notification was not applied", id);
                if (n > 1)
                    w.add_finding("doubled: a notification was applied " + std::to_string(n) + " times", id);
            }
        for (auto const& [id, o] : outcomes_) {
            if (o == outcome::returned && !made.contains(id))
                w.add_finding("lost: a local transaction that had committed", id);
            if (o == outcome::threw && made.contains(id))
                w.add_finding("a local transaction that threw is there", id);
            if (!made.contains(id) && times(id) > 0)
                w.add_finding("a notification was applied that was not committed", id);
        }
    }

private:
    static constexpr std::array senders{"sender1", "sender2"};
    static constexpr std::array merchants{"merchant1", "merchant2"};
    enum class outcome { attempted, threw, returned };

    using store_type = typename Platform::store_type;
    using transport_type = typename Platform::transport_type;
    using node_type = node<store_type, transport_type>;

    int times(std::string const& id)
    {
        int n = 0;
        for (auto const* const name : merchants)
            if (auto const found = applied_[name].find(id); found != applied_[name].end())
                n += std::stoi(found->second);
        return n;
    }

    // Loses answers, and makes some up.
    class troubled_sink {
    public:
        troubled_sink(host& h, transport_type& t) : at_{&h}, through_{t} {}

        void check(std::string const& destination) const { through_.check(destination); }

        asio::awaitable<attempt_result> deliver(std::string const& destination, message const& m)
        {
            auto const chance = at_->get_environment().random() & 0xff;
            if (chance < 16)
                throw std::runtime_error{"no connection"};
            attempt_result made;
            made.reason = chance < 17 ? "gone" : "busy";
            made.outcome = chance < 17 ? attempt_outcome::gone : attempt_outcome::failed;
            if (chance < 32) {
                if (chance < 24)
                    made.retry_after = std::chrono::seconds{chance};
                co_return made;
            }
            auto result = co_await through_.deliver(destination, m);
            if (chance < 48)
                throw std::runtime_error{"the answer was lost"};
            co_return result;
        }

    private:
        host* at_;
        transport_sink<transport_type> through_;
    };

    class sender {
    public:
        sender(host& h, notifications* test)
            : at_{&h}, test_{test}, store_{Platform::open(h)},
              transport_{Platform::connect(h, h.name(),
                  {{std::string{notifications_topic}, merchants[0], {merchants[0]}}, {std::string{notifications_topic}, merchants[1], {merchants[1]}}})},
              node_{*store_, *transport_, {.service = h.name()}}, sink_{h, *transport_},
              notifier_{node_.get_outbox(), sink_, {.schedule = short_schedule(), .attempt_timeout = std::chrono::seconds{4}, .in_flight = 16}}
        {
            node_.attach(notifier_);
        }

        asio::awaitable<void> run() { return node_.run(produce()); }

        asio::awaitable<void> send(numbered const& n, std::uint64_t how)
        {
            auto& o = test_->outcomes_[n.id];
            bool const throws = (how & 7) == 0;
            notification_options options;
            options.delay = (how & 0x70) == 0 ? duration{std::chrono::seconds{how >> 16 & 15}} : duration::zero();
            if ((how & 0x700) == 0)
                options.schedule = notification_schedule{.retries = schedule::list({std::chrono::seconds{how >> 20 & 31}})};
            if ((how & 0x800) == 0)
                options.id = message_id::from_foreign(at_->name(), n.id);
            auto const* const to = merchants[how >> 12 & 1];
            at_->note(throws ? "notifies, and throws" : "notifies", n.id);
            auto work = [&](auto& tx) {
                auto const id = tx.notify(to, n, options);
                if (options.id)
                    tx.notify(to, n, options); // is there already
                Platform::put(tx, "made", n.id, id.to_string());
                if (throws)
                    throw std::runtime_error{"no"};
            };
            try {
                co_await notifier_.transact(work);
                o = outcome::returned;
                at_->note("committed", n.id);
            } catch (std::exception const& e) {
                o = outcome::threw;
                at_->note(e.what(), n.id);
            }
        }

    private:
        static notification_schedule short_schedule()
        {
            using namespace std::chrono;
            return {.retries = schedule::list({milliseconds{500}, seconds{1}, seconds{5}, seconds{20}, minutes{2}, minutes{10}}, 0.3)};
        }

        asio::awaitable<void> produce()
        {
            using namespace asio::experimental::awaitable_operators;
            co_await (send_numbered(*at_, *this) && send_numbered(*at_, *this) && look_after());
            co_await at_->until_stopped();
        }

        // As an operator does.
        asio::awaitable<void> look_after()
        {
            auto& chance = at_->get_environment().get_scheduler();
            while (at_->wants_load()) {
                auto const pause = chance.random_between({}, std::chrono::seconds{20});
                co_await at_->get_environment().sleep_for(pause);
                try {
                    for (auto const* const name : merchants)
                        co_await notifier_.enable(name);
                    std::string const everywhere;
                    std::string const why = (chance.random() & 1) == 0 ? "busy" : "";
                    co_await notifier_.restart_all(everywhere, why);
                } catch (std::exception const& e) {
                    at_->note(e.what());
                }
            }
        }

        host* at_;
        notifications* test_;
        std::unique_ptr<store_type> store_;
        std::unique_ptr<transport_type> transport_;
        node_type node_;
        troubled_sink sink_;
        notifier<typename node_type::outbox_type, troubled_sink> notifier_;
    };

    std::map<std::string, outcome> outcomes_;                                             // by id
    std::map<std::string, std::map<std::string, std::optional<notification_state>>> states_; // by sender, of what was committed
    std::map<std::string, std::map<std::string, std::string>> applied_;                   // by merchant: how often each id
};

} // namespace cosaga::testing
