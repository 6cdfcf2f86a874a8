// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/node.hpp>
#include <cosaga/saga.hpp>
#include <cosaga/saga_participant.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/describe/class.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Money that a saga moves from an account to another, each at one of two banks.
struct remittance {
    std::string id;
    std::string from;
    std::string to;
    std::int64_t cents = 0;
    std::uint64_t how = 0; ///< random bits that choose the way
};
BOOST_DESCRIBE_STRUCT(remittance, (), (id, from, to, cents, how))

// What banks are asked.
struct enter {
    std::string id;
    std::string effect;
    std::string account;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(enter, (), (id, effect, account, cents))
struct enter_back {
    std::string id;
    std::string effect;
    std::string account;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(enter_back, (), (id, effect, account, cents))
struct settle_entry {
    std::string id;
    std::string effect;
};
BOOST_DESCRIBE_STRUCT(settle_entry, (), (id, effect))
/// Undoes what a teller does itself.
struct strike_out {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(strike_out, (), (id))

/// Sagas of two tellers over the same accounts of two banks: money is conserved, every saga ends, and none is half done.
///
/// Some run branches at the same time or let them race, some reserve and confirm, sleep, wait for an event or begin a child; some are
/// refused or cancelled. All leave the memory when they wait for long.
template <class Platform = memory_platform>
class sagas final : public scenario {
public:
    void build(world& w) override
    {
        begun_.clear();
        for (auto const* const name : banks)
            w.template add_host<bank>(name);
        for (auto const* const name : tellers)
            w.template add_host<teller>(name, this);
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            auto& b = books_[h.name()];
            b = {};
            b.accounts = Platform::entries(tx, "accounts");
            b.effects = Platform::entries(tx, "effects");
            for (auto const& queue : tx.queues())
                for (auto const& row : tx.read(queue, message_state::dead, 0, most))
                    b.parked.push_back(row.last_error);
            at_rest = count_pending(tx) == 0;
            for (auto const state : {saga_state::running, saga_state::compensating, saga_state::confirming, saga_state::paused,
                     saga_state::done, saga_state::undone})
                for (auto& row : tx.list_sagas(state, "", most)) {
                    at_rest = at_rest && !is_unfinished(state);
                    b.sagas.emplace(row.id, std::move(row));
                }
        };
        co_await store->transact(read);
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        std::int64_t total = 0;
        std::map<std::string, std::map<std::string, std::string>> effects; // by saga
        for (auto const& [where, b] : books_) {
            for (auto const& [name, cents] : b.accounts)
                total += std::stoll(cents);
            for (auto const& [effect, times] : b.effects)
                effects[effect.substr(0, effect.find(':'))][effect] = times;
            for (auto const& why : b.parked)
                w.add_finding("parked at " + where + ": " + why);
            for (auto const& [id, row] : b.sagas)
                if (row.state == saga_state::paused)
                    w.add_finding("a saga is paused: " + row.reason, id);
        }
        if (total != 0)
            w.add_finding("money was not conserved: the accounts sum up to " + std::to_string(total));
        for (auto const& [id, b] : begun_)
            if (auto const* const row = find(id))
                check_effects(w, id, b, row->state == saga_state::done, effects[id]);
            else if (b.durable)
                w.add_finding("lost: a saga that had begun", id);
            else if (effects.contains(id))
                w.add_finding("there are effects of a saga that was not begun", id);
    }

private:
    static constexpr std::array banks{"bank1", "bank2"};
    static constexpr std::array tellers{"teller1", "teller2"};
    static constexpr std::size_t most = 1'000'000;

    using store_type = typename Platform::store_type;
    using transport_type = typename Platform::transport_type;
    using node_type = node<store_type, transport_type>;
    using outbox_type = typename node_type::outbox_type;
    using context = saga_context<outbox_type>;
    using transaction = typename outbox_type::transaction;

    struct begun {
        bool durable = false;  ///< `begin` returned
        bool reserves = false; ///< what it withdraws is reserved, and confirmed in the end
    };
    struct book {
        std::map<std::string, std::string> accounts, effects;
        std::map<std::string, saga_row> sagas;
        std::vector<std::string> parked;
    };

    // How an effect is counted: once 1, confirmed 10 more, undone 1000 more.
    static constexpr std::int64_t confirmed = 10;
    static constexpr std::int64_t undone = 1000;

    static void add(transaction& tx, std::string_view table, std::string const& key, std::int64_t more)
    {
        auto const had = Platform::get(tx, table, key);
        Platform::put(tx, table, key, std::to_string((had ? std::stoll(*had) : 0) + more));
    }

    saga_row const* find(std::string const& id) const
    {
        for (auto const& [where, b] : books_)
            if (auto const found = b.sagas.find(id); found != b.sagas.end())
                return &found->second;
        return nullptr;
    }

    // Of a done saga each kind of effect is there once, and nothing of any other; what is there of an undone one is undone.
    static void check_effects(world& w, std::string const& id, begun const& b, bool done, std::map<std::string, std::string> const& effects)
    {
        std::map<std::string, int> kinds{{"note", 0}, {"withdraw", 0}, {"deposit", 0}};
        for (auto const& [effect, text] : effects) {
            auto const kind = effect.substr(effect.find(':') + 1, effect.find('@') - effect.find(':') - 1);
            auto const counted = std::stoll(text);
            auto const whole = 1 + (b.reserves && kind == "withdraw" ? confirmed : 0);
            if (done && counted == whole)
                ++kinds[kind];
            else if (counted != 1 + undone)
                w.add_finding(std::string{"half: in "} + (done ? "a done" : "an undone") + " saga " + effect + " counts " + text, id);
        }
        for (auto const& [kind, times] : kinds)
            if (done && times != 1)
                w.add_finding("half: a done saga has " + std::to_string(times) + " effects " + kind, id);
    }

    class bank {
    public:
        explicit bank(host& h)
            : at_{&h}, store_{Platform::open(h)},
              transport_{Platform::connect(h, h.name(), {{answers_of(tellers[0]), tellers[0], {tellers[0]}}, {answers_of(tellers[1]), tellers[1], {tellers[1]}}})},
              node_{*store_, *transport_, {.service = h.name(), .relay = {.poll_interval = seldom}}},
              participant_{node_.get_outbox(), {.topic = h.name(), .consumer = {.poll_interval = seldom}}}
        {
            participant_.template handle<enter>([this](transaction& tx, enter const& e) {
                at_->note("enters " + e.effect, e.id);
                move(tx, e.account, e.cents, e.effect, 1);
                stumble();
                if ((e.cents & 7) == 0)
                    throw refusal("no");
            });
            participant_.template handle<enter_back>([this](transaction& tx, enter_back const& e) {
                at_->note("enters back " + e.effect, e.id);
                move(tx, e.account, -e.cents, e.effect, undone);
                stumble();
            });
            participant_.template handle<settle_entry>([this](transaction& tx, settle_entry const& e) {
                at_->note("settles " + e.effect, e.id);
                add(tx, "effects", e.effect, confirmed);
                stumble();
            });
            node_.attach(participant_);
        }

        asio::awaitable<void> run() { return node_.run(at_->until_stopped()); }

    private:
        static void move(transaction& tx, std::string const& account, std::int64_t cents, std::string const& effect, std::int64_t counts)
        {
            add(tx, "accounts", account, cents);
            add(tx, "effects", effect, counts);
        }
        // What was done before must not stay.
        void stumble()
        {
            auto const chance = at_->get_environment().random() & 31;
            if (chance == 0)
                throw std::runtime_error{"stumbled"};
            if (chance == 1)
                throw still_ongoing{std::chrono::seconds{2}};
        }

        host* at_;
        std::unique_ptr<store_type> store_;
        std::unique_ptr<transport_type> transport_;
        node_type node_;
        saga_participant<outbox_type> participant_;
    };

    static std::string answers_of(std::string const& teller) { return "answers to " + teller; }

    class teller {
    public:
        teller(host& h, sagas* test)
            : at_{&h}, test_{test}, store_{Platform::open(h)},
              transport_{Platform::connect(h, h.name(), {{banks[0], banks[0], {banks[0]}}, {banks[1], banks[1], {banks[1]}}})},
              node_{*store_, *transport_, {.service = h.name(), .relay = {.poll_interval = seldom}}},
              sagas_{node_.get_outbox(), {.reply_topic = answers_of(h.name()), .park_after = std::chrono::seconds{2}, .poll_interval = seldom}}
        {
            sagas_.template define<remittance>("remit", 1, [this](context& s, remittance r) { return remit(s, std::move(r)); });
            sagas_.template define<std::string>("note", 1, [](context& s, std::string id) { return note(s, std::move(id)); });
            sagas_.template compensate<strike_out>([at = at_](transaction& tx, strike_out const& s) {
                at->note("strikes out", s.id);
                add(tx, "effects", s.id + ":note", undone);
            });
            node_.attach(sagas_);
        }

        asio::awaitable<void> run() { return node_.run(produce()); }

    private:
        static asio::awaitable<void> note(context& s, std::string id)
        {
            auto const write = [&](transaction& tx) { add(tx, "effects", id + ":note", 1); };
            co_await s.step("note", write).template undo<strike_out>(id);
            co_await s.sleep_for(std::chrono::milliseconds{100});
        }

        static std::string bank_of(std::string const& account) { return banks[account.front() == '1' ? 0 : 1]; }

        // Bits of `how` choose what comes; one in eight of most things.
        asio::awaitable<void> remit(context& s, remittance r)
        {
            auto const withdrawn = r.id + ":withdraw";
            auto const take = [&](context& b) -> asio::awaitable<void> {
                co_await b.template call<enter>(bank_of(r.from), r.id, withdrawn, r.from, -r.cents)
                    .template undo<enter_back>(r.id, withdrawn, r.from, -r.cents);
            };
            auto const give = [&](context& b) -> asio::awaitable<void> {
                auto const effect = r.id + ":deposit";
                co_await b.template call<enter>(bank_of(r.to), r.id, effect, r.to, r.cents).template undo<enter_back>(r.id, effect, r.to, r.cents);
            };
            if ((r.how & 7) == 0)
                co_await s.template child<void>("note", r.id).template undo<strike_out>(r.id);
            else
                co_await note(s, r.id);
            if ((r.how >> 3 & 3) == 0) {
                co_await s.all(take, give);
            } else if (reserves(r)) {
                co_await s.template call<enter>(bank_of(r.from), r.id, withdrawn, r.from, -r.cents)
                    .template confirm<settle_entry>(r.id, withdrawn)
                    .template undo<enter_back>(r.id, withdrawn, r.from, -r.cents);
                co_await give(s);
            } else {
                co_await take(s);
                co_await race(s, r);
            }
            if ((r.how >> 5 & 7) == 0) {
                auto const span = std::chrono::milliseconds{r.how >> 8 & 0x3fff};
                co_await s.sleep_for(span);
            }
            if ((r.how >> 8 & 7) == 0)
                co_await s.template receive<std::string>("go on", std::chrono::seconds{3});
            // What it says depends on when it is asked.
            auto const last = [this](transaction&) {
                if ((at_->get_environment().random() & 7) == 0)
                    throw refusal("not now");
            };
            co_await s.step("last", last);
        }

        // Two banks are asked at the same time; the money stays where it was taken first.
        static asio::awaitable<void> race(context& s, remittance const& r)
        {
            auto const there = [&](std::string const& account) {
                return [&r, account](context& b) -> asio::awaitable<void> {
                    auto const effect = r.id + ":deposit@" + account;
                    co_await b.template call<enter>(bank_of(account), r.id, effect, account, r.cents)
                        .template undo<enter_back>(r.id, effect, account, r.cents);
                };
            };
            auto const first = there("1" + r.to.substr(1));
            auto const second = there("2" + r.to.substr(1));
            co_await s.any(first, second);
        }

        static bool reserves(remittance const& r) noexcept { return (r.how >> 3 & 3) == 1; }

        asio::awaitable<void> produce()
        {
            using namespace asio::experimental::awaitable_operators;
            co_await (begin_some() && begin_some() && begin_some());
            co_await at_->until_stopped();
        }

        asio::awaitable<void> begin_some()
        {
            auto& chance = at_->get_environment().get_scheduler();
            auto const some_account = [&] {
                auto const branch = 1 + chance.random_below(2); // first, whatever compiler
                return std::to_string(branch) + "-" + std::to_string(chance.random_below(4));
            };
            while (at_->wants_load()) {
                auto const pause = chance.random_between({}, std::chrono::seconds{5});
                co_await at_->get_environment().sleep_for(pause);
                remittance r;
                r.id = at_->name() + '/' + std::to_string(at_->get_environment().random() >> 16);
                r.from = some_account();
                r.to = some_account();
                r.cents = static_cast<std::int64_t>(1 + chance.random_below(256));
                r.how = chance.random();
                co_await begin(r);
                if ((r.how >> 24 & 7) == 0)
                    co_await meddle(r);
            }
        }

        asio::awaitable<void> begin(remittance const& r)
        {
            at_->note("begins", r.id);
            auto& b = test_->begun_[r.id];
            b.reserves = reserves(r);
            try {
                co_await sagas_.begin("remit", r.id, r);
                b.durable = true;
            } catch (std::exception const& e) {
                at_->note(e.what(), r.id);
            }
        }
        // As operators and customers do.
        asio::awaitable<void> meddle(remittance const& r)
        {
            auto const pause = std::chrono::milliseconds{r.how >> 32 & 0x1fff};
            co_await at_->get_environment().sleep_for(pause);
            bool const cancels = (r.how >> 48 & 1) == 0;
            at_->note(cancels ? "cancels" : "sends an event", r.id);
            try {
                std::string const said = "yes";
                if (cancels)
                    co_await sagas_.cancel(r.id, "changed my mind");
                else
                    co_await sagas_.send(r.id, "go on", said);
            } catch (std::exception const& e) {
                at_->note(e.what(), r.id);
            }
        }

        host* at_;
        sagas* test_;
        std::unique_ptr<store_type> store_;
        std::unique_ptr<transport_type> transport_;
        node_type node_;
        saga_engine<outbox_type> sagas_;
    };

    std::map<std::string, begun> begun_; // by id
    std::map<std::string, book> books_;  // by host, as it was found last
};

} // namespace cosaga::testing
