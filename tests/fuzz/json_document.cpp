// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/codec/json.hpp>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <string_view>

namespace {

std::size_t count_members(boost::json::value const& v)
{
    std::size_t sum = 0;
    if (auto const* array = v.if_array())
        for (auto const& element : *array)
            sum += count_members(element);
    if (auto const* object = v.if_object())
        for (auto const& member : *object)
            sum += 1 + count_members(member.value());
    return sum;
}

// The colons outside of strings, in a text that is valid.
std::size_t count_members(std::string_view text)
{
    std::size_t sum = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '"')
            in_string = !in_string;
        else if (in_string && text[i] == '\\')
            ++i;
        else if (!in_string && text[i] == ':')
            ++sum;
    }
    return sum;
}

} // namespace

// Any text: what the parser takes is refused only for members that repeat.
int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    std::string_view const text{reinterpret_cast<char const*>(data), size};
    auto const& limits = cosaga::json_codec::limits;
    bool read = false;
    {
        fuzz::memory_watch const memory;
        fuzz::decodes([&] { cosaga::detail::parse_json(text, limits, [&](cosaga::detail::json_value) { read = true; }); });
        memory.require_at_most(64 * 1024, 200, size);
    }
    boost::json::error_code ec;
    boost::json::parse_options options;
    options.max_depth = limits.depth;
    auto const document = boost::json::parse({text.data(), text.size()}, ec, {}, options);
    fuzz::require(!read || !ec, "what is read is JSON");
    bool const repeats = !ec && count_members(document) < count_members(text);
    fuzz::require(read || ec || repeats, "what is JSON is read");
    return 0;
}
