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
class retry_index {
public:
    struct entry {
        std::string key;
        std::uint32_t attempts = 0;
        time_point due_at{};
    };

    void clear()
    {
        entries_.clear();
        keys_.clear();
    }

    void add(message_row const& row)
    {
        auto const [place, added] = entries_.try_emplace(row.seq, entry{row.content.key, row.attempts, row.due_at});
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

    void postpone(std::int64_t seq, std::uint32_t attempts, time_point due_at)
    {
        auto const found = entries_.find(seq);
        if (found == entries_.end())
            return;
        found->second.attempts = attempts;
        found->second.due_at = due_at;
    }

    std::size_t size() const noexcept { return entries_.size(); }

    /// True when messages of this key have to wait behind others.
    bool holds(std::string const& key) const { return !key.empty() && keys_.contains(key); }

    /// At most `most` rows that are due and first of their key, in order of seq.
    std::vector<std::int64_t> due(time_point now, std::size_t most) const
    {
        std::vector<std::int64_t> found;
        visit_heads([&](std::int64_t seq, entry const& e) {
            if (e.due_at <= now)
                found.push_back(seq);
            return found.size() < most;
        });
        return found;
    }

    std::optional<time_point> next_due() const
    {
        std::optional<time_point> next;
        visit_heads([&](std::int64_t, entry const& e) {
            if (!next || e.due_at < *next)
                next = e.due_at;
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
