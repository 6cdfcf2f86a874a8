// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/json_reader.hpp>
#include <cosaga/detail/json_writer.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace cosaga {

/// Bodies as JSON text (RFC 8259): readable in a table, and by any other language.
///
/// | C++                                     | JSON                                                                       |
/// |-----------------------------------------|----------------------------------------------------------------------------|
/// | `bool`, `std::string` (UTF-8)           | the same                                                                   |
/// | integers                                | a number, exact in 64 bits here (JavaScript reads 53 bits)                 |
/// | `float`, `double`                       | the shortest number that reads back the same; never NaN or infinity        |
/// | `std::vector<std::byte>`                | a string in base64 with padding                                            |
/// | described enum                          | the enumerator's name                                                      |
/// | described struct                        | an object; members of described bases are its own                          |
/// | `std::optional`                         | the value, or `null`                                                       |
/// | `std::vector`, `std::array`             | an array                                                                   |
/// | maps with string or integer keys        | an object; integers in decimal                                             |
/// | `std::variant`                          | an object with one member, named after the alternative: `{"circle": {...}}` |
/// | `message_id`                            | its text                                                                   |
/// | `std::chrono` durations, `sys_time`     | whole microseconds, of a time since 1970 (UTC)                             |
///
/// An alternative of a variant is named by its `message_type_of` when it is a described type, so that alternatives
/// may be reordered; others are `int8` to `uint64`, `float`, `double`, `bool`, `string`, `bytes`, `message_id`, `time`,
/// `duration`, `optional`, `vector`, `array`, `map`, `variant`, `monostate` (whose value is `null`). Names must be distinct.
///
/// @par Evolution
/// add members, alternatives and enumerators; never rename or re-type one. A reader skips members that it does not
/// know, keeps the defaults of those that are absent, and refuses unknown alternatives and enumerators. Of a member
/// that an object repeats the last one counts, or the text is refused.
/// @par Errors
/// each names the place: `JSON body: lines[2].quantity: expected an integer`.
/// @li `errc::malformed_data` - no JSON, invalid UTF-8, or not of that type.
/// @li `errc::limit_exceeded` - too deep, too many elements, or too long.
/// @li `errc::bad_argument` - `encode`: NaN or infinity, text that is not UTF-8, an enum without an enumerator of that
///     value, a time beyond 64 bits of microseconds.
struct json_codec {
    static constexpr std::string_view content_type = "application/json";
    static constexpr codec_limits limits{};

    template <detail::body_type T>
    static std::string encode(T const& body)
    {
        detail::json_writer writer{limits};
        writer.value(body, detail::json_path{});
        std::string text = writer.take();
        detail::check_body_size(text.size(), limits);
        return text;
    }

    template <detail::body_type T>
    static T decode(std::string_view bytes)
    {
        T body{};
        detail::parse_json(bytes, limits, [&](detail::json_value document) {
            detail::json_reader{limits}.value(document, body, detail::json_path{});
        });
        return body;
    }
};

} // namespace cosaga
