// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/error.hpp>

#include <boost/describe/enumerators.hpp>
#include <boost/describe/members.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ratio>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga {

class message_id; // include <cosaga/message_id.hpp> to have one in a body

namespace detail {

/// What a type is to a codec: every codec knows the same kinds, so that a body can change its codec.
enum class kind {
    unsupported,
    boolean,
    integer,
    floating,
    text,
    bytes,
    identifier,
    time,     ///< `std::chrono::sys_time`
    span,     ///< `std::chrono::duration`
    enumeration,
    optional,
    sequence, ///< grows: `std::vector`
    array,    ///< of fixed size: `std::array`
    map,
    variant,
    structure,
};

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <class T>
inline constexpr bool is_vector = false;
template <class T, class A>
inline constexpr bool is_vector<std::vector<T, A>> = true;

template <class T>
inline constexpr bool is_array = false;
template <class T, std::size_t N>
inline constexpr bool is_array<std::array<T, N>> = true;

template <class T>
inline constexpr bool is_variant = false;
template <class... T>
inline constexpr bool is_variant<std::variant<T...>> = true;

/// Microseconds hold it exactly.
template <class Period>
inline constexpr bool is_whole_microseconds = std::ratio_divide<Period, std::micro>::den == 1;

template <class T>
inline constexpr bool is_span = false;
template <class Rep, class Period>
inline constexpr bool is_span<std::chrono::duration<Rep, Period>> =
    std::is_integral_v<Rep> && is_whole_microseconds<Period>;

template <class T>
inline constexpr bool is_time = false;
template <class Duration>
inline constexpr bool is_time<std::chrono::time_point<std::chrono::system_clock, Duration>> = is_span<Duration>;

/// Characters are no integers: whether plain `char` has a sign depends on the platform.
template <class T>
concept body_integer = std::integral<T> && sizeof(T) <= 8 && !std::same_as<T, bool> && !std::same_as<T, char>
                    && !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> && !std::same_as<T, char16_t>
                    && !std::same_as<T, char32_t>;

template <class T>
concept map_like = requires(T& m, typename T::key_type key, typename T::mapped_type value) {
    m.try_emplace(key, value);
} && (std::same_as<typename T::key_type, std::string> || body_integer<typename T::key_type>);

template <class T>
consteval kind kind_of()
{
    if constexpr (std::same_as<T, bool>)
        return kind::boolean;
    else if constexpr (body_integer<T>)
        return kind::integer;
    else if constexpr (std::same_as<T, float> || std::same_as<T, double>)
        return kind::floating;
    else if constexpr (std::same_as<T, std::string>)
        return kind::text;
    else if constexpr (std::same_as<T, std::vector<std::byte>>)
        return kind::bytes;
    else if constexpr (std::same_as<T, message_id>)
        return kind::identifier;
    else if constexpr (is_time<T>)
        return kind::time;
    else if constexpr (is_span<T>)
        return kind::span;
    else if constexpr (is_optional<T>) // one inside another is ambiguous in JSON
        return is_optional<typename T::value_type> ? kind::unsupported : kind::optional;
    else if constexpr (is_vector<T>)
        return kind::sequence;
    else if constexpr (is_array<T>)
        return kind::array;
    else if constexpr (is_variant<T>)
        return kind::variant;
    else if constexpr (std::is_enum_v<T>)
        return boost::describe::has_describe_enumerators<T>::value ? kind::enumeration : kind::unsupported;
    else if constexpr (map_like<T>)
        return kind::map;
    else if constexpr (boost::describe::has_describe_members<T>::value && !std::is_union_v<T>)
        return kind::structure;
    else
        return kind::unsupported;
}

/// A type that can be a body. (What it contains is checked when it is encoded or decoded.)
template <class T>
concept body_type = kind_of<T>() != kind::unsupported;

/// One readable line in place of a page of templates.
template <class T>
consteval void require_supported()
{
    static_assert(body_type<T>,
        "cosaga: a body cannot hold this type. It can hold bool, integers (not characters), float, double, std::string, "
        "std::vector<std::byte>, message_id, system time points and durations that microseconds hold exactly, "
        "enums and structs described with Boost.Describe, and std::optional (not of an optional), vector, array, "
        "variant, and maps with string or integer keys, of these");
}

/// The members that `T` itself describes, of any access.
template <class T>
using own_members = boost::describe::describe_members<T, boost::describe::mod_any_access>;

/// The same, after those of its described bases.
template <class T>
using all_members =
    boost::describe::describe_members<T, boost::describe::mod_any_access | boost::describe::mod_inherited>;

template <class T>
using public_bases = boost::describe::describe_bases<T, boost::describe::mod_public>;

template <class List>
inline constexpr std::size_t list_size = 0;
template <template <class...> class List, class... D>
inline constexpr std::size_t list_size<List<D...>> = sizeof...(D);

/// Calls `f(descriptor)` for each descriptor of the list, in order.
template <template <class...> class List, class... D, class F>
constexpr void for_each(List<D...>, F&& f)
{
    (f(D{}), ...);
}

template <class E>
constexpr bool is_enumerator(std::underlying_type_t<E> value) noexcept
{
    bool found = false;
    for_each(boost::describe::describe_enumerators<E>{},
        [&](auto d) { found = found || static_cast<std::underlying_type_t<E>>(d.value) == value; });
    return found;
}

/// Microseconds of a duration, or nothing when they do not fit 64 bits.
template <class Rep, class Period>
constexpr std::optional<std::int64_t> to_microseconds(std::chrono::duration<Rep, Period> d) noexcept
{
    constexpr std::int64_t each = std::ratio_divide<Period, std::micro>::num;
    if (!std::in_range<std::int64_t>(d.count()))
        return std::nullopt;
    auto const count = static_cast<std::int64_t>(d.count());
    if (count > std::numeric_limits<std::int64_t>::max() / each || count < std::numeric_limits<std::int64_t>::min() / each)
        return std::nullopt;
    return count * each;
}

/// The duration of that many microseconds, or nothing when `Duration` cannot say it exactly.
template <class Duration>
constexpr std::optional<Duration> from_microseconds(std::int64_t microseconds) noexcept
{
    constexpr std::int64_t each = std::ratio_divide<typename Duration::period, std::micro>::num;
    if (microseconds % each != 0 || !std::in_range<typename Duration::rep>(microseconds / each))
        return std::nullopt;
    return Duration{static_cast<typename Duration::rep>(microseconds / each)};
}

/// Checks the size of an encoded body, when it is written and before it is read.
inline void check_body_size(std::size_t size, codec_limits const& limits)
{
    if (size > limits.bytes)
        throw make_error(errc::limit_exceeded,
            "a body of " + std::to_string(size) + " bytes is over the limit of " + std::to_string(limits.bytes));
}

/// Keeps the first reservation for a hostile count small; a true one grows beyond it as its elements arrive.
template <class T>
constexpr std::size_t first_reservation(std::size_t count) noexcept
{
    constexpr std::size_t most = 64 * 1024 / sizeof(T) + 1;
    return count < most ? count : most;
}

} // namespace detail
} // namespace cosaga
