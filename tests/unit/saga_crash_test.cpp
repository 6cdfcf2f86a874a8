// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A process with a saga is killed at every point at which something became durable.
#include "saga_services.hpp"

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;

constexpr cosaga::time_point start = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1};

using outbox_type = memory_node::outbox_type;
using context = cosaga::saga_context<outbox_type>;
using transaction = outbox_type::transaction;

void count(transaction& tx, std::string const& what)
{
    auto const before = tx.get("effects", what).value_or("0");
    tx.put("effects", what, std::to_string(std::stoi(before) + 1));
}

/// A process on a disk that outlives it.
struct machine {
    machine(cosaga::testing::scheduler& s, cosaga::memory_transport& h, cosaga::memory_transport_options o)
        : scheduler{&s}, hub{&h}, options{std::move(o)}
    {
    }
    virtual ~machine() = default;

    void boot()
    {
        env = std::make_unique<cosaga::testing::virtual_environment>(*scheduler, start, cosaga::duration{});
        transport = std::make_unique<cosaga::memory_transport>(*hub, *env, options);
        disk.fail_commits([this] {
            ++commits;
            return false;
        });
        store = std::make_unique<cosaga::memory_store>(*env, disk);
        node = std::make_unique<memory_node>(*store, *transport, cosaga::node_options{.service = options.service});
        prepare();
        asio::co_spawn(env->get_executor(), node->start(), [](std::exception_ptr e) { EXPECT_FALSE(e); });
    }
    void kill()
    {
        disk.fail_commits(nullptr);
        disk.lose_power();
        scheduler->retire(env->get_domain());
        node.reset();
        dismiss();
        store.reset();
        transport.reset();
        env.reset();
    }
    virtual void prepare() = 0;
    virtual void dismiss() {}

    std::map<std::string, std::string> effects()
    {
        std::map<std::string, std::string> found;
        auto read = [&](auto& tx) { found = tx.entries("effects"); };
        run(*env, store->transact(read));
        return found;
    }

    cosaga::testing::scheduler* scheduler;
    cosaga::memory_transport* hub;
    cosaga::memory_transport_options options;
    cosaga::memory_disk disk;
    std::unique_ptr<cosaga::testing::virtual_environment> env;
    std::unique_ptr<cosaga::memory_transport> transport;
    std::unique_ptr<cosaga::memory_store> store;
    std::unique_ptr<memory_node> node;
    std::size_t commits = 0;
};

struct bank_machine : machine {
    using machine::machine;
    void prepare() override
    {
        part = std::make_unique<cosaga::saga_participant<outbox_type>>(
            node->get_outbox(), cosaga::saga_participant_options{.topic = "payments"});
        part->handle<charge>([](transaction& tx, charge const& c) {
            count(tx, "charge " + c.id);
            return payment{"ref-" + c.id};
        });
        part->handle<pay_back>([](transaction& tx, pay_back const& p) { count(tx, "pay back " + p.id); });
        node->attach(*part);
    }
    void dismiss() override { part.reset(); }

    std::unique_ptr<cosaga::saga_participant<outbox_type>> part;
};

/// Runs one saga of ten steps, two branches of which run at the same time.
struct shop_machine : machine {
    using machine::machine;

    auto local(context& s, std::string name) { return local_step(s, std::move(name), fails_at); }
    static asio::awaitable<std::string> local_step(context& s, std::string name, std::string fails)
    {
        auto const work = [&](transaction& tx) {
            if (name == fails)
                throw cosaga::refusal("no " + name);
            count(tx, name);
            return name + " ";
        };
        co_return co_await s.step(name, work).undo<release>(name);
    }
    asio::awaitable<std::string> outside(context& s, std::string name)
    {
        auto const effect = [&](cosaga::message_id key) -> asio::awaitable<std::string> {
            outside_keys[name].insert(key);
            co_await env->sleep_for(10ms);
            co_return name + " ";
        };
        co_return co_await s.effect(name, effect).undo<call_off>(name);
    }
    static asio::awaitable<std::string> remote(context& s, std::string name)
    {
        auto const p = co_await s.call<charge>("payments", name, 1).undo<pay_back>(name);
        co_return p.reference + " ";
    }

    asio::awaitable<receipt> body(context& s, order o)
    {
        std::string all = co_await local(s, "a");
        all += co_await remote(s, "b");
        all += co_await outside(s, "c");
        auto const first = [&](context& b) -> asio::awaitable<std::string> {
            std::string done = co_await local(b, "d");
            done += co_await remote(b, "e");
            done += co_await local(b, "f");
            co_return done;
        };
        auto const second = [&](context& b) -> asio::awaitable<std::string> {
            std::string done = co_await outside(b, "g");
            co_await b.sleep_for(50ms);
            done += co_await local(b, "h");
            co_return done;
        };
        auto const both = co_await s.all(first, second);
        all += std::get<0>(both) + std::get<1>(both);
        co_await s.sleep_for(1s);
        all += co_await local(s, "i");
        all += co_await local(s, "j");
        co_return receipt{o.id, all};
    }

    void prepare() override
    {
        engine = std::make_unique<cosaga::saga_engine<outbox_type>>(
            node->get_outbox(), cosaga::saga_options{.reply_topic = "answers", .park_after = park_after, .undo_branches_together = together});
        engine->define<order>("place order", 1, [this](context& s, order o) { return body(s, std::move(o)); });
        engine->compensate<release>([](transaction& tx, release const& r) { count(tx, "undo " + r.id); });
        engine->compensate<call_off>([this](call_off const& c, cosaga::message_id key) -> asio::awaitable<void> {
            undo_keys[c.id].insert(key);
            co_await env->sleep_for(10ms);
        });
        node->attach(*engine);
    }
    void dismiss() override { engine.reset(); }

    /// What the saga gave, or threw, in the end; its journal if it did not end.
    std::string outcome()
    {
        if (auto const state = run(*env, engine->find("o1"))->state; state != saga_state::done && state != saga_state::undone)
            return unfinished();
        std::string text;
        auto const failure = failure_of([&] { text = run(*env, engine->result<receipt>("o1")).reference; });
        return failure.what.empty() ? text : failure.what;
    }

    /// False again after a restart.
    bool is_over() const { return engine->counters().done + engine->counters().undone > 0; }
    std::string unfinished()
    {
        std::string text = "unfinished:\n";
        for (auto const& e : run(*env, engine->journal("o1")))
            text += e.step + " " + e.what + " " + e.name + " " + e.detail + "\n";
        auto const info = *run(*env, engine->find("o1"));
        text += "state " + std::to_string(static_cast<int>(info.state)) + " " + info.reason + " owner " + info.owner;
        for (auto const& r : env->reports())
            text += "\n" + r;
        return text;
    }

    std::string fails_at;
    cosaga::duration park_after = 10s;
    bool together = false; // how branches are undone
    std::map<std::string, std::set<cosaga::message_id>> outside_keys;
    std::map<std::string, std::set<cosaga::message_id>> undo_keys;
    std::unique_ptr<cosaga::saga_engine<outbox_type>> engine;
};

struct outcome {
    std::string result;
    std::map<std::string, std::string> shop;
    std::map<std::string, std::string> bank;
    strings outside;
    strings undone_outside;
    std::size_t commits = 0;

    bool operator==(outcome const& o) const
    {
        return result == o.result && shop == o.shop && bank == o.bank && outside == o.outside && undone_outside == o.undone_outside;
    }
};

strings names_with_one_key(std::map<std::string, std::set<cosaga::message_id>> const& keys)
{
    strings names;
    for (auto const& [name, all] : keys)
        names.push_back(all.size() == 1 ? name : name + " with several keys");
    return names;
}

/// Runs the saga; the shop is killed when it has committed `kill_at` times, and if `often` again after as many commits.
outcome run_saga(std::uint64_t seed, std::string fails_at, std::size_t kill_at, bool often = false, cosaga::duration park_after = 10s,
    bool together = false)
{
    cosaga::testing::scheduler scheduler{seed};
    cosaga::testing::virtual_environment world{scheduler, start, cosaga::duration{}};
    cosaga::memory_transport hub{world, {.service = "hub"}};
    bank_machine bank{scheduler, hub, {.service = "bank", .routes = {{"answers", "shop"}}}};
    shop_machine shop{scheduler, hub, {.service = "shop", .routes = {{"payments", "bank"}}}};
    shop.fails_at = std::move(fails_at);
    shop.park_after = park_after;
    shop.together = together;
    bank.boot();
    shop.boot();
    bool begun = false;
    auto const begin = [](shop_machine& s, bool& done) -> asio::awaitable<void> {
        order const o{"o1", 100};
        co_await s.engine->begin("place order", o.id, o);
        done = true;
    };
    asio::co_spawn(shop.env->get_executor(), begin(shop, begun), [](std::exception_ptr e) { EXPECT_FALSE(e); });
    world.run_until([&] { return begun; });
    auto const base = shop.commits;
    auto next = base + kill_at;
    for (int lives = 1; kill_at > 0 && lives < 1000; ++lives) {
        world.run_until([&] { return shop.is_over() || shop.commits >= next; });
        if (shop.is_over() || shop.commits < next || (!often && lives > 1))
            break;
        shop.kill();
        shop.boot();
        next = often ? shop.commits + kill_at : next;
        if (!often)
            break;
    }
    auto const late = world.steady_now() + 5min;
    world.run_until([&] { return shop.is_over() || world.steady_now() > late; });
    outcome o;
    o.commits = shop.commits - base;
    o.result = shop.outcome();
    world.run_for(5s); // what still travels
    o.shop = shop.effects();
    o.bank = bank.effects();
    o.outside = names_with_one_key(shop.outside_keys);
    o.undone_outside = names_with_one_key(shop.undo_keys);
    shop.kill();
    bank.kill();
    return o;
}

void expect_once(std::map<std::string, std::string> const& effects)
{
    for (auto const& [what, times] : effects)
        EXPECT_EQ(times, "1") << what;
}

TEST(a_killed_saga, does_every_step_once_wherever_it_is_killed)
{
    auto const undisturbed = run_saga(1, "", 0);
    EXPECT_EQ(undisturbed.result, "a ref-b c d ref-e f g h i j ");
    EXPECT_EQ(undisturbed.shop.size(), 6u);
    EXPECT_EQ(undisturbed.bank.size(), 2u);
    EXPECT_EQ(undisturbed.outside, (strings{"c", "g"}));
    expect_once(undisturbed.shop);
    expect_once(undisturbed.bank);
    EXPECT_GE(undisturbed.commits, 13u);
    for (std::size_t k = 1; k <= undisturbed.commits; ++k)
        for (std::uint64_t seed : {1, 2, 3}) {
            auto const o = run_saga(seed, "", k);
            EXPECT_TRUE(o == undisturbed) << "killed at commit " << k << " with seed " << seed << ": " << o.result;
        }
}

TEST(a_killed_saga, is_undone_once_wherever_it_is_killed)
{
    auto const undisturbed = run_saga(1, "j", 0);
    EXPECT_TRUE(contains(undisturbed.result, "no j")) << undisturbed.result;
    EXPECT_EQ(undisturbed.shop.size(), 10u); // a d f h i, and what undoes them
    EXPECT_EQ(undisturbed.bank.size(), 4u);
    EXPECT_EQ(undisturbed.undone_outside, (strings{"c", "g"}));
    expect_once(undisturbed.shop);
    expect_once(undisturbed.bank);
    for (std::size_t k = 1; k <= undisturbed.commits; ++k)
        for (std::uint64_t seed : {1, 2, 3}) {
            auto const o = run_saga(seed, "j", k);
            EXPECT_TRUE(o == undisturbed) << "killed at commit " << k << " with seed " << seed << ": " << o.result;
        }
}

TEST(a_killed_saga, is_undone_once_with_all_branches_at_the_same_time)
{
    auto const undisturbed = run_saga(1, "j", 0, false, 10s, true);
    EXPECT_TRUE(undisturbed == run_saga(1, "j", 0)) << undisturbed.result;
    for (std::size_t k = 1; k <= undisturbed.commits; ++k) {
        auto const o = run_saga(k, "j", k, false, 10s, true);
        EXPECT_TRUE(o == undisturbed) << "killed at commit " << k << ": " << o.result;
        auto const p = run_saga(k, "j", 2 + k % 8, true, 0s, true);
        EXPECT_TRUE(p == undisturbed) << "parked and killed at each " << 2 + k % 8 << "th commit: " << p.result;
    }
}

TEST(a_killed_saga, ends_however_often_it_is_killed)
{
    for (std::string const fails : {"", "j", "f"}) {
        auto const undisturbed = run_saga(1, fails, 0);
        for (std::size_t k = 3; k <= 12; ++k)
            for (std::uint64_t seed : {1, 2, 3, 4, 5}) {
                auto const o = run_saga(seed, fails, k, true);
                if (fails == "f") { // how far the other branch comes is not decided
                    EXPECT_EQ(o.result, undisturbed.result);
                    expect_once(o.shop);
                    expect_once(o.bank);
                } else {
                    EXPECT_TRUE(o == undisturbed) << "killed at each " << k << "th commit with seed " << seed << ": " << o.result;
                }
            }
    }
}

TEST(a_killed_saga, may_have_left_the_memory_at_every_step)
{
    for (std::string const fails : {"", "j"}) {
        auto const undisturbed = run_saga(1, fails, 0);
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            auto const o = run_saga(seed, fails, 0, false, 0s);
            EXPECT_TRUE(o == undisturbed) << "parked with seed " << seed << ": " << o.result;
            auto const p = run_saga(seed, fails, 5, true, 0s);
            EXPECT_TRUE(p == undisturbed) << "parked and killed with seed " << seed << ": " << p.result;
        }
    }
}

} // namespace
