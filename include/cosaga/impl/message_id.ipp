// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/message_id.hpp>

#include <boost/uuid/detail/sha1.hpp>

namespace cosaga {

COSAGA_DECL message_id message_id::from_foreign(std::string_view source, std::string_view id)
{
    if (auto const parsed = parse(id))
        return *parsed;
    boost::uuids::detail::sha1 hash;
    hash.process_bytes(source.data(), source.size());
    hash.process_byte(0); // keeps ("ab", "c") and ("a", "bc") apart
    hash.process_bytes(id.data(), id.size());
    unsigned int digest[5];
    hash.get_digest(digest);
    bytes_type b{};
    for (std::size_t i = 0; i < size; ++i)
        b[i] = static_cast<unsigned char>(digest[i / 4] >> (8 * (3 - i % 4)));
    b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x80);
    b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
    return message_id{b};
}

COSAGA_DECL std::optional<message_id> message_id::parse(std::string_view text)
{
    auto const nibble = [](char c) {
        if (c >= '0' && c <= '9')
            return c - '0';
        if (c >= 'a' && c <= 'f')
            return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
            return c - 'A' + 10;
        return -1;
    };
    if (text.size() != 36)
        return std::nullopt;
    bytes_type b{};
    std::size_t filled = 0;
    for (std::size_t i = 0; i < text.size();) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-')
                return std::nullopt;
            continue;
        }
        int const high = nibble(text[i]);
        int const low = nibble(text[i + 1]);
        if (high < 0 || low < 0)
            return std::nullopt;
        b[filled++] = static_cast<unsigned char>(high << 4 | low);
        i += 2;
    }
    return message_id{b};
}

COSAGA_DECL message_id message_id::first_of(time_point when)
{
    auto const ms = std::chrono::floor<std::chrono::milliseconds>(when).time_since_epoch().count();
    bytes_type b{};
    for (std::size_t i = 0; i < 6; ++i)
        b[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(ms) >> (8 * (5 - i)));
    b[6] = 0x70;
    b[8] = 0x80;
    return message_id{b};
}

COSAGA_DECL std::string message_id::to_string() const
{
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(36);
    for (std::size_t i = 0; i < size; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text += '-';
        text += digits[bytes_[i] >> 4];
        text += digits[bytes_[i] & 0x0f];
    }
    return text;
}

} // namespace cosaga
