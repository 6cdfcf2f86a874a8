// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/wire.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>

namespace cosaga::detail {

enum class wire_type : std::uint8_t { varint, fixed32, fixed64, bytes };

template <class T>
consteval wire_type wire_type_of()
{
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::optional)
        return wire_type_of<typename T::value_type>();
    else if constexpr (k == kind::floating)
        return sizeof(T) == 4 ? wire_type::fixed32 : wire_type::fixed64;
    else if constexpr (k == kind::boolean || k == kind::integer || k == kind::time || k == kind::span
                       || k == kind::enumeration)
        return wire_type::varint;
    else
        return wire_type::bytes;
}

/// The wire type that says "no value" where `T` was possible.
template <class T>
inline constexpr wire_type null_type = wire_type_of<T>() == wire_type::varint ? wire_type::bytes : wire_type::varint;

/// The value alone already is a length and bytes.
template <class T>
inline constexpr bool has_own_length =
    kind_of<T>() == kind::text || kind_of<T>() == kind::bytes || kind_of<T>() == kind::structure;

constexpr std::uint64_t key_of(std::uint64_t ordinal, wire_type type) noexcept
{
    return ordinal << 2 | static_cast<std::uint64_t>(type);
}

/// Writes described values; the format is described at `binary_codec`.
class binary_writer {
public:
    binary_writer(std::string& out, codec_limits const& limits) noexcept : out_{out}, limits_{limits} {}

    /// A value that tells its own end.
    template <class T>
    void value(T const& v)
    {
        require_supported<T>();
        constexpr kind k = kind_of<T>();
        if constexpr (k == kind::boolean)
            out_.u8(v);
        else if constexpr (k == kind::integer)
            integer(v);
        else if constexpr (k == kind::floating && sizeof(T) == 4)
            out_.fixed32(std::bit_cast<std::uint32_t>(v));
        else if constexpr (k == kind::floating)
            out_.fixed64(std::bit_cast<std::uint64_t>(v));
        else if constexpr (k == kind::text)
            out_.bytes(v);
        else if constexpr (k == kind::bytes)
            out_.bytes({reinterpret_cast<char const*>(v.data()), v.size()});
        else if constexpr (k == kind::identifier)
            out_.raw(v.bytes());
        else if constexpr (k == kind::time)
            span(v.time_since_epoch());
        else if constexpr (k == kind::span)
            span(v);
        else if constexpr (k == kind::enumeration)
            enumeration(v);
        else if constexpr (k == kind::structure)
            out_.nested([&] { fields(v); });
        else if constexpr (k == kind::variant)
            variant(v);
        else if constexpr (k == kind::optional) {
            out_.u8(v.has_value());
            if (v)
                value(*v);
        } else
            elements(v);
    }

    /// What a struct holds, without the length that tells its end.
    template <class T>
    void fields(T const& v)
    {
        enter();
        if constexpr (list_size<public_bases<T>> > 0) {
            out_.varint(key_of(0, wire_type::bytes));
            out_.nested([&] {
                for_each(public_bases<T>{}, [&](auto base) {
                    using type = typename decltype(base)::type;
                    out_.nested([&] { fields(static_cast<type const&>(v)); });
                });
            });
        }
        std::uint64_t ordinal = 0;
        for_each(own_members<T>{}, [&](auto member) { field(++ordinal, v.*member.pointer); });
        --depth_;
    }

private:
    template <class T>
    void field(std::uint64_t ordinal, T const& v)
    {
        require_supported<T>();
        if constexpr (kind_of<T>() == kind::optional) {
            if (v)
                return field(ordinal, *v);
            out_.varint(key_of(ordinal, null_type<T>));
            out_.u8(0);
        } else {
            out_.varint(key_of(ordinal, wire_type_of<T>()));
            if constexpr (wire_type_of<T>() != wire_type::bytes || has_own_length<T>)
                value(v);
            else
                out_.nested([&] { value(v); });
        }
    }

    template <class I>
    void integer(I v)
    {
        if constexpr (std::is_signed_v<I>)
            out_.zigzag(v);
        else
            out_.varint(v);
    }

    template <class Duration>
    void span(Duration v)
    {
        auto const microseconds = to_microseconds(v);
        if (!microseconds)
            fail("a time does not fit 64 bits of microseconds");
        out_.zigzag(*microseconds);
    }

    template <class E>
    void enumeration(E v)
    {
        auto const number = static_cast<std::underlying_type_t<E>>(v);
        if (!is_enumerator<E>(number))
            fail("an enum holds a value that no enumerator has");
        integer(number);
    }

    template <class... A>
    void variant(std::variant<A...> const& v)
    {
        if (v.valueless_by_exception())
            fail("a variant holds no alternative");
        enter();
        out_.varint(v.index());
        std::visit(
            [&]<class Alternative>(Alternative const& alternative) {
                if constexpr (!std::is_same_v<Alternative, std::monostate>)
                    value(alternative);
            },
            v);
        --depth_;
    }

    template <class Container>
    void elements(Container const& v)
    {
        if (v.size() > limits_.elements)
            fail("too many elements", errc::limit_exceeded);
        enter();
        out_.varint(v.size());
        if constexpr (kind_of<Container>() == kind::map) {
            for (auto const& [key, mapped] : v) {
                value(key);
                value(mapped);
            }
        } else {
            for (typename Container::value_type const& element : v)
                value(element);
        }
        --depth_;
    }

    void enter()
    {
        if (++depth_ > limits_.depth)
            fail("nested too deeply", errc::limit_exceeded);
    }

    [[noreturn, gnu::cold, gnu::noinline]] static void fail(char const* problem, errc code = errc::bad_argument)
    {
        throw make_error(code, std::string{"binary body: "} + problem);
    }

    wire_writer out_;
    codec_limits const& limits_;
    std::size_t depth_ = 0;
};

} // namespace cosaga::detail
