// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/message_id.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cosaga::message_id;
using cosaga::message_id_generator;
using cosaga::time_point;

/// A clock that the test sets, and chance from a seed; nothing runs on it.
class hand_clock final : public cosaga::environment {
public:
    time_point now() const override { return time_point{std::chrono::microseconds{now_}}; }
    cosaga::steady_time steady_now() const override { return {}; }
    std::uint64_t random() override { return counter_.fetch_add(1) * 0x9e37'79b9'7f4a'7c15ULL; }
    cosaga::asio::any_io_executor get_executor() override { throw std::logic_error{"unused"}; }
    std::unique_ptr<cosaga::worker> start_worker() override { throw std::logic_error{"unused"}; }
    void wait_until(cosaga::steady_time, timer_handler) override { throw std::logic_error{"unused"}; }
    void report(std::string const&) override {}

    void set(cosaga::duration since_epoch) { now_ = since_epoch.count(); }

private:
    std::atomic<std::int64_t> now_{1'700'000'000'000'000};
    std::atomic<std::uint64_t> counter_{1};
};

TEST(message_id, is_a_uuid_of_version_7_that_holds_its_time)
{
    hand_clock clock;
    clock.set(1'700'000'000'123'456us);
    auto const id = message_id_generator{clock}();
    EXPECT_TRUE(id.is_time_ordered());
    EXPECT_EQ(id.time(), time_point{1'700'000'000'123ms});
    auto const text = id.to_string();
    EXPECT_EQ(text[14], '7');
    EXPECT_NE(std::string{"89ab"}.find(text[19]), std::string::npos) << text;
}

TEST(message_id, increases_strictly_within_a_millisecond_and_when_the_clock_steps_back)
{
    hand_clock clock;
    message_id_generator generate{clock};
    auto last = generate();
    for (int i = 0; i < 10'000; ++i) {
        if (i == 3'000)
            clock.set(1'600'000'000s);
        if (i == 6'000)
            clock.set(1'700'000'001s);
        auto const next = generate();
        ASSERT_LT(last, next) << i;
        last = next;
    }
    EXPECT_EQ(last.time(), time_point{1'700'000'001s});
}

TEST(message_id, is_unique_over_many_threads_and_increases_in_each)
{
    constexpr std::size_t threads = 4;
    constexpr std::size_t each = 5'000;
    hand_clock clock;
    message_id_generator generate{clock};
    std::vector<std::vector<message_id>> made(threads);
    {
        std::vector<std::jthread> running;
        for (auto& mine : made)
            running.emplace_back([&] {
                for (std::size_t i = 0; i < each; ++i)
                    mine.push_back(generate());
            });
    }
    std::unordered_set<message_id> all;
    for (auto const& mine : made) {
        EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
        all.insert(mine.begin(), mine.end());
    }
    EXPECT_EQ(all.size(), threads * each);
}

TEST(message_id, text_form_comes_back_in_either_case)
{
    std::string const text = "0189f0a1-b2c3-7d4e-8f50-61728394a5b6";
    auto const id = message_id::parse(text);
    ASSERT_TRUE(id);
    EXPECT_EQ(id->to_string(), text);
    std::string upper = text;
    std::transform(upper.begin(), upper.end(), upper.begin(), [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
    EXPECT_EQ(message_id::parse(upper), id);
}

TEST(message_id, text_of_another_form_is_refused)
{
    std::string const text = "0189f0a1-b2c3-7d4e-8f50-61728394a5b6";
    EXPECT_FALSE(message_id::parse(""));
    EXPECT_FALSE(message_id::parse(text.substr(1)));
    EXPECT_FALSE(message_id::parse(text + "0"));
    EXPECT_FALSE(message_id::parse('{' + text.substr(2) + '}'));
    for (std::size_t i = 0; i < text.size(); ++i) {
        auto broken = text;
        broken[i] = text[i] == '-' ? '0' : 'g';
        EXPECT_FALSE(message_id::parse(broken)) << broken;
    }
}

TEST(message_id, sorts_by_time_first)
{
    hand_clock clock;
    message_id_generator first{clock};
    auto const early = first();
    clock.set(1'700'000'000'001ms);
    message_id_generator second{clock};
    auto const late = second();
    EXPECT_LT(early, late);
    EXPECT_LT(early.to_string(), late.to_string());
    EXPECT_LE(message_id::first_of(late.time()), late);
    EXPECT_GT(message_id::first_of(late.time()), early);
    EXPECT_EQ(message_id::first_of(late.time()).time(), late.time());
}

TEST(message_id, a_foreign_uuid_stays_itself)
{
    std::string const text = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    EXPECT_EQ(message_id::from_foreign("elsewhere", text).to_string(), text);
    EXPECT_FALSE(message_id::from_foreign("elsewhere", text).is_time_ordered());
}

TEST(message_id, a_foreign_id_is_mapped_by_source_and_id)
{
    auto const id = message_id::from_foreign("shop", "order-1");
    EXPECT_EQ(id, message_id::from_foreign("shop", "order-1"));
    EXPECT_NE(id, message_id::from_foreign("shop2", "order-1"));
    EXPECT_NE(id, message_id::from_foreign("shop", "order-2"));
    EXPECT_NE(message_id::from_foreign("ab", "c"), message_id::from_foreign("a", "bc"));
    EXPECT_EQ(id.to_string()[14], '8');
    EXPECT_FALSE(id.is_nil());
    // SHA-1 of "shop\0order-1": what one version of the library maps, the next must map the same.
    EXPECT_EQ(id.to_string(), "fb072bdd-ba01-8812-8698-13db0976fb25");
}

TEST(message_id, nil_is_what_was_never_set)
{
    EXPECT_TRUE(message_id{}.is_nil());
    EXPECT_FALSE(message_id{}.is_time_ordered());
    EXPECT_EQ(message_id{}.to_string(), "00000000-0000-0000-0000-000000000000");
}

} // namespace
