// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "sorted_ledger.hpp"

#include <cosaga/detail/comparison.hpp>
#include <cosaga/detail/comparison_answer.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace ledgers;
using namespace std::chrono_literals;
using detail::comparison;
using detail::comparison_answer;
using differences = std::vector<ledger_difference>;

struct outcome {
    differences found;
    comparison::progress progress;
    bool finished = false;
    ledger_position reached;

    std::uint64_t bytes() const { return progress.bytes_sent + progress.bytes_received; }
};

outcome compare(sorted_ledger& here, sorted_ledger& there, ledger_range const& range = everything, std::uint64_t salt = 1,
    std::uint64_t most = 1'000'000)
{
    outcome o;
    comparison c{range, salt, most};
    comparison_answer answer{there, everything};
    for (std::optional<std::string> request = c.open(); request;)
        request = c.next(here, answer(*request), o.found);
    std::sort(o.found.begin(), o.found.end(), [](auto const& a, auto const& b) { return a.position() < b.position(); });
    o.progress = c.so_far();
    o.finished = c.finished();
    o.reached = c.reached();
    return o;
}

std::string text_of(differences const& all)
{
    std::string text;
    for (auto const& d : all)
        text += d.to_string() + '\n';
    return text;
}

/// A copy with wounds, and what a comparison of the two must find, by position.
struct wounded {
    std::vector<ledger_record> here;
    std::vector<ledger_record> there;
    std::map<ledger_position, ledger_difference> expected;

    explicit wounded(std::vector<ledger_record> const& records) : here{records}, there{records} {}

    void wound(std::size_t at, std::uint64_t kind)
    {
        auto const whole = here[at];
        if (expected.contains(whole.position()))
            return;
        auto& e = expected[whole.position()];
        if (kind % 3 == 0)
            e.here = whole;
        else if (kind % 3 == 1)
            e.there = whole;
        else {
            e.here = whole;
            e.there = there[at];
            e.there->fields = {};
            e.there->fields.add("cents", "-1").add("state", "paid");
        }
    }

    void apply()
    {
        std::erase_if(here, [&](auto const& r) { return is(difference_kind::missing_at_initiator, r); });
        std::erase_if(there, [&](auto const& r) { return is(difference_kind::missing_at_participant, r); });
        for (auto& r : there)
            if (is(difference_kind::digest_differs, r))
                r = *expected[r.position()].there;
    }

    bool is(difference_kind k, ledger_record const& r) const
    {
        auto const found = expected.find(r.position());
        return found != expected.end() && found->second.kind() == k;
    }

    differences all() const
    {
        differences made;
        for (auto const& [position, d] : expected)
            made.push_back(d);
        return made;
    }
};

struct million : testing::Test {
    static std::vector<ledger_record> const& records()
    {
        static auto const made = [] {
            std::mt19937_64 chance{7};
            return make_records(1'000'000, 86'400us, chance); // a day of them
        }();
        return made;
    }

    void expect_found(wounded& w, std::uint64_t most_bytes, std::uint64_t most_trips)
    {
        w.apply();
        sorted_ledger here{std::move(w.here)};
        sorted_ledger there{std::move(w.there)};
        auto const o = compare(here, there);
        EXPECT_TRUE(o.found == w.all()) << o.found.size() << " found of " << w.all().size();
        EXPECT_TRUE(o.finished);
        EXPECT_FALSE(o.progress.equal);
        EXPECT_LE(o.bytes(), most_bytes);
        EXPECT_LE(o.progress.round_trips, most_trips);
        RecordProperty("bytes", std::to_string(o.bytes()));
        std::printf("%zu differences: %zu bytes, %zu round trips\n", o.found.size(), static_cast<std::size_t>(o.bytes()),
            static_cast<std::size_t>(o.progress.round_trips));
    }
};

TEST_F(million, equal_records_take_less_than_a_kilobyte)
{
    sorted_ledger here{records()};
    auto const o = compare(here, here);
    EXPECT_TRUE(o.progress.equal);
    EXPECT_TRUE(o.finished);
    EXPECT_TRUE(o.found.empty());
    EXPECT_EQ(o.progress.records, 1'000'000u);
    EXPECT_LE(o.progress.round_trips, 2u);
    EXPECT_LT(o.bytes(), 1024u);
    std::printf("equal: %zu bytes\n", static_cast<std::size_t>(o.bytes()));
}

TEST_F(million, one_difference_of_each_kind_takes_four_kilobytes_and_four_round_trips)
{
    for (std::uint64_t kind = 0; kind < 3; ++kind) {
        wounded w{records()};
        w.wound(123'456 + kind * 300'000, kind);
        expect_found(w, 4096, 4);
    }
}

TEST_F(million, a_hundred_differences_in_the_newest_hour_take_twenty_kilobytes)
{
    std::mt19937_64 chance{11};
    wounded w{records()};
    while (w.expected.size() < 100)
        w.wound(1'000'000 - 1 - chance() % 41'666, chance());
    expect_found(w, 20'000, 8);
}

TEST_F(million, a_hundred_differences_anywhere_take_two_hundred_kilobytes)
{
    std::mt19937_64 chance{13};
    wounded w{records()};
    while (w.expected.size() < 100)
        w.wound(chance() % 1'000'000, chance());
    expect_found(w, 200'000, 10);
}

TEST(comparison, finds_every_wound_of_a_thousand_copies_and_nothing_else)
{
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        std::mt19937_64 chance{seed};
        auto const n = 1 + chance() % 3000;
        wounded w{make_records(n, duration{1 + static_cast<std::int64_t>(chance() % 100'000)}, chance)};
        auto const wounds = chance() % 4 == 0 ? chance() % n : chance() % 8;
        auto const clustered = chance() % 2 == 0;
        auto const near = 1 + chance() % n;
        for (std::uint64_t i = 0; i < wounds; ++i)
            w.wound(clustered ? n - 1 - chance() % near : chance() % n, chance());
        w.apply();
        sorted_ledger here{w.here};
        sorted_ledger there{w.there};
        auto const o = compare(here, there, everything, chance());
        ASSERT_TRUE(o.found == w.all()) << "seed " << seed << "\nfound\n" << text_of(o.found) << "wounds\n" << text_of(w.all());
        EXPECT_EQ(o.progress.equal, w.expected.empty());
        EXPECT_TRUE(o.finished);
    }
}

TEST(comparison, ledgers_with_nothing_in_common_come_out_whole)
{
    std::mt19937_64 chance{3};
    sorted_ledger here{make_records(20'000, 1ms, chance)};
    sorted_ledger there{make_records(20'000, 1ms, chance)};
    sorted_ledger nothing{{}};
    EXPECT_EQ(compare(here, there).found.size(), 40'000u);
    EXPECT_EQ(compare(here, nothing).found.size(), 20'000u);
    EXPECT_EQ(compare(nothing, here).found.size(), 20'000u);
    EXPECT_TRUE(compare(nothing, nothing).progress.equal);
}

TEST(comparison, is_about_the_time_that_both_sides_have)
{
    std::mt19937_64 chance{3};
    auto const records = make_records(1000, 1s, chance);
    sorted_ledger here{records};
    sorted_ledger there{{}};
    auto const part = [&](std::size_t from, std::size_t to) { return ledger_range{{records[from].time, {}}, {records[to].time, {}}}; };
    comparison c{part(0, 900), 1, 1000};
    comparison_answer answer{there, part(300, 990)};
    differences found;
    for (std::optional<std::string> request = c.open(); request;)
        request = c.next(here, answer(*request), found);
    EXPECT_EQ(found.size(), 600u);
    EXPECT_EQ(c.so_far().compared, part(300, 900));

    comparison none{part(0, 300), 1, 1000};
    EXPECT_FALSE(none.next(here, answer(none.open()), found));
    EXPECT_TRUE(none.finished());
    EXPECT_FALSE(none.so_far().equal);
}

TEST(comparison, pauses_at_a_number_of_differences_and_goes_on_from_there)
{
    std::mt19937_64 chance{5};
    wounded w{make_records(50'000, 1ms, chance)};
    while (w.expected.size() < 3000)
        w.wound(chance() % 50'000, chance());
    w.apply();
    sorted_ledger here{w.here};
    sorted_ledger there{w.there};
    differences all;
    auto range = everything;
    int parts = 0;
    for (bool finished = false; !finished; ++parts) {
        auto const o = compare(here, there, range, chance(), 500);
        EXPECT_LE(o.found.size(), 500u + 4096u);
        all.insert(all.end(), o.found.begin(), o.found.end());
        range.from = o.reached;
        finished = o.finished;
    }
    EXPECT_GT(parts, 2);
    // What was found behind the place where it paused comes once more.
    std::sort(all.begin(), all.end(), [](auto const& a, auto const& b) { return a.position() < b.position(); });
    all.erase(std::unique(all.begin(), all.end()), all.end());
    EXPECT_TRUE(all == w.all());
}

TEST(comparison, repeats_what_did_not_fit_an_answer)
{
    std::mt19937_64 chance{5};
    auto records = make_records(2000, 1ms, chance);
    for (auto& r : records)
        r.fields.add("note", std::string(900, 'x'));
    sorted_ledger here{{}};
    sorted_ledger there{records};
    auto const o = compare(here, there);
    EXPECT_EQ(o.found.size(), 2000u);
    EXPECT_GT(o.progress.round_trips, 20u);
}

/// A hundred records a side with one difference, and an answer to spoil.
struct spoiled : testing::Test {
    spoiled()
    {
        std::mt19937_64 chance{9};
        auto records = make_records(3000, 1s, chance);
        here.emplace(records);
        records.erase(records.begin() + 1500);
        records[100].key += "!";
        there.emplace(std::move(records));
    }

    /// Runs a comparison in which `spoil` changes the answers. Gives the error, or nothing if it ended without one.
    template <class Spoil>
    std::optional<errc> run(Spoil spoil)
    {
        differences found;
        comparison c{everything, 1, 1000};
        comparison_answer answer{*there, everything};
        try {
            std::size_t n = 0;
            for (std::optional<std::string> request = c.open(); request; ++n) {
                auto text = answer(*request);
                spoil(n, text);
                request = c.next(*here, text, found);
            }
        } catch (boost::system::system_error const& e) {
            EXPECT_FALSE(std::string{e.what()}.empty());
            return static_cast<errc>(e.code().value());
        }
        return std::nullopt;
    }

    std::optional<sorted_ledger> here;
    std::optional<sorted_ledger> there;
};

TEST_F(spoiled, a_truncated_answer_is_malformed)
{
    for (std::size_t trip = 0; trip < 3; ++trip)
        for (std::size_t cut = 1; cut < 60; ++cut) {
            bool reached = false;
            auto const e = run([&](std::size_t n, std::string& text) {
                if (n == trip && cut <= text.size()) {
                    reached = true;
                    text.resize(text.size() - cut);
                }
            });
            if (reached) {
                EXPECT_EQ(e, errc::malformed_data) << "trip " << trip << ", cut " << cut;
            }
        }
}

TEST_F(spoiled, trailing_bytes_and_other_versions_are_refused)
{
    EXPECT_EQ(run([](std::size_t, std::string& text) { text += '\0'; }), errc::malformed_data);
    EXPECT_EQ(run([](std::size_t, std::string& text) { text[0] = 9; }), errc::malformed_data);
    EXPECT_EQ(run([](std::size_t, std::string& text) { text[1] ^= 3; }), errc::malformed_data);
    EXPECT_EQ(run([](std::size_t, std::string& text) { text.resize(300'000); }), errc::limit_exceeded);
}

TEST_F(spoiled, a_changed_byte_is_an_error_or_another_answer_and_never_more)
{
    std::mt19937_64 chance{1};
    for (int i = 0; i < 3000; ++i)
        static_cast<void>(run([&](std::size_t n, std::string& text) {
            if (n == static_cast<std::size_t>(i % 3))
                text[chance() % text.size()] = static_cast<char>(chance());
        }));
}

TEST_F(spoiled, a_changed_request_is_an_error_or_another_answer)
{
    std::mt19937_64 chance{1};
    comparison_answer answer{*there, everything};
    differences found;
    comparison c{everything, 1, 1000};
    std::vector<std::string> requests{c.open()};
    for (std::optional<std::string> next = requests.back(); next;) {
        next = c.next(*here, answer(*next), found);
        if (next)
            requests.push_back(*next);
    }
    for (int i = 0; i < 5000; ++i) {
        auto request = requests[chance() % requests.size()];
        request[chance() % request.size()] = static_cast<char>(chance());
        if (chance() % 4 == 0)
            request.resize(chance() % (request.size() + 1));
        try {
            EXPECT_LT(answer(request).size(), 128 * 1024u);
        } catch (boost::system::system_error const& e) {
            EXPECT_NE(std::string{e.what()}.find("comparison request"), std::string::npos) << e.what();
        }
    }
}

// Says of every range that it differs, and divides it once more; invents records when they are listed.
struct endless_ledger final : detail::ledger_view {
    std::vector<ledger_sum> sum(std::span<ledger_range const> ranges) override
    {
        std::vector<ledger_sum> sums(ranges.size());
        for (auto& s : sums)
            s.count = 1'000'000 + ++told;
        return sums;
    }
    std::vector<ledger_position> divide(ledger_range const& range, std::size_t) override
    {
        std::vector<ledger_position> bounds;
        auto const middle = range.from.time + (range.to.time - range.from.time) / 2;
        if (middle > range.from.time)
            bounds.push_back({middle, {}});
        return bounds;
    }
    std::vector<ledger_record> read(ledger_range const&, std::size_t) override { return {}; }

    std::uint64_t told = 0;
};

TEST_F(spoiled, a_peer_that_never_ends_is_left)
{
    endless_ledger endless;
    comparison_answer answer{endless, everything};
    differences found;
    comparison c{everything, 1, 1000};
    std::size_t trips = 0;
    try {
        for (std::optional<std::string> request = c.open(); request; ++trips)
            request = c.next(*here, answer(*request), found);
        ADD_FAILURE() << "it ended";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::limit_exceeded) << e.what();
    }
    EXPECT_LE(trips, 1500u);
}

} // namespace
