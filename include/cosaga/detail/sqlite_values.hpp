// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_rows.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>

#include <boost/describe/members.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga::detail {

// How the user's values are bound and read. Times are microseconds since 1970, message ids are blobs of 16 bytes.

template <class Range>
using element_of = std::remove_cvref_t<decltype(*std::data(std::declval<Range const&>()))>;

template <class T>
concept sqlite_bytes = requires(T const& v) {
    std::data(v);
    std::size(v);
} && (std::same_as<element_of<T>, std::byte> || std::same_as<element_of<T>, unsigned char>);

template <class T>
concept sqlite_integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t>
                      && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

template <class T>
inline constexpr bool is_nullable = false;
template <class T>
inline constexpr bool is_nullable<std::optional<T>> = true;

/// Text and bytes are referred to where they are.
template <class T>
sqlite_argument to_sqlite_argument(T const& v)
{
    using enum sqlite_argument::kinds;
    if constexpr (is_nullable<T>)
        return v ? to_sqlite_argument(*v) : sqlite_argument{};
    else if constexpr (std::same_as<T, std::nullptr_t> || std::same_as<T, std::nullopt_t>)
        return {};
    else if constexpr (std::same_as<T, bool>)
        return {.kind = integer, .number = v};
    else if constexpr (sqlite_integer<T>) {
        if (!std::in_range<std::int64_t>(v))
            return {.kind = too_large};
        return {.kind = integer, .number = static_cast<std::int64_t>(v)};
    } else if constexpr (std::floating_point<T>)
        return {.kind = real, .fraction = static_cast<double>(v)};
    else if constexpr (std::same_as<T, message_id>)
        return {.kind = blob, .data = v.bytes().data(), .size = v.bytes().size()};
    else if constexpr (std::same_as<T, time_point>)
        return {.kind = integer, .number = static_cast<std::int64_t>(v.time_since_epoch().count())};
    else if constexpr (std::convertible_to<T const&, std::string_view>) {
        std::string_view const s{v};
        return {.kind = text, .data = s.data(), .size = s.size()};
    } else if constexpr (sqlite_bytes<T>)
        return {.kind = blob, .data = std::data(v), .size = std::size(v)};
    else
        static_assert(sizeof(T) == 0,
            "an SQL argument is an integer, double, bool, text, bytes, message_id, time_point, nullptr or an optional of these");
}

/// All arguments of a statement, which must live until it was run.
template <class... Args>
std::array<sqlite_argument, sizeof...(Args)> to_sqlite_arguments(Args const&... args)
{
    return {to_sqlite_argument(args)...};
}

/// Reads a column of the current row; the error says which one is not what the type needs.
template <class T>
void read_column(sqlite_rows const& rows, int at, T& v)
{
    if constexpr (is_nullable<T>) {
        if (rows.is_null(at))
            v.reset();
        else
            read_column(rows, at, v.emplace());
    } else if constexpr (std::same_as<T, bool>) {
        v = rows.integer(at, "an integer") != 0;
    } else if constexpr (sqlite_integer<T>) {
        auto const n = rows.integer(at, "an integer");
        if (!std::in_range<T>(n))
            rows.fail(at, "in the range of its member");
        v = static_cast<T>(n);
    } else if constexpr (std::floating_point<T>) {
        v = static_cast<T>(rows.real(at));
    } else if constexpr (std::same_as<T, time_point>) {
        v = time_point{duration{rows.integer(at, "a time in microseconds")}};
    } else if constexpr (std::same_as<T, message_id>) {
        v = rows.id(at);
    } else if constexpr (std::same_as<T, std::string>) {
        v = rows.bytes(at, "text");
    } else if constexpr (sqlite_bytes<T> && std::same_as<T, std::vector<element_of<T>>>) {
        auto const bytes = rows.bytes(at, "bytes");
        v.resize(bytes.size());
        std::transform(bytes.begin(), bytes.end(), v.begin(),
            [](char c) { return static_cast<element_of<T>>(c); });
    } else
        static_assert(sizeof(T) == 0,
            "a member of a row is an integer, double, bool, string, vector of bytes, message_id, time_point or an optional of these");
}

template <class Row>
inline constexpr bool is_described_row = boost::describe::has_describe_members<Row>::value;

template <class Row>
using row_members = boost::describe::describe_members<Row, boost::describe::mod_public | boost::describe::mod_inherited>;

template <template <class...> class List, class... Members, class Row>
void read_members(sqlite_rows const& rows, Row& row, List<Members...>)
{
    int at = 0;
    (read_column(rows, at++, row.*Members::pointer), ...);
}

/// Columns fill the members of a described struct in their order; any other type is a single column.
template <class Row>
void read_row(sqlite_rows const& rows, Row& row)
{
    if constexpr (is_described_row<Row>) {
        read_members(rows, row, row_members<Row>{});
    } else {
        static_assert(!std::is_aggregate_v<Row> || sqlite_bytes<Row>, "describe the row with BOOST_DESCRIBE_STRUCT first");
        read_column(rows, 0, row);
    }
}

template <template <class...> class List, class... Members>
constexpr std::size_t count_members(List<Members...>)
{
    return sizeof...(Members);
}

template <class Row>
constexpr std::size_t columns_of_row()
{
    if constexpr (is_described_row<Row>)
        return count_members(row_members<Row>{});
    else
        return 1;
}

} // namespace cosaga::detail
