// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/describe/members.hpp>

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

namespace cosaga {

/// Limits that a decoder checks before it allocates.
struct codec_limits {
    std::size_t depth = 32;                      ///< nested objects and arrays
    std::size_t elements = std::size_t{1} << 20; ///< of one sequence or map
    std::size_t bytes = std::size_t{1} << 24;    ///< of one encoded body
};

/// Turns a body into bytes and back.
///
/// | expression                 | type               | meaning                                                        |
/// |----------------------------|--------------------|----------------------------------------------------------------|
/// | `C::content_type`          | `std::string_view` | the media type that messages of this codec carry               |
/// | `C::encode(body)`          | `std::string`      | throws `errc::limit_exceeded` for a body beyond the limits     |
/// | `C::template decode<T>(s)` | `T`                | throws `errc::malformed_data`, `errc::limit_exceeded`; trailing bytes are malformed |
///
/// Unknown members are skipped and missing ones keep their defaults, so that two versions of a service can talk.
template <class C, class Body>
concept codec = requires(Body const& body, std::string_view bytes) {
    { C::content_type } -> std::convertible_to<std::string_view>;
    { C::encode(body) } -> std::same_as<std::string>;
    { C::template decode<Body>(bytes) } -> std::same_as<Body>;
};

namespace detail {

template <class T>
constexpr std::string_view unqualified_name() noexcept
{
#if defined(_MSC_VER) && !defined(__clang__)
    constexpr std::string_view function = __FUNCSIG__;
    constexpr std::string_view before = "unqualified_name<";
    constexpr auto from = function.find(before) + before.size();
    constexpr auto to = function.rfind(">(");
#else
    constexpr std::string_view function = __PRETTY_FUNCTION__; // ... [with T = shop::order; ...] or [T = shop::order]
    constexpr std::string_view before = "T = ";
    constexpr auto from = function.find(before) + before.size();
    constexpr auto to = function.find_first_of(";]", from);
#endif
    constexpr auto qualified = function.substr(from, to - from);
    constexpr auto last = qualified.find_last_of(": ");
    return last == std::string_view::npos ? qualified : qualified.substr(last + 1);
}

} // namespace detail

/// The `type` attribute of messages with a body of type `T`.
///
/// The unqualified name of the class, unless it says otherwise: `static constexpr std::string_view message_type = "order.v2";`.
/// It is part of the contract between services: renaming the class renames the messages.
template <class T>
constexpr std::string_view message_type_of() noexcept
{
    if constexpr (requires { T::message_type; })
        return T::message_type;
    else
        return detail::unqualified_name<T>();
}

} // namespace cosaga
