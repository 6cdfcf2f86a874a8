// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/message_id.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// Looks for many ids with one statement: ids that come together are mostly of one time, and so of one short range of an index.
class sqlite_id_range {
public:
    explicit sqlite_id_range(std::span<message_id const> ids) : ids_(ids.begin(), ids.end())
    {
        std::sort(ids_.begin(), ids_.end());
        ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
    }

    /// Sorted, each once.
    std::vector<message_id> const& ids() const noexcept { return ids_; }

    /// @param run runs a statement for the first and the last id and for how many rows at most; it gives rows by id, the id first.
    /// @param take is called with each row that has one of the ids.
    /// @return false if there is so much between these ids that each should be looked for by itself: then `take` saw a part.
    template <class Run, class Take>
    bool walk(Run const& run, Take const& take) const
    {
        if (ids_.size() < worth_it)
            return false;
        auto const most = many_times * ids_.size();
        auto rows = run(bytes_as_blob(ids_.front().bytes()), bytes_as_blob(ids_.back().bytes()), static_cast<std::int64_t>(most));
        auto next = ids_.begin();
        std::size_t seen = 0;
        for (; rows.step(); ++seen) {
            auto const id = rows.view(0);
            while (next != ids_.end() && view_of(*next) < id)
                ++next;
            if (next != ids_.end() && view_of(*next) == id)
                take(rows);
        }
        return seen < most;
    }

private:
    static constexpr std::size_t worth_it = 3;
    static constexpr std::size_t many_times = 4; // rows of a walk for one search: about what costs the same

    static std::string_view view_of(message_id const& id) noexcept
    {
        auto const bytes = bytes_as_blob(id.bytes());
        return {static_cast<char const*>(bytes.data), bytes.size};
    }

    std::vector<message_id> ids_;
};

} // namespace cosaga::detail
