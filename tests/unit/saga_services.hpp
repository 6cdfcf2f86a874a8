// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "transaction_services.hpp"

#include <cosaga/saga.hpp>
#include <cosaga/saga_participant.hpp>

#include <deque>

namespace cosaga_tests {

using cosaga::saga_state;

struct receipt {
    std::string id;
    std::string reference;

    friend bool operator==(receipt const&, receipt const&) = default;
};
BOOST_DESCRIBE_STRUCT(receipt, (), (id, reference))

// What undoes steps here.
struct release {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(release, (), (id))
struct call_off {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(call_off, (), (id))

// What a bank is asked.
struct payment {
    std::string reference;
};
BOOST_DESCRIBE_STRUCT(payment, (), (reference))
struct charge {
    using reply = payment;
    std::string id;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(charge, (), (id, cents))
struct pay_back {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(pay_back, (), (id))
struct capture {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(capture, (), (id))

struct customer_reply {
    bool agreed = false;
};
BOOST_DESCRIBE_STRUCT(customer_reply, (), (agreed))

template <class Kit>
struct saga_process : process<Kit> {
    using process<Kit>::process;
    using engine_type = cosaga::saga_engine<typename process<Kit>::node_type::outbox_type>;
    using context = typename engine_type::context;

    void prepare() override
    {
        settings.reply_topic = "answers";
        engine = std::make_unique<engine_type>(this->node->get_outbox(), settings);
        if (registers)
            registers(*engine);
        this->node->attach(*engine);
    }
    void dismiss() override { engine.reset(); }

    cosaga::saga_options settings;
    std::function<void(engine_type&)> registers;
    std::unique_ptr<engine_type> engine;
};

template <class Kit>
struct bank_process : process<Kit> {
    using process<Kit>::process;
    using transaction = typename process<Kit>::node_type::transaction;
    using participant_type = cosaga::saga_participant<typename process<Kit>::node_type::outbox_type>;

    void prepare() override
    {
        settings.topic = "payments";
        part = std::make_unique<participant_type>(this->node->get_outbox(), settings);
        part->template handle<charge>([this](transaction& tx, charge const& c) {
            calls.push_back("charge " + c.id);
            if (fails)
                fails(c.id);
            Kit::put(tx, c.id, "paid " + std::to_string(c.cents));
            return payment{"ref-" + c.id};
        });
        part->template handle<pay_back>([this](transaction& tx, pay_back const& r) {
            calls.push_back("pay_back " + r.id);
            if (undo_fails)
                undo_fails(r.id);
            Kit::put(tx, r.id, "paid back");
        });
        part->template handle<capture>([this](transaction& tx, capture const& c) {
            calls.push_back("capture " + c.id);
            if (undo_fails)
                undo_fails(c.id);
            Kit::put(tx, c.id, "captured");
        });
        this->node->attach(*part);
    }
    void dismiss() override { part.reset(); }

    cosaga::saga_participant_options settings;
    std::unique_ptr<participant_type> part;
    std::vector<std::string> calls; // rolled back ones included
    std::function<void(std::string const&)> fails;
    std::function<void(std::string const&)> undo_fails;
};

/// A shop whose sagas charge a bank, in virtual time.
template <class Kit>
struct basic_saga_services : ::testing::Test {
    using shop_type = saga_process<Kit>;
    using engine_type = typename shop_type::engine_type;
    using context = typename shop_type::context;
    using transaction = typename engine_type::transaction;

    ~basic_saga_services() override
    {
        shop.end();
        bank.end();
    }

    /// Registers `body` as "place order", version 1, with the compensations that write "released".
    template <class Body>
    void define(Body body, std::uint32_t version = 1)
    {
        shop.registers = [this, body, version, before = shop.registers](engine_type& e) {
            if (before)
                before(e);
            else
                register_compensations(e);
            e.template define<order>("place order", version, body);
        };
    }
    void register_compensations(engine_type& e)
    {
        e.template compensate<release>([this](transaction& tx, release const& r) {
            undone.push_back(r.id);
            if (undo_fails)
                undo_fails(r.id);
            Kit::put(tx, r.id, "released");
        });
        e.template compensate<call_off>([this](call_off const& c, cosaga::message_id key) -> asio::awaitable<void> {
            undone.push_back("call off " + c.id);
            keys.push_back(key);
            if (undo_fails)
                undo_fails(c.id);
            co_return;
        });
    }

    /// A local step that writes "done" under its name, and "released" when it is undone.
    static asio::awaitable<void> mark(context& s, std::string name)
    {
        auto const work = [&](transaction& tx) { Kit::put(tx, name, "done"); };
        co_await s.step(name, work).template undo<release>(name);
    }
    static asio::awaitable<void> refuse(context& s)
    {
        auto const work = [](transaction&) { throw cosaga::refusal("no"); };
        co_await s.step("refuse", work);
    }

    bool begin(std::string id = "o1", std::int64_t cents = 100, cosaga::begin_options const& options = {})
    {
        order const o{id, cents};
        return run(env, shop.engine->begin("place order", id, o, options));
    }
    receipt result(std::string id = "o1") { return run(env, shop.engine->template result<receipt>(id)); }
    failure failed(std::string id = "o1")
    {
        return failure_of([&] { result(id); });
    }
    cosaga::saga_info find(std::string id = "o1")
    {
        auto const found = run(env, shop.engine->find(id));
        if (!found)
            throw std::runtime_error{"no such saga"};
        return *found;
    }
    /// Its journal, as `2 done pay`.
    std::vector<std::string> journal(std::string id = "o1")
    {
        std::vector<std::string> lines;
        for (auto const& e : run(env, shop.engine->journal(id)))
            lines.push_back((e.step.empty() ? "" : e.step + " ") + e.what + (e.name.empty() ? "" : " " + e.name));
        return lines;
    }
    std::optional<std::string> get(std::string const& key) { return shop.get(key); }
    bool reported(std::string_view part) const
    {
        return std::any_of(env.reports().begin(), env.reports().end(), [&](auto const& r) { return contains(r, part); });
    }

    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport hub{env, {.service = "hub"}};
    shop_type shop{env, hub, {.service = "shop", .routes = {{"payments", "bank"}}}};
    bank_process<Kit> bank{env, hub, {.service = "bank", .routes = {{"answers", "shop"}}}};
    std::vector<std::string> undone; // rolled back ones included
    std::vector<cosaga::message_id> keys;
    std::function<void(std::string const&)> undo_fails;
};

using saga_services = basic_saga_services<storage_kits::memory_kit>;

} // namespace cosaga_tests
