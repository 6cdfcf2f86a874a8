// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/comparison_messages.hpp>
#include <cosaga/ledger_difference.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The initiator's part of a comparison: it makes requests, reads answers and tells what differs. Without I/O: who owns it
/// carries the messages, and lends it the ledger for each step.
///
/// Ranges that differ are followed from the front, some at a time, each to its end before those behind. So memory is bounded by the
/// depth of the division, not by the differences; and all before `reached` is compared, so a later comparison can go on from there.
/// Differences come roughly in the order of positions.
class comparison {
public:
    struct progress {
        ledger_range compared{};          ///< both sides have it: known after the first answer
        bool equal = false;               ///< proven for all of `compared`
        std::uint64_t records = 0;        ///< of `compared`, here
        std::uint64_t differences = 0;
        std::uint64_t round_trips = 0;
        std::uint64_t bytes_sent = 0;
        std::uint64_t bytes_received = 0;
    };

    /// @param range what this side has to compare.
    /// @param salt new for each comparison, and not known before.
    /// @param most_differences when as many were told, the comparison pauses.
    comparison(ledger_range const& range, std::uint64_t salt, std::uint64_t most_differences, comparison_limits const& limits = {})
        : salt_{salt}, most_differences_{most_differences}, limits_{limits}
    {
        progress_.compared = range;
    }

    /// The first request.
    std::string open()
    {
        std::string out;
        wire_writer w = begin(out, comparison_kind::open);
        write_position(w, progress_.compared.from);
        write_position(w, progress_.compared.to);
        progress_.bytes_sent += out.size();
        return out;
    }

    /// Takes the answer to the last request.
    /// @param found what differs is added to it.
    /// @return the next request; nothing when the comparison is finished or paused.
    /// @throws system_error `errc::malformed_data`, `errc::limit_exceeded` about the answer; the comparison is of no use any more.
    std::optional<std::string> next(ledger_view& ledger, std::string_view answer, std::vector<ledger_difference>& found)
    {
        check_message_size(answer, limits_);
        progress_.bytes_received += answer.size();
        // Every round trip brings differences nearer; the deepest division of the largest ledger takes some twenty.
        if (++progress_.round_trips > patience + progress_.differences)
            throw make_error(errc::limit_exceeded, "comparison: the other side comes to no end after "
                                                       + std::to_string(patience) + " round trips without a difference");
        auto const before = found.size();
        wire_reader r{answer, "comparison answer"};
        auto const kind = read_comparison_head(r);
        if (kind != (opened_ ? comparison_kind::ranges : comparison_kind::open))
            r.fail("answers another request");
        if (kind == comparison_kind::open)
            take_opening(ledger, r);
        else
            take_verdicts(ledger, r, found);
        r.expect_end();
        progress_.differences += found.size() - before;
        if (pending_.empty() || progress_.differences >= most_differences_)
            return std::nullopt;
        return make_request(ledger);
    }

    bool finished() const noexcept { return opened_ && pending_.empty(); }
    /// Everything before is compared.
    ledger_position reached() const noexcept { return pending_.empty() ? progress_.compared.to : pending_.front().range.from; }
    progress const& so_far() const noexcept { return progress_; }

private:
    struct pending_range {
        ledger_range range;
        std::uint64_t count = 0; // of records here
        bool few_there = false;
    };
    struct asked_range {
        ledger_range range;
        std::uint64_t count = 0;
        item_kind kind = item_kind::compare;
        std::vector<ledger_position> listed;
    };

    static constexpr std::uint64_t patience = 500;

    wire_writer begin(std::string& out, comparison_kind kind) const
    {
        wire_writer w{out};
        w.u8(comparison_version);
        w.u8(static_cast<std::uint8_t>(kind));
        w.fixed64(salt_);
        return w;
    }

    void take_opening(ledger_view& ledger, wire_reader& r)
    {
        ledger_range range;
        range.from = read_position(r);
        range.to = read_position(r);
        opened_ = true;
        if (range.from >= range.to) { // the two have no time in common
            progress_.compared.to = progress_.compared.from;
            return;
        }
        if (range.from < progress_.compared.from || range.to > progress_.compared.to)
            r.fail("is about more than was asked");
        progress_.compared = range;
        auto const proof = r.raw<16>();
        auto const head = read_verdict(r);
        if (head.kind != verdict_kind::parts)
            r.fail("begins with a verdict that is not the parts");
        auto const parts = read_parts(r, head.number + 1, range);
        auto const own = ledger.sum({&range, 1}).front();
        progress_.records = own.count;
        progress_.equal = proof == proof_of(own, salt_);
        if (!progress_.equal)
            add_differing(ledger, parts, pending_);
    }

    void add_differing(ledger_view& ledger, std::vector<told_range> const& parts, std::deque<pending_range>& to)
    {
        std::vector<ledger_range> ranges;
        ranges.reserve(parts.size());
        for (auto const& part : parts)
            ranges.push_back(part.range);
        auto const sums = ledger.sum(ranges);
        for (std::size_t n = 0; n < parts.size(); ++n)
            if (fingerprint_of(sums[n], salt_) != parts[n].fingerprint)
                to.push_back({ranges[n], sums[n].count});
    }

    void take_verdicts(ledger_view& ledger, wire_reader& r, std::vector<ledger_difference>& found)
    {
        auto const answered = static_cast<std::size_t>(r.varint(asked_.size()));
        if (answered == 0)
            r.fail("answers nothing");
        std::deque<pending_range> next;
        for (std::size_t n = 0; n < answered;) {
            auto const head = read_verdict(r);
            if (head.kind != verdict_kind::equal) {
                take_verdict(ledger, r, head, asked_[n++], next, found);
                continue;
            }
            for (auto left = head.number + 1; left > 0; --left, ++n)
                if (n == answered || asked_[n].kind != item_kind::compare)
                    r.fail("has a verdict that does not fit what was asked");
        }
        // What was asked stands at the front of what is pending, in parts.
        while (!pending_.empty() && pending_.front().range.to <= asked_[answered - 1].range.to)
            pending_.pop_front();
        if (!pending_.empty() && pending_.front().range.from < asked_[answered - 1].range.to)
            cut_front(ledger, asked_[answered - 1].range.to);
        pending_.insert(pending_.begin(), next.begin(), next.end());
    }

    void cut_front(ledger_view& ledger, ledger_position const& from)
    {
        auto& front = pending_.front();
        front.range.from = from;
        front.count = ledger.sum({&front.range, 1}).front().count;
    }

    void take_verdict(ledger_view& ledger, wire_reader& r, verdict_head const& head, asked_range const& asked,
        std::deque<pending_range>& next, std::vector<ledger_difference>& found)
    {
        if (head.kind == verdict_kind::parts)
            add_differing(ledger, read_parts(r, head.number + 1, asked.range), next);
        else if (head.kind == verdict_kind::records && head.number == 0 && asked.kind == item_kind::list)
            take_records(ledger, r, asked, found);
        else if (head.kind == verdict_kind::few && asked.kind == item_kind::compare) {
            if (head.number > 0 || asked.count > limits_.most_listed)
                next.push_back({asked.range, asked.count, true});
            else
                for (auto& record : ledger.read(asked.range, limits_.most_listed))
                    found.push_back({std::move(record), std::nullopt});
        } else
            r.fail("has a verdict that does not fit what was asked");
    }

    void take_records(ledger_view& ledger, wire_reader& r, asked_range const& asked, std::vector<ledger_difference>& found)
    {
        std::vector<ledger_difference> differences;
        std::size_t after = 0; // one more than the index before
        for (auto left = r.count(asked.listed.size()); left > 0; --left) {
            auto const index = static_cast<std::size_t>(r.varint(asked.listed.size()));
            if (index < after || index == asked.listed.size())
                r.fail("has indices that do not ascend, or reach too far");
            after = index + 1;
            auto own = ledger.read({asked.listed[index], asked.range.to}, 1);
            if (!own.empty() && own.front().position() == asked.listed[index]) // else it has gone meanwhile
                differences.push_back({std::move(own.front()), std::nullopt});
        }
        // What is here and missing there is in order: a record at the same place makes one difference of two.
        auto const here_only = differences.size();
        std::optional<ledger_position> last;
        for (auto left = r.count(limits_.most_listed, least_record_size); left > 0; --left) {
            auto record = read_record(r, asked.range.from);
            auto const at = record.position();
            if (at < asked.range.from || at >= asked.range.to || (last && at <= *last))
                r.fail("has a record outside of the range that was asked for, or out of order");
            last = at;
            auto const end = differences.begin() + static_cast<std::ptrdiff_t>(here_only);
            auto const same = std::lower_bound(differences.begin(), end, at,
                [](ledger_difference const& d, ledger_position const& p) { return d.position() < p; });
            if (same != end && same->position() == at)
                same->there = std::move(record);
            else
                differences.push_back({std::nullopt, std::move(record)});
        }
        std::sort(differences.begin(), differences.end(), [](auto const& a, auto const& b) { return a.position() < b.position(); });
        std::move(differences.begin(), differences.end(), std::back_inserter(found));
    }

    std::string make_request(ledger_view& ledger)
    {
        asked_.clear();
        std::string out;
        wire_writer w = begin(out, comparison_kind::ranges);
        auto at = pending_.front().range.from;
        write_position(w, at);
        auto const parts = parts_for(pending_.size());
        auto const few = pending_.size() <= limits_.small_request ? limits_.few_in_a_small_request : limits_.few;
        for (auto const& p : pending_) {
            if (asked_.size() + parts > limits_.items || out.size() > limits_.message)
                break;
            if (at < p.range.from)
                write_bound(w, at, p.range.from);
            auto const most = p.few_there ? limits_.most_listed : few;
            if (p.count > most || !list(w, ledger, p))
                divide(w, ledger, p, parts);
            at = p.range.to;
        }
        progress_.bytes_sent += out.size();
        return out;
    }

    /// False if the range has become too long meanwhile.
    bool list(wire_writer& w, ledger_view& ledger, pending_range const& p)
    {
        auto const records = ledger.read(p.range, limits_.most_listed + 1);
        if (records.size() > limits_.most_listed)
            return false;
        write_bound(w, p.range.from, p.range.to, item_kind::list);
        w.varint(records.size());
        auto& asked = asked_.emplace_back();
        asked.range = p.range;
        asked.kind = item_kind::list;
        asked.count = records.size();
        asked.listed.reserve(records.size());
        for (auto const& r : records) {
            w.raw(fingerprint_of(ledger_sum{r.digest()}, salt_));
            asked.listed.push_back(r.position());
        }
        return true;
    }

    void divide(wire_writer& w, ledger_view& ledger, pending_range const& p, std::size_t parts)
    {
        auto const ranges = ranges_between(p.range, ledger.divide(p.range, parts));
        auto const sums = ledger.sum(ranges);
        for (std::size_t n = 0; n < ranges.size(); ++n) {
            write_bound(w, ranges[n].from, ranges[n].to, item_kind::compare);
            w.raw(fingerprint_of(sums[n], salt_));
            auto& asked = asked_.emplace_back();
            asked.range = ranges[n];
            asked.count = sums[n].count;
        }
    }

    std::uint64_t salt_;
    std::uint64_t most_differences_;
    comparison_limits limits_;
    progress progress_;
    bool opened_ = false;
    std::deque<pending_range> pending_; // by position; what was asked and is not answered is still in it
    std::vector<asked_range> asked_;
};

} // namespace cosaga::detail
