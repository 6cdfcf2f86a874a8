// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/codec/json.hpp>
#include <cosaga/detail/base64.hpp>
#include <cosaga/message_id.hpp>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace {

using cosaga::message_id;
using fuzz::require;

void check_message_id(std::string_view text)
{
    auto const id = message_id::parse(text);
    auto const at = text.find('/');
    auto const source = at == text.npos ? std::string_view{} : text.substr(0, at);
    auto const foreign = message_id::from_foreign(source, at == text.npos ? text : text.substr(at + 1));
    require(message_id::parse(foreign.to_string()) == foreign, "every id has a text");
    if (!id) {
        require(at != text.npos || foreign.bytes()[6] >> 4 == 8, "the id of another system is of version 8");
        return;
    }
    std::string lower{text};
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    require(id->to_string() == lower, "an id has exactly one text but for its case");
    require(foreign == *id, "an id that is a UUID is itself");
}

void check_base64(std::string_view text)
{
    std::vector<std::byte> bytes(3);
    if (!cosaga::detail::base64_decode(text, bytes))
        return;
    std::string written(cosaga::detail::base64_size(bytes.size()), '\0');
    cosaga::detail::base64_encode(bytes, written.data());
    require(written == text, "bytes have exactly one text");
}

// A plain reading of RFC 3629, to compare with.
bool is_utf8(std::string_view s)
{
    for (std::size_t i = 0; i < s.size();) {
        auto const byte = [&](std::size_t at) { return at < s.size() ? static_cast<unsigned char>(s[at]) : 0u; };
        unsigned const lead = byte(i);
        std::size_t const size = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
        if (size == 0)
            return false;
        unsigned code = size == 1 ? lead : lead & (0xffu >> (size + 1));
        for (std::size_t k = 1; k < size; ++k) {
            if (byte(i + k) >> 6 != 2)
                return false;
            code = code << 6 | (byte(i + k) & 0x3f);
        }
        constexpr unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            return false;
        i += size;
    }
    return true;
}

void check_json_string(std::string const& text)
{
    std::string json;
    try {
        json = cosaga::json_codec::encode(text);
    } catch (boost::system::system_error const& e) {
        require(e.code() == cosaga::errc::bad_argument && !is_utf8(text), "only what is not UTF-8 has no JSON");
        return;
    }
    require(is_utf8(text), "JSON is UTF-8");
    require(cosaga::json_codec::decode<std::string>(json) == text, "text comes back as it was written");
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    std::string const text{reinterpret_cast<char const*>(data), size};
    fuzz::memory_watch const memory;
    check_message_id(text);
    check_base64(text);
    check_json_string(text);
    memory.require_at_most(8 * 1024, 60, size);
    return 0;
}
