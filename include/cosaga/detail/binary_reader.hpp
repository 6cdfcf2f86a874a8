// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/binary_writer.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/wire.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga::detail {

/// Reads described values: skips fields that it does not know, leaves members whose fields are absent.
class binary_reader {
public:
    explicit binary_reader(codec_limits const& limits) noexcept : limits_{limits} {}

    template <class T>
    void value(wire_reader& in, T& out)
    {
        require_supported<T>();
        constexpr kind k = kind_of<T>();
        if constexpr (k == kind::boolean)
            out = flag(in);
        else if constexpr (k == kind::integer)
            out = integer<T>(in);
        else if constexpr (k == kind::floating && sizeof(T) == 4)
            out = std::bit_cast<T>(in.fixed32());
        else if constexpr (k == kind::floating)
            out = std::bit_cast<T>(in.fixed64());
        else if constexpr (k == kind::text)
            out = in.bytes();
        else if constexpr (k == kind::bytes) {
            auto const bytes = std::as_bytes(std::span{in.bytes()});
            out.assign(bytes.begin(), bytes.end());
        } else if constexpr (k == kind::identifier)
            out = T{in.raw<T::size>()};
        else if constexpr (k == kind::time)
            out = T{span<typename T::duration>(in)};
        else if constexpr (k == kind::span)
            out = span<T>(in);
        else if constexpr (k == kind::enumeration)
            out = enumeration<T>(in);
        else if constexpr (k == kind::structure) {
            auto inner = in.nested();
            fields(inner, out);
        } else if constexpr (k == kind::variant)
            variant(in, out);
        else if constexpr (k == kind::optional) {
            if (flag(in))
                value(in, out.emplace());
            else
                out.reset();
        } else if constexpr (k == kind::sequence)
            sequence(in, out);
        else if constexpr (k == kind::array)
            array(in, out);
        else
            map(in, out);
    }

    /// Reads to the end of `in`.
    template <class T>
    void fields(wire_reader& in, T& out)
    {
        enter(in);
        field_key next{in};
        if (next.ordinal == 0) {
            if (next.type != wire_type::bytes)
                in.fail("has bases of another wire type");
            auto all = in.nested();
            for_each(public_bases<T>{}, [&](auto base) {
                using type = typename decltype(base)::type;
                if (!all.at_end()) {
                    auto inner = all.nested();
                    fields(inner, static_cast<type&>(out));
                }
            });
            next.advance(in);
        }
        std::uint64_t ordinal = 0;
        for_each(own_members<T>{}, [&](auto member) {
            if (next.ordinal != ++ordinal)
                return;
            field(in, next.type, out.*member.pointer);
            next.advance(in);
        });
        while (next.ordinal != field_key::none) {
            skip(in, next.type);
            next.advance(in);
        }
        --depth_;
    }

private:
    struct field_key {
        static constexpr std::uint64_t none = ~std::uint64_t{0};

        explicit field_key(wire_reader& in) { advance(in, true); }

        void advance(wire_reader& in, bool first = false)
        {
            if (in.at_end()) {
                ordinal = none;
                return;
            }
            auto const key = in.varint();
            if (!first && key >> 2 <= ordinal)
                in.fail("has fields out of order");
            ordinal = key >> 2;
            type = static_cast<wire_type>(key & 3);
        }

        std::uint64_t ordinal = none;
        wire_type type{};
    };

    template <class T>
    void field(wire_reader& in, wire_type type, T& out)
    {
        require_supported<T>();
        if constexpr (kind_of<T>() == kind::optional) {
            if (type != null_type<T>)
                return field(in, type, out.emplace());
            if (in.u8() != 0)
                in.fail("has a field of another wire type");
            out.reset();
        } else {
            if (type != wire_type_of<T>())
                in.fail("has a field of another wire type");
            if constexpr (wire_type_of<T>() != wire_type::bytes || has_own_length<T>) {
                value(in, out);
            } else {
                auto inner = in.nested();
                value(inner, out);
                inner.expect_end();
            }
        }
    }

    static void skip(wire_reader& in, wire_type type)
    {
        switch (type) {
        case wire_type::varint: in.varint(); break;
        case wire_type::fixed32: in.fixed32(); break;
        case wire_type::fixed64: in.fixed64(); break;
        case wire_type::bytes: in.bytes(); break;
        }
    }

    static bool flag(wire_reader& in)
    {
        auto const v = in.u8();
        if (v > 1)
            in.fail("has a flag that is neither 0 nor 1");
        return v == 1;
    }

    template <class I>
    static I integer(wire_reader& in)
    {
        auto const v = [&] {
            if constexpr (std::is_signed_v<I>)
                return in.zigzag();
            else
                return in.varint();
        }();
        if (v > static_cast<decltype(v)>(std::numeric_limits<I>::max())
            || v < static_cast<decltype(v)>(std::numeric_limits<I>::min()))
            in.fail("has an integer out of range");
        return static_cast<I>(v);
    }

    template <class Duration>
    static Duration span(wire_reader& in)
    {
        auto const v = from_microseconds<Duration>(in.zigzag());
        if (!v)
            in.fail("has a time that its type cannot hold");
        return *v;
    }

    template <class E>
    static E enumeration(wire_reader& in)
    {
        auto const number = integer<std::underlying_type_t<E>>(in);
        if (!is_enumerator<E>(number))
            in.fail("has an unknown enumerator");
        return static_cast<E>(number);
    }

    template <class... A>
    void variant(wire_reader& in, std::variant<A...>& out)
    {
        enter(in);
        auto const index = in.varint();
        if (index >= sizeof...(A))
            in.fail("has an unknown alternative of a variant");
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            static_cast<void>(((index == I && (alternative(in, out.template emplace<I>()), true)) || ...));
        }(std::index_sequence_for<A...>{});
        --depth_;
    }

    template <class T>
    void alternative(wire_reader& in, T& out)
    {
        if constexpr (!std::is_same_v<T, std::monostate>)
            value(in, out);
    }

    template <class T, class A>
    void sequence(wire_reader& in, std::vector<T, A>& out)
    {
        enter(in);
        auto const count = in.count(limits_.elements);
        out.clear();
        out.reserve(first_reservation<T>(count));
        for (std::size_t i = 0; i < count; ++i) {
            if constexpr (std::is_same_v<T, bool>) // its elements cannot be referred to
                out.push_back(flag(in));
            else
                value(in, out.emplace_back());
        }
        --depth_;
    }

    template <class T, std::size_t N>
    void array(wire_reader& in, std::array<T, N>& out)
    {
        enter(in);
        if (in.count(limits_.elements) != N)
            in.fail("has an array of another size");
        for (auto& element : out)
            value(in, element);
        --depth_;
    }

    template <class Map>
    void map(wire_reader& in, Map& out)
    {
        enter(in);
        auto const count = in.count(limits_.elements, 2);
        out.clear();
        for (std::size_t i = 0; i < count; ++i) {
            typename Map::key_type key{};
            value(in, key);
            auto const [at, inserted] = out.try_emplace(std::move(key));
            if (!inserted)
                in.fail("has a key twice");
            value(in, at->second);
        }
        --depth_;
    }

    void enter(wire_reader const& in)
    {
        if (++depth_ > limits_.depth)
            in.fail("is nested too deeply", errc::limit_exceeded);
    }

    codec_limits const& limits_;
    std::size_t depth_ = 0;
};

} // namespace cosaga::detail
