// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "transport_worlds.hpp"

namespace {

using namespace cosaga_tests;
using cosaga::delivery;
using cosaga::envelope;
using cosaga::errc;
using cosaga::message;
using cosaga::publisher_handle;
using cosaga::settlement;
using cosaga::subscription_handle;
using cosaga::verdict;

message make_message(std::uint64_t number, std::string key = {}, std::string topic = "orders")
{
    message m;
    m.id = cosaga::message_id::first_of(cosaga::time_point{std::chrono::milliseconds{number + 1}});
    m.topic = std::move(topic);
    m.key = std::move(key);
    m.type = "order_placed";
    m.source = "shop";
    m.payload = std::to_string(number);
    return m;
}

std::uint64_t number_of(delivery const& d)
{
    return std::stoull(d.content.payload);
}

// Messages first ... first + count - 1, tagged with their numbers, of `keys` keys in turn (0: without keys).
std::vector<envelope> make_batch(std::uint64_t first, std::uint64_t count, std::uint64_t keys = 0)
{
    std::vector<envelope> batch;
    for (auto n = first; n < first + count; ++n) {
        auto& e = batch.emplace_back();
        e.tag = n;
        e.content = make_message(n, keys == 0 ? std::string{} : "key" + std::to_string(n % keys));
    }
    return batch;
}

void acknowledge(subscription_handle& s, std::vector<delivery> const& deliveries)
{
    std::vector<std::uint64_t> tags;
    for (auto const& d : deliveries)
        tags.push_back(d.tag);
    s.acknowledge(std::move(tags));
}

// Receives `count` deliveries without settling them.
asio::awaitable<std::vector<delivery>> collect(subscription_handle& s, std::size_t count)
{
    std::vector<delivery> all;
    while (all.size() < count) {
        auto some = co_await s.receive(count - all.size());
        for (auto& d : some)
            all.push_back(std::move(d));
    }
    co_return all;
}

asio::awaitable<std::vector<settlement>> settled(publisher_handle& p, std::size_t count)
{
    std::vector<settlement> all;
    while (all.size() < count) {
        auto some = co_await p.settled();
        for (auto& s : some)
            all.push_back(std::move(s));
    }
    co_return all;
}

// Receives and acknowledges until `count` different messages have come.
asio::awaitable<std::vector<delivery>> consume(subscription_handle& s, std::size_t count)
{
    std::vector<delivery> all;
    std::set<std::uint64_t> seen;
    while (seen.size() < count) {
        auto some = co_await s.receive(count);
        acknowledge(s, some);
        for (auto& d : some)
            if (seen.insert(number_of(d)).second)
                all.push_back(std::move(d));
    }
    co_return all;
}

// Until so many are settled. What comes again is acknowledged again: the first time may have got lost.
asio::awaitable<std::vector<settlement>> settled(publisher_handle& p, std::size_t count, subscription_handle& s)
{
    using namespace asio::experimental::awaitable_operators;
    auto const acknowledge_all = [&s]() -> asio::awaitable<void> {
        for (;;) {
            auto const some = co_await s.receive(100);
            acknowledge(s, some);
        }
    };
    auto all = co_await (settled(p, count) || acknowledge_all());
    co_return std::get<0>(std::move(all));
}

// What is received until nothing comes for a while.
asio::awaitable<std::vector<delivery>> collect_until_quiet(
    cosaga::environment& env, subscription_handle& s, cosaga::duration quiet)
{
    using namespace asio::experimental::awaitable_operators;
    std::vector<delivery> all;
    for (;;) {
        auto some = co_await (s.receive(1000) || env.sleep_for(quiet));
        if (some.index() == 1)
            co_return all;
        for (auto& d : std::get<0>(some))
            all.push_back(std::move(d));
    }
}

// Receives and acknowledges until the subscription is closed.
struct running_consumer {
    std::vector<delivery> received;
    std::vector<delivery>* into = &received; // several may share one: the tests are on a strand
    bool ended = false;

    running_consumer() = default;
    running_consumer(running_consumer const&) = delete;
    running_consumer& operator=(running_consumer const&) = delete;
    ~running_consumer() { *alive = false; }

    asio::awaitable<void> run(subscription_handle& s, std::size_t most = 100)
    {
        auto const here = alive; // a test may end before its consumer has heard that the subscription is closed
        for (;;) {
            std::vector<delivery> batch;
            try {
                batch = co_await s.receive(most);
                if (!*here)
                    co_return;
            } catch (boost::system::system_error const& e) {
                if (!*here)
                    co_return;
                EXPECT_EQ(e.code(), errc::transport_closed) << e.what();
                ended = true;
                co_return;
            }
            acknowledge(s, batch);
            for (auto& d : batch)
                into->push_back(std::move(d));
        }
    }

    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

void ignore_end(std::exception_ptr e)
{
    if (e)
        std::rethrow_exception(e);
}

// Of what has come for the first time: with the same message again nothing is done.
void expect_order_per_key(std::vector<delivery> const& received)
{
    std::map<std::string, std::uint64_t> last;
    std::set<std::uint64_t> seen;
    for (auto const& d : received) {
        if (!seen.insert(number_of(d)).second)
            continue;
        auto const [place, first] = last.try_emplace(d.content.key, number_of(d));
        if (!first) {
            EXPECT_LT(place->second, number_of(d)) << "of key " << d.content.key;
            place->second = number_of(d);
        }
    }
}

// No message came twice, unless that may be.
void expect_count(std::size_t received, std::size_t sent, bool repeats)
{
    EXPECT_GE(received, sent);
    if (!repeats) {
        EXPECT_EQ(received, sent) << "a message came twice";
    }
}

std::set<std::uint64_t> numbers_of(std::vector<delivery> const& received)
{
    std::set<std::uint64_t> numbers;
    for (auto const& d : received)
        numbers.insert(number_of(d));
    return numbers;
}

template <class World>
class transport : public testing::Test, public World {};

using worlds = testing::Types<memory_world<virtual_runner>, memory_world<real_runner<2>>, zeromq_world<real_runner<1>>,
    zeromq_world<real_runner<2>>, simulated_world<no_faults>, simulated_world<bad_network>,
    simulated_zeromq_world<no_faults>, simulated_zeromq_world<bad_network>>;
struct world_names {
    template <class World>
    static std::string GetName(int i)
    {
        return std::vector<std::string>{"memory", "memory_on_threads", "zeromq", "zeromq_on_threads", "simulated",
            "simulated_with_faults", "simulated_zeromq", "simulated_zeromq_with_faults"}.at(static_cast<std::size_t>(i));
    }
};
TYPED_TEST_SUITE(transport, worlds, world_names);

TYPED_TEST(transport, carries_messages_with_all_attributes_intact)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");

        std::vector<message> sent;
        sent.push_back(message{});
        sent.back().topic = "orders";
        sent.push_back(make_message(1, "some key"));
        sent.back().content_type = "application/json; charset=utf-8";
        sent.back().time = cosaga::time_point{-1us};
        sent.back().headers = {
            {"subject", ""}, {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};
        sent.push_back(make_message(2, "another key")); // the same type as the one before it
        sent.back().payload.clear();
        for (int i = 0; i < 256; ++i)
            sent.back().payload.push_back(static_cast<char>(i));
        sent.push_back(make_message(3));
        sent.back().payload.assign(sender->limits().payload, '\xff');
        sent.back().time = cosaga::time_point::max();
        sent.back().headers.assign(64, {std::string(255, 'n'), std::string(4096, 'v')});
        sent.push_back(make_message(4, "k", "another topic"));

        std::vector<envelope> batch;
        for (auto const& m : sent)
            batch.push_back({7, m}); // tags need not differ
        auto const batch_size = batch.size();
        out.publish(std::move(batch));
        std::size_t settlements = 0;
        while (!sent.empty()) {
            auto const received = co_await in.receive(10);
            for (auto const& d : received) {
                auto const found = std::find(sent.begin(), sent.end(), d.content);
                EXPECT_TRUE(found != sent.end() || this->repeats) << d.content.payload.substr(0, 10);
                if (found != sent.end()) {
                    sent.erase(found);
                    ++settlements;
                }
                EXPECT_EQ(d.sender, "shop");
                EXPECT_EQ(d.attempt, 1u);
            }
            acknowledge(in, received);
        }
        EXPECT_EQ(settlements, batch_size);
        auto const outcomes = co_await settled(out, batch_size, in);
        for (auto const& o : outcomes) {
            EXPECT_EQ(o.tag, 7u);
            EXPECT_EQ(o.result, verdict::accepted);
        }
        co_await sender->close();
        co_await receiver->close();
    });
}

TYPED_TEST(transport, keeps_topics_and_consumers_apart)
{
    this->run([&]() -> asio::awaitable<void> {
        std::vector<std::string> const topics{"orders", "payments", "order"};
        std::vector<std::string> const names{"stock", "mail"};
        std::vector<route> routes;
        for (auto const& topic : topics)
            for (auto const& name : names)
                routes.push_back({topic, name, {"a"}});
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", routes);
        EXPECT_EQ(sender->consumers_of("orders"), names);
        EXPECT_TRUE(sender->consumers_of("nothing").empty());

        std::map<std::pair<std::string, std::string>, subscription_handle> in;
        std::map<std::pair<std::string, std::string>, publisher_handle> out;
        for (auto const& r : routes)
            in.emplace(std::pair{r.topic, r.consumer}, receiver->subscribe(r.topic, r.consumer));
        receiver->start();
        std::uint64_t first = 0;
        for (auto const& r : routes) {
            auto& p =
                out.emplace(std::pair{r.topic, r.consumer}, sender->open_publisher(r.topic, r.consumer)).first->second;
            p.publish(make_batch(first, 100));
            first += 100;
        }
        first = 0;
        for (auto const& r : routes) {
            auto const name = std::pair{r.topic, r.consumer};
            auto const received = co_await consume(in.at(name), 100);
            EXPECT_EQ(*numbers_of(received).begin(), first);
            EXPECT_EQ(*numbers_of(received).rbegin(), first + 99);
            auto const outcomes = co_await settled(out.at(name), 100, in.at(name));
            for (auto const& o : outcomes)
                EXPECT_TRUE(o.tag >= first && o.tag < first + 100);
            first += 100;
        }
    });
}

TYPED_TEST(transport, shares_messages_between_instances_with_keys_in_order)
{
    this->run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t count = 3000;
        auto one = this->receiver("warehouse", "a");
        auto two = this->receiver("warehouse", "b");
        auto sender = this->sender("shop", {{"orders", "stock", {"a", "b"}}});
        std::vector<subscription_handle> in;
        in.push_back(one->subscribe("orders", "stock"));
        in.push_back(one->subscribe("orders", "stock"));
        in.push_back(two->subscribe("orders", "stock"));
        one->start();
        two->start();
        std::vector<delivery> all;
        std::vector<running_consumer> consumers(in.size());
        for (auto& c : consumers)
            c.into = &all;
        for (std::size_t i = 0; i < in.size(); ++i)
            asio::co_spawn(this->executor(), consumers[i].run(in[i], 7), ignore_end);
        auto out = sender->open_publisher("orders", "stock");
        std::uint64_t outstanding = 0;
        std::uint64_t done = 0;
        for (std::uint64_t first = 0; done < count;) {
            while (outstanding < 200 && first < count) {
                out.publish(make_batch(first, 50, 97));
                first += 50;
                outstanding += 50;
            }
            auto const outcomes = co_await out.settled();
            outstanding -= outcomes.size();
            done += outcomes.size();
        }
        expect_order_per_key(all);
        expect_count(all.size(), count, this->repeats);
        EXPECT_EQ(numbers_of(all).size(), count);
        co_await one->close();
        co_await two->close();
        for (auto const& c : consumers)
            while (!c.ended)
                co_await this->env().sleep_for(1ms);
    });
}

TYPED_TEST(transport, keeps_a_key_with_the_instance_that_has_it_unsettled)
{
    if (!this->pipelines_keys)
        GTEST_SKIP() << "here a key may be at several instances, or only one of its messages on the way";
    this->run([&]() -> asio::awaitable<void> {
        auto one = this->receiver("warehouse", "a");
        auto two = this->receiver("warehouse", "b");
        auto sender = this->sender("shop", {{"orders", "stock", {"a", "b"}}});
        auto in_one = one->subscribe("orders", "stock");
        auto in_two = two->subscribe("orders", "stock");
        one->start();
        two->start();
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 100, 10));
        std::vector<delivery> at_one = co_await collect_until_quiet(this->env(), in_one, this->quiet);
        std::vector<delivery> at_two = co_await collect_until_quiet(this->env(), in_two, this->quiet);
        out.publish(make_batch(100, 100, 10));
        auto more_at_one = co_await collect_until_quiet(this->env(), in_one, this->quiet);
        auto more_at_two = co_await collect_until_quiet(this->env(), in_two, this->quiet);
        for (auto& d : more_at_one)
            at_one.push_back(std::move(d));
        for (auto& d : more_at_two)
            at_two.push_back(std::move(d));
        EXPECT_EQ(at_one.size() + at_two.size(), 200u);
        std::set<std::string> keys;
        for (auto const& d : at_one)
            keys.insert(d.content.key);
        for (auto const& d : at_two)
            EXPECT_FALSE(keys.contains(d.content.key)) << d.content.key << " is at both instances";
        expect_order_per_key(at_one);
        expect_order_per_key(at_two);
    });
}

TYPED_TEST(transport, gives_a_retried_message_again_after_its_delay_and_before_later_ones_of_its_key)
{
    if (this->repeats)
        GTEST_SKIP() << "here another copy may come first";
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 10, 2)); // even ones are of one key, odd ones of the other
        auto first = co_await collect(in, 1);
        auto const number = number_of(first.front());
        auto const before = this->env().steady_now();
        in.retry(std::move(first.front()), 100ms);

        auto const others = co_await consume(in, 5);
        for (auto const& d : others)
            EXPECT_NE(number_of(d) % 2, number % 2) << "overtook a retried message of its key";
        auto again = co_await in.receive(100);
        EXPECT_GE(this->env().steady_now() - before, 100ms);
        EXPECT_EQ(again.size(), 1u) << "the key waits until it is settled";
        EXPECT_EQ(again.front().attempt, 2u);
        EXPECT_EQ(again.front().content, make_message(number, "key" + std::to_string(number)));
        acknowledge(in, again);
        auto const rest = co_await consume(in, 4);
        expect_order_per_key(rest);
        auto const outcomes = co_await settled(out, 10);
        for (auto const& o : outcomes)
            EXPECT_EQ(o.result, verdict::accepted);
    });
}

TYPED_TEST(transport, keeps_the_order_of_keys_when_many_are_retried_by_several_instances)
{
    this->run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t count = 600;
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        std::vector<subscription_handle> in;
        for (int i = 0; i < 3; ++i)
            in.push_back(receiver->subscribe("orders", "stock"));
        receiver->start();
        std::vector<delivery> applied; // on the strand of the test, so in the order of acknowledgement
        auto consume = [&](subscription_handle& s) -> asio::awaitable<void> {
            for (;;) {
                std::vector<delivery> batch;
                try {
                    batch = co_await s.receive(5);
                } catch (boost::system::system_error const&) {
                    co_return;
                }
                std::set<std::string> failed;
                std::vector<std::uint64_t> tags;
                for (auto& d : batch) {
                    bool const fails =
                        failed.contains(d.content.key) || (number_of(d) % 5 == 0 && d.attempt <= 1 + number_of(d) % 3);
                    if (fails) {
                        failed.insert(d.content.key);
                        auto const delay = 1ms * (1 + number_of(d) % 4);
                        s.retry(std::move(d), delay);
                    } else {
                        tags.push_back(d.tag);
                        applied.push_back(std::move(d));
                    }
                }
                s.acknowledge(std::move(tags));
            }
        };
        for (auto& s : in)
            asio::co_spawn(this->executor(), consume(s), ignore_end);
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, count, 20));
        co_await settled(out, count);
        EXPECT_EQ(numbers_of(applied).size(), count);
        expect_count(applied.size(), count, this->repeats);
        expect_order_per_key(applied);
        co_await receiver->close();
    });
}

TYPED_TEST(transport, settles_a_rejected_message_with_its_reason_and_content)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 3, 3));
        auto const refuse = [&in]() -> asio::awaitable<void> {
            for (;;) {
                auto const received = co_await in.receive(3);
                for (auto const& d : received)
                    if (number_of(d) == 1) {
                        in.reject(d.tag, "no such item");
                        in.reject(d.tag, "settled already");
                    }
                acknowledge(in, received);
            }
        };
        using namespace asio::experimental::awaitable_operators;
        auto const ended = co_await (settled(out, 3) || refuse());
        auto const& outcomes = std::get<0>(ended);
        for (auto const& o : outcomes) {
            EXPECT_EQ(o.result, o.tag == 1 ? verdict::rejected : verdict::accepted);
            EXPECT_EQ(o.reason, o.tag == 1 ? "no such item" : "");
            if (o.tag == 1) {
                EXPECT_EQ(o.content, make_message(1, "key1"));
            }
        }
    });
}

TYPED_TEST(transport, does_not_let_one_consumer_block_another)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a", {.messages = 10});
        auto sender = this->sender("shop", {{"orders", "stuck", {"a"}}, {"orders", "stock", {"a"}}});
        auto stuck = receiver->subscribe("orders", "stuck");
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto to_stuck = sender->open_publisher("orders", "stuck");
        auto out = sender->open_publisher("orders", "stock");
        to_stuck.publish(make_batch(0, 1000, 10));
        out.publish(make_batch(0, 1000, 10));
        co_await collect(stuck, 10);
        running_consumer consumer;
        asio::co_spawn(this->executor(), consumer.run(in), ignore_end);
        co_await settled(out, 1000);
        EXPECT_EQ(numbers_of(consumer.received).size(), 1000u);
        expect_count(consumer.received.size(), 1000u, this->repeats);
        co_await receiver->close();
    });
}

TYPED_TEST(transport, holds_messages_back_from_a_consumer_that_does_not_settle)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a", {.messages = 10});
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 1000));
        auto first = co_await collect_until_quiet(this->env(), in, this->quiet);
        EXPECT_EQ(first.size(), 10u);
        first.resize(3);
        acknowledge(in, first);
        auto const next = co_await collect_until_quiet(this->env(), in, this->quiet);
        EXPECT_EQ(next.size(), 3u);
    });
}

TYPED_TEST(transport, holds_bytes_back_from_a_consumer_that_does_not_settle)
{
    if (!this->has_window_of_bytes)
        GTEST_SKIP() << "here only messages are counted";
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a", {.messages = 1000, .bytes = 100'000});
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        auto batch = make_batch(0, 100);
        for (auto& e : batch)
            e.content.payload.assign(e.tag == 50 ? 500'000 : 30'000, 'x');
        out.publish(std::move(batch));
        auto const first = co_await collect_until_quiet(this->env(), in, this->quiet);
        EXPECT_EQ(first.size(), 3u);
        acknowledge(in, first);
        running_consumer consumer; // also the one that is larger than the window comes through
        asio::co_spawn(this->executor(), consumer.run(in), ignore_end);
        co_await settled(out, 100);
        expect_count(consumer.received.size(), 97u, this->repeats);
        co_await receiver->close();
    });
}

TYPED_TEST(transport, rejects_messages_over_its_limits_at_the_sender)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        auto batch = make_batch(0, 2);
        batch[0].content.payload.assign(sender->limits().payload + 1, 'x');
        out.publish(std::move(batch));
        auto const received = co_await collect(in, 1);
        EXPECT_EQ(number_of(received.front()), 1u);
        auto const outcomes = co_await settled(out, 1);
        EXPECT_EQ(outcomes.front().tag, 0u);
        EXPECT_EQ(outcomes.front().result, verdict::rejected);
        EXPECT_NE(outcomes.front().reason.find("payload"), std::string::npos) << outcomes.front().reason;
        EXPECT_EQ(outcomes.front().content.payload.size(), sender->limits().payload + 1);
    });
}

TYPED_TEST(transport, refuses_a_destination_without_a_route)
{
    auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
    for (auto const& [topic, consumer] : {std::pair{"orders", "nobody"}, std::pair{"nothing", "stock"}}) {
        try {
            sender->open_publisher(topic, consumer);
            ADD_FAILURE() << "opened";
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::no_route) << e.what();
        }
    }
}

TYPED_TEST(transport, lets_nothing_in_before_it_is_started)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 10));
        auto const early = co_await collect_until_quiet(this->env(), in, this->quiet);
        EXPECT_TRUE(early.empty());
        receiver->start();
        auto const received = co_await consume(in, 10);
        EXPECT_EQ(numbers_of(received).size(), 10u);
    });
}

TYPED_TEST(transport, waits_for_a_receiver_that_starts_late)
{
    this->run([&]() -> asio::awaitable<void> {
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 100, 10));
        co_await this->env().sleep_for(100ms);
        auto receiver = this->receiver("warehouse", "a");
        receiver->start();
        co_await this->env().sleep_for(100ms);
        auto in = receiver->subscribe("orders", "stock"); // later than the connection
        auto const received = co_await consume(in, 100);
        expect_order_per_key(received);
        co_await settled(out, 100, in);
    });
}

// Kills or closes the receiver while messages flow, several times; what was not settled comes again.
template <class World>
void restart_receiver(World& world, bool close)
{
    world.run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t count = 2000;
        auto sender = world.sender("shop", {{"orders", "stock", {"a"}}});
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, count, 10));
        std::uint64_t accepted = 0;
        auto settle = [&]() -> asio::awaitable<void> {
            while (accepted < count) {
                auto const some = co_await out.settled();
                for (auto const& s : some)
                    EXPECT_EQ(s.result, verdict::accepted);
                accepted += some.size();
            }
        };
        asio::co_spawn(world.executor(), settle(), ignore_end);
        std::vector<delivery> applied;
        std::set<std::uint64_t> seen;
        int lives = 0;
        while (accepted < count) {
            auto receiver = world.receiver("warehouse", "a");
            auto in = receiver->subscribe("orders", "stock");
            receiver->start();
            std::size_t const until = ++lives < 5 ? 300 : count;
            std::size_t got = 0;
            while (got < until && accepted < count) {
                using namespace asio::experimental::awaitable_operators;
                auto some = co_await (in.receive(50) || world.env().sleep_for(20ms));
                if (some.index() == 1)
                    continue;
                auto& batch = std::get<0>(some);
                got += batch.size();
                // As an inbox would: what was seen has no effect again.
                for (auto& d : batch)
                    if (seen.insert(number_of(d)).second)
                        applied.push_back(d);
                acknowledge(in, batch);
            }
            if (close)
                co_await receiver->close();
        }
        EXPECT_EQ(applied.size(), count);
        expect_order_per_key(applied);
    });
}

TYPED_TEST(transport, sends_again_to_a_receiver_that_was_closed_and_started_again)
{
    restart_receiver(*this, true);
}
TYPED_TEST(transport, sends_again_to_a_receiver_that_died_and_was_started_again)
{
    restart_receiver(*this, false);
}

TYPED_TEST(transport, takes_messages_again_from_a_sender_that_died_and_was_started_again)
{
    this->run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t count = 1000;
        auto receiver = this->receiver("warehouse", "a");
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        running_consumer consumer;
        asio::co_spawn(this->executor(), consumer.run(in, 10), ignore_end);
        std::set<std::uint64_t> accepted;
        for (int life = 0; accepted.size() < count; ++life) {
            auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
            auto out = sender->open_publisher("orders", "stock");
            std::vector<envelope> batch;
            for (auto& e : make_batch(0, count, 10))
                if (!accepted.contains(e.tag))
                    batch.push_back(std::move(e));
            out.publish(std::move(batch));
            auto const until = std::min<std::uint64_t>(count, accepted.size() + (life < 4 ? 100 : count));
            while (accepted.size() < until) {
                auto const some = co_await out.settled();
                for (auto const& s : some)
                    accepted.insert(s.tag);
            }
            if (life % 2 == 0)
                co_await sender->close();
        }
        EXPECT_EQ(numbers_of(consumer.received).size(), count);
        co_await receiver->close();
    });
}

TYPED_TEST(transport, gives_what_a_closed_subscription_had_unsettled_to_another_instance)
{
    if (!this->pipelines_keys)
        GTEST_SKIP() << "here a key may be at several instances, or only one of its messages on the way";
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto first = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 100, 10));
        auto received = co_await collect(first, 60);
        received.resize(20);
        acknowledge(first, received);
        auto second = receiver->subscribe("orders", "stock");
        first.close();
        auto const rest = co_await collect(second, 80);
        EXPECT_EQ(numbers_of(rest).size(), 80u);
        EXPECT_EQ(*numbers_of(rest).begin(), 20u);
        expect_order_per_key(rest);
        acknowledge(second, rest);
        auto const outcomes = co_await settled(out, 100);
        EXPECT_EQ(outcomes.size(), 100u);
    });
}

TYPED_TEST(transport, loses_nothing_when_waiting_is_cancelled)
{
    this->run([&]() -> asio::awaitable<void> {
        using namespace asio::experimental::awaitable_operators;
        constexpr std::uint64_t count = 500;
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto out = sender->open_publisher("orders", "stock");
        std::set<std::uint64_t> received;
        std::set<std::uint64_t> accepted;
        std::uint64_t cancelled = 0;
        std::uint64_t published = 0;
        std::uint64_t race = 0;
        while (accepted.size() < count) {
            if (published < count)
                out.publish(make_batch(published++, 1, 10));
            // Both sides of each race may be ready at the same time.
            ++race;
            auto got = co_await (in.receive(3) || this->let_others_run(race % 40));
            if (got.index() == 0) {
                for (auto const& d : std::get<0>(got))
                    EXPECT_TRUE(received.insert(number_of(d)).second || this->repeats) << number_of(d) << " came twice";
                acknowledge(in, std::get<0>(got));
            } else {
                ++cancelled;
            }
            ++race;
            auto done = co_await (out.settled() || this->let_others_run(race % 40));
            if (done.index() == 0) {
                for (auto const& s : std::get<0>(done))
                    EXPECT_TRUE(accepted.insert(s.tag).second);
            } else {
                ++cancelled;
            }
        }
        EXPECT_EQ(received.size(), count);
        EXPECT_GT(cancelled, 0u) << "nothing was cancelled: the test shows nothing";
    });
}

TYPED_TEST(transport, loses_none_of_many_messages_from_many_senders)
{
    this->run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t senders = 20;
        constexpr std::uint64_t each = 500;
        auto receiver = this->receiver("warehouse", "a", {.messages = 64});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        running_consumer consumer;
        asio::co_spawn(this->executor(), consumer.run(in), ignore_end);
        std::uint64_t done = 0;
        auto send = [&](std::uint64_t which) -> asio::awaitable<void> {
            auto sender = this->sender("shop" + std::to_string(which), {{"orders", "stock", {"a"}}});
            auto out = sender->open_publisher("orders", "stock");
            for (std::uint64_t n = 0; n < each; n += 50)
                out.publish(make_batch(which * each + n, 50, 5));
            auto const outcomes = co_await settled(out, each);
            EXPECT_EQ(outcomes.size(), each);
            co_await sender->close();
            ++done;
        };
        for (std::uint64_t i = 0; i < senders; ++i)
            asio::co_spawn(this->executor(), send(i), ignore_end);
        while (done < senders)
            co_await this->env().sleep_for(5ms);
        co_await receiver->close();
        while (!consumer.ended)
            co_await this->env().sleep_for(1ms);
        expect_count(consumer.received.size(), senders * each, this->repeats);
        EXPECT_EQ(numbers_of(consumer.received).size(), senders * each);
        std::map<std::string, std::vector<delivery>> by_sender;
        for (auto& d : consumer.received)
            by_sender[d.sender].push_back(std::move(d));
        EXPECT_EQ(by_sender.size(), senders);
        for (auto const& [sender, received] : by_sender)
            expect_order_per_key(received);
    });
}

TYPED_TEST(transport, closes_while_messages_flow_and_repeats_what_was_not_settled)
{
    this->run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t count = 3000;
        std::set<std::uint64_t> accepted;
        std::set<std::uint64_t> received;
        for (int life = 0; accepted.size() < count; ++life) {
            auto receiver = this->receiver("warehouse", "a");
            auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
            auto in = receiver->subscribe("orders", "stock");
            receiver->start();
            auto out = sender->open_publisher("orders", "stock");
            std::vector<envelope> batch;
            for (auto& e : make_batch(0, count))
                if (!accepted.contains(e.tag))
                    batch.push_back(std::move(e));
            running_consumer consumer;
            asio::co_spawn(this->executor(), consumer.run(in), ignore_end);
            out.publish(std::move(batch));
            bool ended = false;
            auto settle = [&]() -> asio::awaitable<void> {
                for (;;) {
                    std::vector<settlement> some;
                    try {
                        some = co_await out.settled();
                    } catch (boost::system::system_error const& e) {
                        EXPECT_EQ(e.code(), errc::transport_closed);
                        ended = true;
                        co_return;
                    }
                    for (auto const& s : some)
                        accepted.insert(s.tag);
                }
            };
            asio::co_spawn(this->executor(), settle(), ignore_end);
            auto const until = std::min<std::uint64_t>(count, accepted.size() + 700);
            while (accepted.size() < until)
                co_await this->env().sleep_for(cosaga::duration{300});
            if (life % 2 == 0)
                co_await receiver->close();
            co_await sender->close();
            if (life % 2 != 0)
                co_await receiver->close();
            while (!ended || !consumer.ended)
                co_await this->env().sleep_for(1ms);
            for (auto n : numbers_of(consumer.received))
                received.insert(n);
        }
        EXPECT_EQ(received.size(), count);
    });
}

TYPED_TEST(transport, does_not_repeat_what_was_acknowledged_before_closing)
{
    if (this->repeats)
        GTEST_SKIP() << "here acknowledgements get lost";
    this->run([&]() -> asio::awaitable<void> {
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 100));
        std::set<std::uint64_t> acknowledged;
        {
            auto receiver = this->receiver("warehouse", "a");
            auto in = receiver->subscribe("orders", "stock");
            receiver->start();
            auto received = co_await collect(in, 100);
            received.resize(70);
            acknowledge(in, received);
            acknowledged = numbers_of(received);
            co_await receiver->close();
        }
        auto receiver = this->receiver("warehouse", "a");
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto const rest = co_await collect_until_quiet(this->env(), in, this->quiet);
        for (auto const n : numbers_of(rest))
            EXPECT_FALSE(acknowledged.contains(n)) << n << " came again";
        EXPECT_EQ(numbers_of(rest).size(), 30u);
        acknowledge(in, rest);
        co_await settled(out, 100);
    });
}

TYPED_TEST(transport, says_so_when_a_closed_handle_is_waited_on)
{
    this->run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a");
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto in = receiver->subscribe("orders", "stock");
        auto out = sender->open_publisher("orders", "stock");
        receiver->start();
        running_consumer consumer;
        asio::co_spawn(this->executor(), consumer.run(in), ignore_end);
        in.close();
        in.close();
        out.close();
        out.publish(make_batch(0, 1));
        errc found{};
        try {
            co_await out.settled();
        } catch (boost::system::system_error const& e) {
            found = static_cast<errc>(e.code().value());
        }
        EXPECT_EQ(found, errc::transport_closed);
        while (!consumer.ended)
            co_await this->env().sleep_for(1ms);
        co_await receiver->close();
        co_await receiver->close();
        try {
            receiver->subscribe("orders", "stock");
            ADD_FAILURE() << "subscribed to a closed transport";
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::transport_closed);
        }
    });
}

TYPED_TEST(transport, lets_handles_outlive_it)
{
    this->run([&]() -> asio::awaitable<void> {
        subscription_handle in;
        publisher_handle out;
        std::vector<delivery> received;
        {
            auto receiver = this->receiver("warehouse", "a");
            auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
            in = receiver->subscribe("orders", "stock");
            out = sender->open_publisher("orders", "stock");
            receiver->start();
            out.publish(make_batch(0, 10));
            received = co_await collect(in, 10);
        }
        acknowledge(in, received);
        in.retry(std::move(received.front()), 1s);
        out.publish(make_batch(10, 10));
        co_await this->env().sleep_for(10ms);
    });
}

} // namespace
