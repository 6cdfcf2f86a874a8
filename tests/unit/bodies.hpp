// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message_id.hpp>

#include <boost/describe/class.hpp>
#include <boost/describe/enum.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

/// Bodies that the tests of all codecs share.
namespace bodies {

struct point {
    int x = 0;
    int y = 0;

    friend bool operator==(point const&, point const&) = default;
};
BOOST_DESCRIBE_STRUCT(point, (), (x, y))

struct nothing {
    friend bool operator==(nothing const&, nothing const&) = default;
};
BOOST_DESCRIBE_STRUCT(nothing, (), ())

enum class colour : std::int16_t { red = -300, green = 0, blue = 7 };
BOOST_DESCRIBE_ENUM(colour, red, green, blue)

struct tree {
    std::vector<tree> children;

    friend bool operator==(tree const&, tree const&) = default;
};
BOOST_DESCRIBE_STRUCT(tree, (), (children))

/// `levels` structs, one in another, each in a vector.
inline tree deep_tree(std::size_t levels)
{
    tree made;
    for (std::size_t i = 1; i < levels; ++i) {
        tree parent;
        parent.children.push_back(std::move(made));
        made = std::move(parent);
    }
    return made;
}

struct audited {
    std::string created_by;
    std::optional<int> revision;

    friend bool operator==(audited const&, audited const&) = default;
};
BOOST_DESCRIBE_STRUCT(audited, (), (created_by, revision))

using any_shape = std::variant<std::monostate, std::int32_t, std::string, point, std::vector<point>, colour>;

/// One member of each kind that a codec must know.
struct everything : audited {
    bool flag = false;
    std::int8_t i8 = 0;
    std::uint8_t u8 = 0;
    std::int16_t i16 = 0;
    std::uint16_t u16 = 0;
    std::int32_t i32 = 0;
    std::uint32_t u32 = 0;
    std::int64_t i64 = 0;
    std::uint64_t u64 = 0;
    float f32 = 0;
    double f64 = 0;
    std::string text;
    std::vector<std::byte> bytes;
    cosaga::message_id id;
    cosaga::time_point when{};
    std::chrono::milliseconds lasting{};
    colour paint = colour::green;
    std::optional<std::string> note;
    std::optional<double> ratio;
    std::optional<std::vector<int>> list;
    std::vector<int> numbers;
    std::vector<bool> flags;
    std::vector<point> points;
    std::vector<std::optional<int>> gaps;
    std::vector<std::vector<std::string>> rows;
    std::array<int, 3> triple{};
    std::map<std::string, int> stock;
    std::map<std::int16_t, std::string> names;
    std::unordered_map<std::uint64_t, point> places;
    any_shape shape;
    std::vector<any_shape> shapes;
    point corner;
    nothing empty;

    friend bool operator==(everything const&, everything const&) = default;
};
BOOST_DESCRIBE_STRUCT(everything, (audited),
    (flag, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64, text, bytes, id, when, lasting, paint, note, ratio, list,
        numbers, flags, points, gaps, rows, triple, stock, names, places, shape, shapes, corner, empty))

inline everything full_body()
{
    using namespace std::chrono_literals;
    everything b;
    b.created_by = "ops";
    b.revision = -7;
    b.flag = true;
    b.i8 = std::numeric_limits<std::int8_t>::min();
    b.u8 = std::numeric_limits<std::uint8_t>::max();
    b.i16 = std::numeric_limits<std::int16_t>::min();
    b.u16 = std::numeric_limits<std::uint16_t>::max();
    b.i32 = std::numeric_limits<std::int32_t>::min();
    b.u32 = std::numeric_limits<std::uint32_t>::max();
    b.i64 = std::numeric_limits<std::int64_t>::min();
    b.u64 = std::numeric_limits<std::uint64_t>::max();
    b.f32 = 0.1f;
    b.f64 = -1.0 / 3;
    b.text = "a \"quoted\" \\ line\n\ttab \x01 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";
    b.text += '\0';
    b.bytes = {std::byte{0}, std::byte{0xff}, std::byte{'"'}, std::byte{7}};
    b.id = *cosaga::message_id::parse("0189f0a1-b2c3-7d4e-8f50-61728394a5b6");
    b.when = cosaga::time_point{1'700'000'000'123'456us};
    b.lasting = -1500ms;
    b.paint = colour::red;
    b.note = "";
    b.list = std::vector<int>{};
    b.numbers = {1, -1, 1'000'000};
    b.flags = {true, false, true};
    b.points = {{1, 2}, {}, {-3, 4}};
    b.gaps = {1, std::nullopt, -1};
    b.rows = {{}, {"a", ""}, {"b"}};
    b.triple = {3, 2, 1};
    b.stock = {{"", 0}, {"bolt", 12}, {"n\"ut", -1}};
    b.names = {{-1, "minus"}, {32767, "most"}};
    b.places = {{0, {0, 0}}, {std::numeric_limits<std::uint64_t>::max(), {9, 9}}};
    b.shape = point{5, 6};
    b.shapes = {std::monostate{}, 42, "text", point{7, 8}, std::vector<point>{{1, 1}}, colour::blue};
    b.corner = {-1, -2};
    return b;
}

/// Two versions of one body: the second has a new member of each wire type, and one that it takes as optional.
struct order_v1 {
    std::string id;
    std::int64_t cents = 0;
    std::string note = "none";

    friend bool operator==(order_v1 const&, order_v1 const&) = default;
};
BOOST_DESCRIBE_STRUCT(order_v1, (), (id, cents, note))

struct order_v2 {
    std::string id;
    std::optional<std::int64_t> cents;
    std::string note = "none";
    int priority = 5;
    float weight = 1.5f;
    double volume = 2.5;
    std::vector<point> route{{1, 1}};
    std::optional<std::string> voucher = "welcome";
    std::map<std::string, point> places;
    any_shape shape = "square";

    friend bool operator==(order_v2 const&, order_v2 const&) = default;
};
BOOST_DESCRIBE_STRUCT(order_v2, (), (id, cents, note, priority, weight, volume, route, voucher, places, shape))

template <class F>
void expect_code(cosaga::errc expected, F f)
{
    try {
        f();
        ADD_FAILURE() << "nothing thrown";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), expected) << e.what();
    }
}

/// Decodes what an attacker might send: a value or a documented error, nothing else.
template <class Codec, class Body>
void survive(std::string_view bytes)
{
    try {
        auto const value = Codec::template decode<Body>(bytes);
        static_cast<void>(value);
    } catch (boost::system::system_error const& e) {
        EXPECT_TRUE(e.code() == cosaga::errc::malformed_data || e.code() == cosaga::errc::limit_exceeded) << e.what();
    }
}

/// Each prefix, each byte changed to each of several values, each byte left out, and random damage.
template <class Codec, class Body>
void survive_damage(std::string const& valid)
{
    for (std::size_t size = 0; size < valid.size(); ++size)
        survive<Codec, Body>(std::string_view{valid}.substr(0, size));
    for (std::size_t at = 0; at < valid.size(); ++at) {
        for (int value = 0; value < 256; ++value) {
            auto damaged = valid;
            damaged[at] = static_cast<char>(value);
            survive<Codec, Body>(damaged);
        }
        auto shorter = valid;
        survive<Codec, Body>(shorter.erase(at, 1));
    }
    std::mt19937 random{7};
    for (int i = 0; i < 2'000; ++i) {
        auto damaged = valid;
        for (int changes = 0; changes < 4; ++changes)
            damaged[random() % damaged.size()] = static_cast<char>(random());
        survive<Codec, Body>(damaged);
    }
}

} // namespace bodies
