// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/schedule.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <random>

namespace {

using namespace std::chrono_literals;
using cosaga::duration;
using cosaga::schedule;

constexpr std::uint64_t least_random = 0;
constexpr std::uint64_t most_random = std::numeric_limits<std::uint64_t>::max();

template <class Make>
void expect_refused(Make make)
{
    try {
        make();
        ADD_FAILURE() << "accepted";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), cosaga::errc::bad_argument) << e.what();
    }
}

/// What `longest` promises to bound, added up delay by delay.
duration sum_without_jitter(schedule const& s)
{
    duration sum{};
    for (std::uint32_t failed = 1; failed < s.attempts(); ++failed)
        sum += *s.delay_after(failed, least_random);
    return sum;
}

TEST(schedule, exponential_grows_by_its_factor_up_to_the_cap)
{
    auto const s = schedule::exponential({.first = 100ms, .factor = 3, .cap = 1s, .attempts = 6, .jitter = 0});
    EXPECT_EQ(s.delay_after(1, most_random), 100ms);
    EXPECT_EQ(s.delay_after(2, most_random), 300ms);
    EXPECT_EQ(s.delay_after(3, most_random), 900ms);
    EXPECT_EQ(s.delay_after(4, most_random), 1s);
    EXPECT_EQ(s.delay_after(5, most_random), 1s);
}

TEST(schedule, ends_after_its_attempts)
{
    auto const s = schedule::exponential({.attempts = 3});
    EXPECT_TRUE(s.delay_after(2, 0));
    EXPECT_FALSE(s.delay_after(3, 0));
    EXPECT_FALSE(s.delay_after(std::numeric_limits<std::uint32_t>::max(), 0));
    auto const once = schedule::exponential({.attempts = 1});
    EXPECT_FALSE(once.delay_after(1, 0));
    EXPECT_EQ(once.longest(), 0us);
}

TEST(schedule, without_end_stays_at_the_last_delay)
{
    auto const s = schedule::exponential({.first = 1s, .cap = 4s, .attempts = 2, .jitter = 0});
    EXPECT_EQ(s.delay_without_end(1, 0), 1s);
    EXPECT_EQ(s.delay_without_end(1'000'000, 0), 4s);
    EXPECT_EQ(s.delay_without_end(std::numeric_limits<std::uint32_t>::max(), 0), 4s);
    EXPECT_EQ(schedule::list({1s, 7s}).delay_without_end(99, 0), 7s);
}

TEST(schedule, jitter_takes_off_at_most_its_part_and_all_of_that_range_occurs)
{
    auto const s = schedule::exponential({.first = 1000us, .cap = 1000us, .attempts = 2, .jitter = 0.5});
    EXPECT_EQ(s.delay_after(1, least_random), 1000us);
    EXPECT_EQ(s.delay_after(1, most_random), 501us);
    std::mt19937_64 random{1};
    int early = 0;
    for (int i = 0; i < 10'000; ++i) {
        auto const delay = *s.delay_after(1, random());
        ASSERT_GE(delay, 500us);
        ASSERT_LE(delay, 1000us);
        early += delay < 750us;
    }
    EXPECT_NEAR(early, 5'000, 300);
}

TEST(schedule, full_jitter_never_makes_a_delay_negative)
{
    auto const s = schedule::exponential(
        {.first = 1us, .factor = 10, .cap = duration::max(), .attempts = schedule::unlimited, .jitter = 1});
    for (std::uint32_t failed = 1; failed < 100; ++failed) {
        EXPECT_GE(*s.delay_after(failed, most_random), 0us);
        EXPECT_LE(*s.delay_after(failed, least_random), duration::max());
    }
}

TEST(schedule, a_list_is_followed_delay_by_delay)
{
    auto const s = schedule::list({1s, 30s, 5min});
    EXPECT_EQ(s.attempts(), 4u);
    EXPECT_EQ(s.delay_after(1, most_random), 1s);
    EXPECT_EQ(s.delay_after(2, most_random), 30s);
    EXPECT_EQ(s.delay_after(3, most_random), 5min);
    EXPECT_FALSE(s.delay_after(4, most_random));
    EXPECT_EQ(s.longest(), 5min + 31s);
    EXPECT_EQ(schedule::list({10s}, 1.0).delay_after(1, std::uint64_t{1} << 63), 5s);
}

TEST(schedule, options_outside_their_range_are_refused)
{
    double const nan = std::numeric_limits<double>::quiet_NaN();
    expect_refused([] { schedule::exponential({.first = 0us}); });
    expect_refused([] { schedule::exponential({.first = -1us}); });
    expect_refused([] { schedule::exponential({.factor = 0.99}); });
    expect_refused([] { schedule::exponential({.factor = std::numeric_limits<double>::infinity()}); });
    expect_refused([=] { schedule::exponential({.factor = nan}); });
    expect_refused([] { schedule::exponential({.first = 2s, .cap = 1s}); });
    expect_refused([] { schedule::exponential({.attempts = 0}); });
    expect_refused([] { schedule::exponential({.jitter = 1.01}); });
    expect_refused([] { schedule::exponential({.jitter = -0.01}); });
    expect_refused([=] { schedule::exponential({.jitter = nan}); });
    expect_refused([] { schedule::list({}); });
    expect_refused([] { schedule::list({1s, -1s}); });
    expect_refused([] { schedule::list({1s}, 2.0); });
    expect_refused([] {
        schedule::list({1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s,
            1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s});
    });
}

TEST(schedule, longest_bounds_all_delays_together_closely)
{
    for (double const factor : {1.0, 1.0001, 1.5, 2.0, 10.0, 1e300})
        for (std::uint32_t const attempts : {1u, 2u, 3u, 16u, 1000u})
            for (duration const cap : {duration{200ms}, duration{201ms}, duration{5min}}) {
                auto const s = schedule::exponential({.first = 200ms, .factor = factor, .cap = cap, .attempts = attempts});
                auto const sum = sum_without_jitter(s);
                EXPECT_GE(s.longest(), sum) << factor << ' ' << attempts;
                EXPECT_LE(s.longest(), sum + duration{attempts}) << factor << ' ' << attempts; // each was rounded down
            }
}

TEST(schedule, longest_answers_at_once_for_four_billion_attempts)
{
    constexpr auto many = schedule::unlimited - 1;
    EXPECT_EQ(schedule::exponential({.first = 1ms, .factor = 1, .cap = 1h, .attempts = many}).longest(), 1ms * (many - 1LL));
    EXPECT_GE(schedule::exponential({.first = 1us, .factor = 1.0000000001, .cap = 1h, .attempts = many}).longest(),
        1us * (many - 1LL));
}

TEST(schedule, longest_does_not_overflow)
{
    EXPECT_EQ(schedule::exponential({.attempts = schedule::unlimited}).longest(), duration::max());
    EXPECT_EQ(schedule::exponential({.cap = duration::max(), .attempts = 1000}).longest(), duration::max());
    EXPECT_EQ(schedule::list({duration::max(), duration::max()}).longest(), duration::max());
}

} // namespace
