// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/wire.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace std::string_literals;
using cosaga::errc;
using cosaga::detail::wire_reader;
using cosaga::detail::wire_writer;

std::string varint(std::uint64_t v)
{
    std::string out;
    wire_writer{out}.varint(v);
    return out;
}

template <class Read>
void expect_error(errc expected, Read read, std::string const& bytes)
{
    wire_reader in{bytes, "frame"};
    try {
        read(in);
        ADD_FAILURE() << "nothing thrown for " << bytes.size() << " bytes";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), expected) << e.what();
        EXPECT_NE(std::string{e.what()}.find("frame"), std::string::npos) << e.what();
    }
    EXPECT_EQ(in.position(), 0u) << "a failed read moved the reader";
}

auto const read_varint = [](wire_reader& in) { in.varint(); };
auto const read_bytes = [](wire_reader& in) { in.bytes(); };

TEST(wire, varints_have_the_sizes_that_the_format_says)
{
    EXPECT_EQ(varint(0), "\0"s);
    EXPECT_EQ(varint(127), "\x7f");
    EXPECT_EQ(varint(128), "\x80\x01");
    EXPECT_EQ(varint(300), "\xac\x02");
    EXPECT_EQ(varint(std::numeric_limits<std::uint64_t>::max()), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST(wire, varints_of_every_length_come_back)
{
    for (unsigned bit = 0; bit < 64; ++bit) {
        for (std::uint64_t const v : {std::uint64_t{1} << bit, (std::uint64_t{1} << bit) - 1, ~std::uint64_t{0} >> bit}) {
            auto const bytes = varint(v);
            wire_reader in{bytes};
            EXPECT_EQ(in.varint(), v);
            EXPECT_TRUE(in.at_end());
        }
    }
}

TEST(wire, zigzag_keeps_small_negative_numbers_short)
{
    for (std::int64_t const v : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{63}, std::int64_t{-64},
             std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
        std::string bytes;
        wire_writer{bytes}.zigzag(v);
        EXPECT_EQ(wire_reader{bytes}.zigzag(), v);
        EXPECT_EQ(bytes.size() == 1, v >= -64 && v <= 63);
    }
}

TEST(wire, fixed_numbers_are_little_endian)
{
    std::string bytes;
    wire_writer out{bytes};
    out.fixed32(0x01020304);
    out.fixed64(0x1112131415161718);
    EXPECT_EQ(bytes, "\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11");
    wire_reader in{bytes};
    EXPECT_EQ(in.fixed32(), 0x01020304u);
    EXPECT_EQ(in.fixed64(), 0x1112131415161718u);
}

TEST(wire, a_varint_has_only_one_encoding)
{
    expect_error(errc::malformed_data, read_varint, "\x80\0"s);
    expect_error(errc::malformed_data, read_varint, "\xff\x80\0"s);
}

TEST(wire, a_varint_over_64_bits_is_refused)
{
    expect_error(errc::malformed_data, read_varint, std::string(9, '\xff') + '\x02');
    expect_error(errc::malformed_data, read_varint, std::string(10, '\xff') + '\x01');
    expect_error(errc::malformed_data, read_varint, std::string(1000, '\x80'));
}

TEST(wire, every_truncation_is_refused_and_the_reader_does_not_move)
{
    std::string const long_varint = varint(std::uint64_t{1} << 63);
    for (std::size_t size = 0; size < long_varint.size(); ++size)
        expect_error(errc::malformed_data, read_varint, long_varint.substr(0, size));
    for (std::size_t size = 0; size < 4; ++size)
        expect_error(errc::malformed_data, [](wire_reader& in) { in.fixed32(); }, std::string(size, 'x'));
    for (std::size_t size = 0; size < 8; ++size)
        expect_error(errc::malformed_data, [](wire_reader& in) { in.fixed64(); }, std::string(size, 'x'));
    for (std::size_t size = 0; size < 16; ++size)
        expect_error(errc::malformed_data, [](wire_reader& in) { in.raw<16>(); }, std::string(size, 'x'));
    for (std::size_t size = 0; size < 4; ++size)
        expect_error(errc::malformed_data, read_bytes, "\3abc"s.substr(0, size));
    expect_error(errc::malformed_data, [](wire_reader& in) { in.u8(); }, "");
}

TEST(wire, a_length_beyond_the_end_is_refused_also_when_it_would_overflow)
{
    for (std::uint64_t const length : {std::uint64_t{4}, std::uint64_t{1} << 32, ~std::uint64_t{0}, ~std::uint64_t{0} - 8})
        expect_error(errc::malformed_data, read_bytes, varint(length) + "abc");
}

TEST(wire, a_limit_is_told_apart_from_malformed_bytes)
{
    expect_error(errc::limit_exceeded, [](wire_reader& in) { in.bytes(2); }, "\3abc");
    expect_error(errc::limit_exceeded, [](wire_reader& in) { in.varint(299); }, varint(300));
    expect_error(errc::limit_exceeded, [](wire_reader& in) { in.count(4); }, "\5abcde");
    std::string const three = "\3abc";
    EXPECT_EQ(wire_reader{three}.bytes(3), "abc");
    EXPECT_EQ(wire_reader{three}.varint(3), 3u);
}

TEST(wire, a_count_must_fit_what_is_left)
{
    std::string const bytes = "\3abc";
    EXPECT_EQ(wire_reader{bytes}.count(100), 3u);
    expect_error(errc::malformed_data, [](wire_reader& in) { in.count(100); }, "\4abc");
    expect_error(errc::malformed_data, [](wire_reader& in) { in.count(100, 2); }, "\2abc");
}

TEST(wire, trailing_bytes_are_found)
{
    std::string const bytes = "\1x";
    wire_reader in{bytes};
    in.u8();
    EXPECT_THROW(in.expect_end(), boost::system::system_error);
    EXPECT_EQ(in.rest(), "x");
    EXPECT_NO_THROW(in.expect_end());
}

TEST(wire, what_is_nested_is_measured_whatever_its_length)
{
    for (std::size_t const size : {0u, 1u, 127u, 128u, 16'383u, 16'384u}) {
        std::string bytes = "before";
        wire_writer out{bytes};
        out.nested([&] { out.nested([&] { out.raw(std::string(size, 'x')); }); });
        out.u8(7);
        EXPECT_EQ(out.size(), bytes.size());

        wire_reader in{bytes};
        EXPECT_EQ(in.raw(6), "before");
        auto outer = in.nested();
        EXPECT_EQ(outer.nested(size).rest(), std::string(size, 'x'));
        EXPECT_TRUE(outer.at_end());
        EXPECT_EQ(in.u8(), 7);
        EXPECT_TRUE(in.at_end());
    }
}

TEST(wire, a_nested_reader_cannot_read_beyond_its_part_and_counts_from_the_same_start)
{
    std::string const bytes = "\1\x80xx";
    wire_reader in{bytes, "frame"};
    auto inner = in.nested();
    EXPECT_EQ(inner.position(), 1u);
    EXPECT_THROW(inner.varint(), boost::system::system_error);
    EXPECT_EQ(in.rest(), "xx");
}

TEST(wire, arrays_come_back)
{
    std::string bytes;
    wire_writer{bytes}.raw(std::array<unsigned char, 3>{1, 2, 255});
    EXPECT_EQ((wire_reader{bytes}.raw<3>()), (std::array<unsigned char, 3>{1, 2, 255}));
}

} // namespace
