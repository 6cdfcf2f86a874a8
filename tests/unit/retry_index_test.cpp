// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/retry_index.hpp>

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cosaga::steady_time;
using cosaga::detail::retry_index;
using rows = std::vector<std::int64_t>;

cosaga::message_row row(std::int64_t seq, std::string key)
{
    cosaga::message_row r;
    r.seq = seq;
    r.content.key = std::move(key);
    return r;
}

TEST(retry_index, only_the_first_row_of_a_key_is_due)
{
    retry_index index;
    index.add(row(1, "a"), steady_time{10s});
    index.add(row(2, "a"), steady_time{0s});
    index.add(row(3, "b"), steady_time{5s});
    EXPECT_EQ(index.due(steady_time{9s}, 10), (rows{3}));
    EXPECT_EQ(index.due(steady_time{10s}, 10), (rows{1, 3}));
    EXPECT_EQ(index.next_due(), steady_time{5s});
    index.remove(1);
    EXPECT_EQ(index.due(steady_time{9s}, 10), (rows{2, 3}));
}

TEST(retry_index, rows_without_a_key_hold_back_nothing)
{
    retry_index index;
    index.add(row(1, ""), steady_time{10s});
    index.add(row(2, ""), steady_time{0s});
    EXPECT_EQ(index.due(steady_time{0s}, 10), (rows{2}));
    EXPECT_FALSE(index.holds(""));
}

TEST(retry_index, a_key_is_held_until_its_last_row_is_gone)
{
    retry_index index;
    index.add(row(1, "a"), steady_time{0s});
    index.add(row(2, "a"), steady_time{0s});
    index.add(row(2, "a"), steady_time{0s});
    EXPECT_TRUE(index.holds("a"));
    index.remove(1);
    EXPECT_TRUE(index.holds("a"));
    index.remove(2);
    EXPECT_FALSE(index.holds("a"));
    index.remove(2);
    EXPECT_EQ(index.size(), 0u);
}

TEST(retry_index, a_postponed_row_is_due_later)
{
    retry_index index;
    index.add(row(1, "a"), steady_time{0s});
    index.postpone(1, 2, steady_time{30s});
    index.postpone(99, 2, steady_time{30s});
    EXPECT_TRUE(index.due(steady_time{29s}, 10).empty());
    EXPECT_EQ(index.next_due(), steady_time{30s});
}

TEST(retry_index, knows_when_a_row_is_due_until_it_has_failed_again)
{
    retry_index index;
    index.add(row(1, "a"), steady_time{5s});
    EXPECT_EQ(index.due_of(1, 0), steady_time{5s});
    EXPECT_EQ(index.due_of(1, 1), std::nullopt);
    EXPECT_EQ(index.due_of(2, 0), std::nullopt);
}

TEST(retry_index, gives_no_more_than_asked_for)
{
    retry_index index;
    for (std::int64_t seq = 1; seq <= 5; ++seq)
        index.add(row(seq, ""), steady_time{0s});
    EXPECT_EQ(index.due(steady_time{}, 2), (rows{1, 2}));
}

} // namespace
