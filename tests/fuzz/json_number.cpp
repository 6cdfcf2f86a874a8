// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/codec/json.hpp>

#include <boost/json/parse.hpp>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using cosaga::json_codec;
using fuzz::require;

// Nearly every input is a number then, or nearly one.
std::string number_of(std::uint8_t const* data, std::size_t size)
{
    constexpr std::string_view characters = "0123456789-+.eE0";
    std::string text{reinterpret_cast<char const*>(data), size};
    for (char& c : text)
        if (characters.find(c) == std::string_view::npos)
            c = characters[static_cast<unsigned char>(c) % characters.size()];
    return text;
}

template <class T>
bool reads(std::string const& text, T& out)
{
    return fuzz::decodes([&] { out = json_codec::decode<T>(text); });
}

template <class I>
void check_integer(std::string const& text)
{
    I read{};
    I exact{};
    if (!reads(text, read) || text == "-0")
        return; // of an integer that is allowed without a sign, too
    auto const parsed = std::from_chars(text.data(), text.data() + text.size(), exact);
    require(parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size() && read == exact,
        "an integer is read exactly");
    require(json_codec::decode<I>(json_codec::encode(read)) == read, "an integer comes back");
}

void check_double(std::string const& text)
{
    double exact = 0;
    auto const parsed = std::from_chars(text.data(), text.data() + text.size(), exact);
    double read = 0;
    if (!reads(text, read)) {
        require(parsed.ec == std::errc::result_out_of_range, "a number within the range of double is read");
        return;
    }
    require(std::isfinite(read), "there is no infinity");
    if (parsed.ec == std::errc::result_out_of_range) {
        require(std::abs(read) < 1e-300, "a number beyond the range of double is refused, one that is too small is 0");
        return;
    }
    require(parsed.ptr == text.data() + text.size() && read == exact, "a double is read exactly");
    bool const whole = text.find_first_of(".eE") == text.npos; // of these, a zero has no sign
    require(whole || std::signbit(read) == std::signbit(exact), "a double keeps its sign");
    double const back = json_codec::decode<double>(json_codec::encode(read));
    require(std::bit_cast<std::uint64_t>(back) == std::bit_cast<std::uint64_t>(read), "a double comes back");
    float narrow = 0;
    if (reads(text, narrow))
        require(json_codec::decode<float>(json_codec::encode(narrow)) == narrow, "a float comes back");
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size > 512)
        return -1; // what is longer finds nothing new
    auto const text = number_of(data, size);
    switch (text.size() % 4) { // all four would mostly measure exceptions
    case 0: check_integer<std::int64_t>(text); break;
    case 1: check_integer<std::int8_t>(text); break;
    case 2: check_integer<std::uint64_t>(text); break;
    default: check_integer<std::uint32_t>(text); break;
    }
    boost::json::error_code ec;
    boost::json::parse({text.data(), text.size()}, ec);
    if (ec) {
        double none = 0;
        require(!reads(text, none), "what is no JSON is not read");
    } else {
        check_double(text);
    }
    return 0;
}
