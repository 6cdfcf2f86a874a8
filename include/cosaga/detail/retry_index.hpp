// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The messages that an inbox has taken and not yet applied, without their contents: which are due, and which keys they hold back.
///
/// Due times are those of the clock that never jumps: a wall clock that is put back must not postpone a retry.
class retry_index {
public:
    struct entry {
        std::string key;
        std::uint32_t attempts = 0;
        steady_time due{};
    };

    void clear()
    {
        entries_.clear();
        keys_.clear();
    }

    void add(message_row const& row, steady_time due)
    {
        auto const [place, added] = entries_.try_emplace(row.seq, entry{row.content.key, row.attempts, due});
        if (added && !row.content.key.empty())
            ++keys_[row.content.key];
    }

    void remove(std::int64_t seq)
    {
        auto const found = entries_.extract(seq);
        if (found.empty() || found.mapped().key.empty())
            return;
        auto const key = keys_.find(found.mapped().key);
        if (--key->second == 0)
            keys_.erase(key);
    }

    /// When a row with that many failed attempts is due, if it is here.
    std::optional<steady_time> due_of(std::int64_t seq, std::uint32_t attempts) const
    {
        auto const found = entries_.find(seq);
        return found == entries_.end() || found->second.attempts != attempts ? std::nullopt
                                                                             : std::optional{found->second.due};
    }

    void postpone(std::int64_t seq, std::uint32_t attempts, steady_time due)
    {
        auto const found = entries_.find(seq);
        if (found == entries_.end())
            return;
        found->second.attempts = attempts;
        found->second.due = due;
    }

    std::size_t size() const noexcept { return entries_.size(); }

    /// True when messages of this key have to wait behind others.
    bool holds(std::string const& key) const { return !key.empty() && keys_.contains(key); }

    /// At most `most` rows that are due and first of their key, in order of seq.
    std::vector<std::int64_t> due(steady_time now, std::size_t most) const
    {
        std::vector<std::int64_t> found;
        visit_heads([&](std::int64_t seq, entry const& e) {
            if (e.due <= now)
                found.push_back(seq);
            return found.size() < most;
        });
        return found;
    }

    std::optional<steady_time> next_due() const
    {
        std::optional<steady_time> next;
        visit_heads([&](std::int64_t, entry const& e) {
            if (!next || e.due < *next)
                next = e.due;
            return true;
        });
        return next;
    }

private:
    // Calls f for the first row of each key, until it returns false.
    template <class F>
    void visit_heads(F f) const
    {
        std::set<std::string_view> passed;
        for (auto const& [seq, e] : entries_) {
            bool const first = e.key.empty() || passed.insert(e.key).second;
            if (first && !f(seq, e))
                return;
        }
    }

    std::map<std::int64_t, entry> entries_;
    std::map<std::string, std::size_t> keys_; // how many rows of each key
};

} // namespace cosaga::detail
