// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sha256.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// What a ledger keeps of a message's content: names and values, as text, in the order in which they were added.
///
/// Two are equal when they have the same names and values in the same order, so both ends of a hop must add the same.
class ledger_fields {
public:
    /// Bytes of one record at most, names and lengths included.
    static constexpr std::size_t max_size = 1024;

    /// @throws system_error `errc::limit_exceeded`
    ledger_fields& add(std::string_view name, std::string_view value)
    {
        detail::wire_writer w{bytes_};
        w.bytes(name);
        w.bytes(value);
        if (bytes_.size() > max_size)
            throw make_error(errc::limit_exceeded, "a ledger keeps at most " + std::to_string(max_size)
                                                       + " bytes of fields of a message: reconcile fewer or shorter ones");
        return *this;
    }

    /// @throws system_error `errc::malformed_data`, `errc::limit_exceeded`
    static ledger_fields from_bytes(std::string_view bytes)
    {
        if (bytes.size() > max_size)
            throw make_error(errc::limit_exceeded, "the fields of a ledger record have " + std::to_string(bytes.size())
                                                       + " bytes, over the limit of " + std::to_string(max_size));
        ledger_fields made;
        made.bytes_ = bytes;
        made.each([](auto, auto) {});
        return made;
    }

    /// Calls `f(name, value)` for each.
    template <class F>
    void each(F f) const
    {
        detail::wire_reader r{bytes_, "ledger fields"};
        while (!r.at_end()) {
            auto const name = r.bytes();
            f(name, r.bytes());
        }
    }

    /// The value of the last field of that name.
    std::optional<std::string_view> find(std::string_view name) const
    {
        std::optional<std::string_view> found;
        each([&](std::string_view n, std::string_view value) {
            if (n == name)
                found = value;
        });
        return found;
    }

    /// For people: `cents=250, state=paid`.
    std::string to_string() const
    {
        std::string text;
        each([&](std::string_view name, std::string_view value) {
            if (!text.empty())
                text += ", ";
            text.append(name).append("=").append(value);
        });
        return text;
    }

    std::string const& bytes() const noexcept { return bytes_; }
    bool empty() const noexcept { return bytes_.empty(); }

    friend bool operator==(ledger_fields const&, ledger_fields const&) = default;

private:
    std::string bytes_;
};

/// Where a record stands in its ledger: by time, then by id, whatever the form of the id. Also a bound between records.
struct ledger_position {
    time_point time{};
    message_id id{};

    friend constexpr auto operator<=>(ledger_position const&, ledger_position const&) = default;
};

/// From `from` up to, and without, `to`.
struct ledger_range {
    ledger_position from;
    ledger_position to;

    friend bool operator==(ledger_range const&, ledger_range const&) = default;
};

/// What remains of a message when it is delivered: enough to find out whether both sides have the same.
struct ledger_record {
    message_id id;
    time_point time{};   ///< of the message, as its sender gave it, so that it is the same on both sides
    std::string key;
    ledger_fields fields;

    ledger_position position() const noexcept { return {time, id}; }

    /// SHA-256 over all of it: records are equal when their digests are.
    detail::sha256_digest digest() const noexcept
    {
        detail::sha256 h;
        h.append_number(static_cast<std::uint64_t>(time.time_since_epoch().count()));
        h.append(id.bytes());
        h.append_number(key.size()); // keeps ("ab", "c") and ("a", "bc") apart
        h.append(key);
        h.append(fields.bytes());
        return h.finish();
    }

    friend bool operator==(ledger_record const&, ledger_record const&) = default;
};

/// What a set of records adds up to: how many they are, and the sum of their digests modulo 2^256.
///
/// A sum, so that records come and go at any place without reading others, and sets join by adding. Not exclusive or: there
/// a subset that adds up to a wanted value is a system of linear equations, here it is the knapsack problem, which for digests of 256
/// bits takes about 2^32 records of the attacker's choice (Wagner, "A Generalized Birthday Problem", 2002), each with an id that
/// the library chose. Meyer's "Range-Based Set Reconciliation" (2023) and negentropy choose the same.
struct ledger_sum {
    std::uint64_t count = 0;
    std::array<std::uint64_t, 4> total{}; ///< the lowest 64 bits first

    ledger_sum() = default;
    explicit ledger_sum(detail::sha256_digest const& digest) noexcept : count{1}
    {
        for (std::size_t i = 0; i < digest.size(); ++i)
            total[3 - i / 8] = total[3 - i / 8] << 8 | digest[i];
    }

    ledger_sum& operator+=(ledger_sum const& other) noexcept
    {
        count += other.count;
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < total.size(); ++i) {
            auto const part = other.total[i] + carry;
            carry = part < carry ? 1 : 0;
            total[i] += part;
            carry += total[i] < part ? 1 : 0;
        }
        return *this;
    }

    ledger_sum& operator-=(ledger_sum const& other) noexcept
    {
        count -= other.count;
        std::uint64_t borrow = 0;
        for (std::size_t i = 0; i < total.size(); ++i) {
            auto const part = other.total[i] + borrow;
            auto const overflow = part < borrow ? 1u : 0u;
            borrow = overflow + (total[i] < part ? 1u : 0u);
            total[i] -= part;
        }
        return *this;
    }

    friend bool operator==(ledger_sum const&, ledger_sum const&) = default;
};

/// A fifth table of a store: for each message what reconciliation needs after delivery. A ledger has a name.
///
/// It is a table of its own because nothing else outlives delivery: rows of the message table are deleted, and a mark has no
/// content, no order by time for foreign ids, and no sum. The store keeps sums of neighbouring records in the same
/// transactions as the records, so they survive what these survive, and a range of a million records is summed up by
/// reading some thousand sums.
///
/// | expression                                 | type                         | meaning |
/// |--------------------------------------------|------------------------------|---------|
/// | `tx.open_ledger(name)`                     | `time_point`                 | when it was opened first; opens it if it is new |
/// | `tx.record(name, records)`                 | `void`                       | adds the records, or replaces those at the same positions; opens the ledger |
/// | `tx.erase_records(name, positions)`        | `std::size_t`                | removes records; how many there were |
/// | `tx.read_records(name, range, most)`       | `std::vector<ledger_record>` | at most `most` records of the range, by position |
/// | `tx.sum_records(name, ranges)`             | `std::vector<ledger_sum>`    | of each range, in a time that does not grow with its records |
/// | `tx.divide_records(name, range, parts)`    | `std::vector<ledger_position>` | at most `parts - 1` bounds inside the range, ascending, with about equally many records between them; at least one if there are two records and two parts |
/// | `tx.purge_records(name, before)`           | `std::size_t`                | removes some of the oldest records, all of them older than `before`; how many. It may leave some hundred of them; 0 means that there are no more than that |
/// | `tx.ledgers()`                             | `std::vector<std::string>`   | the names of all, sorted |
///
/// A ledger that is not there is empty.
template <class Tx>
concept ledger_table = requires(Tx& tx, std::string_view name, std::span<ledger_record const> records,
    std::span<ledger_position const> positions, ledger_range const& range, std::span<ledger_range const> ranges,
    time_point before, std::size_t most) {
    { tx.open_ledger(name) } -> std::same_as<time_point>;
    tx.record(name, records);
    { tx.erase_records(name, positions) } -> std::same_as<std::size_t>;
    { tx.read_records(name, range, most) } -> std::same_as<std::vector<ledger_record>>;
    { tx.sum_records(name, ranges) } -> std::same_as<std::vector<ledger_sum>>;
    { tx.divide_records(name, range, most) } -> std::same_as<std::vector<ledger_position>>;
    { tx.purge_records(name, before) } -> std::same_as<std::size_t>;
    { tx.ledgers() } -> std::same_as<std::vector<std::string>>;
};

namespace detail {

/// The coarsest position after `a` and not after `b`, where `a < b`: a bound between records that has few bytes.
inline ledger_position separator(ledger_position const& a, ledger_position const& b) noexcept
{
    auto const low = a.time.time_since_epoch().count();
    auto const high = b.time.time_since_epoch().count();
    if (low < high) {
        for (int shift = 62; shift > 0; --shift)
            if (auto const coarse = (high >> shift) << shift; coarse > low)
                return {time_point{duration{coarse}}, {}};
        return {b.time, {}};
    }
    message_id::bytes_type prefix{};
    for (std::size_t i = 0; i < prefix.size(); ++i) {
        prefix[i] = b.id.bytes()[i];
        if (prefix[i] != a.id.bytes()[i])
            break;
    }
    return {b.time, message_id{prefix}};
}

/// The position behind `p`: where to read on after it.
inline ledger_position position_after(ledger_position const& p) noexcept
{
    auto bytes = p.id.bytes();
    for (auto i = bytes.size(); i > 0; --i)
        if (++bytes[i - 1] != 0)
            return {p.time, message_id{bytes}};
    return {p.time + duration{1}, {}};
}

/// Bounds that divide records in order, of which `position(i)` tells the i-th, into parts of about the same size. Among the places near
/// the right one it takes that with the shortest bound: half of what a comparison sends are bounds.
template <class Position>
std::vector<ledger_position> divide_evenly(std::size_t records, std::size_t parts, Position position)
{
    std::vector<ledger_position> bounds;
    auto const zeros = [](ledger_position const& p) {
        return p.id.is_nil() ? std::countr_zero(static_cast<std::uint64_t>(p.time.time_since_epoch().count())) : -1;
    };
    auto const slack = records / parts / 4;
    std::size_t last = 0;
    for (std::size_t part = 1; part < parts; ++part) {
        auto const right = records * part / parts;
        std::optional<ledger_position> best;
        std::size_t chosen = 0;
        for (auto at = std::max(right - slack, last + 1); at <= std::min(right + slack, records - 1) && at < records; ++at) {
            auto const candidate = separator(position(at - 1), position(at));
            if (!best || zeros(candidate) > zeros(*best)) {
                best = candidate;
                chosen = at;
            }
        }
        if (best) {
            bounds.push_back(*best);
            last = chosen;
        }
    }
    return bounds;
}

} // namespace detail

} // namespace cosaga
