// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/zeromq_frames.hpp>
#include <cosaga/detail/zeromq_socket.hpp>
#include <cosaga/node.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/testing/simulated_zeromq.hpp>
#include <cosaga/testing/world.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/describe/class.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
namespace sim = cosaga::testing;
using namespace std::chrono_literals;

struct order {
    std::string of; // the key
    int number = 0; // in the order of the key, from 1
};
BOOST_DESCRIBE_STRUCT(order, (), (of, number))

// Seeds FIRST to LAST, for long runs by hand.
std::pair<std::uint64_t, std::uint64_t> seeds(std::uint64_t last)
{
    auto const* const from = std::getenv("COSAGA_FIRST_SEED");
    auto const* const to = std::getenv("COSAGA_LAST_SEED");
    return {from ? std::strtoull(from, nullptr, 10) : 1, to ? std::strtoull(to, nullptr, 10) : last};
}

cosaga::zeromq_options options_of(sim::host& h, std::vector<cosaga::zeromq_route> routes)
{
    cosaga::zeromq_options options;
    options.service = h.name();
    options.listen = {"tcp://" + h.name() + ":7000"};
    options.routes = std::move(routes);
    options.insecure = true;
    options.window_messages = 8; // so that it is often full
    return options;
}

std::vector<std::string> at(std::string const& host)
{
    return {"tcp://" + host + ":7000"};
}

using node = cosaga::node<cosaga::memory_store, cosaga::zeromq_transport>;

// What every service of the first test is made of.
struct service {
    service(sim::host& h, std::vector<cosaga::zeromq_route> routes)
        : here{&h},
          store{h.get_environment(), h.durable<cosaga::memory_disk>()},
          transport{h.get_environment(), options_of(h, std::move(routes)), std::make_unique<sim::simulated_zeromq>(h)},
          n{store, transport, {.service = h.name()}}
    {
    }

    // Applies an order; what is wrong with it stays in the table.
    template <class Tx>
    static void apply(Tx& tx, std::string const& table, order const& o)
    {
        auto const before = tx.get(table, o.of);
        auto const last = before ? std::stoi(*before) : 0;
        if (o.number != last + 1)
            tx.put("broken", table + " " + o.of + " " + std::to_string(o.number), "after " + std::to_string(last));
        tx.put(table, o.of, std::to_string(o.number));
    }

    sim::host* here;
    cosaga::memory_store store;
    cosaga::zeromq_transport transport;
    node n;
};

// Sends orders with several keys to the warehouse and to the mailer.
struct shop : service {
    explicit shop(sim::host& h)
        : service{h, {{"orders", "warehouse", at("warehouse")}, {"orders", "mailer", at("mailer")}}}
    {
    }

    asio::awaitable<void> run() { return n.run(sell()); }

    asio::awaitable<void> sell()
    {
        while (here->durable<int>()++ < 150) {
            auto const pause = std::chrono::milliseconds{here->get_environment().random() % 800};
            co_await here->get_environment().sleep_for(pause);
            auto const count = 1 + here->get_environment().random() % 6;
            auto const first = here->get_environment().random();
            auto work = [&](auto& tx) {
                for (std::uint64_t i = 0; i < count; ++i) {
                    order o;
                    o.of = here->name() + std::to_string((first + i) % 3);
                    auto const before = tx.get("sold", o.of);
                    o.number = (before ? std::stoi(*before) : 0) + 1;
                    tx.put("sold", o.of, std::to_string(o.number));
                    tx.send("orders", o, {.key = o.of});
                }
            };
            try {
                co_await n.transact(work);
            } catch (boost::system::system_error const&) {
                // this one failed
            }
        }
        co_await here->until_stopped();
    }
};

// Passes on what it is sent.
struct warehouse : service {
    explicit warehouse(sim::host& h) : service{h, {{"shipments", "mailer", at("mailer")}}}
    {
        n.consume<order>("orders", "warehouse", [](auto& tx, order const& o) {
            apply(tx, "stocked", o);
            tx.send("shipments", o, {.key = o.of});
        });
    }
    asio::awaitable<void> run() { return n.run(here->until_stopped()); }
};

struct mailer : service {
    explicit mailer(sim::host& h) : service{h, {}}
    {
        n.consume<order>("orders", "mailer", [](auto& tx, order const& o) { apply(tx, "confirmed", o); });
        n.consume<order>("shipments", "mailer", [](auto& tx, order const& o) { apply(tx, "shipped", o); });
    }
    asio::awaitable<void> run() { return n.run(here->until_stopped()); }
};

using table = std::map<std::string, std::string>;

table read(sim::world& w, std::string const& host, std::string const& name)
{
    table found;
    auto const body = [&](sim::host& h) -> asio::awaitable<void> {
        cosaga::memory_store store{h.get_environment(), h.durable<cosaga::memory_disk>()};
        auto work = [&](auto& tx) { found = tx.entries(name); };
        co_await store.transact(work);
        co_await store.close();
    };
    w.run_on(w.find_host(host), body);
    return found;
}

struct outcome {
    std::uint64_t hash = 0;
    std::size_t sold = 0;
};

outcome trade(std::uint64_t seed, bool recording = false)
{
    sim::world w{{.seed = seed, .faults = sim::faults::all(), .recording = recording}};
    w.add_host<shop>("shop");
    w.add_host<shop>("market");
    w.add_host<warehouse>("warehouse");
    w.add_host<mailer>("mailer");
    w.run_with_faults(1min);
    w.run_for(3min);
    w.stop_all();
    for (auto const& f : w.findings())
        ADD_FAILURE() << f.what;
    auto sold = read(w, "shop", "sold");
    sold.merge(read(w, "market", "sold"));
    EXPECT_EQ(read(w, "warehouse", "stocked"), sold);
    EXPECT_EQ(read(w, "mailer", "confirmed"), sold);
    EXPECT_EQ(read(w, "mailer", "shipped"), sold);
    EXPECT_EQ(read(w, "warehouse", "broken"), table{});
    EXPECT_EQ(read(w, "mailer", "broken"), table{});
    outcome o;
    o.hash = w.get_scheduler().trace_hash();
    for (auto const& [key, count] : sold)
        o.sold += std::stoul(count);
    return o;
}

TEST(simulated_zeromq, delivers_each_committed_message_once_and_in_order_whatever_goes_wrong)
{
    auto const [first, last] = seeds(60);
    std::size_t sold = 0;
    for (auto seed = first; seed <= last && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        sold += trade(seed).sold;
    }
    EXPECT_GT(sold, (last - first + 1) * 50);
}

TEST(simulated_zeromq, does_the_same_with_the_same_seed)
{
    EXPECT_EQ(trade(7).hash, trade(7).hash);
    EXPECT_NE(trade(7).hash, trade(8).hash);
}

// --- two instances of a consumer, on the transport alone --------------------------------------------------------------

// Enough for every queue on the way to be full, or just a few messages over many connections.
struct load {
    std::size_t window = 8;
    std::uint64_t most_pause = 800; // milliseconds
    std::uint64_t most_messages = 6;

    static load heavy()
    {
        load l;
        l.window = 1000;
        l.most_pause = 40;
        l.most_messages = 40;
        return l;
    }
};

cosaga::zeromq_options options_of(sim::host& h, load const& l, std::vector<cosaga::zeromq_route> routes)
{
    auto options = options_of(h, std::move(routes));
    options.window_messages = l.window;
    options.batch_messages = 1; // many frames
    return options;
}

// What was published and what came, wherever it came. A message that was seen has no effect again, as with an inbox.
struct board {
    std::map<std::string, int> published; // the last number of each key
    std::map<std::string, int> applied;
    std::vector<std::string> wrong;
    load how{};
};

// Publishes anew after a crash what it does not know to be settled, as a relay does.
struct publisher_service {
    publisher_service(sim::host& h, std::shared_ptr<board> b) : here{&h}, all{std::move(b)} {}

    asio::awaitable<void> run()
    {
        cosaga::zeromq_route route;
        route.topic = "orders";
        route.consumer = "stock";
        for (std::string const instance : {"one", "two", "three"})
            route.endpoints.push_back(at(instance).front());
        transport.emplace(here->get_environment(), options_of(*here, all->how, std::vector{route}),
            std::make_unique<sim::simulated_zeromq>(*here));
        out = transport->open_publisher("orders", "stock");
        auto& unsettled = here->durable<outbox>().unsettled;
        std::vector<cosaga::envelope> again;
        for (auto const& [tag, content] : unsettled)
            again.push_back({tag, content});
        out.publish(std::move(again));
        cosaga::detail::spawn_on(here->get_environment().get_executor(), settle(), [](std::exception_ptr) {});
        while (here->durable<outbox>().rounds++ < 150) {
            auto const pause = std::chrono::milliseconds{here->get_environment().random() % all->how.most_pause};
            co_await here->get_environment().sleep_for(pause);
            out.publish(make_batch());
        }
        co_await here->until_stopped();
        co_await transport->close();
    }

    std::vector<cosaga::envelope> make_batch()
    {
        auto& box = here->durable<outbox>();
        std::vector<cosaga::envelope> batch(1 + here->get_environment().random() % all->how.most_messages);
        for (auto& e : batch) {
            auto& m = e.content;
            m.topic = "orders";
            m.key = here->name() + std::to_string(here->get_environment().random() % 3);
            m.payload = std::to_string(++all->published[m.key]);
            e.tag = ++box.tags;
            box.unsettled.emplace(e.tag, m);
        }
        return batch;
    }

    asio::awaitable<void> settle()
    {
        auto& unsettled = here->durable<outbox>().unsettled;
        for (;;) {
            auto const some = co_await out.settled();
            for (auto const& s : some) {
                auto const found = unsettled.find(s.tag);
                if (s.result != cosaga::verdict::accepted)
                    all->wrong.push_back("refused: " + s.reason);
                if (found == unsettled.end())
                    all->wrong.push_back("settled twice: " + std::to_string(s.tag));
                else if (all->applied[found->second.key] < std::stoi(found->second.payload))
                    all->wrong.push_back("settled before it was applied: " + found->second.key + " " + found->second.payload);
                if (found != unsettled.end())
                    unsettled.erase(found);
            }
        }
    }

    struct outbox {
        std::map<std::uint64_t, cosaga::message> unsettled;
        std::uint64_t tags = 0;
        int rounds = 0;
    };

    sim::host* here;
    std::shared_ptr<board> all;
    std::optional<cosaga::zeromq_transport> transport;
    cosaga::publisher_handle out;
};

struct instance_service {
    instance_service(sim::host& h, std::shared_ptr<board> b) : here{&h}, all{std::move(b)} {}

    asio::awaitable<void> run()
    {
        transport.emplace(here->get_environment(), options_of(*here, all->how, {}), std::make_unique<sim::simulated_zeromq>(*here));
        in = transport->subscribe("orders", "stock");
        transport->start();
        cosaga::detail::spawn_on(here->get_environment().get_executor(), consume(), [](std::exception_ptr) {});
        co_await here->until_stopped();
        co_await transport->close();
        if (transport->counters().refused_frames != 0)
            all->wrong.push_back("refused a frame");
    }

    asio::awaitable<void> consume()
    {
        auto& env = here->get_environment();
        for (;;) {
            auto some = co_await in.receive(1 + env.random() % 5);
            auto const work = std::chrono::microseconds{env.random() % 20'000};
            co_await env.sleep_for(work);
            std::vector<std::uint64_t> tags;
            std::set<std::string> held;
            for (auto& d : some) {
                if (held.contains(d.content.key) || env.random() % 20 == 0) {
                    held.insert(d.content.key);
                    in.retry(std::move(d), std::chrono::milliseconds{100});
                    continue;
                }
                auto& last = all->applied[d.content.key];
                auto const number = std::stoi(d.content.payload);
                if (number > last + 1)
                    all->wrong.push_back(d.content.key + " " + d.content.payload + " came after " + std::to_string(last));
                last = std::max(last, number);
                tags.push_back(d.tag);
            }
            in.acknowledge(std::move(tags));
        }
    }

    sim::host* here;
    std::shared_ptr<board> all;
    std::optional<cosaga::zeromq_transport> transport;
    cosaga::subscription_handle in;
};

TEST(simulated_zeromq, keeps_the_order_of_keys_over_instances_that_come_and_go)
{
    auto const [first, last] = seeds(60);
    for (auto seed = first; seed <= last && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        auto const all = std::make_shared<board>();
        if (seed % 5 == 0)
            all->how = load::heavy();
        sim::world w{{.seed = seed, .faults = sim::faults::all()}};
        for (auto const* const name : {"shop", "market"})
            w.add_host<publisher_service>(name, all);
        for (auto const* const name : {"one", "two", "three"})
            w.add_host<instance_service>(name, all);
        w.run_with_faults(1min);
        w.run_for(3min);
        w.stop_all();
        for (auto const& f : w.findings())
            ADD_FAILURE() << f.what;
        for (auto const& what : all->wrong)
            ADD_FAILURE() << what;
        EXPECT_EQ(all->applied, all->published);
        EXPECT_FALSE(all->published.empty());
    }
}

// --- a sender that is no transport --------------------------------------------------------------------------------------

// Opens its flow again, as after a hello, while what it sent is being settled.
struct raw_sender {
    explicit raw_sender(sim::host& h) : here{&h} {}

    struct heard {
        std::set<std::uint64_t> before; // settled before the second window
        std::set<std::uint64_t> held;   // as the second window says
        std::set<std::uint64_t> after;
    };

    asio::awaitable<void> run()
    {
        using namespace cosaga::detail;
        socket->set(ZMQ_PROBE_ROUTER, 1);
        socket->set(ZMQ_IMMEDIATE, 1);
        socket->connect("tcp://one:7000");
        co_await next(frame_kind::hello);
        open(1);
        auto const first = co_await next(frame_kind::window);
        frame_kind kind{};
        auto const instance = read_window(read_kind(first, kind), {}).instance;
        std::string frame;
        begin_batch(frame, 1, instance);
        for (std::uint64_t tag = 0; tag < 8; ++tag) {
            cosaga::message m;
            m.topic = "orders";
            m.key = std::to_string(tag);
            m.payload = "1";
            append_message(frame, "orders", tag, m, nullptr);
        }
        socket->send(frame);
        auto const pause = std::chrono::microseconds{here->get_environment().random() % 20'000};
        co_await here->get_environment().sleep_for(pause);
        open(2);
        auto const second = co_await next(frame_kind::window);
        for (auto const& h : read_window(read_kind(second, kind), {}).held)
            told().held.insert(h.tag);
        told().before.swap(told().after);
        co_await next(frame_kind::shut);
        co_await here->until_stopped();
    }

    heard& told() { return here->durable<heard>(); }

    void open(std::uint64_t connection)
    {
        cosaga::detail::open_frame f;
        f.connection = connection;
        f.flow = 1;
        f.topic = "orders";
        f.consumer = "stock";
        std::string frame;
        cosaga::detail::write_open(frame, f);
        socket->send(frame);
    }

    // Takes note of what is settled until a frame of the kind comes.
    asio::awaitable<std::string> next(cosaga::detail::frame_kind wanted)
    {
        using namespace cosaga::detail;
        for (;;) {
            zeromq_message part;
            while (!socket->receive(part)) {
                socket->wait();
                co_await changed.wait();
            }
            frame_kind kind{};
            auto r = read_kind(part.view(), kind);
            if (kind == wanted)
                co_return std::string{part.view()};
            if (kind == frame_kind::settle) {
                read_head(r);
                read_settle(r, {}, [this](std::uint64_t tag, auto, auto) { told().after.insert(tag); });
            }
        }
    }

    sim::host* here;
    cosaga::detail::event changed{here->get_environment().get_executor()};
    sim::simulated_zeromq context{*here};
    std::unique_ptr<cosaga::detail::zeromq_socket> socket =
        context.make_socket(ZMQ_DEALER, here->get_environment().get_executor(), [this] { changed.notify(); });
};

TEST(simulated_zeromq, says_what_is_settled_before_it_says_what_it_holds)
{
    for (std::uint64_t seed = 1; seed <= 300 && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        auto const all = std::make_shared<board>();
        sim::world w{{.seed = seed}};
        auto& sender = w.add_host<raw_sender>("sender");
        w.add_host<instance_service>("one", all);
        w.run_for(2s);
        w.stop_all();
        auto const& told = sender.durable<raw_sender::heard>();
        for (std::uint64_t tag = 0; tag < 8; ++tag)
            EXPECT_NE(told.before.contains(tag), told.held.contains(tag)) << tag;
        EXPECT_EQ(told.after, told.held);
    }
}

} // namespace
