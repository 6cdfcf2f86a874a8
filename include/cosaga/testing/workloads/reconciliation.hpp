// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/ledger_difference.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/node.hpp>
#include <cosaga/reconciler.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/describe/class.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

struct purchase {
    std::string id;
    std::int64_t cents = 0;

    static constexpr std::string_view reconciled[] = {"cents"};
};
BOOST_DESCRIBE_STRUCT(purchase, (), (id, cents))

/// A shop and a warehouse with careless operators, who lose orders, shipments and messages, and change amounts: a reconciler finds and
/// mends it all. In the end both sides are equal, nothing is lost that one of them still had, and nothing was applied more often than
/// it was lost.
template <class Platform = memory_platform>
class reconciliation final : public scenario {
public:
    void build(world& w) override
    {
        committed_.clear();
        rolled_back_.clear();
        wounds_.clear();
        w.template add_host<shop>("shop", this);
        w.template add_host<warehouse>("warehouse", this);
    }

    asio::awaitable<bool> audit(host& h) override
    {
        bool const is_shop = h.name() == "shop";
        auto const store = Platform::open(h);
        side found;
        std::size_t pending = 0;
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            found = {};
            found.since = tx.open_ledger(is_shop ? sent : applied_by_warehouse);
            for (auto const& r : tx.read_records(is_shop ? sent : applied, everything, most_records))
                found.records.emplace(r.key, entry{r.time, std::string{r.fields.find("cents").value_or("")}});
            for (auto& [id, cents] : Platform::entries(tx, is_shop ? "orders" : "shipments"))
                if (!cents.empty()) // else it was lost
                    found.rows.emplace(id, cents);
            if (!is_shop)
                found.times = Platform::entries(tx, "times");
            pending = count_pending(tx);
        };
        co_await store->transact(read);
        co_await store->close();
        sides_[h.name()] = std::move(found);
        co_return pending == 0 && compared("shop") == compared("warehouse");
    }

    void check(world& w) override
    {
        for (auto const& [id, made] : committed_) {
            auto const& wounds = wounds_[id];
            if (made.time < since() || (wounds.at_shop > 0 && wounds.elsewhere > 0))
                continue; // before there were ledgers, or nobody has it any more
            for (auto const* const name : {"shop", "warehouse"}) {
                auto const& s = sides_[name];
                auto const row = s.rows.find(id);
                if (!s.records.contains(id) || row == s.rows.end())
                    w.add_finding("not mended: lost at the " + std::string{name}, id);
                else if (row->second != made.cents)
                    w.add_finding("not mended: another amount at the " + std::string{name}, id);
            }
        }
        for (auto const& id : rolled_back_)
            if (sides_["shop"].rows.contains(id) || sides_["warehouse"].rows.contains(id))
                w.add_finding("an order is there that was rolled back", id);
        for (auto const& [id, times] : sides_["warehouse"].times) {
            auto const& wounds = wounds_[id];
            if (std::stoi(times) > 1 + wounds.elsewhere + 2 * wounds.at_shop)
                w.add_finding("doubled: applied " + times + " times", id);
        }
    }

private:
    struct entry {
        time_point time{};
        std::string cents;

        friend bool operator==(entry const&, entry const&) = default;
    };
    /// What one host has.
    struct side {
        time_point since{};
        std::map<std::string, entry> records;
        std::map<std::string, std::string> rows, times;
    };
    struct wounds_of_one {
        int at_shop = 0;   ///< order and record
        int elsewhere = 0; ///< message, shipment and record, or amount
    };

    using store_type = typename Platform::store_type;
    using transport_type = typename Platform::transport_type;
    using node_type = node<store_type, transport_type>;

    static constexpr std::size_t most_records = 1'000'000;
    static constexpr ledger_range everything{{}, {time_point::max(), {}}};
    inline static std::string const sent = outbox_ledger("orders");
    inline static std::string const applied = inbox_ledger("orders", "warehouse", "shop");
    inline static std::string const applied_by_warehouse = inbox_ledger("orders", "warehouse", {});

    time_point since() { return std::max(sides_["shop"].since, sides_["warehouse"].since); }

    std::map<std::string, entry> compared(std::string const& name)
    {
        auto records = sides_[name].records;
        std::erase_if(records, [from = since()](auto const& r) { return r.second.time < from; });
        return records;
    }

    /// Both have careless operators: now and then `lose` is called in a transaction.
    class service {
    public:
        service(host& h, reconciliation* test, std::vector<simulated_route> routes, node_options options)
            : at_{&h}, test_{test}, store_{Platform::open(h)}, transport_{Platform::connect(h, h.name(), std::move(routes))},
              node_{*store_, *transport_, std::move(options)}
        {
        }

    protected:
        scheduler& chance() const { return at_->get_environment().get_scheduler(); }

        template <class Lose>
        asio::awaitable<void> be_careless(Lose lose)
        {
            while (at_->wants_load()) {
                auto const pause = chance().random_between({}, std::chrono::seconds{10});
                co_await at_->get_environment().sleep_for(pause);
                auto const how = chance().random();
                auto work = [&](auto& tx) { lose(tx, how); };
                try {
                    co_await node_.transact(work);
                } catch (std::exception const& e) {
                    at_->note(e.what());
                }
            }
        }

        template <class Tx>
        static std::optional<ledger_record> some_record(Tx& tx, std::string const& ledger, std::uint64_t how)
        {
            auto records = tx.read_records(ledger, everything, most_records);
            if (records.empty())
                return std::nullopt;
            return std::move(records[how % records.size()]);
        }

        host* at_;
        reconciliation* test_;
        std::unique_ptr<store_type> store_;
        std::unique_ptr<transport_type> transport_;
        node_type node_;
    };

    class shop : public service {
    public:
        shop(host& h, reconciliation* test)
            : service{h, test, {{"orders", "warehouse", {"warehouse"}}, {"reconcile", "warehouse", {"warehouse"}}},
                  {.service = h.name(), .ledgers = {{.topic = "orders"}}, .reply_topic = "replies"}},
              reconciler_{this->node_, {.topic = "orders", .participant = "warehouse", .requests = "reconcile",
                                          .every = std::chrono::seconds{40}, .grace = std::chrono::seconds{5},
                                          .timeout = std::chrono::seconds{4}}}
        {
            auto rebuild = [](auto& tx, ledger_record const& r) -> std::optional<purchase> {
                auto const cents = Platform::get(tx, "orders", r.key);
                if (!cents || cents->empty())
                    return std::nullopt;
                return purchase{r.key, std::stoll(*cents)};
            };
            reconciler_.template redrive<purchase>(rebuild);
            reconciler_.template ask_to_apply<purchase>(rebuild);
            reconciler_.call(difference_kind::missing_at_initiator, [at = this->at_](auto& tx, ledger_difference const& d) {
                at->note("has its order again", d.there->key);
                Platform::put(tx, "orders", d.there->key, std::string{*d.there->fields.find("cents")});
                tx.record(sent, {&*d.there, 1});
            });
            this->node_.attach(reconciler_);
        }

        asio::awaitable<void> run() { return this->node_.run(trade()); }

    private:
        asio::awaitable<void> trade()
        {
            using namespace asio::experimental::awaitable_operators;
            auto open = [](auto& tx) { tx.open_ledger(sent); };
            co_await this->node_.transact(open);
            auto lose_something = [this](auto& tx, std::uint64_t how) { this->lose(tx, how); };
            co_await (place_some() && this->be_careless(lose_something));
            co_await this->at_->until_stopped();
        }

        asio::awaitable<void> place_some()
        {
            while (this->at_->wants_load()) {
                auto const pause = this->chance().random_between({}, std::chrono::seconds{1});
                co_await this->at_->get_environment().sleep_for(pause);
                auto const how = this->chance().random();
                purchase const p{std::to_string(this->at_->get_environment().random() >> 16), static_cast<std::int64_t>(how % 1000)};
                entry made;
                made.cents = std::to_string(p.cents);
                auto work = [&](auto& tx) {
                    Platform::put(tx, "orders", p.id, made.cents);
                    tx.send("orders", p, {.key = p.id});
                    made.time = tx.now();
                    if ((how >> 32) % 8 == 0) {
                        this->test_->rolled_back_.insert(p.id);
                        throw std::runtime_error{"changed their mind"};
                    }
                };
                try {
                    co_await this->node_.transact(work);
                    this->test_->committed_.emplace(p.id, made);
                    this->at_->note("committed", p.id);
                } catch (std::exception const& e) {
                    this->at_->note(e.what(), p.id);
                }
            }
        }

        template <class Tx>
        void lose(Tx& tx, std::uint64_t how)
        {
            if (how % 2 == 0)
                return lose_message(tx, how / 2);
            auto const r = service::some_record(tx, sent, how / 2);
            if (!r)
                return;
            this->at_->note("loses the order", r->key);
            ++this->test_->wounds_[r->key].at_shop;
            auto const at = r->position();
            Platform::put(tx, "orders", r->key, "");
            tx.erase_records(sent, {&at, 1});
        }

        template <class Tx>
        void lose_message(Tx& tx, std::uint64_t how)
        {
            queue_name const queue{queue_side::outbox, "orders", "warehouse"};
            auto const waiting = tx.read(queue, message_state::ready, 0, 8);
            if (waiting.empty())
                return;
            auto const& row = waiting[how % waiting.size()];
            this->at_->note("loses the message", row.content.key);
            ++this->test_->wounds_[row.content.key].elsewhere;
            tx.erase(queue, message_state::ready, std::span<std::int64_t const>{&row.seq, 1});
        }

        reconciler<node_type> reconciler_;
    };

    class warehouse : public service {
    public:
        warehouse(host& h, reconciliation* test)
            : service{h, test, {{"replies", "shop", {"shop"}}}, {.service = h.name()}}
        {
            this->node_.template consume<purchase>("orders", "warehouse",
                [at = this->at_](auto& tx, purchase const& p) {
                    at->note("ships", p.id);
                    auto const had = Platform::get(tx, "times", p.id);
                    Platform::put(tx, "times", p.id, std::to_string((had ? std::stoi(*had) : 0) + 1));
                    Platform::put(tx, "shipments", p.id, std::to_string(p.cents));
                },
                {.ledger_retention = std::chrono::days{30}});
            this->node_.template respond<reconciliation_request>("reconcile", "warehouse",
                reconciliation_answerer{*this->store_, "orders", "warehouse", {.grace = std::chrono::seconds{5}}});
        }

        asio::awaitable<void> run() { return this->node_.run(work()); }

    private:
        asio::awaitable<void> work()
        {
            auto open = [](auto& tx) { tx.open_ledger(applied_by_warehouse); };
            co_await this->node_.transact(open);
            auto lose_something = [this](auto& tx, std::uint64_t how) { this->lose(tx, how); };
            co_await this->be_careless(lose_something);
            co_await this->at_->until_stopped();
        }

        template <class Tx>
        void lose(Tx& tx, std::uint64_t how)
        {
            auto r = service::some_record(tx, applied, how / 2);
            if (!r)
                return;
            bool const loses = how % 2 == 0;
            this->at_->note(loses ? "loses the shipment" : "changes the amount", r->key);
            ++this->test_->wounds_[r->key].elsewhere;
            Platform::put(tx, "shipments", r->key, loses ? "" : "1001");
            auto const at = r->position();
            if (loses) {
                tx.erase_records(applied, {&at, 1});
                return;
            }
            r->fields = ledger_fields{}.add("cents", "1001");
            tx.record(applied, {&*r, 1});
        }
    };

    std::map<std::string, entry> committed_;         // by order
    std::set<std::string> rolled_back_;              // orders
    std::map<std::string, wounds_of_one> wounds_;    // by order
    std::map<std::string, side> sides_;              // by host
};

} // namespace cosaga::testing
