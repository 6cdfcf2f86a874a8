// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/testing/virtual_environment.hpp>
#include <cosaga/transport/memory.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
using cosaga::envelope;
using cosaga::errc;
using cosaga::settlement;
using cosaga::verdict;

class memory_transport_with_faults : public testing::Test {
protected:
    memory_transport_with_faults() { transport.start(); }
    ~memory_transport_with_faults() override
    {
        asio::co_spawn(env.get_executor(), transport.close(), asio::detached);
        env.run();
    }

    void publish(std::vector<std::pair<std::uint64_t, std::string>> const& numbers_and_keys)
    {
        std::vector<envelope> batch;
        for (auto const& [number, key] : numbers_and_keys) {
            auto& e = batch.emplace_back();
            e.tag = number;
            e.content.topic = "orders";
            e.content.key = key;
        }
        out.publish(std::move(batch));
    }

    void consume()
    {
        asio::co_spawn(env.get_executor(), receive(), asio::detached);
        env.run();
    }

    void collect()
    {
        asio::co_spawn(env.get_executor(), settle(), asio::detached);
        env.run();
    }

    asio::awaitable<void> receive()
    {
        for (;;) {
            auto batch = co_await in.receive(10);
            std::vector<std::uint64_t> tags;
            for (auto& d : batch) {
                keys.push_back(d.content.key);
                tags.push_back(d.tag);
            }
            in.acknowledge(std::move(tags));
        }
    }

    asio::awaitable<void> settle()
    {
        for (;;) {
            auto some = co_await out.settled();
            for (auto& s : some)
                settled.push_back(std::move(s));
        }
    }

    std::vector<std::uint64_t> tags_with(verdict result) const
    {
        std::vector<std::uint64_t> tags;
        for (auto const& s : settled)
            if (s.result == result)
                tags.push_back(s.tag);
        std::sort(tags.begin(), tags.end());
        return tags;
    }

    using numbers = std::vector<std::uint64_t>;

    cosaga::testing::virtual_environment env;
    cosaga::memory_transport transport{env, {.service = "shop", .routes = {{"orders", "stock"}}}};
    cosaga::subscription_handle in = transport.subscribe("orders", "stock");
    cosaga::publisher_handle out = transport.open_publisher("orders", "stock");
    std::vector<std::string> keys;
    std::vector<settlement> settled;
};

TEST_F(memory_transport_with_faults, fails_the_next_messages_and_all_later_ones_of_their_keys)
{
    transport.fail_next(2, "unplugged");
    publish({{1, "a"}, {2, "b"}, {3, "a"}, {4, "c"}, {5, "b"}});
    consume();
    collect();
    EXPECT_EQ(tags_with(verdict::failed), (numbers{1, 2, 3, 5}));
    EXPECT_EQ(tags_with(verdict::accepted), (numbers{4}));
    EXPECT_EQ(settled.front().reason, "unplugged");
    EXPECT_EQ(keys, std::vector<std::string>{"c"});
    publish({{1, "a"}});
    env.run();
    EXPECT_EQ(keys.size(), 2u);
}

TEST_F(memory_transport_with_faults, delivers_twice_and_settles_once)
{
    transport.duplicate_next(1);
    publish({{1, "a"}, {2, "b"}});
    consume();
    collect();
    EXPECT_EQ(keys, (std::vector<std::string>{"a", "a", "b"}));
    EXPECT_EQ(tags_with(verdict::accepted), (numbers{1, 2}));
}

TEST_F(memory_transport_with_faults, sends_again_what_was_acknowledged_in_vain)
{
    transport.drop_acknowledgements_next(2);
    publish({{1, "a"}, {2, "b"}, {3, "c"}});
    consume();
    collect();
    EXPECT_EQ(keys, (std::vector<std::string>{"a", "b", "c", "a", "b"}));
    EXPECT_EQ(tags_with(verdict::accepted), (numbers{1, 2, 3}));
}

TEST_F(memory_transport_with_faults, names_the_sending_service)
{
    cosaga::memory_transport other{transport, env, {.service = "mail", .routes = {{"orders", "stock"}}}};
    auto from_other = other.open_publisher("orders", "stock");
    std::vector<envelope> batch(1);
    from_other.publish(std::move(batch));
    std::string sender;
    auto receive_one = [&]() -> asio::awaitable<void> {
        auto const batch_of_one = co_await in.receive(1);
        sender = batch_of_one.front().sender;
    };
    asio::co_spawn(env.get_executor(), receive_one(), asio::detached);
    env.run();
    EXPECT_EQ(sender, "mail");
}

TEST(memory_transport, refuses_a_window_of_nothing)
{
    cosaga::testing::virtual_environment env;
    try {
        cosaga::memory_transport transport{env, {.window_messages = 0}};
        ADD_FAILURE() << "made";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::bad_configuration);
    }
}

} // namespace
