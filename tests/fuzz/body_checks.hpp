// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "fuzz.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/codec/json.hpp>
#include <cosaga/message_id.hpp>
#include <unit/bodies.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

/// What the targets of both codecs check of a body.
namespace fuzz {

/// A value of each kind that is neither a struct nor a map: nothing in it is skipped, absent or in another order.
using strict_value = std::variant<std::monostate, bool, std::int8_t, std::int16_t, std::int32_t, std::int64_t,
    std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, float, double, std::string, std::vector<std::byte>,
    cosaga::message_id, cosaga::time_point, std::chrono::milliseconds, bodies::colour, std::optional<std::string>,
    std::vector<std::optional<std::int32_t>>, std::array<std::vector<bool>, 2>,
    std::variant<std::monostate, std::int32_t, std::string, bodies::colour>>;
using strict_values = std::vector<strict_value>;

template <class Float>
bool same_bits(Float a, Float b) noexcept
{
    using bits = std::conditional_t<sizeof(Float) == 4, std::uint32_t, std::uint64_t>;
    return std::bit_cast<bits>(a) == std::bit_cast<bits>(b);
}

template <class T>
bool is_same(T const& a, T const& b)
{
    return a == b;
}

// Bodies that may hold NaN:

inline bool is_same(bodies::everything a, bodies::everything b)
{
    bool const same = same_bits(a.f64, b.f64) && same_bits(a.f32, b.f32) && a.ratio.has_value() == b.ratio.has_value()
                   && same_bits(a.ratio.value_or(0.0), b.ratio.value_or(0.0));
    a.f64 = b.f64 = 0;
    a.f32 = b.f32 = 0;
    a.ratio = b.ratio = {};
    return same && a == b;
}

inline bool is_same(bodies::order_v2 a, bodies::order_v2 b)
{
    bool const same = same_bits(a.weight, b.weight) && same_bits(a.volume, b.volume);
    a.weight = b.weight = 0;
    a.volume = b.volume = 0;
    return same && a == b;
}

inline bool is_same(strict_values const& a, strict_values const& b)
{
    return cosaga::binary_codec::encode(a) == cosaga::binary_codec::encode(b);
}

/// Encodes what was decoded, or nothing when that is not possible: a struct whose members were absent holds them, and
/// they may be one level deeper than everything that was decoded; `errc::bad_argument` is what JSON cannot say.
template <class Codec, class Body>
std::optional<std::string> encode_decoded(Body const& body)
{
    try {
        return Codec::encode(body);
    } catch (boost::system::system_error const& e) {
        bool const too_deep = std::is_same_v<Body, bodies::tree> && e.code() == cosaga::errc::limit_exceeded;
        bool const no_json =
            std::is_same_v<Codec, cosaga::json_codec> && e.code() == cosaga::errc::bad_argument;
        require(too_deep || no_json, e.what());
        return std::nullopt;
    }
}

/// Encodes a body that was decoded from foreign bytes, decodes that and compares.
template <class Codec, class Body>
std::optional<std::string> check_comes_back(Body const& body)
{
    auto const encoded = encode_decoded<Codec>(body);
    if (encoded)
        require(is_same(Codec::template decode<Body>(*encoded), body), "a body comes back as it was encoded");
    return encoded;
}

template <class Codec, class Body>
struct body_check {
    /// @param f called with the body and its encoding.
    template <class F>
    static void run(std::string_view bytes, F&& f)
    {
        std::optional<Body> body;
        {
            memory_watch const memory;
            bool const decoded = decodes([&] { body.emplace(Codec::template decode<Body>(bytes)); });
            // Binary: each level may reserve 64 KiB before its elements come.
            memory.require_at_most(32 * 64 * 1024, 300, bytes.size());
            if (!decoded)
                return;
        }
        auto const encoded = check_comes_back<Codec>(*body);
        using other = std::conditional_t<std::is_same_v<Codec, cosaga::json_codec>, cosaga::binary_codec, cosaga::json_codec>;
        check_comes_back<other>(*body);
        if (encoded)
            f(*body, *encoded);
    }

    static void run(std::string_view bytes)
    {
        run(bytes, [](Body const&, std::string const&) {});
    }
};

/// A body of one version, read by the other version of the service.
template <class Codec>
void check_both_versions(std::string_view bytes)
{
    using bodies::order_v1;
    using bodies::order_v2;
    body_check<Codec, order_v1>::run(bytes, [](order_v1 const& old, std::string const& encoded) {
        order_v2 expected;
        expected.id = old.id;
        expected.cents = old.cents;
        expected.note = old.note;
        require(Codec::template decode<order_v2>(encoded) == expected, "a new reader keeps its defaults");
    });
    body_check<Codec, order_v2>::run(bytes, [](order_v2 const& young, std::string const& encoded) {
        if (!young.cents)
            return; // of this the old version knows nothing
        order_v1 const expected{young.id, *young.cents, young.note};
        require(Codec::template decode<order_v1>(encoded) == expected, "an old reader skips what is new");
    });
}

} // namespace fuzz
