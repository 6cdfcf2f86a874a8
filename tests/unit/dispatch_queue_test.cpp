// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/dispatch_queue.hpp>

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using cosaga::envelope;
using cosaga::message;
using cosaga::settlement;
using cosaga::verdict;
using cosaga::detail::dispatch_queue;
using cosaga::detail::flow_window;

class dispatching : public testing::Test {
protected:
    using instance_id = dispatch_queue::instance_id;
    using numbers = std::vector<std::uint64_t>;

    // A message whose user tag is its number.
    void add(std::uint64_t number, std::string key = {}, std::size_t size = 0)
    {
        envelope e;
        e.tag = number;
        e.content.key = std::move(key);
        e.content.payload.assign(size, 'x');
        auto const tag = queue.add(std::move(e));
        number_of[tag] = number;
        tag_of[number] = tag;
    }

    instance_id join(std::size_t messages = 1000, std::size_t bytes = 1'000'000)
    {
        return queue.add_instance({messages, bytes});
    }

    // What each instance got.
    std::map<instance_id, numbers> dispatch()
    {
        std::map<instance_id, numbers> sent;
        queue.dispatch([&](instance_id id, std::uint64_t tag, message const&) {
            sent[id].push_back(number_of.at(tag));
            last_at[number_of.at(tag)] = id;
        });
        return sent;
    }

    std::vector<settlement> settle(std::uint64_t number, verdict result = verdict::accepted, std::string reason = {})
    {
        std::vector<settlement> out;
        auto const at = last_at.find(number);
        return settle_by(at == last_at.end() ? dispatch_queue::nowhere : at->second, number, result, std::move(reason));
    }

    std::vector<settlement> settle_by(
        instance_id by, std::uint64_t number, verdict result = verdict::accepted, std::string reason = {})
    {
        std::vector<settlement> out;
        queue.settle(by, tag_of.at(number), result, std::move(reason), out);
        return out;
    }

    static constexpr std::size_t cost = 300; // about that of a small message
    dispatch_queue queue;
    std::map<std::uint64_t, std::uint64_t> number_of;
    std::map<std::uint64_t, std::uint64_t> tag_of;
    std::map<std::uint64_t, instance_id> last_at; // where a message was sent last
};

TEST_F(dispatching, keeps_messages_until_there_is_an_instance)
{
    add(1);
    add(2);
    EXPECT_TRUE(dispatch().empty());
    auto const a = join();
    EXPECT_EQ(dispatch()[a], (numbers{1, 2}));
    EXPECT_TRUE(dispatch().empty()) << "sent twice";
    EXPECT_EQ(queue.size(), 2u);
}

TEST_F(dispatching, hands_a_message_back_unless_it_was_accepted)
{
    auto const a = join();
    for (std::uint64_t n = 1; n <= 3; ++n)
        add(n, {}, 10);
    dispatch();
    auto const accepted = settle(1);
    ASSERT_EQ(accepted.size(), 1u);
    EXPECT_EQ(accepted[0].tag, 1u);
    EXPECT_TRUE(accepted[0].content.payload.empty());
    auto const rejected = settle(2, verdict::rejected, "why");
    ASSERT_EQ(rejected.size(), 1u);
    EXPECT_EQ(rejected[0].reason, "why");
    EXPECT_EQ(rejected[0].content.payload.size(), 10u);
    EXPECT_TRUE(settle(2).empty()) << "settled twice";
    EXPECT_EQ(queue.outstanding(a), 1u);
}

TEST_F(dispatching, knows_no_tag_whose_slot_is_used_again)
{
    join();
    add(1);
    dispatch();
    auto const old = tag_of.at(1);
    settle(1);
    add(2);
    std::vector<settlement> out;
    EXPECT_FALSE(queue.settle(0, old, verdict::accepted, {}, out));
    EXPECT_FALSE(queue.settle(0, ~std::uint64_t{0}, verdict::accepted, {}, out));
    EXPECT_EQ(queue.size(), 1u);
}

TEST_F(dispatching, sends_no_more_than_the_window_has_room_for)
{
    auto const a = join(2);
    for (std::uint64_t n = 1; n <= 4; ++n)
        add(n);
    EXPECT_EQ(dispatch()[a], (numbers{1, 2}));
    settle(2);
    EXPECT_EQ(dispatch()[a], (numbers{3}));
}

TEST_F(dispatching, sends_a_message_that_is_larger_than_the_window_alone)
{
    auto const a = join(100, 2000);
    add(1, {}, 100);
    add(2, {}, 5000);
    add(3, {}, 100);
    EXPECT_EQ(dispatch()[a], (numbers{1}));
    settle(1);
    EXPECT_EQ(dispatch()[a], (numbers{2}));
    settle(2);
    EXPECT_EQ(dispatch()[a], (numbers{3}));
}

TEST_F(dispatching, fails_all_later_messages_of_a_key_with_one)
{
    join(3);
    for (std::uint64_t n = 1; n <= 6; ++n)
        add(n, n % 2 == 0 ? "even" : "odd");
    dispatch(); // 4 to 6 still wait
    auto const failed = settle(2, verdict::failed, "gone");
    std::set<std::uint64_t> tags;
    for (auto const& s : failed) {
        tags.insert(s.tag);
        EXPECT_EQ(s.result, verdict::failed);
        EXPECT_EQ(s.reason, "gone");
        EXPECT_EQ(s.content.key, "even");
    }
    EXPECT_EQ(tags, (std::set<std::uint64_t>{2, 4, 6}));
    add(7);
    add(8);
    EXPECT_EQ(settle(7, verdict::failed).size(), 1u) << "without a key there are no others of it";
    EXPECT_EQ(queue.size(), 4u);
}

TEST_F(dispatching, spreads_messages_and_keeps_a_key_where_it_is_outstanding)
{
    auto const a = join();
    auto const b = join();
    for (std::uint64_t n = 0; n < 100; ++n)
        add(n, "key" + std::to_string(n % 10));
    auto sent = dispatch();
    EXPECT_GT(sent[a].size(), 20u);
    EXPECT_GT(sent[b].size(), 20u);
    std::map<std::uint64_t, instance_id> at;
    for (auto const& [id, all] : sent)
        for (auto const n : all) {
            auto const [place, first] = at.try_emplace(n % 10, id);
            EXPECT_EQ(place->second, id) << "key " << n % 10 << " is at both";
        }
    for (std::uint64_t n = 0; n < 100; ++n)
        settle(n);
    EXPECT_EQ(queue.size(), 0u);
}

TEST_F(dispatching, does_not_let_a_full_instance_hold_back_keys_of_others)
{
    auto const a = join(1);
    add(1, "stuck");
    dispatch();
    auto const b = join(10);
    add(2, "stuck");
    add(3, "free");
    add(4, "stuck");
    auto sent = dispatch();
    EXPECT_EQ(sent[b], (numbers{3}));
    EXPECT_TRUE(sent[a].empty());
    add(5, "stuck");
    settle(1);
    EXPECT_EQ(dispatch()[a], (numbers{2}));
    settle(2);
    EXPECT_EQ(dispatch()[a], (numbers{4}));
    settle(4);
    EXPECT_EQ(dispatch()[a], (numbers{5}));
}

TEST_F(dispatching, sends_what_a_lost_instance_had_to_others_in_the_old_order)
{
    auto const a = join(1);
    add(1, "k");
    dispatch();
    auto const b = join();
    for (std::uint64_t n = 2; n <= 5; ++n)
        add(n, n == 4 ? "other" : "k");
    EXPECT_EQ(dispatch()[b], (numbers{4}));
    queue.remove_instance(a);
    EXPECT_EQ(dispatch()[b], (numbers{1, 2, 3, 5}));
    queue.remove_instance(b);
    EXPECT_TRUE(dispatch().empty());
    auto const c = join();
    EXPECT_EQ(dispatch()[c], (numbers{1, 2, 3, 4, 5}));
}

TEST_F(dispatching, does_not_send_what_an_instance_says_it_holds)
{
    auto const a = join();
    for (std::uint64_t n = 1; n <= 4; ++n)
        add(n, "k");
    dispatch();
    queue.remove_instance(a);
    auto const again = join();
    queue.adopt(again, tag_of.at(2), cost);
    queue.adopt(again, tag_of.at(3), cost);
    EXPECT_EQ(queue.outstanding(again), 2u);
    EXPECT_EQ(dispatch()[again], (numbers{1, 4}));
    EXPECT_EQ(settle(3).size(), 1u);
}

// An instance refuses what goes beyond its window, and the whole connection with it.
TEST_F(dispatching, leaves_room_for_what_an_instance_holds_although_another_one_has_it)
{
    auto const a = join(2);
    add(1, "k");
    add(2, "k");
    dispatch();
    queue.remove_instance(a);
    auto const b = join(3);
    EXPECT_EQ(dispatch()[b], (numbers{1, 2}));
    auto const again = join(2);
    queue.adopt(again, tag_of.at(1), cost);
    queue.adopt(again, tag_of.at(2), cost);
    EXPECT_EQ(queue.outstanding(again), 2u);
    for (std::uint64_t n = 3; n <= 8; ++n)
        add(n);
    auto sent = dispatch();
    EXPECT_EQ(sent[b], (numbers{3}));
    EXPECT_EQ(sent[again], numbers{});
    EXPECT_EQ(settle_by(again, 1).size(), 1u);
    sent = dispatch();
    EXPECT_EQ(sent[b], numbers{}) << "it holds the message still, whoever settled it";
    EXPECT_EQ(sent[again], (numbers{4}));
    EXPECT_EQ(settle_by(b, 1).size(), 0u);
    EXPECT_EQ(dispatch()[b], (numbers{5}));
    EXPECT_EQ(settle_by(b, 2).size(), 1u);
    EXPECT_EQ(settle_by(again, 2).size(), 0u);
    sent = dispatch();
    EXPECT_EQ(sent[b].size(), 1u);
    EXPECT_EQ(sent[again].size(), 1u);
}

TEST_F(dispatching, counts_the_bytes_of_what_an_instance_holds_of_messages_that_are_gone)
{
    auto const a = join(10, 2000);
    queue.adopt(a, 0xffff'ffff'ffff, 1500);
    EXPECT_EQ(queue.outstanding(a), 1u);
    add(1, {}, 1000);
    EXPECT_TRUE(dispatch().empty());
    std::vector<settlement> out;
    EXPECT_FALSE(queue.settle(a, 0xffff'ffff'ffff, verdict::accepted, {}, out));
    EXPECT_EQ(dispatch()[a], (numbers{1}));
}

TEST_F(dispatching, settles_late_what_waits_for_another_instance)
{
    auto const a = join(2);
    add(1, "k");
    add(2, "k");
    dispatch();
    join(1);
    join(1);
    queue.remove_instance(a);
    auto const sent = dispatch(); // 2 waits for the one that has 1
    ASSERT_EQ(sent.size(), 1u);
    auto const to = sent.begin()->first;
    EXPECT_EQ(sent.at(to), (numbers{1}));
    EXPECT_EQ(settle_by(dispatch_queue::nowhere, 2).size(), 1u);
    EXPECT_EQ(queue.outstanding(to), 1u);
    EXPECT_EQ(settle(1).size(), 1u);
    EXPECT_EQ(queue.outstanding(to), 0u);
    add(3, "k");
    EXPECT_EQ(dispatch().size(), 1u);
}

TEST_F(dispatching, does_not_adopt_what_is_at_another_instance)
{
    auto const a = join();
    add(1, "k");
    dispatch();
    auto const b = join();
    queue.adopt(b, tag_of.at(1), cost);
    EXPECT_EQ(queue.outstanding(a), 1u);
    EXPECT_TRUE(dispatch().empty());
    EXPECT_EQ(settle(1).size(), 1u);
}

TEST_F(dispatching, sends_nothing_to_a_lost_instance_that_held_a_message_of_a_key_that_is_elsewhere_too)
{
    join(1);
    join(1);
    add(1, "k");
    auto const to = dispatch().begin()->first;
    auto const c = join();
    add(2, "k");
    queue.adopt(c, tag_of.at(2), cost);
    queue.remove_instance(c);
    EXPECT_TRUE(dispatch().empty()) << "2 waits for the one that has 1";
    settle(1);
    EXPECT_EQ(dispatch()[to], (numbers{2}));
}

TEST_F(dispatching, keeps_a_key_where_its_latest_message_is_when_one_that_adopted_it_is_lost)
{
    auto const a = join(1);
    auto const b = join(5);
    auto const c = join(5);
    add(1, "k");
    EXPECT_EQ(dispatch()[a], (numbers{1}));
    for (std::uint64_t n = 2; n <= 4; ++n)
        add(n, "k");
    queue.adopt(b, tag_of.at(2), cost);
    queue.adopt(c, tag_of.at(3), cost);
    queue.remove_instance(c);
    EXPECT_EQ(dispatch()[b], (numbers{3, 4}));
}

TEST_F(dispatching, sends_a_single_message_again)
{
    auto const a = join();
    add(1);
    add(2);
    dispatch();
    queue.send_again(tag_of.at(1));
    queue.send_again(0);
    EXPECT_EQ(queue.outstanding(a), 1u);
    EXPECT_EQ(dispatch()[a], (numbers{1}));
}

TEST_F(dispatching, settles_everything_in_order_per_key_while_instances_come_and_go)
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        std::mt19937_64 random{seed};
        dispatch_queue q;
        std::map<instance_id, std::vector<std::pair<std::uint64_t, std::string>>> at; // tag, key
        std::map<std::string, std::uint64_t> last;
        constexpr std::uint64_t count = 500;
        std::uint64_t added = 0;
        std::uint64_t done = 0;
        std::map<std::uint64_t, std::string> keys;
        while (done < count) {
            switch (random() % 8) {
            case 0:
                if (at.size() < 4)
                    at[q.add_instance({1 + random() % 20, 10'000})];
                break;
            case 1:
                if (at.size() > 1 && random() % 4 == 0) {
                    q.remove_instance(at.begin()->first);
                    at.erase(at.begin());
                }
                break;
            case 2:
            case 3:
                for (auto n = random() % 10; n > 0 && added < count; --n) {
                    envelope e;
                    e.tag = ++added;
                    e.content.key = random() % 5 == 0 ? std::string{} : std::to_string(random() % 7);
                    keys[e.tag] = e.content.key;
                    q.add(std::move(e));
                }
                break;
            default:
                q.dispatch([&](instance_id id, std::uint64_t tag, message const& m) {
                    at.at(id).emplace_back(tag, m.key);
                    for (auto const& [other, tags] : at)
                        for (auto const& [t, key] : tags)
                            EXPECT_TRUE(other == id || key.empty() || key != m.key)
                                << "key " << key << " is at two instances at once, seed " << seed;
                });
                if (at.empty())
                    break;
                auto& [from, tags] = *std::next(at.begin(), static_cast<std::ptrdiff_t>(random() % at.size()));
                if (tags.empty())
                    break;
                std::vector<settlement> out;
                ASSERT_TRUE(q.settle(from, tags.front().first, verdict::accepted, {}, out));
                tags.erase(tags.begin());
                ++done;
                if (auto const& key = keys.at(out.front().tag); !key.empty()) {
                    EXPECT_LT(last[key], out.front().tag) << "key " << key << ", seed " << seed;
                    last[key] = out.front().tag;
                }
            }
        }
        EXPECT_EQ(q.size(), 0u);
    }
}

} // namespace
