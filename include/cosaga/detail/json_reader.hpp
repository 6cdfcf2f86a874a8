// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/base64.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/json_document.hpp>
#include <cosaga/detail/json_path.hpp>
#include <cosaga/error.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga::detail {

/// Reads described values from a document: skips members that it does not know, leaves those that are absent.
class json_reader {
public:
    explicit json_reader(codec_limits const& limits) noexcept : limits_{limits} {}

    template <class T>
    void value(json_value v, T& out, json_path const& at)
    {
        require_supported<T>();
        constexpr kind k = kind_of<T>();
        if constexpr (k == kind::boolean)
            out = v.boolean(at);
        else if constexpr (k == kind::integer)
            out = integer<T>(v, at);
        else if constexpr (k == kind::floating)
            out = floating<T>(v, at);
        else if constexpr (k == kind::text) {
            out = v.text(at);
        } else if constexpr (k == kind::bytes) {
            if (!base64_decode(v.text(at), out))
                malformed(at, "expected bytes in base64");
        } else if constexpr (k == kind::identifier) {
            auto const id = T::parse(v.text(at));
            if (!id)
                malformed(at, "expected a UUID");
            out = *id;
        } else if constexpr (k == kind::time)
            out = T{span<typename T::duration>(v, at)};
        else if constexpr (k == kind::span)
            out = span<T>(v, at);
        else if constexpr (k == kind::enumeration)
            out = enumeration<T>(v, at);
        else if constexpr (k == kind::optional) {
            if (v.is_null())
                out.reset();
            else
                value(v, out.emplace(), at);
        } else if constexpr (k == kind::sequence)
            sequence(v, out, at);
        else if constexpr (k == kind::array)
            array(v, out, at);
        else if constexpr (k == kind::map)
            map(v, out, at);
        else if constexpr (k == kind::variant)
            variant(v, out, at);
        else
            structure(v, out, at);
    }

private:
    template <class T>
    void structure(json_value v, T& out, json_path const& at)
    {
        auto const object = v.object(at);
        std::size_t next = 0; // members usually come in the order of the description
        for_each(all_members<T>{}, [&](auto member) {
            if (!object.find(member.name, next))
                return;
            value(object[next], out.*member.pointer, at.member(member.name));
            ++next;
        });
    }

    template <class T, class A>
    void sequence(json_value v, std::vector<T, A>& out, json_path const& at)
    {
        auto const elements = v.array(at);
        check_elements(elements.size(), at);
        out.clear();
        out.reserve(first_reservation<T>(elements.size()));
        for (std::size_t i = 0; i < elements.size(); ++i) {
            auto const inner = at.element(i);
            if constexpr (std::is_same_v<T, bool>) // its elements cannot be referred to
                out.push_back(elements[i].boolean(inner));
            else
                value(elements[i], out.emplace_back(), inner);
        }
    }

    template <class T, std::size_t N>
    void array(json_value v, std::array<T, N>& out, json_path const& at)
    {
        auto const elements = v.array(at);
        if (elements.size() != N)
            malformed(at, "expected an array of another size");
        for (std::size_t i = 0; i < N; ++i)
            value(elements[i], out[i], at.element(i));
    }

    template <class Map>
    void map(json_value v, Map& out, json_path const& at)
    {
        auto const object = v.object(at);
        check_elements(object.size(), at);
        out.clear();
        for (std::size_t i = 0; i < object.size(); ++i) {
            auto const inner = at.element(i); // a key is data, and stays out of errors
            auto const [place, inserted] = out.try_emplace(key<typename Map::key_type>(object.key(i), inner));
            if (!inserted)
                malformed(inner, "the same key again");
            value(object[i], place->second, inner);
        }
    }

    template <class Key>
    static Key key(std::string_view text, json_path const& at)
    {
        if constexpr (std::is_same_v<Key, std::string>) {
            return Key{text};
        } else {
            Key v{};
            auto const result = std::from_chars(text.data(), text.data() + text.size(), v);
            if (result.ec != std::errc{} || result.ptr != text.data() + text.size())
                malformed(at, "expected a key that is an integer of its type's range");
            return v;
        }
    }

    template <class... A>
    void variant(json_value v, std::variant<A...>& out, json_path const& at)
    {
        require_distinct_names(static_cast<std::variant<A...> const*>(nullptr));
        auto const object = v.object(at);
        if (object.size() != 1)
            malformed(at, "expected one member, named after an alternative");
        if (!(alternative<A>(object, out, at) || ...))
            malformed(at, "unknown alternative");
    }

    template <class Alternative, class Variant>
    bool alternative(json_object chosen, Variant& out, json_path const& at)
    {
        constexpr auto name = alternative_name<Alternative>();
        if (chosen.key(0) != name)
            return false;
        auto& to = out.template emplace<Alternative>();
        if constexpr (!std::is_same_v<Alternative, std::monostate>)
            value(chosen[0], to, at.member(name));
        else if (!chosen[0].is_null())
            malformed(at.member(name), "expected null");
        return true;
    }

    template <class I>
    static I integer(json_value v, json_path const& at)
    {
        using limits = std::numeric_limits<I>;
        if constexpr (std::is_signed_v<I>)
            return static_cast<I>(v.integer(at, limits::min(), limits::max()));
        else
            return static_cast<I>(v.unsigned_integer(at, limits::max()));
    }

    template <class F>
    static F floating(json_value v, json_path const& at)
    {
        static_assert(std::numeric_limits<F>::is_iec559, "what does not fit becomes infinity");
        auto const narrow = static_cast<F>(v.number(at));
        if (!std::isfinite(narrow))
            malformed(at, "number out of range");
        return narrow;
    }

    template <class Duration>
    static Duration span(json_value v, json_path const& at)
    {
        auto const duration = from_microseconds<Duration>(integer<std::int64_t>(v, at));
        if (!duration)
            malformed(at, "a time in microseconds that its type cannot hold");
        return *duration;
    }

    template <class E>
    static E enumeration(json_value v, json_path const& at)
    {
        auto const text = v.text(at);
        E out{};
        bool known = false;
        for_each(boost::describe::describe_enumerators<E>{}, [&](auto d) {
            if (text == d.name) {
                out = d.value;
                known = true;
            }
        });
        if (!known)
            malformed(at, "unknown enumerator");
        return out;
    }

    [[noreturn]] static void malformed(json_path const& at, char const* problem)
    {
        at.fail(problem, errc::malformed_data);
    }

    void check_elements(std::size_t size, json_path const& at) const
    {
        if (size > limits_.elements)
            at.fail("too many elements", errc::limit_exceeded);
    }

    codec_limits const& limits_;
};

} // namespace cosaga::detail
