// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "bodies.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/codec/json.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>

// What every codec promises.
namespace {

using namespace bodies;
using cosaga::errc;

template <class Codec>
struct codec : testing::Test {};
using codecs = testing::Types<cosaga::json_codec, cosaga::binary_codec>;
TYPED_TEST_SUITE(codec, codecs);

template <class Codec, class Body>
void expect_round_trip(Body const& body)
{
    auto const bytes = Codec::encode(body);
    EXPECT_EQ(Codec::template decode<Body>(bytes), body) << bytes;
}

TYPED_TEST(codec, models_the_concept)
{
    static_assert(cosaga::codec<TypeParam, everything>);
    static_assert(cosaga::codec<TypeParam, std::string>);
    static_assert(!cosaga::codec<TypeParam, char>);
    static_assert(!cosaga::codec<TypeParam, void*>);
    static_assert(!cosaga::codec<TypeParam, std::optional<std::optional<int>>>);
    static_assert(!cosaga::codec<TypeParam, std::chrono::nanoseconds>); // microseconds would round it
    EXPECT_FALSE(std::string_view{TypeParam::content_type}.empty());
}

TYPED_TEST(codec, brings_every_kind_of_value_back)
{
    expect_round_trip<TypeParam>(full_body());
    expect_round_trip<TypeParam>(everything{});
}

TYPED_TEST(codec, brings_back_bodies_that_are_no_struct)
{
    expect_round_trip<TypeParam>(std::string{"text"});
    expect_round_trip<TypeParam>(-5);
    expect_round_trip<TypeParam>(std::vector<std::string>{"a", "b"});
    expect_round_trip<TypeParam>(any_shape{point{1, 2}});
    expect_round_trip<TypeParam>(std::optional<int>{});
    expect_round_trip<TypeParam>(nothing{});
    expect_round_trip<TypeParam>(colour::blue);
}

TYPED_TEST(codec, keeps_doubles_and_floats_to_the_last_bit)
{
    std::mt19937_64 random{3};
    std::vector<double> doubles{0.0, -0.0, 0.1, 1e22, 1e23, 5e-324, 2.2250738585072014e-308,
        std::numeric_limits<double>::max(), std::numeric_limits<double>::lowest(), 9007199254740993.0};
    std::vector<float> floats{0.0f, -0.0f, 7.038531e-26f, std::numeric_limits<float>::denorm_min(),
        std::numeric_limits<float>::max()};
    for (int i = 0; i < 5'000; ++i) {
        if (double const any = std::bit_cast<double>(random()); std::isfinite(any))
            doubles.push_back(any);
        doubles.push_back(static_cast<double>(random() >> 11) * 0x1.0p-53);
        if (float const any = std::bit_cast<float>(static_cast<std::uint32_t>(random())); std::isfinite(any))
            floats.push_back(any);
    }
    auto const bytes = TypeParam::encode(doubles);
    auto const found = TypeParam::template decode<std::vector<double>>(bytes);
    ASSERT_EQ(found.size(), doubles.size());
    for (std::size_t i = 0; i < doubles.size(); ++i)
        EXPECT_EQ(std::bit_cast<std::uint64_t>(found[i]), std::bit_cast<std::uint64_t>(doubles[i])) << doubles[i];
    auto const found_floats = TypeParam::template decode<std::vector<float>>(TypeParam::encode(floats));
    ASSERT_EQ(found_floats.size(), floats.size());
    for (std::size_t i = 0; i < floats.size(); ++i)
        EXPECT_EQ(std::bit_cast<std::uint32_t>(found_floats[i]), std::bit_cast<std::uint32_t>(floats[i])) << floats[i];
}

TYPED_TEST(codec, keeps_text_of_every_length_and_character)
{
    std::string text;
    for (int c = 0; c < 128; ++c)
        text += static_cast<char>(c);
    expect_round_trip<TypeParam>(text);
    for (std::size_t size = 0; size < 40; ++size)
        for (std::string const special : {"\"", "\\", "\x1f", "\xc3\xa9", "\xf0\x9f\x98\x80"})
            expect_round_trip<TypeParam>(std::string(size, 'x') + special + "yz");
    expect_round_trip<TypeParam>(std::string(300'000, 'x'));
}

TYPED_TEST(codec, keeps_bytes_of_every_length)
{
    std::vector<std::byte> bytes;
    for (int i = 0; i < 600; ++i) {
        expect_round_trip<TypeParam>(bytes);
        bytes.push_back(static_cast<std::byte>(i * 7));
    }
}

TYPED_TEST(codec, an_old_reader_skips_members_that_it_does_not_know)
{
    order_v2 newer;
    newer.id = "o-1";
    newer.cents = 700;
    newer.note = "ring twice";
    newer.places = {{"home", {1, 2}}};
    auto const found = TypeParam::template decode<order_v1>(TypeParam::encode(newer));
    EXPECT_EQ(found, (order_v1{"o-1", 700, "ring twice"}));
}

TYPED_TEST(codec, a_new_reader_keeps_its_defaults_for_members_that_are_absent)
{
    auto const found = TypeParam::template decode<order_v2>(TypeParam::encode(order_v1{"o-1", 700, "n"}));
    order_v2 expected;
    expected.id = "o-1";
    expected.cents = 700; // what became optional is still read
    expected.note = "n";
    EXPECT_EQ(found, expected);
}

TYPED_TEST(codec, an_empty_optional_is_not_an_absent_one)
{
    order_v2 body; // whose voucher has a default
    body.cents = 1;
    body.voucher.reset();
    EXPECT_EQ(TypeParam::template decode<order_v2>(TypeParam::encode(body)).voucher, std::nullopt);
}

TYPED_TEST(codec, an_empty_optional_is_refused_where_a_value_is_needed)
{
    auto const bytes = TypeParam::encode(order_v2{});
    expect_code(errc::malformed_data, [&] { TypeParam::template decode<order_v1>(bytes); });
}

TYPED_TEST(codec, an_integer_out_of_the_range_of_its_type_is_refused)
{
    auto const refuse = []<class Narrow>(auto wide, Narrow) {
        auto const bytes = TypeParam::encode(wide);
        expect_code(errc::malformed_data, [&] { TypeParam::template decode<Narrow>(bytes); });
    };
    refuse(std::int64_t{128}, std::int8_t{});
    refuse(std::int64_t{-129}, std::int8_t{});
    refuse(std::uint64_t{256}, std::uint8_t{});
    refuse(std::uint64_t{65536}, std::uint16_t{});
    refuse(std::numeric_limits<std::int64_t>::max(), std::int32_t{});
    refuse(std::numeric_limits<std::uint64_t>::max(), std::uint32_t{});
}

TYPED_TEST(codec, a_time_that_its_type_cannot_hold_is_refused)
{
    using namespace std::chrono_literals;
    expect_round_trip<TypeParam>(std::chrono::hours{-5});
    auto const bytes = TypeParam::encode(1500us);
    expect_code(errc::malformed_data, [&] { TypeParam::template decode<std::chrono::milliseconds>(bytes); });
    expect_code(errc::bad_argument, [] { TypeParam::encode(std::chrono::hours::max()); });
    expect_code(errc::bad_argument, [] { TypeParam::encode(std::chrono::hours::min()); });
}

TYPED_TEST(codec, an_enum_without_an_enumerator_is_refused_on_both_sides)
{
    expect_code(errc::bad_argument, [] { TypeParam::encode(static_cast<colour>(1)); });
    enum class more : std::int16_t { purple = 99 };
    static_assert(!cosaga::codec<TypeParam, more>); // not described
}

TYPED_TEST(codec, an_array_of_another_size_is_refused)
{
    auto const bytes = TypeParam::encode(std::vector<int>{1, 2});
    EXPECT_EQ((TypeParam::template decode<std::array<int, 2>>(bytes)), (std::array<int, 2>{1, 2}));
    expect_code(errc::malformed_data, [&] { TypeParam::template decode<std::array<int, 3>>(bytes); });
    expect_code(errc::malformed_data, [&] { TypeParam::template decode<std::array<int, 1>>(bytes); });
}

TYPED_TEST(codec, what_was_in_the_containers_before_is_replaced)
{
    order_v2 body;
    body.cents = 1;
    body.route.clear();
    EXPECT_TRUE(TypeParam::template decode<order_v2>(TypeParam::encode(body)).route.empty());
}

TYPED_TEST(codec, depth_is_limited_on_both_sides)
{
    std::size_t const most = TypeParam::limits.depth / 2; // each level is a struct and a vector
    expect_round_trip<TypeParam>(deep_tree(most));
    expect_code(errc::limit_exceeded, [&] { TypeParam::encode(deep_tree(most + 1)); });
}

TYPED_TEST(codec, size_is_limited_on_both_sides)
{
    std::string const most(TypeParam::limits.bytes - 16, 'x');
    expect_round_trip<TypeParam>(most);
    expect_code(errc::limit_exceeded, [&] { TypeParam::encode(most + std::string(32, 'x')); });
    std::string const beyond(TypeParam::limits.bytes + 1, ' ');
    expect_code(errc::limit_exceeded, [&] { TypeParam::template decode<std::string>(beyond); });
}

TYPED_TEST(codec, elements_are_limited_on_both_sides)
{
    std::vector<std::uint8_t> most(TypeParam::limits.elements);
    auto const bytes = TypeParam::encode(most);
    EXPECT_EQ(TypeParam::template decode<std::vector<std::uint8_t>>(bytes), most);
    most.push_back(0);
    expect_code(errc::limit_exceeded, [&] { TypeParam::encode(most); });
}

TYPED_TEST(codec, nothing_at_all_is_no_body_unless_nothing_is_required)
{
    expect_code(errc::malformed_data, [] { TypeParam::template decode<std::string>(""); });
    expect_code(errc::malformed_data, [] { TypeParam::template decode<int>(""); });
}

TYPED_TEST(codec, damaged_bytes_give_an_error_or_a_value)
{
    survive_damage<TypeParam, everything>(TypeParam::encode(full_body()));
    survive_damage<TypeParam, tree>(TypeParam::encode(deep_tree(8)));
}

TYPED_TEST(codec, bytes_of_one_type_never_break_the_reader_of_another)
{
    std::string const all[] = {TypeParam::encode(full_body()), TypeParam::encode(deep_tree(16)),
        TypeParam::encode(order_v2{}), TypeParam::encode(std::string{"text"}), TypeParam::encode(any_shape{7})};
    for (auto const& bytes : all) {
        survive<TypeParam, everything>(bytes);
        survive<TypeParam, order_v1>(bytes);
        survive<TypeParam, tree>(bytes);
        survive<TypeParam, std::vector<int>>(bytes);
        survive<TypeParam, any_shape>(bytes);
        survive<TypeParam, std::map<std::string, point>>(bytes);
    }
}

} // namespace
