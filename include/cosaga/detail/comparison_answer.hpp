// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/comparison_messages.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The participant's part of a comparison: one answer for one request, and nothing to remember in between. So it may be
/// restarted, or be another instance, at any time; and who asks cannot make it keep anything.
class comparison_answer {
public:
    /// @param ledger outlives it.
    /// @param kept what this side has to compare: from the start of the ledger or its retention, to the grace time.
    comparison_answer(ledger_view& ledger, ledger_range const& kept, comparison_limits const& limits = {})
        : ledger_{&ledger}, kept_{kept}, limits_{limits}
    {
    }

    /// @throws system_error `errc::malformed_data`, `errc::limit_exceeded` about the request.
    std::string operator()(std::string_view request)
    {
        check_message_size(request, limits_);
        wire_reader r{request, "comparison request"};
        auto const kind = read_comparison_head(r);
        salt_ = r.fixed64();
        return kind == comparison_kind::open ? open(r) : ranges(r);
    }

private:
    struct item {
        ledger_range range;
        item_kind kind;
        short_fingerprint fingerprint{};
        std::vector<short_fingerprint> listed;
    };

    std::string open(wire_reader& r)
    {
        ledger_range range;
        range.from = read_position(r);
        range.to = read_position(r);
        r.expect_end();
        range.from = std::max(range.from, kept_.from);
        range.to = std::max(range.from, std::min(range.to, kept_.to));
        std::string out;
        wire_writer w{out};
        w.u8(comparison_version);
        w.u8(static_cast<std::uint8_t>(comparison_kind::open));
        write_position(w, range.from);
        write_position(w, range.to);
        if (range.from == range.to)
            return out;
        w.raw(proof_of(ledger_->sum({&range, 1}).front(), salt_));
        write_parts(w, *ledger_, range, first_parts, salt_);
        return out;
    }

    std::string ranges(wire_reader& r)
    {
        auto const items = read_items(r);
        std::vector<ledger_range> asked;
        asked.reserve(items.size());
        for (auto const& i : items)
            asked.push_back(i.range);
        auto const sums = ledger_->sum(asked);
        std::size_t differing = 0;
        for (std::size_t n = 0; n < items.size(); ++n)
            differing += items[n].kind == item_kind::list || items[n].fingerprint != fingerprint_of(sums[n], salt_);
        parts_ = parts_for(differing);

        std::string verdicts;
        std::size_t answered = 0;
        while (answered < items.size() && verdicts.size() < limits_.message) {
            if (auto const equal = equal_from(answered, items, sums); equal > 0) {
                wire_writer w{verdicts};
                write_verdict(w, verdict_kind::equal, equal - 1);
                answered += equal;
                continue;
            }
            auto const before = verdicts.size();
            answer(wire_writer{verdicts}, items[answered], sums[answered]);
            if (answered > 0 && verdicts.size() > 2 * limits_.message) {
                verdicts.resize(before);
                break;
            }
            ++answered;
        }
        std::string out;
        wire_writer w{out};
        w.u8(comparison_version);
        w.u8(static_cast<std::uint8_t>(comparison_kind::ranges));
        w.varint(answered);
        w.raw(verdicts);
        return out;
    }

    std::size_t equal_from(std::size_t at, std::vector<item> const& items, std::vector<ledger_sum> const& sums) const
    {
        constexpr std::size_t most = 64; // of one verdict
        std::size_t run = 0;
        for (; at < items.size() && run < most; ++at, ++run)
            if (items[at].kind != item_kind::compare || items[at].fingerprint != fingerprint_of(sums[at], salt_))
                break;
        return run;
    }

    std::vector<item> read_items(wire_reader& r) const
    {
        std::vector<item> items;
        auto at = read_position(r);
        while (!r.at_end()) {
            item next{};
            auto const [kind, bound] = read_item_head(r, at);
            next.kind = kind;
            next.range = {std::exchange(at, bound), bound};
            if (next.kind == item_kind::compare)
                next.fingerprint = r.raw<fingerprint_size>();
            else if (next.kind == item_kind::list) {
                next.listed.resize(r.count(limits_.most_listed, fingerprint_size));
                for (auto& one : next.listed)
                    one = r.raw<fingerprint_size>();
            }
            if (next.kind == item_kind::skip)
                continue;
            if (items.size() == limits_.most_items)
                r.fail("has too many items", errc::limit_exceeded);
            items.push_back(std::move(next));
        }
        return items;
    }

    void answer(wire_writer w, item const& asked, ledger_sum const& sum)
    {
        if (asked.kind == item_kind::compare) {
            if (sum.count <= limits_.few)
                return write_verdict(w, verdict_kind::few, static_cast<std::size_t>(sum.count));
            return divide(w, asked.range);
        }
        if (sum.count > limits_.most_listed)
            return divide(w, asked.range);
        std::string records;
        give(wire_writer{records}, asked);
        // More than that are many long records; two of them can be divided.
        if (records.size() > limits_.message && sum.count > 1)
            return divide(w, asked.range);
        w.raw(records);
    }

    void divide(wire_writer w, ledger_range const& range) { write_parts(w, *ledger_, range, parts_, salt_); }

    // What is listed there and not here, as indices; what is here and not listed, as records.
    void give(wire_writer w, item const& asked)
    {
        std::vector<std::pair<short_fingerprint, std::size_t>> unmatched;
        unmatched.reserve(asked.listed.size());
        for (std::size_t n = 0; n < asked.listed.size(); ++n)
            unmatched.emplace_back(asked.listed[n], n);
        std::sort(unmatched.begin(), unmatched.end());
        auto const matches = [&](short_fingerprint const& f) {
            auto const found = std::lower_bound(unmatched.begin(), unmatched.end(), std::pair{f, std::size_t{0}});
            if (found == unmatched.end() || found->first != f)
                return false;
            unmatched.erase(found);
            return true;
        };
        auto records = ledger_->read(asked.range, limits_.most_listed);
        std::erase_if(records, [&](ledger_record const& r) { return matches(fingerprint_of(ledger_sum{r.digest()}, salt_)); });

        std::vector<std::size_t> missing;
        for (auto const& one : unmatched)
            missing.push_back(one.second);
        std::sort(missing.begin(), missing.end());
        write_verdict(w, verdict_kind::records, 0);
        w.varint(missing.size());
        for (auto const index : missing)
            w.varint(index);
        w.varint(records.size());
        for (auto const& r : records)
            write_record(w, asked.range.from, r);
    }

    static constexpr std::size_t first_parts = 16; // so that equal ledgers cost little

    ledger_view* ledger_;
    ledger_range kept_;
    comparison_limits limits_;
    std::uint64_t salt_ = 0;
    std::size_t parts_ = 4;
};

} // namespace cosaga::detail
