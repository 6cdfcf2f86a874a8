// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A service of one's own in the simulation. Try `simulation --seeds 1..1000`, then break something in `warehouse`.
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/runner.hpp>
#include <boost/describe/class.hpp>

namespace asio = boost::asio;
namespace sim = cosaga::testing;

struct order { std::string id; };
BOOST_DESCRIBE_STRUCT(order, (), (id))

struct service {
    sim::host& at;
    sim::simulated_transport transport;
    cosaga::memory_store store{at.get_environment(), at.durable<cosaga::memory_disk>()};
    cosaga::node<cosaga::memory_store, sim::simulated_transport> node{store, transport, {.service = at.name()}};
};
struct shop : service {
    explicit shop(sim::host& h) : service{h, {h, {.service = "shop", .routes = {{"orders", "warehouse", {"warehouse"}}}}}} {}
    asio::awaitable<void> run() { return node.run(sell()); }
    asio::awaitable<void> sell()
    {
        while (at.wants_load()) {
            co_await at.get_environment().sleep_for(std::chrono::milliseconds{500});
            order const o{std::to_string(at.get_environment().random())};
            auto work = [&](auto& tx) { tx.put("orders", o.id, "once"); tx.send("orders", o); };
            try { co_await node.transact(work); } catch (std::exception const& e) { at.note(e.what()); }
        }
        co_await at.until_stopped();
    }
};
struct warehouse : service {
    explicit warehouse(sim::host& h) : service{h, {h, {.service = "warehouse"}}}
    {
        node.consume<order>("orders", "warehouse", [](auto& tx, order const& o) {
            tx.put("orders", o.id, tx.get("orders", o.id) ? "twice" : "once");
        });
    }
    asio::awaitable<void> run() { return node.run(at.until_stopped()); }
};
struct every_order_is_shipped_once final : sim::scenario {
    std::map<std::string, std::map<std::string, std::string>> found; // by host
    void build(sim::world& w) override { w.add_host<shop>("shop"); w.add_host<warehouse>("warehouse"); }
    asio::awaitable<bool> audit(sim::host& h) override
    {
        cosaga::memory_store store{h.get_environment(), h.durable<cosaga::memory_disk>()};
        auto read = [&](auto& tx) { found[h.name()] = tx.entries("orders"); return sim::count_pending(tx) == 0; };
        co_return co_await store.transact(read);
    }
    void check(sim::world& w) override { if (found["shop"] != found["warehouse"]) w.add_finding("what was shipped is not what was ordered"); }
};
int main(int argc, char** argv)
{
    sim::runner r;
    r.add<every_order_is_shipped_once>("orders");
    return r.main(argc, argv);
}
