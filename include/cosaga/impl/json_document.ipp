// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/body_type.hpp>
#include <cosaga/detail/config.hpp>
#include <cosaga/detail/json_document.hpp>
#include <cosaga/error.hpp>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/value.hpp>

#include <charconv>
#include <cmath>
#include <string>
#include <system_error>
#include <utility>

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

COSAGA_DECL std::size_t json_array::size() const noexcept
{
    return array_->size();
}

COSAGA_DECL json_value json_array::operator[](std::size_t i) const noexcept
{
    return json_value{(*array_)[i]};
}

COSAGA_DECL std::size_t json_object::size() const noexcept
{
    return object_->size();
}

COSAGA_DECL std::string_view json_object::key(std::size_t i) const noexcept
{
    return object_->begin()[static_cast<std::ptrdiff_t>(i)].key();
}

COSAGA_DECL json_value json_object::operator[](std::size_t i) const noexcept
{
    return json_value{object_->begin()[static_cast<std::ptrdiff_t>(i)].value()};
}

COSAGA_DECL bool json_object::find(std::string_view name, std::size_t& i) const noexcept
{
    if (i < object_->size() && key(i) == name)
        return true;
    auto const found = object_->find(json::string_view{name.data(), name.size()});
    if (found == object_->end())
        return false;
    i = static_cast<std::size_t>(found - object_->begin());
    return true;
}

/// What a value is read as, or an error that says what was expected.
template <class V>
V const& expect_json(V const* found, json_path const& at, char const* problem)
{
    if (found == nullptr)
        at.fail(problem, errc::malformed_data);
    return *found;
}

[[noreturn]] inline void fail_integer(json::value const& v, json_path const& at)
{
    at.fail(v.is_number() && !v.is_double() ? "integer out of range" : "expected an integer", errc::malformed_data);
}

COSAGA_DECL bool json_value::is_null() const noexcept
{
    return value_->is_null();
}

COSAGA_DECL bool json_value::boolean(json_path const& at) const
{
    return expect_json(value_->if_bool(), at, "expected true or false");
}

COSAGA_DECL std::int64_t json_value::integer(json_path const& at, std::int64_t least, std::int64_t most) const
{
    // A number that fits 64 bits with a sign is never held without one.
    auto const* const number = value_->if_int64();
    if (number == nullptr || *number < least || *number > most)
        fail_integer(*value_, at);
    return *number;
}

COSAGA_DECL std::uint64_t json_value::unsigned_integer(json_path const& at, std::uint64_t most) const
{
    if (auto const* number = value_->if_int64(); number != nullptr && *number >= 0)
        if (static_cast<std::uint64_t>(*number) <= most)
            return static_cast<std::uint64_t>(*number);
    if (auto const* number = value_->if_uint64(); number != nullptr && *number <= most)
        return *number;
    fail_integer(*value_, at);
}

COSAGA_DECL double json_value::number(json_path const& at) const
{
    if (auto const* number = value_->if_double())
        return *number;
    if (auto const* whole = value_->if_int64())
        return static_cast<double>(*whole);
    return static_cast<double>(expect_json(value_->if_uint64(), at, "expected a number"));
}

COSAGA_DECL std::string_view json_value::text(json_path const& at) const
{
    return expect_json(value_->if_string(), at, "expected a string");
}

COSAGA_DECL json_array json_value::array(json_path const& at) const
{
    return json_array{expect_json(value_->if_array(), at, "expected an array")};
}

COSAGA_DECL json_object json_value::object(json_path const& at) const
{
    return json_object{expect_json(value_->if_object(), at, "expected an object")};
}

COSAGA_DECL void parse_json(
    std::string_view text, codec_limits const& limits, void (*read)(void*, json_value), void* context)
{
    check_body_size(text.size(), limits);
    unsigned char buffer[4096]; // usual bodies fit it, so that their documents need no memory of their own
    json::monotonic_resource memory{buffer, sizeof buffer};
    json::parse_options options;
    options.max_depth = limits.depth;
    unsigned char stack[2048];
    json::parser parser{json::storage_ptr{}, options, stack, sizeof stack};
    parser.reset(&memory);
    json::error_code ec;
    std::size_t const end = parser.write(text.data(), text.size(), ec);
    if (ec)
        throw make_error(ec == json::error::too_deep ? errc::limit_exceeded : errc::malformed_data,
            "JSON body: " + ec.message() + " (at byte " + std::to_string(end) + ')');
    auto document = parser.release();
    json_numbers numbers{text};
    if (has_double(document) && !reread_doubles(document, numbers))
        throw make_error(errc::malformed_data, "JSON body: an object repeats a member");
    read(context, json_value{document});
}

} // namespace cosaga::detail
