// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/notification_text.hpp>
#include <cosaga/notification_options.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace cosaga::detail;
using namespace std::chrono_literals;
using cosaga::attempt_outcome;
using cosaga::notification_attempt;
using cosaga::notification_schedule;
using cosaga::schedule;
using cosaga::time_point;

constexpr time_point new_year = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1};

TEST(notification_text, of_a_time_is_read_back)
{
    EXPECT_EQ(time_text(new_year + 15s + 7ms + 999us), "2026-01-01T00:00:15.007Z");
    for (auto const t : {time_point{}, new_year, new_year + 24h * 58 + 23h + 59min + 59s + 999ms})
        EXPECT_EQ(parse_time(time_text(t)), t);
    for (auto const* const bad : {"", "2026-01-01", "2026-13-01T00:00:00.000Z", "2026-02-30T00:00:00.000Z", "2026-01-01T24:00:00.000Z",
             "2026-01-01T00:60:00.000Z", "2026-01-01 00:00:00.000Z", "2026-01-01T00:00:00.000z", "x026-01-01T00:00:00.000Z",
             "2026-01-01T00:00:00.00-Z"})
        EXPECT_FALSE(parse_time(bad)) << bad;
}

TEST(notification_text, of_an_attempt_is_read_back)
{
    notification_attempt a{.time = new_year, .latency = 1520ms, .outcome = attempt_outcome::failed, .status = 503, .reason = "Service Unavailable"};
    EXPECT_EQ(attempt_text(a), "2026-01-01T00:00:00.000Z failed 1520ms 503 Service Unavailable");
    auto const read = parse_attempt(attempt_text(a));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->time, a.time);
    EXPECT_EQ(read->latency, a.latency);
    EXPECT_EQ(read->outcome, a.outcome);
    EXPECT_EQ(read->status, a.status);
    EXPECT_EQ(read->reason, a.reason);
    for (auto const* const bad : {"", "given up: no", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z failed", "2026-01-01T00:00:00.000Z lost 1ms 2 x",
             "2026-01-01T00:00:00.000Z failed 1s 503 x", "2026-01-01T00:00:00.000Z failed -1ms 503 x",
             "2026-01-01T00:00:00.000Z failed 1ms 99999999999 x", "2026-01-01T00:00:00.000Z failed ms 1 x"})
        EXPECT_FALSE(parse_attempt(bad)) << bad;
}

TEST(notification_text, is_one_line_and_no_more_than_it_may_be)
{
    EXPECT_EQ(one_line("a\nb\tc\x1b[31m\x7f", 100), "a b c [31m ");
    EXPECT_EQ(one_line("abcdef", 3), "abc");
    EXPECT_EQ(one_line("ab\xc3\xa9", 3), "ab"); // not half a character
    EXPECT_EQ(one_line("ab\xc3\xa9", 4), "ab\xc3\xa9");
    EXPECT_EQ(one_line("\x80\x80\x80\x80", 2), "");
}

TEST(notification_text, of_a_record_is_read_back_and_bounded)
{
    notification_record record;
    EXPECT_EQ(record.text(), "");
    record.reason = "given up: no";
    record.due = new_year;
    for (int i = 0; i < 100; ++i)
        record.add({.time = new_year + 1s * i, .reason = std::string(1000, 'x') + "\n2026-01-01T00:00:00.000Z gone 1ms 410 forged"});
    auto const read = notification_record::parse(record.text());
    EXPECT_EQ(read.reason, record.reason);
    EXPECT_EQ(read.due, record.due);
    ASSERT_EQ(read.history().size(), 32u);
    EXPECT_EQ(read.history().front().time, new_year);
    EXPECT_EQ(read.history()[1].time, new_year + 69s);
    EXPECT_EQ(read.history().back().time, new_year + 99s);
    EXPECT_LT(record.text().size(), 8000u);
}

TEST(notification_text, that_is_anything_is_read_without_harm)
{
    std::mt19937 chance{1};
    auto const whole = "due 2026-01-01T00:00:00.000Z\n2026-01-01T00:00:00.000Z failed 1520ms 503 Service Unavailable\n"
                     + to_text(notification_schedule::fifteen_in_a_day(0.5));
    for (int i = 0; i < 20'000; ++i) {
        auto text = whole.substr(chance() % whole.size());
        for (auto n = chance() % 4; n > 0 && !text.empty(); --n)
            text[chance() % text.size()] = static_cast<char>(chance());
        notification_record::parse(text).history();
        parse_schedule(text);
    }
}

void expect_read_back(notification_schedule const& s)
{
    auto const read = parse_schedule(to_text(s));
    ASSERT_TRUE(read) << to_text(s);
    EXPECT_EQ(to_text(*read), to_text(s));
    EXPECT_EQ(read->first, s.first);
    EXPECT_EQ(read->lasts(), s.lasts());
    EXPECT_EQ(read->retries.attempts(), s.retries.attempts());
    for (std::uint32_t failed = 1; failed <= s.retries.attempts(); ++failed)
        EXPECT_EQ(read->retries.delay_after(failed, 12345), s.retries.delay_after(failed, 12345));
}

TEST(notification_text, of_a_schedule_is_read_back)
{
    expect_read_back(notification_schedule::fifteen_in_a_day());
    expect_read_back(notification_schedule::eight_in_a_day(0.1));
    expect_read_back(notification_schedule::standard_webhooks(1));
    expect_read_back({.retries = schedule::exponential({.first = 7s, .factor = 1.7, .cap = 1h, .attempts = 20, .jitter = 0.3}), .first = 5s, .deadline = 3h});
    EXPECT_LT(to_text(notification_schedule::fifteen_in_a_day(1.0 / 3)).size(), 400u);
    for (auto const* const bad : {"", "0 0 0", "0 0 0 list", "0 0 0 list -1", "0 0 2 list 1", "0 0 0 list 1 x", "-1 0 0 list 1", "0 0 0 other 1",
             "0 0 0 exponential 1 0.5 1 1", "0 0 nan list 1", "0 0 0 exponential 1 2 1000000000000 4294967295"})
        EXPECT_FALSE(parse_schedule(bad)) << bad;
}

TEST(notification_schedule, lasts_twice_its_delays_and_an_hour_unless_it_has_a_deadline)
{
    EXPECT_EQ(notification_schedule::eight_in_a_day().lasts(), 2 * (24h + 24min) + 1h);
    notification_schedule s{.deadline = 3min};
    EXPECT_EQ(s.lasts(), 3min);
    s = {.retries = schedule::exponential({.attempts = schedule::unlimited})};
    EXPECT_EQ(s.lasts(), cosaga::duration::max());
    EXPECT_EQ(to_text(notification_schedule{}), to_text(notification_schedule::standard_webhooks()));
}

} // namespace
