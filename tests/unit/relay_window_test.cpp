// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/relay_window.hpp>

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cosaga::duration;
using cosaga::envelope;
using cosaga::steady_time;
using cosaga::verdict;
using cosaga::detail::relay_outcome;
using cosaga::detail::relay_window;

cosaga::schedule three_attempts()
{
    return cosaga::schedule::list({1s, 10s});
}

// A relay window with a clock, and the settlements of the last turn.
struct relay_window_test : ::testing::Test {
    relay_window window{100, 1 << 20, three_attempts()};
    steady_time now{1h};
    relay_outcome out;

    void take(std::int64_t seq, std::string key, duration wait = duration::zero())
    {
        cosaga::message_row row;
        row.seq = seq;
        row.content.key = std::move(key);
        row.content.payload = std::to_string(seq);
        window.take(std::move(row), now, wait);
    }

    // What is published now; the payload is the seq.
    std::vector<envelope> publish() { return window.publishable(now); }

    void settle(envelope e, verdict result)
    {
        cosaga::settlement s;
        s.tag = e.tag;
        s.result = result;
        s.reason = "because";
        if (result != verdict::accepted)
            s.content = std::move(e.content);
        window.settle(std::move(s), now, cosaga::time_point{}, [] { return std::uint64_t{0}; }, out);
    }

    static std::string seqs(std::vector<envelope> const& batch)
    {
        std::string text;
        for (auto const& e : batch)
            text += e.content.payload + ' ';
        return text;
    }
};

TEST_F(relay_window_test, publishes_in_the_order_of_taking_and_only_once)
{
    take(1, "a");
    take(2, "b");
    take(3, "a");
    EXPECT_EQ(seqs(publish()), "1 2 3 ");
    EXPECT_EQ(seqs(publish()), "");
}

TEST_F(relay_window_test, what_failed_before_a_restart_does_not_overtake_what_is_older)
{
    take(1, "a");
    take(2, "a", 10s);
    take(3, "a");
    EXPECT_EQ(seqs(publish()), "1 ");
    now += 10s;
    EXPECT_EQ(seqs(publish()), "2 3 ");
}

TEST_F(relay_window_test, a_probe_does_not_overtake_what_is_older)
{
    for (std::int64_t seq = 1; seq <= 8; ++seq)
        take(seq, "");
    for (auto& e : publish())
        settle(std::move(e), verdict::failed);
    ASSERT_TRUE(window.is_down());
    take(9, "a");
    take(10, "a", 1s);
    std::string seen;
    for (int probe = 0; probe < 20; ++probe) {
        now += 1h;
        for (auto& e : publish()) {
            seen += e.content.payload + ' ';
            settle(std::move(e), verdict::failed);
        }
    }
    EXPECT_LT(seen.find("9 "), seen.find("10 ")) << seen;
}

TEST_F(relay_window_test, an_accepted_row_is_erased_and_makes_room)
{
    take(1, "a");
    EXPECT_EQ(window.room(), 99u);
    settle(publish().front(), verdict::accepted);
    EXPECT_EQ(out.erase, std::vector<std::int64_t>{1});
    EXPECT_EQ(window.room(), 100u);
    EXPECT_EQ(window.bytes_left(), std::size_t{1} << 20);
}

TEST_F(relay_window_test, is_full_by_count_or_by_bytes)
{
    relay_window small{2, 1 << 20, three_attempts()};
    cosaga::message_row row;
    small.take(row, now, 0s);
    small.take(row, now, 0s);
    EXPECT_EQ(small.room(), 0u);
    relay_window light{100, 10, three_attempts()};
    light.take(row, now, 0s);
    EXPECT_EQ(light.room(), 0u);
}

TEST_F(relay_window_test, a_failed_message_waits_and_holds_back_its_own_key_only)
{
    take(1, "a");
    settle(publish().front(), verdict::failed);
    ASSERT_EQ(out.update.size(), 1u);
    EXPECT_EQ(out.update[0].attempts, 1u);
    EXPECT_EQ(out.update[0].last_error, "because");
    take(2, "a");
    take(3, "b");
    take(4, "");
    EXPECT_EQ(seqs(publish()), "3 4 ");
    EXPECT_EQ(window.next_due(), now + 1s);
    now += 1s;
    EXPECT_EQ(seqs(publish()), "1 2 ");
}

TEST_F(relay_window_test, messages_that_failed_behind_another_of_their_key_lose_no_attempt)
{
    take(1, "a");
    take(2, "a");
    auto batch = publish();
    settle(batch[0], verdict::failed);
    settle(batch[1], verdict::failed);
    EXPECT_EQ(out.update.size(), 1u);
    now += 1s;
    EXPECT_EQ(seqs(publish()), "1 2 ");
}

TEST_F(relay_window_test, is_buried_when_the_schedule_ends_and_lets_its_key_go_on)
{
    take(1, "a");
    for (auto wait : {1s, 10s}) {
        settle(publish().front(), verdict::failed);
        now += wait;
    }
    auto last = publish();
    take(2, "a");
    settle(last.front(), verdict::failed);
    ASSERT_EQ(out.bury.size(), 1u);
    EXPECT_EQ(out.bury[0].row.seq, 1);
    EXPECT_EQ(out.bury[0].row.last_error, "because");
    EXPECT_EQ(seqs(publish()), "2 ");
}

TEST_F(relay_window_test, a_rejected_message_is_buried_at_once)
{
    take(1, "a");
    take(2, "a");
    auto batch = publish();
    settle(batch[0], verdict::rejected);
    settle(batch[1], verdict::accepted);
    EXPECT_EQ(out.bury.size(), 1u);
    EXPECT_EQ(out.erase, std::vector<std::int64_t>{2});
    EXPECT_EQ(window.size(), 0u);
}

TEST_F(relay_window_test, an_outage_is_probed_with_one_message_and_buries_no_other)
{
    for (std::int64_t seq = 1; seq <= 20; ++seq)
        take(seq, "");
    for (auto& e : publish())
        settle(e, verdict::failed);
    EXPECT_TRUE(window.is_down());
    int probes = 0;
    while (out.bury.empty()) {
        ASSERT_TRUE(window.next_due());
        now = std::max(now, *window.next_due());
        auto probe = publish();
        ASSERT_EQ(probe.size(), 1u);
        EXPECT_TRUE(publish().empty());
        settle(probe.front(), verdict::failed);
        ASSERT_LT(++probes, 100);
    }
    EXPECT_EQ(out.bury.size(), 1u);
    EXPECT_EQ(window.size(), 19u);
}

TEST_F(relay_window_test, after_an_outage_everything_goes_out_and_each_key_in_order)
{
    for (std::int64_t seq = 1; seq <= 10; ++seq)
        take(seq, seq % 2 == 0 ? "even" : "odd");
    for (auto& e : publish())
        settle(e, verdict::failed);
    take(11, "odd");
    take(12, "");
    EXPECT_TRUE(window.is_down());
    now = *window.next_due();
    auto probe = publish();
    EXPECT_EQ(seqs(probe), "1 ");
    settle(probe.front(), verdict::accepted);
    EXPECT_FALSE(window.is_down());
    now += 1min;
    EXPECT_EQ(seqs(publish()), "2 4 6 8 10 3 5 7 9 11 12 ");
}

TEST_F(relay_window_test, a_row_that_failed_before_a_restart_waits_for_the_rest_of_its_delay)
{
    take(1, "a", 5s);
    take(2, "a");
    EXPECT_TRUE(publish().empty());
    now += 5s;
    EXPECT_EQ(seqs(publish()), "1 2 ");
}

TEST_F(relay_window_test, a_settlement_of_an_unknown_or_settled_tag_changes_nothing)
{
    take(1, "a");
    auto batch = publish();
    settle(batch.front(), verdict::accepted);
    settle(batch.front(), verdict::accepted);
    settle({77, {}}, verdict::rejected);
    EXPECT_EQ(out.erase.size(), 1u);
    EXPECT_TRUE(out.bury.empty());
    EXPECT_EQ(window.room(), 100u);
}

} // namespace
