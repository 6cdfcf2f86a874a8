// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/describe/class.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Money on its way to an account at another bank.
struct transfer {
    std::string id;
    std::string account;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(transfer, (), (id, account, cents))

/// Banks that send each other money: what leaves one account arrives at another, once.
///
/// Each bank moves money from a random account of its own to a random account anywhere, about twice a second; some
/// transfers are refused and rolled back. In the end there is as much money as in the beginning, and every transfer that
/// was committed was credited once.
template <class Platform = memory_platform>
class ledger final : public scenario {
public:
    static constexpr std::size_t banks = 4;
    static constexpr std::size_t accounts = 4; ///< of each bank
    static constexpr std::int64_t opening = 1000;

    void build(world& w) override
    {
        for (std::size_t n = 0; n < banks; ++n)
            w.template add_host<bank>(name_of(n));
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto& b = books_[h.name()];
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            b.balances = Platform::entries(tx, "balances");
            b.sent = Platform::entries(tx, "sent");
            b.credited = Platform::entries(tx, "credited");
            at_rest = count_pending(tx) == 0;
        };
        co_await store->transact(read);
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        std::int64_t money = 0;
        std::map<std::string, int> credited;
        for (auto const& [name, b] : books_) {
            for (auto const& [account, cents] : b.balances)
                money += std::stoll(cents);
            for (auto const& [id, times] : b.credited)
                credited[id] += std::stoi(times);
        }
        for (auto const& [name, b] : books_)
            for (auto const& [id, cents] : b.sent) {
                auto const times = credited.contains(id) ? credited.extract(id).mapped() : 0;
                if (times != 1)
                    w.add_finding("a transfer of " + cents + " was credited " + std::to_string(times) + " times", id);
            }
        for (auto const& [id, times] : credited)
            w.add_finding("a transfer was credited that was rolled back", id);
        auto const expected = static_cast<std::int64_t>(banks * accounts) * opening;
        if (money != expected)
            w.add_finding("there are " + std::to_string(money) + " cents instead of " + std::to_string(expected));
    }

private:
    struct book {
        std::map<std::string, std::string> balances, sent, credited;
    };

    static std::string name_of(std::size_t bank) { return "bank" + std::to_string(bank); }

    class bank {
    public:
        explicit bank(host& h)
            : at_{&h}, store_{Platform::open(h)}, transport_{Platform::connect(h, h.name(), routes(h))},
              node_{*store_, *transport_, {.service = h.name()}}
        {
            node_.template consume<transfer>("to " + h.name(), h.name(), [at = at_](auto& tx, transfer const& t) {
                at->note("credits " + std::to_string(t.cents) + " to " + t.account, t.id);
                add(tx, "balances", t.account, t.cents);
                add(tx, "credited", t.id, 1);
            });
        }

        asio::awaitable<void> run() { return node_.run(trade()); }

    private:
        static std::vector<simulated_route> routes(host const& here)
        {
            std::vector<simulated_route> all;
            for (std::size_t n = 0; n < banks; ++n)
                if (auto const other = name_of(n); other != here.name())
                    all.push_back({"to " + other, other, {other}});
            return all;
        }

        template <class Tx>
        static void add(Tx& tx, std::string_view table, std::string const& key, std::int64_t more)
        {
            auto const had = Platform::get(tx, table, key);
            Platform::put(tx, table, key, std::to_string((had ? std::stoll(*had) : 0) + more));
        }

        std::string some_account() const { return std::to_string(chance().random_below(accounts)); }
        scheduler& chance() const { return at_->get_environment().get_scheduler(); }

        asio::awaitable<void> trade()
        {
            auto open_accounts = [](auto& tx) {
                if (Platform::get(tx, "opened", "all"))
                    return;
                Platform::put(tx, "opened", "all", "yes");
                for (std::size_t n = 0; n < accounts; ++n)
                    add(tx, "balances", std::to_string(n), opening); // some may have been sent money already
            };
            co_await node_.transact(open_accounts);
            while (at_->wants_load()) {
                auto const pause = chance().random_between({}, std::chrono::seconds{1});
                co_await at_->get_environment().sleep_for(pause);
                co_await move_money();
            }
            co_await at_->until_stopped();
        }

        asio::awaitable<void> move_money()
        {
            auto const from = some_account();
            auto const to = name_of(chance().random_below(banks));
            transfer t;
            t.id = at_->name() + '/' + std::to_string(at_->get_environment().random() >> 16);
            t.account = some_account();
            t.cents = static_cast<std::int64_t>(1 + chance().random_below(400));
            at_->note("sends " + std::to_string(t.cents) + " from " + from + " to " + to + ' ' + t.account, t.id);
            auto work = [&](auto& tx) {
                add(tx, "balances", from, -t.cents);
                add(tx, "sent", t.id, t.cents);
                if (to == at_->name()) {
                    add(tx, "balances", t.account, t.cents);
                    add(tx, "credited", t.id, 1);
                } else {
                    tx.send("to " + to, t, {.key = t.account});
                }
                if (std::stoll(*Platform::get(tx, "balances", from)) < 0)
                    throw std::runtime_error{"not so much money"};
            };
            try {
                co_await node_.transact(work);
                at_->note("committed", t.id);
            } catch (std::exception const& e) {
                at_->note(e.what(), t.id);
            }
        }

        host* at_;
        std::unique_ptr<typename Platform::store_type> store_;
        std::unique_ptr<typename Platform::transport_type> transport_;
        node<typename Platform::store_type, typename Platform::transport_type> node_;
    };

    std::map<std::string, book> books_; // by bank
};

} // namespace cosaga::testing
