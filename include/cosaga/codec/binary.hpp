// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/binary_reader.hpp>
#include <cosaga/detail/binary_writer.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/wire.hpp>

#include <string>
#include <string_view>

namespace cosaga {

/// Bodies in a compact tagged form.
///
/// A struct is a list of fields, each a key and a value; the key is a varint, `ordinal << 2 | wire type`. The
/// ordinal of a member is its place in the description, from 1; 0 is for all described bases together, so that a
/// base can grow too. Fields stand in ascending order.
///
/// | wire type   | holds                                                                                         |
/// |-------------|-----------------------------------------------------------------------------------------------|
/// | 0, varint   | unsigned integers, `bool`; zigzag: signed integers, enums (their value), times (microseconds) |
/// | 1, fixed 32 | `float`                                                                                       |
/// | 2, fixed 64 | `double`                                                                                      |
/// | 3, bytes    | a length and: text, bytes, a message id, a struct's fields, or a count and the elements        |
///
/// An optional is written as its value, so that a member may become optional; without one it is a zero of the
/// other kind (bytes for a varint, else a varint), which only an optional understands.
///
/// @par Evolution
/// append members, alternatives and enumerators only; never reorder, re-type or remove one. A reader skips members
/// that it does not know, keeps the defaults of those that are absent, and refuses unknown alternatives and enumerators.
/// @par Errors
/// @li `errc::malformed_data` - the bytes are not an encoding of that type, or not the only one.
/// @li `errc::limit_exceeded` - too deep, too many elements, or too long; checked before anything is allocated.
/// @li `errc::bad_argument` - `encode`: an enum without an enumerator of that value, a time beyond 64 bits of microseconds.
struct binary_codec {
    static constexpr std::string_view content_type = "application/x-cosaga-binary";
    static constexpr codec_limits limits{};

    template <detail::body_type T>
    static std::string encode(T const& body)
    {
        std::string bytes;
        bytes.reserve(128);
        detail::binary_writer writer{bytes, limits};
        if constexpr (detail::kind_of<T>() == detail::kind::structure)
            writer.fields(body);
        else
            writer.value(body);
        detail::check_body_size(bytes.size(), limits);
        return bytes;
    }

    template <detail::body_type T>
    static T decode(std::string_view bytes)
    {
        detail::check_body_size(bytes.size(), limits);
        T body{};
        detail::wire_reader in{bytes, "binary body"};
        detail::binary_reader reader{limits};
        if constexpr (detail::kind_of<T>() == detail::kind::structure) {
            reader.fields(in, body);
        } else {
            reader.value(in, body);
            in.expect_end();
        }
        return body;
    }
};

} // namespace cosaga
