// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/error.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace cosaga::detail {

/// Where in a body: a list through the stack frames, which becomes text only for an error.
struct json_path {
    json_path const* parent = nullptr;
    std::string_view name{}; ///< of a member or an alternative, else the index counts
    std::size_t index = 0;
    std::size_t depth = 0;

    json_path member(std::string_view of) const noexcept { return {this, of, 0, depth + 1}; }
    json_path element(std::size_t at) const noexcept { return {this, {}, at, depth + 1}; }

    std::string to_string() const
    {
        if (parent == nullptr)
            return {};
        std::string text = parent->to_string();
        if (name.empty())
            return text + '[' + std::to_string(index) + ']';
        return (text.empty() ? text : text + '.').append(name);
    }

    [[noreturn, gnu::cold, gnu::noinline]] void fail(char const* problem, errc code) const
    {
        std::string text = "JSON body: ";
        if (parent != nullptr)
            text.append(to_string()).append(": ");
        throw make_error(code, text + problem);
    }

    /// To be called for each object and array.
    void check_depth(codec_limits const& limits) const
    {
        if (depth >= limits.depth)
            fail("nested too deeply", errc::limit_exceeded);
    }
};

/// What names an alternative of a variant.
template <class T>
constexpr std::string_view alternative_name() noexcept
{
    if constexpr (std::is_same_v<T, std::monostate>)
        return "monostate";
    switch (kind_of<T>()) {
    case kind::boolean: return "bool";
    case kind::integer: {
        constexpr std::array<std::string_view, 4> with_sign{"int8", "int16", "int32", "int64"};
        constexpr std::array<std::string_view, 4> without{"uint8", "uint16", "uint32", "uint64"};
        constexpr std::size_t width = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
        return std::is_signed_v<T> ? with_sign[width] : without[width];
    }
    case kind::floating: return sizeof(T) == 4 ? "float" : "double";
    case kind::text: return "string";
    case kind::bytes: return "bytes";
    case kind::identifier: return "message_id";
    case kind::time: return "time";
    case kind::span: return "duration";
    case kind::optional: return "optional";
    case kind::sequence: return "vector";
    case kind::array: return "array";
    case kind::map: return "map";
    case kind::variant: return "variant";
    default: return message_type_of<T>();
    }
}

template <class... A>
consteval void require_distinct_names(std::variant<A...> const*)
{
    constexpr bool distinct = [] {
        std::array<std::string_view, sizeof...(A)> names{alternative_name<A>()...};
        for (std::size_t i = 0; i < names.size(); ++i)
            for (std::size_t j = i + 1; j < names.size(); ++j)
                if (names[i] == names[j])
                    return false;
        return true;
    }();
    static_assert(distinct,
        "cosaga: two alternatives of this variant have the same name in JSON; put one into a described struct of its own");
}

} // namespace cosaga::detail
