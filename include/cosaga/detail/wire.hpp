// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

namespace cosaga::detail {

// The byte language of everything binary: frames, stored headers, the binary codec. Integers are varints
// (7 bits a byte, low bits first), lengths stand before what they measure, fixed-width numbers are
// little-endian. Every value has exactly one encoding.

/// The longest varint: 64 bits, 7 in each byte.
inline constexpr std::size_t max_varint_size = 10;

/// Maps small negative numbers to small varints: 0, -1, 1, -2 ... to 0, 1, 2, 3 ...
constexpr std::uint64_t zigzag_encode(std::int64_t v) noexcept
{
    return (static_cast<std::uint64_t>(v) << 1) ^ (v < 0 ? ~std::uint64_t{0} : 0);
}

constexpr std::int64_t zigzag_decode(std::uint64_t v) noexcept
{
    return static_cast<std::int64_t>((v >> 1) ^ (~(v & 1) + 1));
}

/// Appends to a string that the caller owns and may reuse.
class wire_writer {
public:
    explicit wire_writer(std::string& out) noexcept : out_{&out} {}

    void u8(std::uint8_t v) { out_->push_back(static_cast<char>(v)); }

    void varint(std::uint64_t v)
    {
        if (v < 0x80)
            return u8(static_cast<std::uint8_t>(v));
        char buffer[max_varint_size];
        out_->append(buffer, put_varint(buffer, v));
    }

    void zigzag(std::int64_t v) { varint(zigzag_encode(v)); }
    void fixed32(std::uint32_t v) { fixed<4>(v); }
    void fixed64(std::uint64_t v) { fixed<8>(v); }

    /// The length, then the bytes.
    void bytes(std::string_view v)
    {
        varint(v.size());
        raw(v);
    }

    /// The bytes alone, for what has a known length: `w.raw(id.bytes())`.
    void raw(std::string_view v) { out_->append(v); }
    template <std::size_t N>
    void raw(std::array<unsigned char, N> const& v)
    {
        out_->append(reinterpret_cast<char const*>(v.data()), N);
    }

    /// What `write()` appends, with its length before it.
    template <class Write>
    void nested(Write&& write)
    {
        // Most lengths fit the one byte kept for them; a longer one moves the content, at most once a level.
        std::size_t const at = out_->size();
        u8(0);
        write();
        std::size_t const length = out_->size() - at - 1;
        if (length < 0x80) {
            (*out_)[at] = static_cast<char>(length);
            return;
        }
        char buffer[max_varint_size];
        std::size_t const size = put_varint(buffer, length);
        out_->replace(at, 1, buffer, size);
    }

    /// All that was written, and what stood in the string before.
    std::size_t size() const noexcept { return out_->size(); }

private:
    static std::size_t put_varint(char* to, std::uint64_t v) noexcept
    {
        std::size_t n = 0;
        for (; v >= 0x80; v >>= 7)
            to[n++] = static_cast<char>(v | 0x80);
        to[n++] = static_cast<char>(v);
        return n;
    }

    template <std::size_t N>
    void fixed(std::uint64_t v)
    {
        char buffer[N];
        for (std::size_t i = 0; i < N; ++i)
            buffer[i] = static_cast<char>(v >> (8 * i));
        out_->append(buffer, N);
    }

    std::string* out_;
};

/// Reads what `wire_writer` wrote, from bytes that may come from an attacker.
///
/// Never reads outside its view and never allocates (but for the text of an error). Views that it returns live
/// as long as the bytes. After it threw, it stands where it stood before that read.
class wire_reader {
public:
    /// @param what names the bytes in errors; a literal.
    explicit wire_reader(std::string_view bytes, char const* what = "message") noexcept
        : begin_{bytes.data()}, at_{bytes.data()}, end_{bytes.data() + bytes.size()}, what_{what}
    {}

    bool at_end() const noexcept { return at_ == end_; }
    std::size_t remaining() const noexcept { return static_cast<std::size_t>(end_ - at_); }
    std::size_t position() const noexcept { return static_cast<std::size_t>(at_ - begin_); }

    std::uint8_t u8()
    {
        if (at_end())
            fail("ends too early");
        return static_cast<std::uint8_t>(*at_++);
    }

    std::uint64_t varint()
    {
        if (!at_end() && static_cast<unsigned char>(*at_) < 0x80)
            return static_cast<unsigned char>(*at_++);
        return long_varint();
    }

    /// A varint of at most `limit`: for counts, versions and whatever else has a documented range.
    std::uint64_t varint(std::uint64_t limit)
    {
        auto const before = at_;
        auto const v = varint();
        if (v > limit) {
            at_ = before;
            fail_limit(v, limit);
        }
        return v;
    }

    std::int64_t zigzag() { return zigzag_decode(varint()); }
    std::uint32_t fixed32() { return static_cast<std::uint32_t>(fixed<4>()); }
    std::uint64_t fixed64() { return fixed<8>(); }

    /// A length and that many bytes, at most `limit`.
    /// @throws system_error `errc::limit_exceeded`, or `errc::malformed_data` when the length reaches beyond the end.
    std::string_view bytes(std::size_t limit = std::numeric_limits<std::size_t>::max())
    {
        auto const before = at_;
        auto const length = varint();
        if (length > remaining() || length > limit) [[unlikely]] {
            auto const left = remaining();
            at_ = before;
            if (length > left)
                fail("has a length that reaches beyond its end");
            fail_limit(length, limit);
        }
        return take(static_cast<std::size_t>(length));
    }

    /// Exactly `size` bytes.
    std::string_view raw(std::size_t size)
    {
        if (size > remaining())
            fail("ends too early");
        return take(size);
    }

    /// Exactly `N` bytes: `message_id{r.raw<message_id::size>()}`.
    template <std::size_t N>
    std::array<unsigned char, N> raw()
    {
        std::array<unsigned char, N> v;
        std::memcpy(v.data(), raw(N).data(), N);
        return v;
    }

    /// A reader of a length and that many bytes, which this one steps over. Its positions count from the same start.
    wire_reader nested(std::size_t limit = std::numeric_limits<std::size_t>::max())
    {
        auto const inner = bytes(limit);
        wire_reader reader{*this};
        reader.at_ = inner.data();
        reader.end_ = inner.data() + inner.size();
        return reader;
    }

    /// Everything that is left.
    std::string_view rest() noexcept { return take(remaining()); }

    /// The number of elements that follow, each of at least `least` bytes (1 or more): safe to reserve for.
    std::size_t count(std::size_t limit, std::size_t least = 1)
    {
        auto const before = at_;
        auto const v = varint(limit);
        if (v > remaining() / least) {
            at_ = before;
            fail("has a count of elements that cannot fit");
        }
        return static_cast<std::size_t>(v);
    }

    /// @throws system_error `errc::malformed_data` unless everything was read.
    void expect_end() const
    {
        if (!at_end())
            fail("has trailing bytes");
    }

    /// Throws `errc::malformed_data`, "<what> <problem> (at byte <position>)".
    [[noreturn, gnu::cold, gnu::noinline]] void fail(char const* problem, errc code = errc::malformed_data) const
    {
        throw make_error(code, std::string{what_} + ' ' + problem + " (at byte " + std::to_string(position()) + ')');
    }

private:
    [[noreturn, gnu::cold, gnu::noinline]] void fail_limit(std::uint64_t found, std::uint64_t limit) const
    {
        throw make_error(errc::limit_exceeded,
            std::string{what_} + " holds " + std::to_string(found) + ", over the limit of " + std::to_string(limit)
                + " (at byte " + std::to_string(position()) + ')');
    }

    std::string_view take(std::size_t size) noexcept
    {
        std::string_view const v{at_, size};
        at_ += size;
        return v;
    }

    std::uint64_t long_varint()
    {
        auto const* p = at_;
        std::uint64_t v = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (p == end_)
                fail("ends too early");
            auto const byte = static_cast<unsigned char>(*p++);
            if (shift == 63 && byte > 1)
                fail("has a varint over 64 bits");
            v |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80) {
                if (byte == 0 && shift > 0)
                    fail("has a varint that is longer than it needs to be");
                at_ = p;
                return v;
            }
        }
        fail("has a varint over 64 bits");
    }

    template <std::size_t N>
    std::uint64_t fixed()
    {
        auto const v = raw(N);
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < N; ++i)
            sum |= static_cast<std::uint64_t>(static_cast<unsigned char>(v[i])) << (8 * i);
        return sum;
    }

    char const* begin_;
    char const* at_;
    char const* end_;
    char const* what_;
};

} // namespace cosaga::detail
