// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cosaga::detail {

using sha256_digest = std::array<unsigned char, 32>;

/// SHA-256 (FIPS 180-4) of what is appended. Here because the core needs no library of cryptography, and Boost has SHA-1 only.
class sha256 {
public:
    void append(std::string_view bytes) noexcept
    {
        length_ += bytes.size();
        while (!bytes.empty()) {
            auto const n = std::min(bytes.size(), block_.size() - filled_);
            std::copy_n(bytes.data(), n, block_.data() + filled_);
            filled_ += n;
            bytes.remove_prefix(n);
            if (filled_ == block_.size())
                take_block();
        }
    }

    template <std::size_t N>
    void append(std::array<unsigned char, N> const& bytes) noexcept
    {
        append({reinterpret_cast<char const*>(bytes.data()), N});
    }

    /// Eight bytes, the highest first.
    void append_number(std::uint64_t v) noexcept
    {
        std::array<unsigned char, 8> bytes;
        for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<unsigned char>(v >> (8 * (7 - i)));
        append(bytes);
    }

    /// The digest; nothing may be appended after it.
    sha256_digest finish() noexcept
    {
        auto const bits = length_ * 8;
        block_[filled_++] = '\x80';
        if (filled_ > block_.size() - 8)
            pad_block();
        std::fill(block_.begin() + static_cast<std::ptrdiff_t>(filled_), block_.end() - 8, '\0');
        filled_ = block_.size() - 8;
        append_number(bits);
        sha256_digest digest;
        for (std::size_t i = 0; i < digest.size(); ++i)
            digest[i] = static_cast<unsigned char>(state_[i / 4] >> (8 * (3 - i % 4)));
        return digest;
    }

private:
    void pad_block() noexcept
    {
        std::fill(block_.begin() + static_cast<std::ptrdiff_t>(filled_), block_.end(), '\0');
        take_block();
    }

    void take_block() noexcept
    {
        filled_ = 0;
        std::array<std::uint32_t, 64> w;
        for (std::size_t i = 0; i < 16; ++i) {
            w[i] = 0;
            for (std::size_t n = 0; n < 4; ++n)
                w[i] = w[i] << 8 | static_cast<unsigned char>(block_[4 * i + n]);
        }
        for (std::size_t i = 16; i < 64; ++i) {
            auto const s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
            auto const s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        auto [a, b, c, d, e, f, g, h] = state_;
        for (std::size_t i = 0; i < 64; ++i) {
            auto const s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
            auto const t1 = h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i];
            auto const s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
            auto const t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + t2;
        }
        std::array<std::uint32_t, 8> const added{a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i)
            state_[i] += added[i];
    }

    static constexpr std::array<std::uint32_t, 64> constants{
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

    std::array<std::uint32_t, 8> state_{
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<char, 64> block_;
    std::size_t filled_ = 0;
    std::uint64_t length_ = 0;
};

} // namespace cosaga::detail
