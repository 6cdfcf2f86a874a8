// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "bodies.hpp"

#include <cosaga/codec/binary.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace bodies;
using namespace std::string_literals;
using cosaga::binary_codec;
using cosaga::errc;

std::string hex(std::string_view bytes)
{
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (char const c : bytes) {
        auto const byte = static_cast<unsigned char>(c);
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

template <class Body>
void expect_malformed(std::string const& bytes)
{
    expect_code(errc::malformed_data, [&] { binary_codec::decode<Body>(bytes); });
}

// Bytes that a released version wrote must be read for ever: a change here breaks stored and travelling messages.
TEST(binary_codec, writes_the_documented_bytes)
{
    EXPECT_EQ(hex(binary_codec::encode(point{1, -2})), "0402" "0803");
    EXPECT_EQ(hex(binary_codec::encode(nothing{})), "");
    EXPECT_EQ(hex(binary_codec::encode(std::string{"ab"})), "026162");
    EXPECT_EQ(hex(binary_codec::encode(order_v1{"o-1", 300, ""})), "07036f2d31" "08d804" "0f00");

    order_v2 v2;
    v2.cents.reset();
    v2.voucher.reset();
    v2.places = {{"h", {0, 1}}};
    v2.shape = point{3, 0};
    EXPECT_EQ(hex(binary_codec::encode(v2)),
        "0700"               // id ""
        "0b00"               // no cents: a varint's null is of wire type bytes
        "0f046e6f6e65"       // note "none"
        "100a"               // priority 5
        "150000c03f"         // weight 1.5
        "1a0000000000000440" // volume 2.5
        "1f06" "01" "0404020802" // route: one element, a struct of 4 bytes
        "2000"               // no voucher: the null of text is a varint
        "2708" "01" "0168" "0404000802" // places
        "2b06" "03" "0404060800");      // shape: alternative 3
}

TEST(binary_codec, writes_the_documented_bytes_of_bases_and_scalars)
{
    everything body;
    body.created_by = "me";
    auto const bytes = hex(binary_codec::encode(body));
    EXPECT_EQ(bytes.substr(0, 26), "0307" "06" "07026d65" "0b00" "0400" "0800");
    EXPECT_EQ(hex(binary_codec::encode(std::chrono::milliseconds{-1})), "cf0f");
    EXPECT_EQ(hex(binary_codec::encode(colour::red)), "d704");
    EXPECT_EQ(hex(binary_codec::encode(std::vector<std::optional<int>>{1, std::nullopt})), "02" "0102" "00");
    EXPECT_EQ(hex(binary_codec::encode(any_shape{})), "00");
    EXPECT_EQ(hex(binary_codec::encode(cosaga::message_id::first_of({}))), "00000000000070008000000000000000");
}

TEST(binary_codec, reads_fields_in_ascending_order_only)
{
    EXPECT_EQ(binary_codec::decode<point>("\x04\x02\x08\x03"), (point{1, -2}));
    EXPECT_EQ(binary_codec::decode<point>("\x08\x03"), (point{0, -2}));
    expect_malformed<point>("\x08\x03\x04\x02");
    expect_malformed<point>("\x04\x02\x04\x02");
}

TEST(binary_codec, a_field_of_another_wire_type_is_refused)
{
    for (char const type : {'\1', '\2', '\3'})
        expect_malformed<point>(std::string{static_cast<char>(4 | type)} + std::string(8, '\0'));
}

TEST(binary_codec, skips_unknown_fields_of_every_wire_type)
{
    auto const known = "\x04\x02"s;
    for (auto const& unknown : {"\x10\xff\x7f"s, "\x11xxxx"s, "\x12xxxxxxxx"s, "\x13\x03xxx"s, "\x13\0"s})
        EXPECT_EQ(binary_codec::decode<point>(known + unknown), (point{1, 0})) << hex(unknown);
    for (auto const& broken : {"\x10\xff"s, "\x10"s, "\x11xxx"s, "\x12xxxxxxx"s, "\x13\x04xxx"s})
        expect_malformed<point>(known + broken);
}

TEST(binary_codec, skips_unknown_bases)
{
    EXPECT_EQ(binary_codec::decode<point>("\x03\x01\0\x04\x02"s), (point{1, 0}));
    everything body;
    body.created_by = "me";
    auto const known = binary_codec::encode(body); // 03, a length of 7, the base that is described, the fields
    auto const bytes = "\x03\x0a" + known.substr(2, 7) + "\x02\x04\x02"s + known.substr(9);
    EXPECT_EQ(binary_codec::decode<everything>(bytes), body);
}

TEST(binary_codec, each_value_has_only_one_encoding)
{
    expect_malformed<bool>("\2");
    expect_malformed<std::optional<int>>("\2\2");
    expect_malformed<int>("\x82\0"s);                                    // a longer varint than needed
    expect_malformed<int>("\2\2");                                       // trailing
    expect_malformed<std::vector<int>>("\1\2\2");                        // trailing
    expect_malformed<point>("\x84\0\x02"s);                              // a longer key than needed
    expect_malformed<std::map<std::string, int>>("\2\1a\2\1a\4");        // the same key again
    expect_malformed<order_v2>("\x1f\4\1\0\0\0"s);                       // trailing in a field
    expect_malformed<order_v2>("\x20\1"s);                               // a null that is not zero
}

TEST(binary_codec, unknown_alternatives_and_enumerators_are_refused)
{
    expect_malformed<any_shape>("\x06");
    expect_malformed<any_shape>("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    expect_malformed<colour>("\2");
}

/// Counts what a decoder asks for.
template <class T>
struct counting_allocator : std::allocator<T> {
    static inline std::size_t most = 0;

    template <class U>
    struct rebind {
        using other = counting_allocator<U>;
    };
    T* allocate(std::size_t n)
    {
        most = std::max(most, n * sizeof(T));
        return std::allocator<T>::allocate(n);
    }
};

TEST(binary_codec, a_hostile_count_allocates_next_to_nothing)
{
    using list = std::vector<everything, counting_allocator<everything>>;
    counting_allocator<everything>::most = 0;
    std::string claim;
    cosaga::detail::wire_writer{claim}.varint(binary_codec::limits.elements);
    expect_malformed<list>(claim); // cannot fit what is left
    EXPECT_EQ(counting_allocator<everything>::most, 0u);

    claim.append(binary_codec::limits.elements, '\xff'); // fits, and is no element
    expect_malformed<list>(claim);
    EXPECT_LE(counting_allocator<everything>::most, 64 * 1024 + sizeof(everything));

    claim.clear();
    cosaga::detail::wire_writer{claim}.varint(binary_codec::limits.elements + 1);
    expect_code(errc::limit_exceeded, [&] { binary_codec::decode<list>(claim); });
}

TEST(binary_codec, a_hostile_length_is_refused)
{
    for (std::uint64_t const length : {std::uint64_t{5}, std::uint64_t{1} << 31, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
        std::string claim;
        cosaga::detail::wire_writer{claim}.varint(length);
        expect_malformed<std::string>(claim + "abcd");
        expect_malformed<std::vector<std::byte>>(claim + "abcd");
        expect_malformed<point>("\x13" + claim + "abcd");
    }
}

TEST(binary_codec, a_depth_bomb_is_refused_before_the_stack_ends)
{
    std::string bomb; // trees in trees, from the inside out
    for (int i = 0; i < 2'000; ++i) {
        std::string wrapped;
        cosaga::detail::wire_writer out{wrapped};
        out.varint(7); // children: bytes
        out.nested([&] {
            out.varint(1);
            out.bytes(bomb);
        });
        bomb = wrapped;
    }
    expect_code(errc::limit_exceeded, [&] { binary_codec::decode<tree>(bomb); });
    std::string const unknown = "\x13" + bomb; // skipped without looking inside
    survive<binary_codec, point>(unknown);
}

TEST(binary_codec, errors_say_where_and_not_what)
{
    try {
        binary_codec::decode<std::string>("\x09secret");
        FAIL();
    } catch (boost::system::system_error const& e) {
        std::string const what = e.what();
        EXPECT_NE(what.find("at byte 0"), std::string::npos) << what;
        EXPECT_EQ(what.find("secret"), std::string::npos) << what;
    }
}

TEST(binary_codec, keeps_what_json_cannot)
{
    double const nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(std::isnan(binary_codec::decode<double>(binary_codec::encode(nan))));
    std::string const no_text = "\xff\xfe";
    EXPECT_EQ(binary_codec::decode<std::string>(binary_codec::encode(no_text)), no_text);
}

} // namespace
