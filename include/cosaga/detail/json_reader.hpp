// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/base64.hpp>
#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/json_path.hpp>
#include <cosaga/error.hpp>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/value.hpp>

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

namespace json = boost::json;

/// The numbers of a JSON text that is known to be valid, one by one.
class json_numbers {
public:
    explicit json_numbers(std::string_view text) noexcept : text_{text} {}

    /// The next number, or nothing (empty).
    std::string_view next() noexcept
    {
        constexpr std::string_view characters = "-+.eE0123456789";
        for (; at_ < text_.size(); ++at_) {
            char const c = text_[at_];
            if (c == '"')
                skip_string();
            else if (c == '-' || (c >= '0' && c <= '9'))
                break;
        }
        auto const from = at_;
        while (at_ < text_.size() && characters.find(text_[at_]) != std::string_view::npos)
            ++at_;
        return text_.substr(from, at_ - from);
    }

private:
    void skip_string() noexcept
    {
        for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_)
            if (text_[at_] == '\\')
                ++at_;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

/// Boost.JSON reads one double in ten a unit in the last place off (exact ones came with 1.84, opt-in): this
/// reads the doubles of a document again, from its text. The document keeps the order of the text, unless
/// an object repeats a member: false when that brought a double to the text of another number.
inline bool reread_doubles(json::value& v, json_numbers& numbers)
{
    switch (v.kind()) {
    case json::kind::array:
        for (auto& element : v.get_array())
            if (!reread_doubles(element, numbers))
                return false;
        return true;
    case json::kind::object:
        for (auto& member : v.get_object())
            if (!reread_doubles(member.value(), numbers))
                return false;
        return true;
    case json::kind::int64:
    case json::kind::uint64:
        numbers.next();
        return true;
    case json::kind::double_: {
        auto const text = numbers.next();
        double& found = v.get_double();
        double exact = 0;
        auto const result = std::from_chars(text.data(), text.data() + text.size(), exact);
        if (result.ec == std::errc::result_out_of_range)
            return true; // infinity is refused where it is used, and what is too small is 0 or nearly
        if (result.ec != std::errc{} || std::abs(exact - found) > std::abs(exact) * 1e-12 + 1e-290)
            return false;
        found = exact;
        return true;
    }
    default: return true;
    }
}

inline bool has_double(json::value const& v) noexcept
{
    if (auto const* array = v.if_array()) {
        for (auto const& element : *array)
            if (has_double(element))
                return true;
    } else if (auto const* object = v.if_object()) {
        for (auto const& member : *object)
            if (has_double(member.value()))
                return true;
    }
    return v.is_double();
}

/// The document lives in `memory`.
/// @throws system_error `errc::malformed_data` with the position, `errc::limit_exceeded`.
inline json::value parse_json(std::string_view text, codec_limits const& limits, json::storage_ptr memory)
{
    check_body_size(text.size(), limits);
    json::parse_options options;
    options.max_depth = limits.depth;
    unsigned char stack[2048];
    json::parser parser{json::storage_ptr{}, options, stack, sizeof stack};
    parser.reset(std::move(memory));
    json::error_code ec;
    std::size_t const end = parser.write(text.data(), text.size(), ec);
    if (ec)
        throw make_error(ec == json::error::too_deep ? errc::limit_exceeded : errc::malformed_data,
            "JSON body: " + ec.message() + " (at byte " + std::to_string(end) + ')');
    auto document = parser.release();
    json_numbers numbers{text};
    if (has_double(document) && !reread_doubles(document, numbers))
        throw make_error(errc::malformed_data, "JSON body: an object repeats a member");
    return document;
}

/// Reads described values from a document: skips members that it does not know, leaves those that are absent.
class json_reader {
public:
    explicit json_reader(codec_limits const& limits) noexcept : limits_{limits} {}

    template <class T>
    void value(json::value const& v, T& out, json_path const& at)
    {
        require_supported<T>();
        constexpr kind k = kind_of<T>();
        if constexpr (k == kind::boolean)
            out = expect(v.if_bool(), at, "expected true or false");
        else if constexpr (k == kind::integer)
            out = integer<T>(v, at);
        else if constexpr (k == kind::floating)
            out = floating<T>(v, at);
        else if constexpr (k == kind::text) {
            auto const text = view(v, at);
            out.assign(text.data(), text.size());
        } else if constexpr (k == kind::bytes) {
            if (!base64_decode(view(v, at), out))
                malformed(at, "expected bytes in base64");
        } else if constexpr (k == kind::identifier) {
            auto const id = T::parse(view(v, at));
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
    void structure(json::value const& v, T& out, json_path const& at)
    {
        auto const& object = expect(v.if_object(), at, "expected an object");
        auto next = object.begin(); // members usually come in the order of the description
        for_each(all_members<T>{}, [&](auto member) {
            json::string_view const name{member.name};
            auto const found = next != object.end() && next->key() == name ? next : object.find(name);
            if (found == object.end())
                return;
            value(found->value(), out.*member.pointer, at.member(member.name));
            next = found + 1;
        });
    }

    template <class T, class A>
    void sequence(json::value const& v, std::vector<T, A>& out, json_path const& at)
    {
        auto const& elements = expect(v.if_array(), at, "expected an array");
        check_elements(elements.size(), at);
        out.clear();
        out.reserve(first_reservation<T>(elements.size()));
        for (auto const& element : elements) {
            auto const inner = at.element(out.size());
            if constexpr (std::is_same_v<T, bool>) // its elements cannot be referred to
                out.push_back(expect(element.if_bool(), inner, "expected true or false"));
            else
                value(element, out.emplace_back(), inner);
        }
    }

    template <class T, std::size_t N>
    void array(json::value const& v, std::array<T, N>& out, json_path const& at)
    {
        auto const& elements = expect(v.if_array(), at, "expected an array");
        if (elements.size() != N)
            malformed(at, "expected an array of another size");
        for (std::size_t i = 0; i < N; ++i)
            value(elements[i], out[i], at.element(i));
    }

    template <class Map>
    void map(json::value const& v, Map& out, json_path const& at)
    {
        auto const& object = expect(v.if_object(), at, "expected an object");
        check_elements(object.size(), at);
        out.clear();
        for (auto const& member : object) {
            auto const inner = at.element(out.size()); // a key is data, and stays out of errors
            auto const [place, inserted] = out.try_emplace(key<typename Map::key_type>(member.key(), inner));
            if (!inserted)
                malformed(inner, "the same key again");
            value(member.value(), place->second, inner);
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
    void variant(json::value const& v, std::variant<A...>& out, json_path const& at)
    {
        require_distinct_names(static_cast<std::variant<A...> const*>(nullptr));
        auto const& object = expect(v.if_object(), at, "expected an object");
        if (object.size() != 1)
            malformed(at, "expected one member, named after an alternative");
        auto const& chosen = *object.begin();
        if (!(alternative<A>(chosen, out, at) || ...))
            malformed(at, "unknown alternative");
    }

    template <class Alternative, class Variant>
    bool alternative(json::key_value_pair const& chosen, Variant& out, json_path const& at)
    {
        constexpr auto name = alternative_name<Alternative>();
        if (chosen.key() != json::string_view{name.data(), name.size()})
            return false;
        auto& to = out.template emplace<Alternative>();
        if constexpr (!std::is_same_v<Alternative, std::monostate>)
            value(chosen.value(), to, at.member(name));
        else if (!chosen.value().is_null())
            malformed(at.member(name), "expected null");
        return true;
    }

    template <class I>
    static I integer(json::value const& v, json_path const& at)
    {
        if (auto const* number = v.if_int64(); number != nullptr && std::in_range<I>(*number))
            return static_cast<I>(*number);
        if (auto const* number = v.if_uint64(); number != nullptr && std::in_range<I>(*number))
            return static_cast<I>(*number);
        malformed(at, v.is_number() && !v.is_double() ? "integer out of range" : "expected an integer");
    }

    template <class F>
    static F floating(json::value const& v, json_path const& at)
    {
        double wide = 0;
        if (auto const* number = v.if_double())
            wide = *number;
        else if (auto const* whole = v.if_int64())
            wide = static_cast<double>(*whole);
        else if (auto const* positive = v.if_uint64())
            wide = static_cast<double>(*positive);
        else
            malformed(at, "expected a number");
        static_assert(std::numeric_limits<F>::is_iec559, "what does not fit becomes infinity");
        auto const narrow = static_cast<F>(wide);
        if (!std::isfinite(narrow))
            malformed(at, "number out of range");
        return narrow;
    }

    template <class Duration>
    static Duration span(json::value const& v, json_path const& at)
    {
        auto const duration = from_microseconds<Duration>(integer<std::int64_t>(v, at));
        if (!duration)
            malformed(at, "a time in microseconds that its type cannot hold");
        return *duration;
    }

    template <class E>
    static E enumeration(json::value const& v, json_path const& at)
    {
        auto const text = view(v, at);
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

    static std::string_view view(json::value const& v, json_path const& at)
    {
        return expect(v.if_string(), at, "expected a string");
    }

    template <class V>
    static V const& expect(V const* found, json_path const& at, char const* problem)
    {
        if (found == nullptr)
            malformed(at, problem);
        return *found;
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
