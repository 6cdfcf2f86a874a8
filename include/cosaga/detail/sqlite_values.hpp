// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>

#include <boost/describe/members.hpp>
#include <boost/mp11/algorithm.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga::detail {

// How the user's values are bound and read. Times are microseconds since 1970, message ids are blobs of 16 bytes.

template <class T>
concept sqlite_bytes = std::ranges::contiguous_range<T> && std::ranges::sized_range<T>
                    && (std::same_as<std::ranges::range_value_t<T>, std::byte>
                        || std::same_as<std::ranges::range_value_t<T>, unsigned char>);

template <class T>
concept sqlite_integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t>
                      && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

template <class T>
inline constexpr bool is_nullable = false;
template <class T>
inline constexpr bool is_nullable<std::optional<T>> = true;

template <class T>
int bind_argument(sqlite3_stmt* s, int at, T const& v)
{
    if constexpr (is_nullable<T>)
        return v ? bind_argument(s, at, *v) : sqlite3_bind_null(s, at);
    else if constexpr (std::same_as<T, std::nullptr_t> || std::same_as<T, std::nullopt_t>)
        return sqlite3_bind_null(s, at);
    else if constexpr (std::same_as<T, bool>)
        return bind_sqlite(s, at, std::int64_t{v});
    else if constexpr (sqlite_integer<T>) {
        if (std::cmp_greater(v, std::numeric_limits<std::int64_t>::max()))
            throw make_error(errc::sql_failed, "argument " + std::to_string(at) + " does not fit a 64-bit signed integer");
        return bind_sqlite(s, at, static_cast<std::int64_t>(v));
    } else if constexpr (std::floating_point<T>)
        return sqlite3_bind_double(s, at, static_cast<double>(v));
    else if constexpr (std::same_as<T, message_id>)
        return bind_sqlite(s, at, bytes_as_blob(v.bytes()));
    else if constexpr (std::same_as<T, time_point>)
        return bind_sqlite(s, at, static_cast<std::int64_t>(v.time_since_epoch().count()));
    else if constexpr (std::convertible_to<T const&, std::string_view>)
        return bind_sqlite(s, at, std::string_view{v});
    else if constexpr (sqlite_bytes<T>)
        return bind_sqlite(s, at, sqlite_blob{std::ranges::data(v), std::ranges::size(v)});
    else
        static_assert(sizeof(T) == 0,
            "an SQL argument is an integer, double, bool, text, bytes, message_id, time_point, nullptr or an optional of these");
}

/// Reads a column of a row, and says which one if it is not what the type needs.
class sqlite_column {
public:
    sqlite_column(sqlite3_stmt* s, int at) noexcept : statement_{s}, at_{at} {}

    template <class T>
    void read(T& v) const
    {
        int const type = sqlite3_column_type(statement_, at_);
        if constexpr (is_nullable<T>) {
            if (type == SQLITE_NULL)
                v.reset();
            else
                read(v.emplace());
        } else if constexpr (std::same_as<T, bool>) {
            expect(type == SQLITE_INTEGER, "an integer");
            v = sqlite3_column_int64(statement_, at_) != 0;
        } else if constexpr (sqlite_integer<T>) {
            expect(type == SQLITE_INTEGER, "an integer");
            auto const n = sqlite3_column_int64(statement_, at_);
            expect(std::in_range<T>(n), "in the range of its member");
            v = static_cast<T>(n);
        } else if constexpr (std::floating_point<T>) {
            expect(type == SQLITE_FLOAT || type == SQLITE_INTEGER, "a number");
            v = static_cast<T>(sqlite3_column_double(statement_, at_));
        } else if constexpr (std::same_as<T, time_point>) {
            expect(type == SQLITE_INTEGER, "a time in microseconds");
            v = time_point{duration{sqlite3_column_int64(statement_, at_)}};
        } else if constexpr (std::same_as<T, message_id>) {
            auto const bytes = column_bytes(statement_, at_);
            expect(type == SQLITE_BLOB && bytes.size() == message_id::size, "a message id");
            message_id::bytes_type id;
            std::copy(bytes.begin(), bytes.end(), id.begin());
            v = message_id{id};
        } else if constexpr (std::same_as<T, std::string>) {
            expect(type == SQLITE_TEXT || type == SQLITE_BLOB, "text");
            v = column_bytes(statement_, at_);
        } else if constexpr (sqlite_bytes<T> && std::same_as<T, std::vector<std::ranges::range_value_t<T>>>) {
            expect(type == SQLITE_TEXT || type == SQLITE_BLOB, "bytes");
            auto const bytes = column_bytes(statement_, at_);
            v.resize(bytes.size());
            std::transform(bytes.begin(), bytes.end(), v.begin(),
                [](char c) { return static_cast<std::ranges::range_value_t<T>>(c); });
        } else
            static_assert(sizeof(T) == 0,
                "a member of a row is an integer, double, bool, string, vector of bytes, message_id, time_point or an optional of these");
    }

private:
    void expect(bool fits, char const* what) const
    {
        if (fits) [[likely]]
            return;
        std::string context = "column " + std::to_string(at_ + 1) + " (" + sqlite3_column_name(statement_, at_) + ") is ";
        if (sqlite3_column_type(statement_, at_) == SQLITE_NULL)
            throw make_error(errc::sql_failed, context + "NULL: make its member a std::optional");
        throw make_error(errc::sql_failed, context + "not " + what);
    }

    sqlite3_stmt* statement_;
    int at_;
};

template <class Row>
inline constexpr bool is_described_row = boost::describe::has_describe_members<Row>::value;

/// Columns fill the members of a described struct in their order; any other type is a single column.
template <class Row>
void read_row(sqlite3_stmt* s, Row& row)
{
    if constexpr (is_described_row<Row>) {
        int at = 0;
        boost::mp11::mp_for_each<boost::describe::describe_members<Row, boost::describe::mod_public | boost::describe::mod_inherited>>(
            [&](auto member) { sqlite_column{s, at++}.read(row.*member.pointer); });
    } else {
        static_assert(!std::is_aggregate_v<Row> || sqlite_bytes<Row>, "describe the row with BOOST_DESCRIBE_STRUCT first");
        sqlite_column{s, 0}.read(row);
    }
}

template <class Row>
constexpr std::size_t columns_of_row()
{
    if constexpr (is_described_row<Row>)
        return boost::mp11::mp_size<
            boost::describe::describe_members<Row, boost::describe::mod_public | boost::describe::mod_inherited>>::value;
    else
        return 1;
}

} // namespace cosaga::detail
