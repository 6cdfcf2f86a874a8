// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/delivery_queue.hpp>

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cosaga::delivery;
using cosaga::message;
using cosaga::steady_time;
using cosaga::verdict;
using cosaga::detail::delivery_queue;
using cosaga::detail::settled_delivery;

class delivery_queue_of_one_lane : public testing::Test {
protected:
    void push(std::uint64_t tag, std::string key = {}, std::string payload = {})
    {
        message m;
        m.key = std::move(key);
        m.payload = std::move(payload);
        queue.push({lane, tag}, std::move(m), "shop");
        tags[++pushed] = tag;
    }

    // What is given out, remembered by the sender's tag.
    std::vector<std::uint64_t> take(std::size_t most = 100)
    {
        std::vector<std::uint64_t> taken;
        for (auto& d : queue.take(most, now)) {
            taken.push_back(std::stoull(d.content.payload));
            out[taken.back()] = std::move(d);
        }
        return taken;
    }

    void push_numbered(std::uint64_t tag, std::string key = {}) { push(tag, std::move(key), std::to_string(tag)); }
    void accept(std::uint64_t tag) { queue.settle(out.at(tag).tag, verdict::accepted, {}, settled); }
    void retry(std::uint64_t tag, cosaga::duration delay) { queue.retry(out.at(tag), now + delay); }

    delivery_queue queue;
    std::uint32_t lane = queue.open_lane();
    steady_time now{1h};
    std::map<std::uint64_t, delivery> out;
    std::map<std::uint64_t, std::uint64_t> tags;
    std::uint64_t pushed = 0;
    std::vector<settled_delivery> settled;
};

using numbers = std::vector<std::uint64_t>;

TEST_F(delivery_queue_of_one_lane, gives_deliveries_in_order_and_reports_their_end)
{
    for (std::uint64_t n = 1; n <= 3; ++n)
        push_numbered(n);
    EXPECT_EQ(take(2), (numbers{1, 2}));
    EXPECT_EQ(take(2), (numbers{3}));
    EXPECT_EQ(out.at(1).sender, "shop");
    accept(2);
    queue.settle(out.at(1).tag, verdict::rejected, "why", settled);
    ASSERT_EQ(settled.size(), 2u);
    EXPECT_EQ(settled[0].from.tag, 2u);
    EXPECT_EQ(settled[0].result, verdict::accepted);
    EXPECT_EQ(settled[1].from.tag, 1u);
    EXPECT_EQ(settled[1].result, verdict::rejected);
    EXPECT_EQ(settled[1].reason, "why");
    EXPECT_EQ(queue.held(lane).messages, 1u);
}

TEST_F(delivery_queue_of_one_lane, ignores_tags_that_are_not_handed_out)
{
    push_numbered(1);
    queue.settle(0, verdict::accepted, {}, settled);
    queue.settle(12345, verdict::accepted, {}, settled);
    take();
    accept(1);
    accept(1);
    push_numbered(2); // uses the slot again
    take();
    accept(1);
    retry(1, 0s);
    EXPECT_EQ(settled.size(), 1u);
    EXPECT_EQ(take(), numbers{});
    EXPECT_EQ(queue.held().messages, 1u);
}

TEST_F(delivery_queue_of_one_lane, counts_what_is_not_settled)
{
    push(1, {}, std::string(1000, 'x'));
    auto const bytes = queue.held(lane).bytes;
    EXPECT_GE(bytes, 1000u);
    push_numbered(2);
    EXPECT_EQ(queue.take(1, now).size(), 1u);
    EXPECT_EQ(queue.held(lane).messages, 2u);
    auto const held = queue.held_messages(lane);
    ASSERT_EQ(held.size(), 2u);
    EXPECT_EQ(held[0].tag, 1u);
    EXPECT_EQ(held[1].tag, 2u);
    EXPECT_EQ(held[0].bytes, bytes);
    auto second = queue.take(1, now);
    ASSERT_EQ(second.size(), 1u);
    queue.settle(second.front().tag, verdict::accepted, {}, settled);
    EXPECT_EQ(queue.held(lane).messages, 1u);
    EXPECT_EQ(queue.held(lane).bytes, bytes);
    EXPECT_EQ(queue.held().bytes, bytes);
    EXPECT_EQ(queue.held_messages(lane).size(), 1u);
}

TEST_F(delivery_queue_of_one_lane, holds_a_key_back_until_the_retried_message_is_settled)
{
    push_numbered(1, "k");
    push_numbered(2, "other");
    push_numbered(3, "k");
    EXPECT_EQ(take(1), (numbers{1}));
    retry(1, 1s);
    EXPECT_EQ(queue.next_due(), now + 1s);
    EXPECT_EQ(take(), (numbers{2}));
    push_numbered(4, "k");
    push_numbered(5);
    EXPECT_EQ(take(), (numbers{5}));
    now += 1s;
    EXPECT_TRUE(queue.is_ready(now));
    EXPECT_EQ(take(), (numbers{1}));
    EXPECT_EQ(out.at(1).attempt, 2u);
    EXPECT_EQ(out.at(1).content.key, "k");
    EXPECT_EQ(take(), numbers{});
    accept(1);
    EXPECT_TRUE(queue.is_ready(now));
    push_numbered(6, "k");
    EXPECT_EQ(take(), (numbers{3, 4, 6}));
}

TEST_F(delivery_queue_of_one_lane, keeps_messages_of_one_key_in_order_when_several_are_retried)
{
    for (std::uint64_t n = 1; n <= 4; ++n)
        push_numbered(n, "k");
    EXPECT_EQ(take(3), (numbers{1, 2, 3}));
    retry(2, 1s);
    retry(3, 0s); // due before the one that it must not overtake
    retry(1, 2s);
    EXPECT_EQ(take(), numbers{});
    now += 1s;
    EXPECT_EQ(take(), numbers{}) << "2 waits for 1";
    now += 1s;
    EXPECT_EQ(take(), (numbers{1}));
    accept(1);
    EXPECT_EQ(take(), (numbers{2}));
    retry(2, 5s);
    EXPECT_EQ(take(), numbers{});
    now += 5s;
    EXPECT_EQ(take(), (numbers{2}));
    EXPECT_EQ(out.at(2).attempt, 3u);
    accept(2);
    EXPECT_EQ(take(), (numbers{3}));
    accept(3);
    EXPECT_EQ(take(), (numbers{4}));
    accept(4);
    EXPECT_EQ(queue.held().messages, 0u);
    EXPECT_EQ(settled.size(), 4u);
}

TEST_F(delivery_queue_of_one_lane, lets_messages_without_a_key_pass_a_retried_one)
{
    push_numbered(1);
    push_numbered(2);
    take(1);
    retry(1, 1s);
    EXPECT_EQ(take(), (numbers{2}));
    now += 1s;
    EXPECT_EQ(take(), (numbers{1}));
}

TEST_F(delivery_queue_of_one_lane, does_not_trust_the_key_of_a_delivery_that_is_given_back)
{
    push_numbered(1, "k");
    take();
    retry(1, 0s);
    take();
    out.at(1).content.key = "another";
    retry(1, 0s);
    push_numbered(2, "k");
    EXPECT_EQ(take(), (numbers{1}));
    accept(1);
    EXPECT_EQ(take(), (numbers{2}));
}

TEST_F(delivery_queue_of_one_lane, delivers_what_a_closed_lane_sent_and_reports_it_to_nobody)
{
    push_numbered(1);
    push_numbered(2);
    take(1);
    queue.close_lane(lane);
    auto const other = queue.open_lane();
    EXPECT_NE(other, lane) << "still in use";
    EXPECT_EQ(take(), (numbers{2}));
    accept(1);
    accept(2);
    EXPECT_TRUE(settled.empty());
    EXPECT_EQ(queue.open_lane(), lane) << "free again";
}

TEST_F(delivery_queue_of_one_lane, knows_no_tag_from_before_it_was_cleared)
{
    push_numbered(1, "k");
    push_numbered(2, "k");
    take(1);
    retry(1, 0s);
    take(1);
    queue.clear();
    EXPECT_EQ(queue.held(lane).messages, 0u);
    push_numbered(3, "k");
    EXPECT_EQ(take(), (numbers{3}));
    accept(1);
    retry(1, 0s);
    EXPECT_TRUE(settled.empty());
    EXPECT_EQ(queue.held(lane).messages, 1u);
}

TEST(delivery_queue, settles_everything_once_and_in_order_per_key_whatever_happens)
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        std::mt19937_64 random{seed};
        delivery_queue queue;
        std::vector<std::uint32_t> const lanes{queue.open_lane(), queue.open_lane()};
        steady_time now{};
        std::vector<delivery> out;
        std::map<std::string, std::uint64_t> last; // settled, by key
        std::size_t settled_count = 0;
        constexpr std::uint64_t count = 400;
        for (std::uint64_t pushed = 0; settled_count < count;) {
            if (pushed < count && random() % 3 == 0) {
                message m;
                if (auto const k = random() % 6; k > 0)
                    m.key = std::to_string(k);
                m.payload = std::to_string(++pushed);
                queue.push({lanes[pushed % 2], pushed}, std::move(m), "s");
            }
            for (auto& d : queue.take(random() % 4, now))
                out.push_back(std::move(d));
            if (!out.empty() && random() % 2 == 0) {
                // In order of delivery within each key, as a consumer with one worker for each does.
                auto const which = random() % out.size();
                auto chosen = out.begin();
                while (chosen->content.key != out[which].content.key)
                    ++chosen;
                auto d = std::move(*chosen);
                out.erase(chosen);
                if (random() % 3 == 0) {
                    // What was taken of the key with it comes again too.
                    auto const key = d.content.key;
                    queue.retry(std::move(d), now + cosaga::duration{random() % 5});
                    for (auto o = out.begin(); o != out.end() && !key.empty();) {
                        if (o->content.key != key) {
                            ++o;
                            continue;
                        }
                        queue.retry(std::move(*o), now);
                        o = out.erase(o);
                    }
                } else {
                    auto const number = std::stoull(d.content.payload);
                    if (!d.content.key.empty()) {
                        EXPECT_LT(last[d.content.key], number) << "seed " << seed;
                        last[d.content.key] = number;
                    }
                    std::vector<settled_delivery> settled;
                    queue.settle(d.tag, verdict::accepted, {}, settled);
                    ASSERT_EQ(settled.size(), 1u) << "seed " << seed;
                    EXPECT_EQ(settled.front().from.tag, number);
                    EXPECT_EQ(settled.front().from.lane, lanes[number % 2]);
                    ++settled_count;
                }
            }
            now += cosaga::duration{random() % 2};
        }
        EXPECT_EQ(queue.held().messages, 0u);
        EXPECT_EQ(queue.held().bytes, 0u);
        EXPECT_FALSE(queue.next_due());
    }
}

} // namespace
