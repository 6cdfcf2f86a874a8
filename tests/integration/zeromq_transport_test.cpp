// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/zeromq_frames.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>
#include <zmq.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <list>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "conformance/transport_worlds.hpp"

namespace {

using namespace cosaga_tests;
using namespace cosaga::detail;
using asio::ip::tcp;
using cosaga::curve_key_pair;
using cosaga::delivery;
using cosaga::envelope;
using cosaga::errc;
using cosaga::publisher_handle;
using cosaga::settlement;
using cosaga::subscription_handle;
using cosaga::verdict;
using cosaga::zeromq_options;
using cosaga::zeromq_transport;

class zeromq : public testing::Test, public zeromq_world<real_runner<1>> {};

std::vector<envelope> make_batch(std::uint64_t first, std::uint64_t count)
{
    std::vector<envelope> batch;
    for (auto n = first; n < first + count; ++n) {
        auto& e = batch.emplace_back();
        e.tag = n;
        e.content.topic = "orders";
        e.content.key = std::to_string(n % 10);
        e.content.payload = std::to_string(n);
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

// What comes until nothing came for a while.
asio::awaitable<std::vector<delivery>> collect_until_quiet(
    cosaga::environment& env, subscription_handle& s, cosaga::duration quiet = 200ms)
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

// A peer that says what it likes.
class raw_peer {
public:
    raw_peer(int type, std::function<void(void*)> const& prepare = {})
        : context_{zmq_ctx_new()}, socket_{zmq_socket(context_, type)}
    {
        int const no = 0;
        zmq_setsockopt(socket_, ZMQ_LINGER, &no, sizeof no);
        if (prepare)
            prepare(socket_);
    }
    raw_peer(raw_peer const&) = delete;
    raw_peer& operator=(raw_peer const&) = delete;
    ~raw_peer()
    {
        zmq_close(socket_);
        zmq_ctx_term(context_);
    }

    void connect(std::string const& endpoint) { EXPECT_EQ(zmq_connect(socket_, endpoint.c_str()), 0); }
    void disconnect(std::string const& endpoint) { EXPECT_EQ(zmq_disconnect(socket_, endpoint.c_str()), 0); }
    void bind(std::string const& endpoint) { EXPECT_EQ(zmq_bind(socket_, endpoint.c_str()), 0); }
    bool send(std::string const& part, int flags = 0)
    {
        return zmq_send(socket_, part.data(), part.size(), ZMQ_DONTWAIT | flags) >= 0;
    }
    std::optional<std::string> receive()
    {
        std::string part(1 << 20, '\0');
        auto const size = zmq_recv(socket_, part.data(), part.size(), ZMQ_DONTWAIT);
        if (size < 0)
            return std::nullopt;
        part.resize(static_cast<std::size_t>(size));
        return part;
    }
    // The next frame of that kind.
    asio::awaitable<std::string> receive(cosaga::environment& env, frame_kind wanted)
    {
        for (;;) {
            auto const part = receive();
            if (part && part->size() > 2 && (*part)[2] == static_cast<char>(wanted))
                co_return *part;
            if (!part)
                co_await env.sleep_for(1ms);
        }
    }

private:
    void* context_;
    void* socket_;
};

// Prepares a socket that holds hardly anything that is not read.
void read_little(void* socket)
{
    int const few = 1;
    int const small = 4096;
    zmq_setsockopt(socket, ZMQ_RCVHWM, &few, sizeof few);
    zmq_setsockopt(socket, ZMQ_RCVBUF, &small, sizeof small);
}

std::string open_of(
    std::uint64_t connection, std::uint32_t flow, std::string topic = "orders", std::uint64_t session = 4711)
{
    open_frame f;
    f.connection = connection;
    f.session = session;
    f.flow = flow;
    f.topic = std::move(topic);
    f.consumer = "stock";
    f.service = "raw";
    std::string frame;
    write_open(frame, f);
    return frame;
}

std::string batch_of(std::uint32_t flow, std::uint32_t instance, std::vector<envelope> const& messages)
{
    std::string frame;
    begin_batch(frame, flow, instance);
    for (auto const& e : messages)
        append_message(frame, "orders", e.tag, e.content, nullptr);
    return frame;
}

// A transport that lets a real sender through, after whatever was done to it.
asio::awaitable<void> expect_working(zeromq& world, subscription_handle& in)
{
    zeromq_options options;
    cosaga::zeromq_route to;
    to.topic = "orders";
    to.consumer = "stock";
    to.endpoints.push_back(world.endpoint("a"));
    options.routes.push_back(to);
    zeromq_transport sender{world.env(), options};
    auto out = sender.open_publisher("orders", "stock");
    out.publish(make_batch(1'000'000, 10));
    auto const received = co_await collect(in, 10);
    for (auto const& d : received)
        EXPECT_GE(std::stoull(d.content.payload), 1'000'000u);
    acknowledge(in, received);
    for (std::size_t n = 0; n < 10;) {
        auto const some = co_await out.settled();
        n += some.size();
    }
    co_await sender.close();
}

void expect_error(errc expected, std::function<void()> const& f, std::string const& word = {})
{
    try {
        f();
        ADD_FAILURE() << "nothing thrown, " << word;
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), expected) << e.what();
        EXPECT_NE(std::string{e.what()}.find(word), std::string::npos) << e.what();
    }
}

TEST_F(zeromq, refuses_to_be_reached_from_other_machines_without_keys)
{
    for (std::string const endpoint :
        {"tcp://*:7000", "tcp://0.0.0.0:7000", "tcp://[::]:7000", "tcp://192.0.2.1:7000", "tcp://eth0:7000",
            "tcp://127.evil.example:7000", "tcp://localhost.evil.example:7000", "udp://127.0.0.1:7000"}) {
        zeromq_options listening;
        listening.listen.push_back(endpoint);
        expect_error(
            errc::insecure_endpoint,
            [&] {
                zeromq_transport{env(), listening};
            },
            endpoint);
        zeromq_options sending;
        sending.routes.push_back({"orders", "stock", {endpoint}});
        expect_error(
            errc::insecure_endpoint,
            [&] {
                zeromq_transport{env(), sending};
            },
            endpoint);
        sending.insecure = listening.insecure = true;
        zeromq_transport const one{env(), listening};
        zeromq_transport const two{env(), sending};
    }
    for (std::string const endpoint : {"tcp://127.0.0.1:*", "tcp://127.9.9.9:7000", "tcp://localhost:7000",
             "tcp://[::1]:7000", "ipc:///tmp/cosaga-test"}) {
        zeromq_options options;
        options.listen.push_back(endpoint);
        zeromq_transport const fine{env(), options};
    }
}

TEST_F(zeromq, refuses_options_that_cannot_work)
{
    auto const keys = cosaga::make_curve_key_pair();
    EXPECT_EQ(keys.public_key.size(), 40u);
    EXPECT_NE(keys.public_key, keys.secret_key);
    auto const refuse = [&](std::string const& word, std::function<void(zeromq_options&)> const& spoil) {
        zeromq_options options;
        options.listen.push_back("tcp://127.0.0.1:*");
        options.curve.emplace().own = keys;
        options.curve->allowed.push_back({keys.public_key, "shop"});
        options.routes.push_back({"orders", "stock", {"tcp://127.0.0.1:7000"}, keys.public_key});
        {
            zeromq_transport const fine{env(), options};
        }
        spoil(options);
        expect_error(
            errc::bad_configuration,
            [&] {
                zeromq_transport{env(), options};
            },
            word);
    };
    refuse("window_messages", [](zeromq_options& o) { o.window_messages = 0; });
    refuse("window_messages", [](zeromq_options& o) { o.window_messages = 65537; });
    refuse("window_bytes", [](zeromq_options& o) { o.window_bytes = 0; });
    refuse("batch_messages", [](zeromq_options& o) { o.batch_messages = 1025; });
    refuse("batch_bytes", [](zeromq_options& o) { o.batch_bytes = 0; });
    refuse("max_peers", [](zeromq_options& o) { o.max_peers = 0; });
    refuse("max_flows", [](zeromq_options& o) { o.max_flows = 0; });
    refuse("service", [](zeromq_options& o) { o.service.clear(); });
    refuse("service", [](zeromq_options& o) { o.service.assign(256, 's'); });
    refuse("orders", [](zeromq_options& o) { o.routes[0].endpoints.clear(); });
    refuse("server_key", [](zeromq_options& o) { o.routes[0].server_key.clear(); });
    refuse("server_key", [](zeromq_options& o) { o.curve.reset(); });
    refuse("allowed", [](zeromq_options& o) { o.curve->allowed.clear(); });
    refuse("no service name", [](zeromq_options& o) { o.curve->allowed[0].service.clear(); });
    refuse("'shop'", [](zeromq_options& o) { o.curve->allowed[0].public_key.pop_back(); });
    refuse("'shop'", [](zeromq_options& o) { o.curve->allowed[0].public_key[3] = '"'; });
    refuse("secret key", [](zeromq_options& o) { o.curve->own.secret_key.pop_back(); });
    refuse("secret key", [](zeromq_options& o) { o.curve->own.secret_key[3] = '"'; });
    refuse("server_key", [](zeromq_options& o) { o.routes[0].server_key[3] = '"'; });
}

TEST_F(zeromq, says_what_it_could_not_open)
{
    zeromq_options options;
    options.listen.push_back("tcp://127.0.0.1:*");
    options.routes.push_back({"orders", "stock", {"tcp://localhost"}});
    zeromq_transport first{env(), options};
    expect_error(
        errc::transport_failed, [&] { first.open_publisher("orders", "stock"); }, "tcp://localhost");
    EXPECT_TRUE(first.endpoints().empty());
    first.start();
    first.start();
    ASSERT_EQ(first.endpoints().size(), 1u);
    options.listen = first.endpoints();
    zeromq_transport second{env(), options};
    expect_error(
        errc::transport_failed, [&] { second.start(); }, options.listen.front());
    zeromq_transport deaf{env(), {}};
    expect_error(
        errc::bad_configuration, [&] { deaf.subscribe("orders", "stock"); }, "listen");
}

TEST_F(zeromq, listens_on_all_of_its_endpoints_or_on_none)
{
    zeromq_options any;
    any.listen.push_back("tcp://127.0.0.1:*");
    std::optional<zeromq_transport> released{std::in_place, env(), any};
    std::optional<zeromq_transport> taken{std::in_place, env(), any};
    released->start();
    taken->start();
    zeromq_options options;
    options.listen = {released->endpoints().front(), taken->endpoints().front()};
    released.reset();
    zeromq_transport both{env(), options};
    auto const try_to_start = [&] {
        try {
            both.start();
        } catch (boost::system::system_error const&) {
        }
        return !both.endpoints().empty();
    };
    for (int i = 0; i < 3; ++i)
        EXPECT_FALSE(try_to_start());
    taken.reset();
    // libzmq lets go of an address some time after it was told to.
    run([&]() -> asio::awaitable<void> {
        for (int i = 0; i < 500 && !try_to_start(); ++i)
            co_await env().sleep_for(10ms);
    });
    EXPECT_EQ(both.endpoints(), options.listen);
}

// --- keys ---------------------------------------------------------------------------------------------------------------

class zeromq_with_keys : public zeromq {
protected:
    zeromq_with_keys()
    {
        zeromq_options options;
        options.service = "warehouse";
        options.listen.push_back(endpoint("a"));
        options.curve.emplace().own = receiver_keys;
        options.curve->allowed.push_back({client_keys.public_key, "the shop"});
        receiver.emplace(env(), options);
        in = receiver->subscribe("orders", "stock");
        receiver->start();
    }

    zeromq_options client(curve_key_pair const& own, std::string const& server_key) const
    {
        zeromq_options options;
        options.service = "pretender";
        options.curve.emplace().own = own;
        options.routes.push_back({"orders", "stock", {where}, server_key});
        return options;
    }

    // Tries to send as this client, and a raw peer with it.
    asio::awaitable<void> expect_nothing_gets_in(zeromq_options const& options)
    {
        zeromq_transport sender{env(), options};
        auto out = sender.open_publisher("orders", "stock");
        out.publish(make_batch(0, 10));
        auto const received = co_await collect_until_quiet(env(), in, 500ms);
        EXPECT_TRUE(received.empty());
    }

    curve_key_pair const receiver_keys = cosaga::make_curve_key_pair();
    curve_key_pair const client_keys = cosaga::make_curve_key_pair();
    std::string const where = endpoint("a");
    std::optional<zeromq_transport> receiver;
    subscription_handle in;
};

TEST_F(zeromq_with_keys, lets_an_allowed_client_in_under_the_name_of_its_key)
{
    run([&]() -> asio::awaitable<void> {
        zeromq_transport sender{env(), client(client_keys, receiver_keys.public_key)};
        auto out = sender.open_publisher("orders", "stock");
        out.publish(make_batch(0, 1000));
        auto const received = co_await collect(in, 1000);
        EXPECT_EQ(received.front().sender, "the shop");
        acknowledge(in, received);
        for (std::size_t n = 0; n < 1000;) {
            auto const some = co_await out.settled();
            n += some.size();
        }
        EXPECT_EQ(receiver->counters().refused_keys, 0u);
        co_await sender.close();
        co_await receiver->close();
    });
}

TEST_F(zeromq_with_keys, lets_nothing_in_with_a_wrong_key)
{
    run([&]() -> asio::awaitable<void> {
        auto const options = client(cosaga::make_curve_key_pair(), receiver_keys.public_key);
        co_await expect_nothing_gets_in(options);
        EXPECT_GT(receiver->counters().refused_keys, 0u);
    });
}

TEST_F(zeromq_with_keys, lets_nothing_in_without_a_key)
{
    run([&]() -> asio::awaitable<void> {
        zeromq_options options;
        options.routes.push_back({"orders", "stock", {where}});
        co_await expect_nothing_gets_in(options);
        raw_peer raw{ZMQ_DEALER};
        raw.connect(where);
        raw.send(open_of(1, 1));
        co_await env().sleep_for(200ms);
        EXPECT_FALSE(raw.receive());
    });
}

TEST_F(zeromq_with_keys, lets_nothing_out_to_a_server_with_another_key)
{
    run([&]() -> asio::awaitable<void> {
        auto const options = client(client_keys, cosaga::make_curve_key_pair().public_key);
        co_await expect_nothing_gets_in(options);
    });
}

// --- garbage ------------------------------------------------------------------------------------------------------------

class zeromq_under_attack : public zeromq {
protected:
    explicit zeromq_under_attack(std::size_t max_peers = 16, std::size_t max_flows = 4)
    {
        zeromq_options options;
        options.service = "warehouse";
        options.listen.push_back(endpoint("a"));
        options.max_peers = max_peers;
        options.max_flows = max_flows;
        options.window_messages = 10;
        options.linger = 120s;
        options.heartbeat = 60s; // so that a peer that does not read is not cut off while a test is slow
        receiver.emplace(env(), options);
        in = receiver->subscribe("orders", "stock");
        receiver->start();
    }

    // A raw peer that has said hello.
    asio::awaitable<void> greet(raw_peer& raw)
    {
        raw.connect(endpoint("a"));
        for (int n = 0;; ++n) {
            if (n % 100 == 0)
                raw.send("");
            auto const hello = raw.receive();
            if (hello && hello->size() > 2)
                co_return;
            co_await env().sleep_for(1ms);
        }
    }

    // One that has opened a flow.
    asio::awaitable<window_frame> open(raw_peer& raw, std::uint32_t flow = 1)
    {
        raw.send(open_of(1, flow));
        auto const frame = co_await raw.receive(env(), frame_kind::window);
        frame_kind kind{};
        co_return read_window(read_kind(frame, kind), {});
    }

    std::optional<zeromq_transport> receiver;
    subscription_handle in;
};

TEST_F(zeromq_under_attack, ignores_a_peer_after_a_malformed_frame_of_any_kind)
{
    run([&]() -> asio::awaitable<void> {
        std::vector<std::string> frames;
        frames.emplace_back("hello");
        frames.emplace_back(1, '\xc5');
        auto const good = batch_of(1, 1, make_batch(0, 3));
        frames.push_back(good.substr(0, good.size() - 1));
        frames.push_back(good + '\1');
        frames.push_back(open_of(1, 1) + "x");
        frames.push_back(open_of(1, 1, "another topic")); // of a flow that is open for something else
        frames.push_back(open_of(1, 2, std::string(300, 't')));
        auto frame = open_of(1, 1);
        ++frame[4]; // of another session
        frames.push_back(frame);
        write_done(frame, 1);
        frames.push_back(frame + "x");
        write_shut(frame, {1, 1});
        frames.push_back(frame + "x");
        for (auto const kind : {frame_kind::hello, frame_kind::window, frame_kind::settle, frame_kind::ping}) {
            begin_frame(frame, kind);
            frames.push_back(frame);
        }
        frame = good;
        frame[1] = 2;
        frames.push_back(frame);
        for (std::uint64_t n = 0; n < frames.size(); ++n) {
            raw_peer raw{ZMQ_DEALER};
            co_await greet(raw);
            auto const window = co_await open(raw);
            raw.send(frames[n]);
            raw.send(batch_of(1, window.instance, make_batch(0, 3)));
            while (receiver->counters().refused_frames <= n)
                co_await env().sleep_for(1ms);
            auto const received = co_await collect_until_quiet(env(), in, 20ms);
            EXPECT_TRUE(received.empty()) << "after frame " << n;
        }
        EXPECT_EQ(receiver->counters().refused_frames, frames.size());
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, survives_random_frames)
{
    run([&]() -> asio::awaitable<void> {
        std::mt19937_64 random{7};
        for (int life = 0; life < 30; ++life) {
            raw_peer raw{ZMQ_DEALER};
            co_await greet(raw);
            auto const window = co_await open(raw);
            for (int n = 0; n < 20; ++n) {
                auto frame = random() % 2 == 0 ? open_of(1, 1) : batch_of(1, window.instance, make_batch(0, 2));
                for (auto changes = random() % 3; changes > 0; --changes)
                    frame[random() % frame.size()] = static_cast<char>(random());
                raw.send(frame);
            }
            co_await env().sleep_for(2ms);
            auto const received = co_await collect_until_quiet(env(), in, 1ms);
            acknowledge(in, received);
        }
        auto const rest = co_await collect_until_quiet(env(), in, 50ms);
        acknowledge(in, rest);
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, refuses_messages_of_several_parts)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        raw.send(open_of(1, 1), ZMQ_SNDMORE);
        raw.send("", ZMQ_SNDMORE);
        raw.send("x");
        while (receiver->counters().refused_frames == 0)
            co_await env().sleep_for(1ms);
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, refuses_more_than_its_window)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        auto const window = co_await open(raw);
        EXPECT_EQ(window.messages, 10u);
        raw.send(batch_of(1, window.instance, make_batch(0, 10)));
        auto const received = co_await collect(in, 10);
        EXPECT_EQ(receiver->counters().refused_frames, 0u);
        raw.send(batch_of(1, window.instance, make_batch(10, 1)));
        while (receiver->counters().refused_frames == 0)
            co_await env().sleep_for(1ms);
        acknowledge(in, received);
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, drops_batches_for_subscriptions_and_flows_that_it_does_not_have)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        auto const window = co_await open(raw);
        raw.send(batch_of(1, window.instance + 1, make_batch(0, 1)));
        raw.send(batch_of(2, window.instance, make_batch(1, 1)));
        raw.send(batch_of(1, window.instance, make_batch(2, 1)));
        auto const received = co_await collect(in, 1);
        EXPECT_EQ(received.front().content.payload, "2");
        EXPECT_EQ(receiver->counters().refused_frames, 0u) << "these may just be late";
    });
}

TEST_F(zeromq_under_attack, cuts_a_connection_that_sends_too_large_a_frame)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        raw.send(std::string(20'000'000, 'x'));
        co_await env().sleep_for(100ms);
        EXPECT_EQ(receiver->counters().refused_frames, 0u) << "never read as a whole";
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, refuses_flows_beyond_its_limit)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        for (std::uint32_t flow = 1; flow <= 4; ++flow)
            co_await open(raw, flow);
        for (std::uint32_t flow = 5; flow <= 100; ++flow)
            raw.send(open_of(1, flow));
        while (receiver->counters().refused_flows < 96)
            co_await env().sleep_for(1ms);
        std::string done;
        write_done(done, 2);
        raw.send(done);
        co_await open(raw, 200); // there is room again
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, does_not_take_a_late_frame_of_a_lost_connection_for_a_new_one)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer late{ZMQ_DEALER};
        co_await greet(late);
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        raw.send(open_of(2, 1));
        auto const frame = co_await raw.receive(env(), frame_kind::window);
        frame_kind kind{};
        auto const window = read_window(read_kind(frame, kind), {});
        late.send(open_of(1, 1));
        co_await open(late, 2); // what came before it has been read
        raw.send(batch_of(1, window.instance, make_batch(0, 1)));
        auto const received = co_await collect(in, 1);
        EXPECT_EQ(received.size(), 1u);
    });
}

TEST_F(zeromq_under_attack, waits_at_closing_for_those_who_were_told_before_that_a_subscription_ended)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        auto const window = co_await open(raw);
        in.close();
        auto const shut = co_await raw.receive(env(), frame_kind::shut);
        bool closed = false;
        auto close = [&]() -> asio::awaitable<void> {
            co_await receiver->close();
            closed = true;
        };
        asio::co_spawn(executor(), close(), asio::detached);
        co_await env().sleep_for(50ms);
        EXPECT_FALSE(closed) << "settlements on their way are dropped when the connection ends";
        std::string heard;
        write_shut(heard, {1, window.instance});
        EXPECT_EQ(heard, shut);
        raw.send(heard);
        while (!closed)
            co_await env().sleep_for(1ms);
    });
}

TEST_F(zeromq_under_attack, does_not_wait_at_closing_for_a_peer_that_it_ignores)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER};
        co_await greet(raw);
        co_await open(raw);
        in.close();
        co_await raw.receive(env(), frame_kind::shut);
        raw.send("garbage");
        while (receiver->counters().refused_frames == 0)
            co_await env().sleep_for(1ms);
        co_await receiver->close(); // `linger` is longer than a test may take
    });
}

TEST_F(zeromq_under_attack, may_be_subscribed_to_from_other_threads_while_a_sender_does_not_read)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER, read_little};
        co_await greet(raw);
        auto const window = co_await open(raw);
        std::atomic<bool> done = false;
        std::thread other{[&] {
            while (!done) {
                receiver->subscribe("orders", "others");
                std::this_thread::sleep_for(1ms);
            }
        }};
        for (std::uint64_t n = 0; n < 3000; ++n) {
            while (!raw.send(batch_of(1, window.instance, make_batch(n, 1))))
                co_await env().sleep_for(1ms);
            auto const received = co_await in.receive(1);
            in.reject(received.front().tag, std::string(1000, 'r'));
        }
        co_await env().sleep_for(100ms);
        done = true;
        other.join();
        co_await expect_working(*this, in);
    });
}

class zeromq_with_two_peers : public zeromq_under_attack {
protected:
    zeromq_with_two_peers() : zeromq_under_attack{2} {}
};

TEST_F(zeromq_with_two_peers, keeps_no_flow_of_a_lost_sender_when_its_messages_are_gone_with_a_subscription)
{
    run([&]() -> asio::awaitable<void> {
        for (std::uint64_t life = 0; life < 25; ++life) { // more than there may be flows
            {
                raw_peer raw{ZMQ_DEALER};
                co_await greet(raw);
                raw.send(open_of(1, 1, "orders", life));
                auto const frame = co_await raw.receive(env(), frame_kind::window);
                frame_kind kind{};
                auto const window = read_window(read_kind(frame, kind), {});
                raw.send(batch_of(1, window.instance, make_batch(0, 2)));
                auto received = co_await collect(in, 2);
                raw.disconnect(endpoint("a"));
                received.pop_back();
                co_await env().sleep_for(5ms);
                acknowledge(in, received); // finds out that nobody is there
            }
            co_await env().sleep_for(5ms);
            in.close();
            in = receiver->subscribe("orders", "stock");
        }
        EXPECT_EQ(receiver->counters().refused_flows, 0u);
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_with_two_peers, listens_to_no_more_and_to_others_when_these_are_gone)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer one{ZMQ_DEALER};
        co_await greet(one);
        {
            raw_peer two{ZMQ_DEALER};
            co_await greet(two);
            raw_peer three{ZMQ_DEALER};
            three.connect(endpoint("a"));
            three.send("");
            while (receiver->counters().refused_peers == 0)
                co_await env().sleep_for(1ms);
            co_await env().sleep_for(50ms);
            EXPECT_FALSE(three.receive());
        }
        // A sender that is refused at first tries again until somebody is found to be gone.
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, survives_bytes_that_are_not_zeromq)
{
    run([&]() -> asio::awaitable<void> {
        auto const where = endpoint("a");
        auto const port = static_cast<unsigned short>(std::stoi(where.substr(where.rfind(':') + 1)));
        tcp::endpoint const address{asio::ip::make_address("127.0.0.1"), port};
        std::mt19937_64 random{11};
        std::list<tcp::socket> open;
        for (int life = 0; life < 50; ++life) {
            auto& raw = open.emplace_back(executor());
            boost::system::error_code ignored;
            raw.connect(address, ignored);
            std::string bytes(1 + random() % 300, '\0');
            for (auto& b : bytes)
                b = static_cast<char>(random());
            if (life % 3 == 0) // a greeting that begins well
                bytes.replace(0, 1, std::string("\xff\0\0\0\0\0\0\0\1\x7f\3", 11));
            asio::write(raw, asio::buffer(bytes), ignored);
            if (life % 2 == 0)
                open.pop_back();
            co_await env().sleep_for(1ms);
        }
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq_under_attack, forgets_no_message_of_a_sender_that_stops_reading)
{
    run([&]() -> asio::awaitable<void> {
        raw_peer raw{ZMQ_DEALER, read_little};
        co_await greet(raw);
        auto const window = co_await open(raw);
        // Far more settlements than sockets and queues hold.
        constexpr std::uint64_t count = 5000;
        for (std::uint64_t n = 0; n < count; ++n) {
            while (!raw.send(batch_of(1, window.instance, make_batch(n, 1))))
                co_await env().sleep_for(1ms);
            auto const received = co_await in.receive(1);
            in.reject(received.front().tag, std::string(1000, 'r'));
        }
        std::set<std::uint64_t> settled;
        for (;;) {
            auto const part = raw.receive();
            if (!part) {
                co_await env().sleep_for(1ms);
                continue;
            }
            frame_kind kind{};
            auto r = read_kind(*part, kind);
            if (kind == frame_kind::hello)
                break; // from here on a sender finds out what is left
            if (kind == frame_kind::settle) {
                read_head(r);
                read_settle(r, {}, [&](std::uint64_t tag, verdict, std::string_view) { settled.insert(tag); });
            }
        }
        EXPECT_LT(settled.size(), count) << "everything fitted: the test shows nothing";
        co_await expect_working(*this, in);
    });
}

TEST_F(zeromq, survives_garbage_from_a_receiver)
{
    run([&]() -> asio::awaitable<void> {
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, 100));
        std::string hello;
        write_hello(hello, "warehouse");
        std::vector<std::string> frames{"x", "", hello.substr(0, 5), open_of(1, 1)};
        window_frame window;
        window.connection = 1;
        window.flow = 1;
        window.messages = 5;
        window.bytes = 1'000'000;
        std::string frame;
        write_window(frame, window);
        frames.push_back(frame + "\xff");
        write_settle(frame, {1, 1}, std::vector<settled_tag>{{std::uint64_t{1} << 40, verdict::accepted, {}}}, {});
        frames.push_back(frame + "\3\3\3");
        for (auto const& garbage : frames) {
            raw_peer raw{ZMQ_ROUTER};
            raw.bind(endpoint("a"));
            std::optional<std::string> id;
            while (!id) {
                id = raw.receive();
                if (!id)
                    co_await env().sleep_for(1ms);
            }
            for (auto const& part : {hello, garbage}) {
                raw.send(*id, ZMQ_SNDMORE);
                raw.send(part);
            }
            co_await env().sleep_for(20ms);
        }
        EXPECT_EQ(sender->counters().refused_frames, frames.size());
        auto receiver = this->receiver("warehouse", "a");
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto const received = co_await collect(in, 100);
        EXPECT_EQ(received.size(), 100u);
    });
}

// --- broken connections -------------------------------------------------------------------------------------------------

// Stands between a sender and a receiver, and cuts.
class tcp_proxy {
public:
    tcp_proxy(asio::any_io_executor executor, unsigned short to)
        : acceptor_{executor, {asio::ip::make_address("127.0.0.1"), 0}}, to_{asio::ip::make_address("127.0.0.1"), to}
    {
        asio::co_spawn(executor, accept(), asio::detached);
    }
    ~tcp_proxy() { stop(); }

    std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }
    void cut()
    {
        boost::system::error_code ignored;
        for (auto& s : sockets_)
            s.close(ignored);
    }
    void stop()
    {
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        cut();
    }

private:
    asio::awaitable<void> accept()
    {
        for (;;) {
            auto& client = sockets_.emplace_back(acceptor_.get_executor());
            co_await acceptor_.async_accept(client, asio::use_awaitable);
            auto& server = sockets_.emplace_back(acceptor_.get_executor());
            boost::system::error_code ignored;
            server.connect(to_, ignored);
            asio::co_spawn(acceptor_.get_executor(), copy(client, server), asio::detached);
            asio::co_spawn(acceptor_.get_executor(), copy(server, client), asio::detached);
        }
    }

    asio::awaitable<void> copy(tcp::socket& from, tcp::socket& to)
    {
        std::vector<char> buffer(65536);
        try {
            for (;;) {
                auto const size = co_await from.async_read_some(asio::buffer(buffer), asio::use_awaitable);
                co_await asio::async_write(to, asio::buffer(buffer.data(), size), asio::use_awaitable);
            }
        } catch (boost::system::system_error const&) {
            boost::system::error_code ignored;
            from.close(ignored);
            to.close(ignored);
        }
    }

    tcp::acceptor acceptor_;
    tcp::endpoint to_;
    std::list<tcp::socket> sockets_;
};

TEST_F(zeromq, does_not_send_again_what_the_receiver_still_holds_when_a_connection_breaks)
{
    run([&]() -> asio::awaitable<void> {
        auto receiver = this->receiver("warehouse", "a", {.messages = 50});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto const where = endpoint("a");
        tcp_proxy proxy{executor(), static_cast<unsigned short>(std::stoi(where.substr(where.rfind(':') + 1)))};
        zeromq_options options;
        options.reconnect = 5ms;
        options.routes.push_back({"orders", "stock", {proxy.endpoint()}});
        zeromq_transport sender{env(), options};
        auto out = sender.open_publisher("orders", "stock");
        out.publish(make_batch(0, 100));
        auto first = co_await collect_until_quiet(env(), in);
        EXPECT_EQ(first.size(), 50u);
        for (int i = 0; i < 5; ++i) {
            proxy.cut();
            auto const again = co_await collect_until_quiet(env(), in);
            EXPECT_TRUE(again.empty()) << "sent although they are held";
        }
        acknowledge(in, first);
        auto const second = co_await collect(in, 50);
        EXPECT_EQ(second.front().content.payload, "50");
        acknowledge(in, second);
        std::set<std::uint64_t> settled;
        while (settled.size() < 100) {
            auto const some = co_await out.settled();
            for (auto const& s : some)
                settled.insert(s.tag);
        }
        proxy.stop();
    });
}

TEST_F(zeromq, leaves_room_for_what_an_instance_holds_when_its_messages_went_to_another_one)
{
    run([&]() -> asio::awaitable<void> {
        auto one = this->receiver("warehouse", "a", {.messages = 50});
        auto two = this->receiver("warehouse", "b");
        auto in_one = one->subscribe("orders", "stock");
        auto in_two = two->subscribe("orders", "stock");
        one->start();
        two->start();
        auto const where = endpoint("a");
        tcp_proxy proxy{executor(), static_cast<unsigned short>(std::stoi(where.substr(where.rfind(':') + 1)))};
        zeromq_options options;
        options.reconnect = 5ms;
        options.routes.push_back({"orders", "stock", {proxy.endpoint(), endpoint("b")}});
        zeromq_transport sender{env(), options};
        auto out = sender.open_publisher("orders", "stock");
        co_await env().sleep_for(100ms); // both are there
        out.publish(make_batch(0, 80));
        auto const first = co_await collect_until_quiet(env(), in_one);
        auto const second = co_await collect_until_quiet(env(), in_two, 50ms);
        EXPECT_GT(first.size(), 20u);
        EXPECT_EQ(first.size() + second.size(), 80u);
        proxy.cut();
        auto const again = co_await collect(in_two, first.size());
        co_await env().sleep_for(200ms); // connected anew
        auto rest = make_batch(80, 1000);
        for (auto& e : rest)
            e.content.key.clear(); // those of the first are where they are held
        out.publish(std::move(rest));
        auto consume = [&](subscription_handle& in) -> asio::awaitable<void> {
            for (;;) {
                auto const batch = co_await in.receive(20);
                co_await env().sleep_for(1ms);
                acknowledge(in, batch);
            }
        };
        auto more = co_await collect_until_quiet(env(), in_one, 100ms);
        EXPECT_LE(first.size() + more.size(), 50u);
        EXPECT_EQ(one->counters().refused_frames, 0u) << "it went beyond the window";
        acknowledge(in_one, first);
        acknowledge(in_one, more);
        acknowledge(in_two, second);
        acknowledge(in_two, again);
        asio::co_spawn(executor(), consume(in_one), [](std::exception_ptr) {});
        asio::co_spawn(executor(), consume(in_two), [](std::exception_ptr) {});
        std::set<std::uint64_t> settled;
        while (settled.size() < 1080 && one->counters().refused_frames == 0) {
            auto const some = co_await out.settled();
            for (auto const& s : some)
                EXPECT_TRUE(settled.insert(s.tag).second);
        }
        EXPECT_EQ(settled.size(), 1080u);
        proxy.stop();
        in_one.close();
        in_two.close();
        co_await env().sleep_for(10ms); // their consumers end
    });
}

TEST_F(zeromq, loses_nothing_over_a_connection_that_breaks_all_the_time)
{
    run([&]() -> asio::awaitable<void> {
        constexpr std::uint64_t count = 5000;
        auto receiver = this->receiver("warehouse", "a", {.messages = 100});
        auto in = receiver->subscribe("orders", "stock");
        receiver->start();
        auto const where = endpoint("a");
        tcp_proxy proxy{executor(), static_cast<unsigned short>(std::stoi(where.substr(where.rfind(':') + 1)))};
        zeromq_options options;
        options.reconnect = 1ms;
        options.reconnect_cap = 5ms;
        options.routes.push_back({"orders", "stock", {proxy.endpoint()}});
        zeromq_transport sender{env(), options};
        auto out = sender.open_publisher("orders", "stock");
        out.publish(make_batch(0, count));
        std::set<std::uint64_t> applied;
        std::map<std::string, std::uint64_t> last;
        auto consume = [&]() -> asio::awaitable<void> {
            for (;;) {
                std::vector<delivery> batch;
                try {
                    batch = co_await in.receive(20);
                } catch (boost::system::system_error const&) {
                    co_return;
                }
                co_await env().sleep_for(cosaga::duration{300});
                for (auto const& d : batch) {
                    auto const number = std::stoull(d.content.payload);
                    if (applied.insert(number).second) {
                        EXPECT_TRUE(number < 10 || last[d.content.key] + 10 == number) << number;
                        last[d.content.key] = number;
                    }
                }
                acknowledge(in, batch);
            }
        };
        asio::co_spawn(executor(), consume(), asio::detached);
        std::size_t settled = 0;
        auto settle = [&]() -> asio::awaitable<void> {
            while (settled < count) {
                auto const some = co_await out.settled();
                for (auto const& s : some)
                    EXPECT_EQ(s.result, verdict::accepted);
                settled += some.size();
            }
        };
        asio::co_spawn(executor(), settle(), asio::detached);
        int cuts = 0;
        while (settled < count) {
            co_await env().sleep_for(20ms);
            if (++cuts <= 20)
                proxy.cut();
        }
        EXPECT_EQ(applied.size(), count);
        EXPECT_GT(cuts, 2) << "never cut: the test shows nothing";
        proxy.stop();
        co_await receiver->close();
    });
}

// Receives in a process of its own, acknowledges, and writes each number to `pipe`.
[[noreturn]] void receive_in_child(std::string const& endpoint, int pipe)
{
    asio::io_context io;
    cosaga::system_environment env{io.get_executor()};
    zeromq_options options;
    options.listen.push_back(endpoint);
    zeromq_transport receiver{env, options};
    auto in = receiver.subscribe("orders", "stock");
    receiver.start();
    auto consume = [&]() -> asio::awaitable<void> {
        for (;;) {
            auto const batch = co_await in.receive(10);
            for (auto const& d : batch) {
                auto const line = d.content.payload + "\n";
                if (::write(pipe, line.data(), line.size()) < 0)
                    _exit(2);
            }
            acknowledge(in, batch);
        }
    };
    asio::co_spawn(io, consume(), asio::detached);
    io.run();
    _exit(0);
}

TEST_F(zeromq, loses_nothing_when_the_receiving_process_is_killed)
{
    constexpr std::uint64_t count = 5000;
    int pipes[2];
    ASSERT_EQ(::pipe(pipes), 0);
    auto const where = endpoint("a");
    // All forked before this process has any thread; each waits for the one before it to be dead.
    std::vector<pid_t> children;
    std::vector<int> starts;
    for (int i = 0; i < 4; ++i) {
        int start[2];
        ASSERT_EQ(::pipe(start), 0);
        auto const child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            char go = 0;
            ::close(start[1]);
            for (int const s : starts)
                ::close(s);
            if (::read(start[0], &go, 1) != 1)
                _exit(1);
            receive_in_child(where, pipes[1]);
        }
        children.push_back(child);
        ::close(start[0]);
        starts.push_back(start[1]);
    }
    ::close(pipes[1]);
    run([&]() -> asio::awaitable<void> {
        auto sender = this->sender("shop", {{"orders", "stock", {"a"}}});
        auto out = sender->open_publisher("orders", "stock");
        out.publish(make_batch(0, count));
        std::set<std::uint64_t> settled;
        for (std::size_t life = 0; life < children.size(); ++life) {
            EXPECT_EQ(::write(starts[life], "g", 1), 1);
            auto const until = life + 1 < children.size() ? (life + 1) * 700 : count;
            while (settled.size() < until) {
                auto const some = co_await out.settled();
                for (auto const& s : some) {
                    EXPECT_EQ(s.result, verdict::accepted);
                    EXPECT_TRUE(settled.insert(s.tag).second);
                }
            }
            ::kill(children[life], SIGKILL);
            ::waitpid(children[life], nullptr, 0);
        }
        co_await sender->close();
    });
    std::string text;
    char buffer[65536];
    for (ssize_t size = 0; (size = ::read(pipes[0], buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(size));
    ::close(pipes[0]);
    for (int const s : starts)
        ::close(s);
    std::set<std::uint64_t> received;
    for (std::size_t at = 0; at < text.size();) {
        auto const end = text.find('\n', at);
        received.insert(std::stoull(text.substr(at, end - at)));
        at = end + 1;
    }
    EXPECT_EQ(received.size(), count);
}

} // namespace
