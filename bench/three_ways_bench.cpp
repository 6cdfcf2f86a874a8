// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The same work in three ways: an order is placed in one service and shipped by another, both durable. `p50_us` is from the start of
// placing to the effect committed, whatever lies between: a row of the message table, a coordinator, a notification.
#include "service.hpp"
#include "support.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/coordinator.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/notifier.hpp>
#include <cosaga/transactional_producer.hpp>
#include <cosaga/transport_sink.hpp>

#include <benchmark/benchmark.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <sqlite3.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace asio = boost::asio;
using service = bench::service<cosaga::binary_codec>;

/// When each order was begun, and when its shipment was committed. `begun` on the shop's thread, the rest on the warehouse's store's.
class effects {
public:
    explicit effects(std::size_t outstanding) : outstanding_{outstanding} {}

    void begun(std::uint64_t number) { begun_[number % begun_.size()].store(bench::clock::now(), std::memory_order_release); }

    void handled(bench::order const& o) { in_group_.push_back(std::stoull(o.id.substr(o.id.find('-') + 1))); }

    void watch_commits(sqlite3* db)
    {
        auto const note = [](unsigned, void* self, void* finished, void*) {
            if (std::string_view{sqlite3_sql(static_cast<sqlite3_stmt*>(finished))} == "COMMIT")
                static_cast<effects*>(self)->committed();
            return 0;
        };
        sqlite3_trace_v2(db, SQLITE_TRACE_PROFILE, note, this);
    }

    bool has_room(std::uint64_t begun) const { return begun < done.load(std::memory_order_relaxed) + outstanding_; }
    /// When everything has stopped.
    void report(benchmark::State& state) { latencies_.report(state); }

    bench::progress done{0};

private:
    void committed()
    {
        auto const now = bench::clock::now();
        for (auto const number : in_group_)
            latencies_.add(now - begun_[number % begun_.size()].load(std::memory_order_acquire));
        done.fetch_add(in_group_.size(), std::memory_order_relaxed);
        in_group_.clear();
    }

    std::size_t outstanding_;
    std::array<std::atomic<bench::clock::time_point>, 8192> begun_{};
    std::vector<std::uint64_t> in_group_;
    bench::latencies latencies_;
};

/// The warehouse, and how the others reach it.
struct three_ways_base {
    three_ways_base(std::size_t outstanding, effects& e, std::string topic)
        : warehouse{directory.file("warehouse.db"), bench::create_shipments, bench::receiver_options(endpoint, outstanding)}
    {
        warehouse.watch_commits(e);
        warehouse.node.template consume<bench::order>(std::move(topic), "warehouse", [&e](auto& tx, bench::order const& o) {
            tx.execute(bench::insert_shipment, o.id, o.customer, bench::cents_of(o));
            e.handled(o);
        });
        warehouse.start();
    }

    static void insert(auto& tx, bench::order const& o) { tx.execute(bench::insert_order, o.id, o.customer, bench::cents_of(o)); }

    bench::scratch_directory directory;
    std::string endpoint = bench::free_endpoint();
    service warehouse;
};

struct by_message_table : three_ways_base {
    by_message_table(std::size_t outstanding, effects& e)
        : three_ways_base{outstanding, e, "orders"},
          shop{directory.file("shop.db"), bench::create_orders, bench::sender_options(endpoint, outstanding)}
    {
        shop.start();
    }
    asio::awaitable<void> place(bench::order const& o)
    {
        auto work = [&](auto& tx) {
            insert(tx, o);
            tx.send("orders", o, {.key = o.id});
        };
        co_await shop.node.transact(work);
    }

    service shop;
};

struct by_transactional_message : three_ways_base {
    by_transactional_message(std::size_t outstanding, effects& e)
        : three_ways_base{outstanding, e, "orders"},
          coordinator{directory.file("coordinator.db"), "CREATE TABLE unused(x)", coordinator_options(outstanding)},
          shop{directory.file("shop.db"), bench::create_orders, shop_options(outstanding)}
    {
        coordinator.node.attach(coordinating);
        shop.node.attach(producer);
        coordinator.start();
        shop.start();
    }
    ~by_transactional_message()
    {
        shop.run(shop.node.stop());
        coordinator.run(coordinator.node.stop());
    }
    asio::awaitable<void> place(bench::order const& o)
    {
        auto local = [&](auto& tx) { insert(tx, o); };
        cosaga::transaction_options options;
        options.key = o.id;
        co_await producer.send("orders", o, local, options);
    }

    cosaga::zeromq_options coordinator_options(std::size_t outstanding) const
    {
        auto options = bench::sender_options(endpoint, outstanding);
        options.service = "coordinator";
        options.listen = {to_coordinator};
        options.routes.push_back({std::string{cosaga::checks_topic}, "shop", {to_shop}});
        return options;
    }
    cosaga::zeromq_options shop_options(std::size_t outstanding) const
    {
        auto options = bench::receiver_options(to_shop, outstanding);
        options.service = "shop";
        options.routes = {{std::string{cosaga::transactions_topic}, "coordinator", {to_coordinator}}};
        return options;
    }

    std::string to_coordinator = bench::free_endpoint();
    std::string to_shop = bench::free_endpoint();
    service coordinator;
    service shop;
    cosaga::coordinator<service::node_type::outbox_type> coordinating{coordinator.node.get_outbox(), {.name = "coordinator"}};
    cosaga::fence<cosaga::sqlite_store> fence{shop.node.get_store()};
    cosaga::transactional_producer<cosaga::zeromq_transport, cosaga::fence<cosaga::sqlite_store>, cosaga::binary_codec> producer{
        shop.node.get_transport(), fence, {.service = "shop", .coordinators = {"coordinator"}}};
};

struct by_notification : three_ways_base {
    by_notification(std::size_t outstanding, effects& e)
        : three_ways_base{outstanding, e, std::string{cosaga::notifications_topic}},
          shop{directory.file("shop.db"), bench::create_orders, shop_options(outstanding)},
          notifier{shop.node.get_outbox(), sink}
    {
        shop.node.attach(notifier);
        shop.start();
    }
    ~by_notification() { shop.run(shop.node.stop()); }

    asio::awaitable<void> place(bench::order const& o)
    {
        auto work = [&](auto& tx) {
            insert(tx, o);
            tx.notify("warehouse", o);
        };
        co_await notifier.transact(work);
    }

    cosaga::zeromq_options shop_options(std::size_t outstanding) const
    {
        auto options = bench::sender_options(endpoint, outstanding);
        options.routes = {{std::string{cosaga::notifications_topic}, "warehouse", {endpoint}}};
        return options;
    }

    service shop;
    cosaga::transport_sink<cosaga::zeromq_transport> sink{shop.node.get_transport()};
    cosaga::notifier<service::node_type::outbox_type, cosaga::transport_sink<cosaga::zeromq_transport>> notifier;
};

/// Places orders in turn, of which as many are under way as are wanted, from the first step to the effect.
template <class Way>
class load {
public:
    load(Way& way, effects& e) : way_{&way}, effects_{&e} {}

    asio::awaitable<void> issue()
    {
        cosaga::duration const pause = std::chrono::microseconds{100};
        while (!stopping.load(std::memory_order_relaxed)) {
            bool const lets_more = effects_->has_room(issued_) && free_.try_send(boost::system::error_code{});
            issued_ += lets_more ? 1 : 0;
            if (!lets_more)
                co_await way_->shop.node.get_store().get_environment().sleep_for(pause);
        }
        free_.close();
    }

    asio::awaitable<void> place_in_turn()
    {
        for (;;) {
            try {
                co_await free_.async_receive(asio::use_awaitable);
            } catch (boost::system::system_error const&) {
                co_return;
            }
            auto const order = bench::make_order(++last_number_);
            effects_->begun(last_number_);
            co_await way_->place(order);
        }
    }

    std::atomic<bool> stopping{false};

private:
    using tickets = asio::experimental::channel<void(boost::system::error_code)>;

    Way* way_;
    effects* effects_;
    tickets free_{way_->shop.context(), 1024};
    std::uint64_t issued_ = 0;
    std::uint64_t last_number_ = 0;
};

template <class Way>
void three_ways(benchmark::State& state)
{
    auto const outstanding = static_cast<std::size_t>(state.range(0));
    effects seen{outstanding};
    {
        Way way{outstanding, seen};
        load<Way> orders{way, seen};
        std::vector<std::future<void>> running;
        for (std::size_t i = 0; i < outstanding; ++i)
            running.push_back(asio::co_spawn(way.shop.context(), orders.place_in_turn(), asio::use_future));
        running.push_back(asio::co_spawn(way.shop.context(), orders.issue(), asio::use_future));
        bench::measure(state, seen.done);
        orders.stopping = true;
        for (auto& r : running)
            r.get();
    }
    seen.report(state);
}

BENCHMARK(three_ways<by_message_table>)->Name("three_ways/message_table")->Arg(1)->Arg(1024);
BENCHMARK(three_ways<by_transactional_message>)->Name("three_ways/transactional_message")->Arg(1)->Arg(1024);
BENCHMARK(three_ways<by_notification>)->Name("three_ways/notification")->Arg(1)->Arg(1024);

} // namespace
