// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cosaga::detail {

inline constexpr std::string_view base64_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::size_t base64_size(std::size_t bytes) noexcept { return (bytes + 2) / 3 * 4; }

/// Writes `base64_size(bytes.size())` characters (RFC 4648, section 4, with padding).
inline void base64_encode(std::span<std::byte const> bytes, char* to) noexcept
{
    auto const at = [&](std::size_t i) { return i < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i]) : 0; };
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t const group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
        *to++ = base64_alphabet[group >> 18];
        *to++ = base64_alphabet[group >> 12 & 63];
        *to++ = i + 1 < bytes.size() ? base64_alphabet[group >> 6 & 63] : '=';
        *to++ = i + 2 < bytes.size() ? base64_alphabet[group & 63] : '=';
    }
}

/// The inverse; false for anything that `base64_encode` does not write.
inline bool base64_decode(std::string_view text, std::vector<std::byte>& out)
{
    static constexpr auto values = [] {
        std::array<std::uint8_t, 256> table{};
        table.fill(64);
        for (std::uint8_t i = 0; i < 64; ++i)
            table[static_cast<unsigned char>(base64_alphabet[i])] = i;
        return table;
    }();
    if (text.size() % 4 != 0)
        return false;
    std::size_t const padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
    std::size_t const characters = text.size() - padding;
    out.clear();
    out.reserve(text.size() / 4 * 3);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::uint32_t const value = i < characters ? values[static_cast<unsigned char>(text[i])] : 0;
        if (value > 63)
            return false;
        group = group << 6 | value;
        if (i % 4 != 3)
            continue;
        for (int shift = 16; shift >= 0; shift -= 8)
            out.push_back(static_cast<std::byte>(group >> shift & 0xff));
        group = 0;
    }
    for (std::size_t i = 0; i < padding; ++i) {
        if (out.back() != std::byte{}) // bits that the padding says are not there
            return false;
        out.pop_back();
    }
    return true;
}

} // namespace cosaga::detail
