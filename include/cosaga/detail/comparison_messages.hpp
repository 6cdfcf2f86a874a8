// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/ledger_view.hpp>
#include <cosaga/detail/ledger_wire.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/ledger.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// What bounds the work and the memory of both sides, whatever the other one says.
struct comparison_limits {
    std::size_t message = 32 * 1024;         ///< bytes after which nothing is added to a message
    std::size_t longest_message = 256 * 1024; ///< bytes of a message that is looked at
    std::size_t items = 256;                 ///< ranges in a request that is made here
    std::size_t most_items = 1024;           ///< ranges in a request that is looked at
    std::size_t few = 16;                    ///< records of a range that are listed rather than divided, at most 63
    std::size_t few_in_a_small_request = 96; ///< the same while there are `small_request` ranges or fewer: fewer round trips
    std::size_t small_request = 4;           ///< ranges
    std::size_t most_listed = 512;           ///< records of a range that are ever listed or given
};

/// Into how many parts each of `ranges` is divided. A difference among n records costs log(n) / log(p) trips and p fingerprints
/// in each: 4 parts are the cheapest in bytes, more are faster while there is little to say.
inline std::size_t parts_for(std::size_t ranges) noexcept
{
    constexpr std::size_t at_once = 64;
    return std::clamp<std::size_t>(at_once / std::max<std::size_t>(ranges, 1), 4, 32);
}

inline std::vector<ledger_range> ranges_between(ledger_range const& whole, std::vector<ledger_position> const& bounds)
{
    std::vector<ledger_range> parts;
    parts.reserve(bounds.size() + 1);
    auto from = whole.from;
    for (auto const& bound : bounds)
        parts.push_back({std::exchange(from, bound), bound});
    parts.push_back({from, whole.to});
    return parts;
}

inline void write_parts(wire_writer& w, ledger_view& ledger, ledger_range const& whole, std::size_t parts, std::uint64_t salt)
{
    auto const ranges = ranges_between(whole, ledger.divide(whole, parts));
    auto const sums = ledger.sum(ranges);
    write_verdict(w, verdict_kind::parts, ranges.size() - 1);
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        if (i > 0)
            write_bound(w, ranges[i - 1].from, ranges[i].from);
        w.raw(fingerprint_of(sums[i], salt));
    }
}

/// A range of which the other side has told the fingerprint.
struct told_range {
    ledger_range range;
    short_fingerprint fingerprint;
};

inline std::vector<told_range> read_parts(wire_reader& r, std::size_t count, ledger_range const& whole)
{
    std::vector<told_range> parts(count);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        auto& part = parts[i];
        part.range.from = i == 0 ? whole.from : read_bound(r, parts[i - 1].range.from);
        if (part.range.from >= whole.to)
            r.fail("divides a range at a bound outside of it");
        if (i > 0)
            parts[i - 1].range.to = part.range.from;
        part.fingerprint = r.raw<fingerprint_size>();
    }
    parts.back().range.to = whole.to;
    return parts;
}

inline void check_message_size(std::string_view message, comparison_limits const& limits)
{
    if (message.size() > limits.longest_message)
        throw make_error(errc::limit_exceeded, "a message of a comparison has " + std::to_string(message.size())
                                                   + " bytes, over the limit of " + std::to_string(limits.longest_message));
}

inline comparison_kind read_comparison_head(wire_reader& r)
{
    auto const version = r.u8();
    if (version != comparison_version)
        r.fail("is of another version of the protocol: upgrade both sides to one version of the library");
    auto const kind = static_cast<comparison_kind>(r.u8());
    if (kind != comparison_kind::open && kind != comparison_kind::ranges)
        r.fail("is of an unknown kind");
    return kind;
}

} // namespace cosaga::detail
