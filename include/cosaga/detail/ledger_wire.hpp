// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sha256.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/message.hpp>
#include <cosaga/ledger.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

// The messages of a comparison:
//
//   request = version kind=open salt from until
//           | version kind=ranges salt position { item }
//   item    = skip bound | compare bound fingerprint | list bound count { fingerprint }
//   answer  = version kind=open from until proof count parts
//           | version kind=ranges count { verdict }
//   verdict = equal run | few count | parts | records missing { index } count { record }
//   parts   = number fingerprint { bound fingerprint }
//
// A verdict begins with a byte: its kind in two bits, and in six the number of equal items less one, of records, or of parts less one.
// Each item is about the range from the bound of the one before it, or the position, to its own. Bounds ascend strictly.

inline constexpr std::uint8_t comparison_version = 1;
enum class comparison_kind : std::uint8_t { open = 1, ranges = 2 };
enum class item_kind : std::uint8_t { skip = 0, compare = 1, list = 2 };
enum class verdict_kind : std::uint8_t { equal = 0, few = 1, parts = 2, records = 3 };

struct verdict_head {
    verdict_kind kind;
    std::size_t number;
};

inline void write_verdict(wire_writer& w, verdict_kind kind, std::size_t number)
{
    w.u8(static_cast<std::uint8_t>(static_cast<std::size_t>(kind) | number << 2));
}

inline verdict_head read_verdict(wire_reader& r)
{
    auto const head = r.u8();
    return {static_cast<verdict_kind>(head & 3), static_cast<std::size_t>(head >> 2)};
}

/// Times of ledgers on the wire, in microseconds since 1970: not negative, and with room for a bound behind them.
inline constexpr std::uint64_t max_wire_time = std::uint64_t{1} << 62;

/// What two equal sets of records have in common under one salt, and different ones have not.
///
/// The salt is new for each comparison, so nobody can look for records that collide before it. That is why 6 bytes do where a
/// collision hides a difference from this comparison only; what proves equality has 16.
inline std::array<unsigned char, 16> proof_of(ledger_sum const& sum, std::uint64_t salt) noexcept
{
    sha256 h;
    h.append_number(salt);
    h.append_number(sum.count);
    for (auto const part : sum.total)
        h.append_number(part);
    auto const digest = h.finish();
    std::array<unsigned char, 16> proof;
    std::copy_n(digest.begin(), proof.size(), proof.begin());
    return proof;
}

inline constexpr std::size_t fingerprint_size = 6;
using short_fingerprint = std::array<unsigned char, fingerprint_size>;

inline short_fingerprint fingerprint_of(ledger_sum const& sum, std::uint64_t salt) noexcept
{
    auto const proof = proof_of(sum, salt);
    short_fingerprint made;
    std::copy_n(proof.begin(), made.size(), made.begin());
    return made;
}

inline std::uint64_t wire_time(time_point t) noexcept
{
    auto const ticks = t.time_since_epoch().count();
    return ticks < 0 ? 0 : std::min(static_cast<std::uint64_t>(ticks), max_wire_time);
}
inline time_point from_wire_time(std::uint64_t v) noexcept { return time_point{duration{static_cast<std::int64_t>(v)}}; }

inline void write_id_prefix(wire_writer& w, message_id const& id)
{
    auto const& bytes = id.bytes();
    auto const end = std::find_if(bytes.rbegin(), bytes.rend(), [](auto b) { return b != 0; }).base();
    w.bytes({reinterpret_cast<char const*>(bytes.data()), static_cast<std::size_t>(end - bytes.begin())});
}

inline message_id read_id_prefix(wire_reader& r)
{
    message_id::bytes_type bytes{};
    auto const prefix = r.bytes(bytes.size());
    std::copy(prefix.begin(), prefix.end(), bytes.begin());
    return message_id{bytes};
}

inline void write_position(wire_writer& w, ledger_position const& p)
{
    w.varint(wire_time(p.time));
    write_id_prefix(w, p.id);
}

inline ledger_position read_position(wire_reader& r)
{
    auto const time = from_wire_time(r.varint(max_wire_time));
    return {time, read_id_prefix(r)};
}

// What begins an item or a part: its kind, and the bound where it ends. Most bounds are times with many zeros at the end, which are
// counted instead of written.
inline constexpr unsigned exact_bound = 63;

inline void write_bound(wire_writer& w, ledger_position const& before, ledger_position const& p, item_kind kind = item_kind::skip)
{
    auto const from = wire_time(before.time);
    auto const to = wire_time(p.time);
    auto const head = [&](unsigned zeros) { w.u8(static_cast<std::uint8_t>(static_cast<unsigned>(kind) << 6 | zeros)); };
    if (p.id.is_nil() && from < to) {
        auto const zeros = std::countr_zero(to);
        head(static_cast<unsigned>(zeros));
        w.varint((to >> zeros) - (from >> zeros));
    } else {
        head(exact_bound);
        w.varint(to - from);
        write_id_prefix(w, p.id);
    }
}

inline std::pair<item_kind, ledger_position> read_item_head(wire_reader& r, ledger_position const& before)
{
    auto const from = wire_time(before.time);
    ledger_position p;
    auto const head = r.u8();
    auto const kind = static_cast<item_kind>(head >> 6);
    auto const zeros = head & exact_bound;
    if (kind > item_kind::list)
        r.fail("has an item of an unknown kind");
    if (zeros == exact_bound) {
        p.time = from_wire_time(from + r.varint(max_wire_time - from));
        p.id = read_id_prefix(r);
    } else
        p.time = from_wire_time(((from >> zeros) + r.varint((max_wire_time >> zeros) - (from >> zeros))) << zeros);
    if (p <= before)
        r.fail("has bounds that do not ascend");
    return {kind, p};
}

inline ledger_position read_bound(wire_reader& r, ledger_position const& before)
{
    auto const [kind, p] = read_item_head(r, before);
    if (kind != item_kind::skip)
        r.fail("has an item where a bound should be");
    return p;
}

/// A record of a range that begins at `from`.
inline void write_record(wire_writer& w, ledger_position const& from, ledger_record const& r)
{
    w.varint(wire_time(r.time) - wire_time(from.time));
    w.raw(r.id.bytes());
    w.bytes(r.key);
    w.bytes(r.fields.bytes());
}

/// The size of a record without key and fields: what a count of them may be trusted with.
inline constexpr std::size_t least_record_size = 1 + message_id::size + 1 + 1;

inline ledger_record read_record(wire_reader& r, ledger_position const& from)
{
    ledger_record record;
    auto const begin = wire_time(from.time);
    record.time = from_wire_time(begin + r.varint(max_wire_time - begin));
    record.id = message_id{r.raw<message_id::size>()};
    record.key = r.bytes(message_limits{}.key);
    record.fields = ledger_fields::from_bytes(r.bytes(ledger_fields::max_size));
    return record;
}

} // namespace cosaga::detail
