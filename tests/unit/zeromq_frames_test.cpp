// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/zeromq_frames.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace cosaga::detail;
using cosaga::errc;
using cosaga::message;
using cosaga::verdict;

constexpr std::uint64_t large_tag = 0xfedc'ba98'7654'3210;

// Reads a frame of any kind as a sender or a receiver would.
void read_any(std::string_view frame, frame_limits const& limits)
{
    frame_kind kind{};
    auto r = read_kind(frame, kind);
    switch (kind) {
    case frame_kind::hello: read_hello(r, limits); break;
    case frame_kind::open: read_open(r, limits); break;
    case frame_kind::window: read_window(r, limits); break;
    case frame_kind::batch: {
        std::vector<tagged_message> out;
        read_head(r);
        read_messages(r, "topic", limits, out);
        break;
    }
    case frame_kind::settle:
        read_head(r);
        read_settle(r, limits, [](std::uint64_t, verdict, std::string_view) {});
        break;
    case frame_kind::shut: read_shut(r); break;
    case frame_kind::done: read_done(r); break;
    case frame_kind::ping: r.expect_end(); break;
    }
}

message make_message(int n)
{
    message m;
    m.id = cosaga::message_id::first_of(cosaga::time_point{std::chrono::seconds{n}});
    m.time = cosaga::time_point{std::chrono::microseconds{n % 2 == 0 ? -n : n}};
    m.topic = n % 3 == 0 ? "other" : "topic";
    m.key = std::string(static_cast<std::size_t>(n % 5), 'k');
    m.type = n % 4 == 0 ? "t" : "u";
    m.source = "shop";
    if (n % 2 == 1)
        m.headers = {{"subject", "s"}, {"x", ""}};
    m.payload = std::string(static_cast<std::size_t>(n) * 10, '\0');
    return m;
}

std::vector<std::string> sample_frames()
{
    std::vector<std::string> frames(8);
    write_hello(frames[0], "warehouse");
    open_frame open;
    open.connection = 300;
    open.session = large_tag;
    open.flow = 7;
    open.topic = "orders";
    open.consumer = "stock";
    open.service = "shop";
    write_open(frames[1], open);
    window_frame window;
    window.connection = 300;
    window.flow = 7;
    window.instance = 200;
    window.messages = 1024;
    window.bytes = 1 << 24;
    window.held = {{1, 300}, {large_tag, 1 << 20}, {3, 0}};
    write_window(frames[2], window);
    begin_batch(frames[3], 7, 200);
    for (int i = 0; i < 6; ++i)
        append_message(frames[3], "topic", large_tag - static_cast<std::uint64_t>(i), make_message(i), nullptr);
    std::vector<settled_tag> const settled{
        {1, verdict::accepted, {}}, {large_tag, verdict::rejected, "no"}, {3, verdict::failed, ""}};
    write_settle(frames[4], {7, 200}, settled, {});
    write_shut(frames[5], {7, 200});
    write_done(frames[6], 7);
    write_ping(frames[7]);
    return frames;
}

TEST(zeromq_frames, give_back_what_was_written)
{
    auto const frames = sample_frames();
    frame_limits const limits;
    frame_kind kind{};
    EXPECT_EQ(read_hello(read_kind(frames[0], kind), limits).service, "warehouse");
    EXPECT_EQ(kind, frame_kind::hello);
    auto const open = read_open(read_kind(frames[1], kind), limits);
    EXPECT_EQ(kind, frame_kind::open);
    EXPECT_EQ(open.connection, 300u);
    EXPECT_EQ(open.session, large_tag);
    EXPECT_EQ(open.flow, 7u);
    EXPECT_EQ(open.topic + "/" + open.consumer + "/" + open.service, "orders/stock/shop");
    auto const window = read_window(read_kind(frames[2], kind), limits);
    EXPECT_EQ(kind, frame_kind::window);
    EXPECT_EQ(window.instance, 200u);
    EXPECT_EQ(window.messages, 1024u);
    EXPECT_EQ(window.bytes, 1u << 24);
    EXPECT_EQ(window.held, (std::vector<held_message>{{1, 300}, {large_tag, 1 << 20}, {3, 0}}));
    auto shut = read_shut(read_kind(frames[5], kind));
    EXPECT_EQ(kind, frame_kind::shut);
    EXPECT_EQ(shut.flow, 7u);
    EXPECT_EQ(shut.instance, 200u);
    EXPECT_EQ(read_done(read_kind(frames[6], kind)), 7u);
    EXPECT_EQ(kind, frame_kind::done);
    read_kind(frames[7], kind);
    EXPECT_EQ(kind, frame_kind::ping);
}

TEST(zeromq_frames, carry_messages_and_leave_out_what_repeats)
{
    for (bool const repeat : {false, true}) {
        std::string frame;
        begin_batch(frame, 1, 2);
        std::vector<message> sent;
        for (int i = 0; i < 100; ++i)
            sent.push_back(make_message(i));
        for (std::size_t i = 0; i < sent.size(); ++i)
            append_message(frame, "topic", i << 30, sent[i], repeat && i > 0 ? &sent[i - 1] : nullptr);
        frame_kind kind{};
        auto r = read_kind(frame, kind);
        ASSERT_EQ(kind, frame_kind::batch);
        auto const head = read_head(r);
        EXPECT_EQ(head.flow, 1u);
        EXPECT_EQ(head.instance, 2u);
        std::vector<tagged_message> out(3);
        read_messages(r, "topic", {}, out);
        ASSERT_EQ(out.size(), sent.size());
        for (std::size_t i = 0; i < sent.size(); ++i) {
            EXPECT_EQ(out[i].content, sent[i]) << i;
            EXPECT_EQ(out[i].tag, i << 30);
        }
    }
}

TEST(zeromq_frames, settle_in_pieces_when_there_is_much)
{
    std::vector<settled_tag> all;
    for (std::uint64_t i = 0; i < 1000; ++i)
        all.push_back(
            {i << 32 | (0xffff'ffff - i), i % 2 == 0 ? verdict::accepted : verdict::rejected, std::string(i, 'r')});
    frame_limits const limits;
    std::size_t done = 0;
    int frames = 0;
    for (std::string frame; done < all.size(); ++frames) {
        auto const written = write_settle(frame, {5, 200}, std::span{all}.subspan(done), limits);
        ASSERT_GT(written, 0u);
        EXPECT_LT(frame.size(), 70'000u);
        frame_kind kind{};
        auto r = read_kind(frame, kind);
        auto const head = read_head(r);
        EXPECT_EQ(head.flow, 5u);
        EXPECT_EQ(head.instance, 200u);
        std::size_t read = 0;
        read_settle(r, limits, [&](std::uint64_t tag, verdict result, std::string_view reason) {
            auto const& expected = all[done + read++];
            EXPECT_EQ(tag, expected.tag);
            EXPECT_EQ(result, expected.result);
            EXPECT_EQ(reason, result == verdict::accepted ? "" : expected.reason);
        });
        EXPECT_EQ(read, written);
        done += written;
    }
    EXPECT_GT(frames, 2);
}

TEST(zeromq_frames, cut_reasons_that_are_too_long)
{
    std::vector<settled_tag> const one{{1, verdict::rejected, std::string(5000, 'r')}};
    std::string frame;
    write_settle(frame, {5, 1}, one, {});
    frame_kind kind{};
    auto r = read_kind(frame, kind);
    read_head(r);
    read_settle(r, {}, [&](std::uint64_t, verdict, std::string_view reason) { EXPECT_EQ(reason.size(), 1000u); });
}

void expect_refused(std::string const& frame, errc expected, frame_limits const& limits = {})
{
    try {
        read_any(frame, limits);
        ADD_FAILURE() << "read";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), expected) << e.what();
    }
}

TEST(zeromq_frames, are_refused_when_they_are_of_another_protocol_version_or_kind)
{
    std::string frame;
    write_ping(frame);
    for (std::size_t i = 0; i < 3; ++i) {
        auto wrong = frame;
        ++wrong[i];
        expect_refused(wrong, errc::malformed_data);
    }
    expect_refused("", errc::malformed_data);
    frame[2] = 0;
    expect_refused(frame, errc::malformed_data);
}

TEST(zeromq_frames, are_refused_with_trailing_bytes)
{
    for (auto frame : sample_frames()) {
        frame.push_back('\x7f');
        EXPECT_THROW(read_any(frame, {}), boost::system::system_error);
    }
}

TEST(zeromq_frames, are_refused_over_each_limit)
{
    auto const batch_of = [](message const& m) {
        std::string frame;
        begin_batch(frame, 1, 1);
        append_message(frame, "topic", 1, m, nullptr);
        return frame;
    };
    frame_limits limits;
    limits.message = {.payload = 100, .name = 10, .key = 10, .headers = 3, .header_value = 10};
    read_any(batch_of(make_message(1)), limits);
    std::vector<std::function<void(message&)>> const too_large{[](message& m) { m.payload.resize(101); },
        [](message& m) { m.topic.resize(11); }, [](message& m) { m.type.resize(11); },
        [](message& m) { m.source.resize(11); }, [](message& m) { m.content_type.resize(11); },
        [](message& m) { m.key.resize(11); }, [](message& m) { m.headers.resize(4); },
        [](message& m) { m.headers[0].name.resize(11); }, [](message& m) { m.headers[0].value.resize(11); }};
    for (auto const& grow : too_large) {
        auto m = make_message(1);
        grow(m);
        expect_refused(batch_of(m), errc::limit_exceeded, limits);
    }
    limits.batch = 5;
    expect_refused(sample_frames()[3], errc::limit_exceeded, limits);
    limits = {};
    limits.held = 1000;
    expect_refused(sample_frames()[2], errc::limit_exceeded, limits);
    window_frame w;
    w.messages = 1;
    w.held = {{1, 1}, {2, 1}};
    std::string frame;
    write_window(frame, w);
    expect_refused(frame, errc::limit_exceeded);
    w = {};
    write_window(frame, w);
    expect_refused(frame, errc::malformed_data);
}

TEST(zeromq_frames, refuse_a_first_message_that_is_like_the_one_before)
{
    std::string frame;
    begin_batch(frame, 1, 1);
    auto const m = make_message(1);
    append_message(frame, "topic", 1, m, &m);
    expect_refused(frame, errc::malformed_data);
}

TEST(zeromq_frames, are_errors_at_every_truncation_that_cuts_something)
{
    for (auto const& frame : sample_frames())
        for (std::size_t size = 0; size < frame.size(); ++size) {
            // A shorter list is a frame too; anything else is an error, never a crash.
            std::string const cut{frame.data(), size}; // its own allocation, so that a sanitizer sees the end
            try {
                read_any(cut, {});
            } catch (boost::system::system_error const& e) {
                EXPECT_TRUE(e.code() == errc::malformed_data || e.code() == errc::limit_exceeded) << e.what();
            }
        }
}

TEST(zeromq_frames, survive_any_mutation)
{
    std::mt19937_64 random{42};
    auto const frames = sample_frames();
    for (int i = 0; i < 200'000; ++i) {
        auto frame = frames[random() % frames.size()];
        for (auto n = 1 + random() % 4; n > 0; --n) {
            auto const at = random() % frame.size();
            switch (random() % 3) {
            case 0: frame[at] = static_cast<char>(random()); break;
            case 1: frame.erase(at, random() % 8); break;
            default: frame.insert(at, std::string(random() % 8, static_cast<char>(random()))); break;
            }
            if (frame.empty())
                break;
        }
        try {
            read_any(frame, {});
        } catch (boost::system::system_error const&) {
        }
    }
}

TEST(zeromq_frames, of_a_full_batch_stay_below_the_largest_size)
{
    cosaga::message_limits const limits;
    constexpr std::size_t batch_bytes = 1000;
    message m;
    m.topic.resize(limits.name);
    m.type.resize(limits.name);
    m.source.resize(limits.name);
    m.content_type.resize(limits.name);
    m.key.resize(limits.key);
    m.payload.resize(limits.payload);
    m.headers.assign(limits.headers, {std::string(limits.name, 'n'), std::string(limits.header_value, 'v')});
    std::string frame;
    begin_batch(frame, 0xffff'ffff, 0xffff'ffff);
    frame.resize(batch_bytes - 1);
    append_message(frame, "topic", ~std::uint64_t{0}, m, nullptr);
    EXPECT_LE(frame.size(), largest_batch(limits, batch_bytes));
}

} // namespace
