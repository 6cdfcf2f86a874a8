// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What takes back the changes of a transaction in memory, the last first.
class undo_log {
public:
    void add(std::function<void()> undo) { log_.push_back(std::move(undo)); }
    void clear() noexcept { log_.clear(); }
    std::size_t size() const noexcept { return log_.size(); }

    /// Takes back all changes but the first `kept`.
    void undo_to(std::size_t kept) noexcept
    {
        for (; log_.size() > kept; log_.pop_back())
            log_.back()();
    }

    // Changes of a map with strings as keys, which outlives the log.

    /// The entry of a key, made if needed; an empty one that stays behind after a rollback is not seen by anybody.
    template <class Map>
    static typename Map::mapped_type& entry(Map& map, std::string_view key)
    {
        auto const found = map.find(key);
        return found != map.end() ? found->second : map.try_emplace(std::string{key}).first->second;
    }

    template <class Map>
    void set(Map& map, std::string_view key, typename Map::mapped_type value)
    {
        auto const found = map.find(key);
        if (found == map.end()) {
            map.try_emplace(std::string{key}, std::move(value));
            add([&map, k = std::string{key}] { map.erase(k); });
            return;
        }
        add([&map, k = std::string{key}, kept = std::exchange(found->second, std::move(value))] { map.find(k)->second = kept; });
    }

    template <class Map>
    bool unset(Map& map, std::string_view key)
    {
        auto const found = map.find(key);
        if (found == map.end())
            return false;
        add([&map, kept = *found] { map.insert_or_assign(kept.first, kept.second); }); // `entry` may have left an empty one
        map.erase(found);
        return true;
    }

private:
    std::vector<std::function<void()>> log_;
};

} // namespace cosaga::detail
