// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/ledger_view.hpp>
#include <cosaga/ledger.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace ledgers {

using namespace cosaga;

/// A ledger that is made once: a sum for each record and all before it, so that any range is summed up at once.
class sorted_ledger final : public detail::ledger_view {
public:
    explicit sorted_ledger(std::vector<ledger_record> records) : records_{std::move(records)}
    {
        auto const by_position = [](auto const& a, auto const& b) { return a.position() < b.position(); };
        std::sort(records_.begin(), records_.end(), by_position);
        sums_.resize(records_.size() + 1);
        for (std::size_t i = 0; i < records_.size(); ++i) {
            sums_[i + 1] = sums_[i];
            sums_[i + 1] += ledger_sum{records_[i].digest()};
        }
    }

    std::vector<ledger_sum> sum(std::span<ledger_range const> ranges) override
    {
        std::vector<ledger_sum> all;
        for (auto const& r : ranges) {
            all.push_back(sums_[at(r.to)]);
            all.back() -= sums_[at(r.from)];
        }
        return all;
    }

    std::vector<ledger_position> divide(ledger_range const& range, std::size_t parts) override
    {
        auto const from = at(range.from);
        auto const n = at(range.to) - from;
        return detail::divide_evenly(n, parts, [&](std::size_t i) { return records_[from + i].position(); });
    }

    std::vector<ledger_record> read(ledger_range const& range, std::size_t most) override
    {
        auto const from = at(range.from);
        auto const to = std::min(at(range.to), from + most);
        return {records_.begin() + static_cast<std::ptrdiff_t>(from), records_.begin() + static_cast<std::ptrdiff_t>(to)};
    }

    std::vector<ledger_record> const& records() const noexcept { return records_; }

private:
    std::size_t at(ledger_position const& p) const
    {
        auto const found = std::lower_bound(records_.begin(), records_.end(), p,
            [](ledger_record const& r, ledger_position const& wanted) { return r.position() < wanted; });
        return static_cast<std::size_t>(found - records_.begin());
    }

    std::vector<ledger_record> records_;
    std::vector<ledger_sum> sums_;
};

inline message_id make_id(time_point when, std::mt19937_64& chance)
{
    auto bytes = message_id::first_of(when).bytes();
    for (std::size_t i = 9; i < bytes.size(); ++i)
        bytes[i] = static_cast<unsigned char>(chance());
    return message_id{bytes};
}

/// `n` messages in order, `apart` from each other, three of each transaction and so of one time.
inline std::vector<ledger_record> make_records(std::size_t n, duration apart, std::mt19937_64& chance)
{
    std::vector<ledger_record> records(n);
    time_point const begin{std::chrono::seconds{1'700'000'000}};
    for (std::size_t i = 0; i < n; ++i) {
        auto& r = records[i];
        r.time = begin + apart * static_cast<std::int64_t>(i / 3 * 3);
        r.id = make_id(r.time, chance);
        r.key = "order-" + std::to_string(i);
        r.fields.add("cents", std::to_string(chance() % 100'000)).add("state", "paid");
    }
    std::sort(records.begin(), records.end(), [](auto const& a, auto const& b) { return a.position() < b.position(); });
    return records;
}

inline ledger_range const everything{{}, {time_point{std::chrono::seconds{4'000'000'000}}, {}}};

} // namespace ledgers
