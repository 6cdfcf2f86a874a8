// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Spreads the bits of a number (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
inline std::uint64_t spread_bits(std::uint64_t x) noexcept
{
    x += 0x9e37'79b9'7f4a'7c15u;
    x = (x ^ (x >> 30)) * 0xbf58'476d'1ce4'e5b9u;
    x = (x ^ (x >> 27)) * 0x94d0'49bb'1331'11ebu;
    return x ^ (x >> 31);
}

/// Decides what a loss of power leaves of the changes that were not synced: nothing, all, those before some moment, or any of them.
class power_loss {
public:
    /// @param first, last the times of the oldest and the youngest change.
    power_loss(std::uint64_t chance, std::uint64_t first, std::uint64_t last) noexcept : state_{chance}
    {
        auto const how = next() % 8;
        kind_ = how == 0 ? kind::nothing : how == 1 ? kind::everything : how < 4 ? kind::before : kind::any;
        cut_ = first + (last >= first ? next() % (last - first + 2) : 0);
        density_ = 1 + next() % 15;
    }

    bool keeps(std::uint64_t when) noexcept
    {
        switch (kind_) {
        case kind::nothing: return false;
        case kind::everything: return true;
        case kind::before: return when < cut_;
        case kind::any: break;
        }
        return next() % 16 < density_;
    }

private:
    enum class kind { nothing, everything, before, any };

    std::uint64_t next() noexcept { return spread_bits(state_++); }

    std::uint64_t state_;
    std::uint64_t cut_ = 0;
    std::uint64_t density_ = 0;
    kind kind_ = kind::nothing;
};

/// The bytes of one file: what programs see, what is on the disk, and the changes between the two, sector by sector.
///
/// A change of a sector has all of its bytes, so that what reaches the disk of a sector is always one of its states.
class simulated_file {
public:
    static constexpr std::size_t sector = 512;

    std::size_t size() const noexcept { return content_.size(); }

    /// @return how many bytes there are to read.
    std::size_t read(char* to, std::size_t n, std::size_t at) const noexcept
    {
        auto const there = at < content_.size() ? std::min(n, content_.size() - at) : 0;
        if (there > 0)
            std::memcpy(to, content_.data() + at, there);
        return there;
    }

    /// @param clock the time, which goes on by one with each change.
    void write(char const* from, std::size_t n, std::size_t at, std::uint64_t& clock)
    {
        if (n == 0)
            return;
        if (content_.size() < at + n) {
            content_.resize(at + n);
            changes_.push_back({clock++, whole_file, at + n, false});
        }
        std::memcpy(content_.data() + at, from, n);
        for (auto s = at / sector; s <= (at + n - 1) / sector; ++s) {
            changes_.push_back({clock++, s, bytes_.size(), false});
            auto const begin = content_.begin() + static_cast<std::ptrdiff_t>(s * sector);
            auto const there = std::min(sector, content_.size() - s * sector);
            bytes_.insert(bytes_.end(), begin, begin + static_cast<std::ptrdiff_t>(there));
            bytes_.resize(bytes_.size() + (sector - there));
        }
    }

    void resize(std::size_t n, std::uint64_t& clock)
    {
        if (n == content_.size())
            return;
        changes_.push_back({clock++, whole_file, n, n < content_.size()});
        content_.resize(n);
    }

    /// Everything is on the disk.
    void sync()
    {
        for (auto const& c : changes_)
            apply(c);
        set_durable_size(content_.size());
        forget_changes();
    }

    /// Some sectors are on the disk. The others are only in memory: the next sync believes that they are written.
    void fail_sync(std::uint64_t chance)
    {
        for (auto const& c : changes_)
            if (c.sector != whole_file && (spread_bits(chance ^ c.sector) & 1) == 0)
                apply(c);
        std::erase_if(changes_, [](change const& c) { return c.sector != whole_file; });
        bytes_.clear();
    }

    void lose_power(power_loss& loss)
    {
        auto limit = whole_file; // where a truncation that did not reach the disk cut: nothing behind it was written afterwards
        for (auto const& c : changes_) {
            bool const kept = loss.keeps(c.when);
            if (c.sector == whole_file) {
                if (!kept && c.shrinks)
                    limit = std::min(limit, c.at);
                else if (kept && limit == whole_file)
                    apply(c);
            } else if (kept && c.sector * sector < limit)
                apply(c);
        }
        forget_changes();
        auto const size = durable_size_;
        std::fill(durable_.begin() + static_cast<std::ptrdiff_t>(size), durable_.end(), '\0');
        content_.assign(durable_.begin(), durable_.begin() + static_cast<std::ptrdiff_t>(size));
    }

    /// The time of the oldest change that is not on the disk; `otherwise` if there is none.
    std::uint64_t oldest_change(std::uint64_t otherwise) const noexcept
    {
        return changes_.empty() ? otherwise : changes_.front().when;
    }

private:
    static constexpr auto whole_file = std::numeric_limits<std::size_t>::max();
    struct change {
        std::uint64_t when;
        std::size_t sector; ///< or `whole_file`: its size
        std::size_t at;     ///< of the bytes; or the new size
        bool shrinks;
    };

    void apply(change const& c)
    {
        if (c.sector == whole_file)
            return set_durable_size(c.at);
        reach((c.sector + 1) * sector);
        std::memcpy(durable_.data() + c.sector * sector, bytes_.data() + c.at, sector);
    }

    // Bytes behind the end may be on the disk already, when the new size is not.
    void set_durable_size(std::size_t n)
    {
        reach((n + sector - 1) / sector * sector);
        if (n < durable_size_)
            std::fill(durable_.begin() + static_cast<std::ptrdiff_t>(n), durable_.end(), '\0');
        durable_size_ = n;
    }
    void reach(std::size_t n)
    {
        if (durable_.size() < n)
            durable_.resize(n);
    }
    void forget_changes() noexcept
    {
        changes_.clear();
        bytes_.clear();
    }

    std::vector<char> content_;
    std::vector<char> durable_; // whole sectors
    std::size_t durable_size_ = 0;
    std::vector<change> changes_;
    std::vector<char> bytes_; // of the changes
};

/// The names of files: a change of the directory is on the disk when a sync has taken it there, or by chance.
template <class File>
class simulated_directory {
public:
    using file_ptr = std::shared_ptr<File>;

    file_ptr find(std::string_view name) const
    {
        auto const found = names_.find(name);
        return found == names_.end() ? nullptr : found->second;
    }
    /// Null removes the name.
    void set(std::string const& name, file_ptr const& file, std::uint64_t& clock)
    {
        changes_.push_back({clock++, name, file});
        apply(names_, changes_.back());
    }

    void sync()
    {
        for (auto const& c : changes_)
            apply(durable_, c);
        changes_.clear();
    }
    /// The names that a file was given.
    void sync(File const& file)
    {
        for (std::size_t i = 0; i < changes_.size(); ++i) {
            if (changes_[i].file.get() != &file)
                continue;
            auto const c = changes_[i];
            apply(durable_, c);
            // What was done to the name before has no effect any more.
            std::erase_if(changes_, [&](change const& other) { return other.name == c.name && other.when <= c.when; });
            i = static_cast<std::size_t>(-1);
        }
    }

    void lose_power(power_loss& loss)
    {
        for (auto const& c : changes_)
            if (loss.keeps(c.when))
                apply(durable_, c);
        changes_.clear();
        names_ = durable_;
    }

    std::uint64_t oldest_change(std::uint64_t otherwise) const noexcept
    {
        return changes_.empty() ? otherwise : changes_.front().when;
    }
    std::map<std::string, file_ptr, std::less<>> const& names() const noexcept { return names_; }

private:
    struct change {
        std::uint64_t when;
        std::string name;
        file_ptr file;
    };
    using names_type = std::map<std::string, file_ptr, std::less<>>;

    static void apply(names_type& to, change const& c)
    {
        if (c.file)
            to[c.name] = c.file;
        else
            to.erase(c.name);
    }

    names_type names_, durable_;
    std::vector<change> changes_;
};

} // namespace cosaga::detail
