// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/base64.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/json_path.hpp>
#include <cosaga/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace cosaga::detail {

/// The size of the valid UTF-8 sequence at the start of `s` (not empty), or 0 (RFC 3629: the shortest form, no
/// surrogates, nothing beyond U+10FFFF).
inline std::size_t utf8_sequence(std::string_view s) noexcept
{
    auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    auto const in = [](unsigned v, unsigned low, unsigned high) { return v >= low && v <= high; };
    unsigned const lead = byte(0);
    std::size_t const size = lead < 0x80 ? 1 : in(lead, 0xc2, 0xdf) ? 2 : in(lead, 0xe0, 0xef) ? 3 : in(lead, 0xf0, 0xf4) ? 4 : 0;
    if (size < 2 || size > s.size())
        return size == 1 ? 1 : 0;
    unsigned const low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned const high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (!in(byte(1), low, high))
        return 0;
    for (std::size_t i = 2; i < size; ++i)
        if (!in(byte(i), 0x80, 0xbf))
            return 0;
    return size;
}

/// How many bytes at the start of `s` JSON holds as they are: valid UTF-8 without quotes, backslashes and controls.
inline std::size_t json_plain_prefix(std::string_view s) noexcept
{
    constexpr std::uint64_t ones = 0x0101'0101'0101'0101;
    constexpr std::uint64_t tops = ones << 7;
    auto const has_zero = [](std::uint64_t v) { return (v - ones) & ~v & tops; };
    std::size_t i = 0;
    while (i < s.size()) {
        if (s.size() - i >= 8) { // eight at once, the usual case
            std::uint64_t v;
            std::memcpy(&v, s.data() + i, 8);
            auto const below_space = (v - ones * 0x20) & ~v & tops;
            if (((v & tops) | below_space | has_zero(v ^ ones * '"') | has_zero(v ^ ones * '\\')) == 0) {
                i += 8;
                continue;
            }
        }
        auto const c = static_cast<unsigned char>(s[i]);
        if (c < 0x20 || c == '"' || c == '\\')
            return i;
        auto const size = utf8_sequence(s.substr(i));
        if (size == 0)
            return i;
        i += size;
    }
    return i;
}

/// `,"name":`
template <class Member>
inline constexpr auto json_key = [] {
    constexpr std::string_view name = Member::name;
    std::array<char, name.size() + 4> key{};
    key[0] = ',';
    key[1] = '"';
    std::copy(name.begin(), name.end(), key.begin() + 2);
    key[key.size() - 2] = '"';
    key[key.size() - 1] = ':';
    return key;
}();

/// Writes described values as JSON text, without a document in between.
class json_writer {
public:
    explicit json_writer(codec_limits const& limits) : text_(256, '\0'), limits_{limits} {}

    std::string take()
    {
        text_.resize(used_);
        return std::move(text_);
    }

    template <class T>
    void value(T const& v, json_path const& at)
    {
        require_supported<T>();
        constexpr kind k = kind_of<T>();
        if constexpr (k == kind::boolean)
            append(v ? std::string_view{"true"} : std::string_view{"false"});
        else if constexpr (k == kind::integer)
            number(v);
        else if constexpr (k == kind::floating)
            floating(v, at);
        else if constexpr (k == kind::text)
            text(v, at);
        else if constexpr (k == kind::bytes)
            bytes(v);
        else if constexpr (k == kind::identifier)
            text(v.to_string(), at);
        else if constexpr (k == kind::time)
            span(v.time_since_epoch(), at);
        else if constexpr (k == kind::span)
            span(v, at);
        else if constexpr (k == kind::enumeration)
            enumeration(v, at);
        else if constexpr (k == kind::optional) {
            if (v)
                value(*v, at);
            else
                append("null");
        } else {
            at.check_depth(limits_);
            if constexpr (k == kind::structure)
                structure(v, at);
            else if constexpr (k == kind::variant)
                variant(v, at);
            else if constexpr (k == kind::map)
                map(v, at);
            else
                sequence(v, at);
        }
    }

private:
    template <class T>
    void structure(T const& v, json_path const& at)
    {
        std::size_t first = 1; // the first key goes without its comma
        put('{');
        for_each(all_members<T>{}, [&](auto member) {
            constexpr auto& key = json_key<decltype(member)>;
            append({key.data() + first, key.size() - first});
            first = 0;
            value(v.*member.pointer, at.member(member.name));
        });
        put('}');
    }

    template <class... A>
    void variant(std::variant<A...> const& v, json_path const& at)
    {
        require_distinct_names(static_cast<std::variant<A...> const*>(nullptr));
        if (v.valueless_by_exception())
            at.fail("a variant holds no alternative", errc::bad_argument);
        std::visit(
            [&]<class Alternative>(Alternative const& alternative) {
                constexpr auto name = alternative_name<Alternative>();
                append("{\"");
                append(name);
                append("\":");
                if constexpr (std::is_same_v<Alternative, std::monostate>)
                    append("null");
                else
                    value(alternative, at.member(name));
                put('}');
            },
            v);
    }

    template <class Map>
    void map(Map const& v, json_path const& at)
    {
        check_elements(v.size(), at);
        put('{');
        std::size_t index = 0;
        for (auto const& [key, mapped] : v) {
            if (index > 0)
                put(',');
            auto const inner = at.element(index++);
            if constexpr (kind_of<typename Map::key_type>() == kind::text) {
                text(key, inner);
            } else {
                put('"');
                number(key);
                put('"');
            }
            put(':');
            value(mapped, inner);
        }
        put('}');
    }

    template <class Sequence>
    void sequence(Sequence const& v, json_path const& at)
    {
        check_elements(v.size(), at);
        put('[');
        std::size_t index = 0;
        for (typename Sequence::value_type const& element : v) {
            if (index > 0)
                put(',');
            value(element, at.element(index++));
        }
        put(']');
    }

    void check_elements(std::size_t size, json_path const& at) const
    {
        if (size > limits_.elements)
            at.fail("too many elements", errc::limit_exceeded);
    }

    template <class Number>
    void number(Number v)
    {
        char* const to = room(32); // the longest double has 24 characters
        used_ += static_cast<std::size_t>(std::to_chars(to, to + 32, v).ptr - to);
    }

    template <class Float>
    void floating(Float v, json_path const& at)
    {
        if (!std::isfinite(v))
            at.fail("JSON has no infinity and no NaN", errc::bad_argument);
        if (v == 0 && std::signbit(v))
            append("-0.0"); // "-0" would be read as an integer, which has no such zero
        else if (is_short_float_exact(v))
            number(v);
        else
            number(static_cast<double>(v));
    }

    /// Readers go through a double, which changes the shortest text of one `float` in all, 7.038531e-26.
    template <class Float>
    static bool is_short_float_exact(Float v)
    {
        if constexpr (sizeof(Float) == sizeof(double)) {
            return true;
        } else {
            char text[32];
            double read = 0;
            std::from_chars(text, std::to_chars(text, text + sizeof text, v).ptr, read);
            return static_cast<Float>(read) == v;
        }
    }

    void text(std::string_view v, json_path const& at)
    {
        put('"');
        for (;;) {
            auto const plain = json_plain_prefix(v);
            append(v.substr(0, plain));
            if (plain == v.size())
                break;
            escape(static_cast<unsigned char>(v[plain]), at);
            v.remove_prefix(plain + 1);
        }
        put('"');
    }

    void escape(unsigned char c, json_path const& at)
    {
        static constexpr std::string_view digits = "0123456789abcdef";
        static constexpr std::string_view special = "\"\\\b\f\n\r\t";
        static constexpr std::string_view letters = "\"\\bfnrt";
        if (c >= 0x80)
            at.fail("text is not valid UTF-8; std::vector<std::byte> can hold any bytes", errc::bad_argument);
        put('\\');
        if (auto const known = special.find(static_cast<char>(c)); known != std::string_view::npos) {
            put(letters[known]);
            return;
        }
        append("u00");
        put(digits[c >> 4]);
        put(digits[c & 0x0f]);
    }

    void bytes(std::span<std::byte const> v)
    {
        put('"');
        auto const size = base64_size(v.size());
        base64_encode(v, room(size));
        used_ += size;
        put('"');
    }

    template <class Duration>
    void span(Duration v, json_path const& at)
    {
        auto const microseconds = to_microseconds(v);
        if (!microseconds)
            at.fail("a time does not fit 64 bits of microseconds", errc::bad_argument);
        number(*microseconds);
    }

    template <class E>
    void enumeration(E v, json_path const& at)
    {
        std::string_view name;
        for_each(boost::describe::describe_enumerators<E>{}, [&](auto d) {
            if (d.value == v && name.empty())
                name = d.name;
        });
        if (name.empty())
            at.fail("an enum holds a value that no enumerator has", errc::bad_argument);
        put('"');
        append(name);
        put('"');
    }

    void put(char c)
    {
        *room(1) = c;
        ++used_;
    }

    void append(std::string_view v)
    {
        std::memcpy(room(v.size()), v.data(), v.size());
        used_ += v.size();
    }

    char* room(std::size_t size)
    {
        if (text_.size() - used_ < size) [[unlikely]]
            grow(size);
        return text_.data() + used_;
    }

    [[gnu::noinline]] void grow(std::size_t size) { text_.resize(std::max(text_.size() * 2, used_ + size)); }

    std::string text_; // its size is the room there is, so that appending is a copy and an addition
    std::size_t used_ = 0;
    codec_limits const& limits_;
};

} // namespace cosaga::detail
