// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "bodies.hpp"

#include <cosaga/codec/json.hpp>

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace {

using namespace bodies;
using cosaga::errc;
using cosaga::json_codec;

struct line {
    std::string sku;
    int quantity = 1;
};
BOOST_DESCRIBE_STRUCT(line, (), (sku, quantity))

struct order {
    std::vector<line> lines;
    std::map<std::string, line> stock;
    std::variant<point, line> extra;
};
BOOST_DESCRIBE_STRUCT(order, (), (lines, stock, extra))

struct circle_v1 {
    static constexpr std::string_view message_type = "circle";
    int radius = 0;

    friend bool operator==(circle_v1 const&, circle_v1 const&) = default;
};
BOOST_DESCRIBE_STRUCT(circle_v1, (), (radius))

struct reading {
    double v = 0;
};
BOOST_DESCRIBE_STRUCT(reading, (), (v))

/// The error of decoding `text` as `Body`, which must be `code`.
template <class Body>
std::string error_of(std::string const& text, errc code = errc::malformed_data)
{
    try {
        json_codec::decode<Body>(text);
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), code) << e.what();
        return e.what();
    }
    ADD_FAILURE() << "accepted " << text;
    return {};
}

template <class Body>
void expect_error(std::string const& text, std::string const& part)
{
    auto const what = error_of<Body>(text);
    EXPECT_NE(what.find(part), std::string::npos) << what;
}

// Text that a released version wrote must be read for ever, also by programs in other languages.
TEST(json_codec, writes_the_documented_text)
{
    EXPECT_EQ(json_codec::encode(point{1, -2}), R"({"x":1,"y":-2})");
    EXPECT_EQ(json_codec::encode(nothing{}), "{}");
    EXPECT_EQ(json_codec::encode(full_body()),
        R"({"created_by":"ops","revision":-7,"flag":true,"i8":-128,"u8":255,"i16":-32768,"u16":65535,)"
        R"("i32":-2147483648,"u32":4294967295,"i64":-9223372036854775808,"u64":18446744073709551615,)"
        R"("f32":0.1,"f64":-0.3333333333333333,)"
        R"("text":"a \"quoted\" \\ line\n\ttab \u0001 )" "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" R"(\u0000",)"
        R"("bytes":"AP8iBw==","id":"0189f0a1-b2c3-7d4e-8f50-61728394a5b6","when":1700000000123456,"lasting":-1500000,)"
        R"("paint":"red","note":"","ratio":null,"list":[],"numbers":[1,-1,1000000],"flags":[true,false,true],)"
        R"("points":[{"x":1,"y":2},{"x":0,"y":0},{"x":-3,"y":4}],"gaps":[1,null,-1],"rows":[[],["a",""],["b"]],)"
        R"("triple":[3,2,1],"stock":{"":0,"bolt":12,"n\"ut":-1},"names":{"-1":"minus","32767":"most"},)"
        R"("places":{"18446744073709551615":{"x":9,"y":9},"0":{"x":0,"y":0}},"shape":{"point":{"x":5,"y":6}},)"
        R"("shapes":[{"monostate":null},{"int32":42},{"string":"text"},{"point":{"x":7,"y":8}},)"
        R"({"vector":[{"x":1,"y":1}]},{"colour":"blue"}],"corner":{"x":-1,"y":-2},"empty":{}})");
}

TEST(json_codec, reads_what_others_write)
{
    EXPECT_EQ(json_codec::decode<point>(" {\r\n \"y\" : 2 ,\t\"z\":[{},{\"x\":9}], \"x\" : 1 } "), (point{1, 2}));
    EXPECT_EQ(json_codec::decode<point>("{}"), point{});
    EXPECT_EQ(json_codec::decode<std::string>(R"("\u00e9\ud83d\ude00\/\u0041")"), "\xc3\xa9\xf0\x9f\x98\x80/A");
    EXPECT_EQ(json_codec::decode<double>("3"), 3.0);
    EXPECT_EQ(json_codec::decode<double>("18446744073709551615"), 18446744073709551615.0);
    EXPECT_EQ(json_codec::decode<double>("1e2"), 100.0);
    EXPECT_EQ(json_codec::decode<std::optional<int>>("null"), std::nullopt);
}

TEST(json_codec, members_may_come_in_any_order_and_number)
{
    std::string text = "{";
    for (int i = 0; i < 100; ++i)
        text += "\"unknown" + std::to_string(i) + "\":[null,{}],";
    EXPECT_EQ(json_codec::decode<point>(text + R"("y":2,"x":1})"), (point{1, 2}));
}

TEST(json_codec, errors_carry_the_path)
{
    expect_error<order>(R"({"lines":[{},{},{"quantity":"2"}]})", "lines[2].quantity: expected an integer");
    expect_error<order>(R"({"lines":[{"quantity":2.5}]})", "lines[0].quantity: expected an integer");
    expect_error<order>(R"({"lines":[{"quantity":2147483648}]})", "lines[0].quantity: integer out of range");
    expect_error<order>(R"({"lines":{}})", "lines: expected an array");
    expect_error<order>(R"({"lines":[null]})", "lines[0]: expected an object");
    expect_error<order>(R"({"extra":{"line":{"sku":7}}})", "extra.line.sku: expected a string");
    expect_error<order>("[]", "JSON body: expected an object");
    expect_error<std::vector<int>>("[1,true]", "[1]: expected an integer");
}

TEST(json_codec, errors_hold_no_data_of_the_body)
{
    auto const what = error_of<order>(R"({"stock":{"secret-a":{},"secret-b":{"quantity":"secret-c"}}})");
    EXPECT_NE(what.find("stock[1].quantity"), std::string::npos) << what;
    EXPECT_EQ(what.find("secret"), std::string::npos) << what;
    EXPECT_EQ(error_of<colour>(R"("secret")").find("secret"), std::string::npos);
    EXPECT_EQ(error_of<point>(R"({"secret)").find("secret"), std::string::npos);
}

TEST(json_codec, each_kind_refuses_every_other)
{
    expect_error<bool>("1", "expected true or false");
    expect_error<int>("true", "expected an integer");
    expect_error<int>("1.0", "expected an integer");
    expect_error<int>("1e2", "expected an integer");
    expect_error<int>("null", "expected an integer");
    expect_error<unsigned>("-1", "integer out of range");
    expect_error<double>("\"1\"", "expected a number");
    expect_error<std::string>("1", "expected a string");
    expect_error<cosaga::message_id>("\"0189f0a1\"", "expected a UUID");
    expect_error<std::vector<int>>("{}", "expected an array");
    expect_error<std::map<std::string, int>>("[]", "expected an object");
    expect_error<colour>("7", "expected a string");
    expect_error<colour>("\"purple\"", "unknown enumerator");
}

TEST(json_codec, numbers_out_of_range_are_refused)
{
    expect_error<float>("1e39", "number out of range");
    expect_error<float>("-1e39", "number out of range");
    error_of<double>("1e999");
    expect_error<std::int64_t>("9223372036854775808", "integer out of range");
    expect_error<std::uint64_t>("18446744073709551616", "expected an integer");
    EXPECT_EQ(json_codec::decode<double>("1e-999"), 0.0);
}

TEST(json_codec, infinity_and_not_a_number_are_not_written)
{
    double const infinity = std::numeric_limits<double>::infinity();
    for (double const v : {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()})
        expect_code(errc::bad_argument, [&] { json_codec::encode(v); });
    try {
        json_codec::encode(std::vector<float>{1, static_cast<float>(infinity)});
        FAIL();
    } catch (boost::system::system_error const& e) {
        EXPECT_NE(std::string{e.what()}.find("[1]: "), std::string::npos) << e.what();
    }
}

TEST(json_codec, text_that_is_not_utf8_is_refused_on_both_sides)
{
    for (std::string const bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xe2\x82", "\xe2(\xac",
             "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff"}) {
        for (std::string const before : {"", "plain text of some length "}) {
            expect_code(errc::bad_argument, [&] { json_codec::encode(before + bad + "after"); });
            expect_code(errc::malformed_data, [&] { json_codec::decode<std::string>('"' + before + bad + "after\""); });
        }
    }
    expect_code(errc::malformed_data, [] { json_codec::decode<std::string>(R"("\ud800")"); });
    for (std::string const good : {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
             "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
        EXPECT_EQ(json_codec::decode<std::string>(json_codec::encode(good)), good);
}

TEST(json_codec, text_that_is_no_json_is_refused_with_its_place)
{
    for (std::string const text : {"", " ", "{", "[1,]", "{\"x\":}", "{x:1}", "01", "1 2", "{} {}", "nul", "\"a", "'a'", "+1",
             ".5", "1.", "NaN", "[1] // comment", "\"\t\"", "\xef\xbb\xbf{}"})
        EXPECT_NE(error_of<point>(text).find("JSON body: "), std::string::npos) << text;
    expect_error<point>("{\"x\":1,}", "at byte 7");
}

TEST(json_codec, base64_is_read_in_its_only_form)
{
    using bytes = std::vector<std::byte>;
    EXPECT_EQ(json_codec::decode<bytes>("\"AP8=\""), (bytes{std::byte{0}, std::byte{255}}));
    EXPECT_EQ(json_codec::encode(bytes{std::byte{0xfb}, std::byte{0xff}, std::byte{0xbf}}), "\"+/+/\"");
    for (std::string const text : {"A", "AA", "AAA", "AP8", "AP9=", "AB==", "A===", "====", "AP8=AP8=", "A-8=", "AP8=\\n", "=AP8"})
        expect_error<bytes>('"' + text + '"', "base64");
}

TEST(json_codec, integer_keys_are_read_exactly)
{
    using map = std::map<std::int8_t, int>;
    EXPECT_EQ(json_codec::decode<map>(R"({"-128":1,"127":2})"), (map{{-128, 1}, {127, 2}}));
    for (std::string const key : {"", "128", "+1", " 1", "1 ", "1.0", "x"})
        expect_error<map>("{\"" + key + "\":1}", "expected a key");
    expect_error<map>(R"({"1":1,"01":2})", "the same key again");
}

TEST(json_codec, alternatives_are_named_so_that_they_may_be_reordered)
{
    using before = std::variant<int, circle_v1>;
    using after = std::variant<circle_v1, std::string, int>;
    auto const text = json_codec::encode(before{circle_v1{3}});
    EXPECT_EQ(text, R"({"circle":{"radius":3}})");
    EXPECT_EQ(json_codec::decode<after>(text), after{circle_v1{3}});
    EXPECT_EQ(json_codec::decode<after>(R"({"int32":5})"), after{5});
    expect_error<after>(R"({"square":{}})", "unknown alternative");
    expect_error<after>("{}", "expected one member");
    expect_error<after>(R"({"int32":5,"string":""})", "expected one member");
    expect_error<any_shape>(R"({"monostate":0})", "expected null");
}

TEST(json_codec, a_depth_bomb_is_refused_also_where_it_would_be_skipped)
{
    for (std::string const open : {"[", "{\"children\":[", "{\"a\":"}) {
        std::string bomb;
        for (int i = 0; i < 100'000; ++i)
            bomb += open;
        EXPECT_FALSE(error_of<tree>(bomb, errc::limit_exceeded).empty());
        EXPECT_FALSE(error_of<point>("{\"unknown\":" + bomb, errc::limit_exceeded).empty());
    }
}

TEST(json_codec, a_repeated_member_never_moves_a_number_to_another_place)
{
    std::vector<std::string> const texts{R"({"a":1,"a":2.5})", R"({"a":"x","b":1.5,"a":2.5})", R"({"a":1.5,"b":2.5,"a":3.5})",
        R"({"a":{"a":1.25,"a":"x"},"b":3.5})"};
    for (auto const& text : texts) {
        try {
            auto const found = json_codec::decode<std::map<std::string, double>>(text);
            ADD_FAILURE() << text;
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::malformed_data) << e.what();
        }
    }
}

TEST(json_codec, numbers_in_text_and_in_unknown_members_do_not_confuse_doubles)
{
    struct expected {
        std::string text;
        double value;
    };
    std::vector<expected> const all{
        {R"({"note":"7.5 \" 8.5 \\","0.1":[1,-2,3.5e1,{"9":0.1}],"v":0.30000000000000004})", 0.30000000000000004},
        {R"({"v":1e-7,"w":12345678901234567890123})", 1e-7},
        {R"({"a":-0,"b":0.0,"c":true,"v":-2.2250738585072011e-308})", -2.2250738585072011e-308},
    };
    for (auto const& [text, value] : all)
        EXPECT_EQ(json_codec::decode<reading>(text).v, value) << text;
}

} // namespace
