// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/undo_log.hpp>
#include <cosaga/ledger.hpp>

#include <cstddef>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

struct memory_ledger {
    time_point opened_at{};
    std::map<ledger_position, std::pair<ledger_record, ledger_sum>> records;
};
using memory_ledger_map = std::map<std::string, memory_ledger, std::less<>>;

/// The ledger table of a `memory_disk`. Sums are added up when somebody asks: tests have few records.
class memory_ledgers {
public:
    memory_ledgers(memory_ledger_map& ledgers, undo_log& undo) : ledgers_{&ledgers}, undo_{&undo} {}

    time_point open(std::string_view name, time_point now) { return get(name, now).opened_at; }

    void record(std::string_view name, std::span<ledger_record const> added, time_point now)
    {
        auto& records = get(name, now).records;
        for (auto const& r : added) {
            auto const at = r.position();
            auto const [found, is_new] = records.try_emplace(at);
            if (is_new)
                undo_->add([&records, at] { records.erase(at); });
            else
                undo_->add([&records, at, before = found->second] { records[at] = before; });
            found->second = {r, ledger_sum{r.digest()}};
        }
    }

    std::size_t erase(std::string_view name, std::span<ledger_position const> positions)
    {
        auto const ledger = ledgers_->find(name);
        if (ledger == ledgers_->end())
            return 0;
        std::size_t erased = 0;
        auto& records = ledger->second.records;
        for (auto const& p : positions)
            if (auto const found = records.find(p); found != records.end()) {
                undo_->add([&records, kept = *found] { records.insert(kept); });
                records.erase(found);
                ++erased;
            }
        return erased;
    }

    std::vector<ledger_record> read(std::string_view name, ledger_range const& range, std::size_t most) const
    {
        std::vector<ledger_record> found;
        each(name, range, [&](auto const& entry) {
            found.push_back(entry.second.first);
            return found.size() < most;
        });
        if (found.size() > most)
            found.clear(); // none were wanted
        return found;
    }

    std::vector<ledger_sum> sum(std::string_view name, std::span<ledger_range const> ranges) const
    {
        std::vector<ledger_sum> sums(ranges.size());
        for (std::size_t i = 0; i < ranges.size(); ++i)
            each(name, ranges[i], [&](auto const& entry) {
                sums[i] += entry.second.second;
                return true;
            });
        return sums;
    }

    std::vector<ledger_position> divide(std::string_view name, ledger_range const& range, std::size_t parts) const
    {
        std::vector<ledger_position> positions;
        each(name, range, [&](auto const& entry) {
            positions.push_back(entry.first);
            return true;
        });
        return divide_evenly(positions.size(), parts, [&](std::size_t i) { return positions[i]; });
    }

    std::size_t purge(std::string_view name, time_point before)
    {
        constexpr std::size_t most = 512;
        std::vector<ledger_position> old;
        each(name, {{time_point::min(), {}}, {before, {}}}, [&](auto const& entry) {
            old.push_back(entry.first);
            return old.size() < most;
        });
        return erase(name, old);
    }

    std::vector<std::string> names() const
    {
        std::vector<std::string> all;
        for (auto const& [name, ledger] : *ledgers_)
            all.push_back(name);
        return all;
    }

private:
    memory_ledger& get(std::string_view name, time_point now)
    {
        if (auto const found = ledgers_->find(name); found != ledgers_->end())
            return found->second;
        undo_->add([all = ledgers_, n = std::string{name}] { all->erase(n); });
        return ledgers_->try_emplace(std::string{name}, memory_ledger{now, {}}).first->second;
    }

    // Calls f for the entries of a range until it says no.
    template <class F>
    void each(std::string_view name, ledger_range const& range, F f) const
    {
        auto const ledger = ledgers_->find(name);
        if (ledger == ledgers_->end())
            return;
        auto const& records = ledger->second.records;
        for (auto at = records.lower_bound(range.from); at != records.end() && at->first < range.to; ++at)
            if (!f(*at))
                return;
    }

    memory_ledger_map* ledgers_;
    undo_log* undo_;
};

} // namespace cosaga::detail
