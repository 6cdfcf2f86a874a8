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
/// A change of a sector has all of its bytes, so that what reaches the disk of a sector is always one of its states. The states are never
/// changed, so that all three share them.
class simulated_file {
public:
    static constexpr std::size_t sector = 512;

    std::size_t size() const noexcept { return size_; }

    /// @return how many bytes there are to read.
    std::size_t read(char* to, std::size_t n, std::size_t at) const noexcept
    {
        auto const there = at < size_ ? std::min(n, size_ - at) : 0;
        for (std::size_t done = 0; done < there;) {
            auto const in_sector = (at + done) % sector;
            auto const part = std::min(sector - in_sector, there - done);
            copy(content_[(at + done) / sector], in_sector, part, to + done);
            done += part;
        }
        return there;
    }

    /// @param clock the time, which goes on by one with each change.
    void write(char const* from, std::size_t n, std::size_t at, std::uint64_t& clock)
    {
        if (n == 0)
            return;
        auto const first = at / sector;
        auto const end = sectors_of(at + n);
        if (size_ < at + n) {
            size_ = at + n;
            content_.resize(end);
            changes_.push_back({clock++, whole_file, size_, false, {}});
        }
        auto const made = std::make_shared_for_overwrite<char[]>((end - first) * sector);
        copy(content_[first], 0, sector, made.get());
        copy(content_[end - 1], 0, sector, made.get() + (end - 1 - first) * sector);
        std::memcpy(made.get() + at % sector, from, n);
        for (auto s = first; s < end; ++s) {
            content_[s] = {made, made.get() + (s - first) * sector};
            changes_.push_back({clock++, s, 0, false, content_[s]});
        }
    }

    void resize(std::size_t n, std::uint64_t& clock)
    {
        if (n == size_)
            return;
        changes_.push_back({clock++, whole_file, n, n < size_, {}});
        cut(content_, n);
        content_.resize(sectors_of(n));
        size_ = n;
    }

    /// Everything is on the disk.
    void sync()
    {
        for (auto& c : changes_)
            apply(c);
        set_durable_size(size_);
        changes_.clear();
    }

    /// Some sectors are on the disk. The others are only in memory: the next sync believes that they are written.
    void fail_sync(std::uint64_t chance)
    {
        for (auto& c : changes_)
            if (c.sector != whole_file && (spread_bits(chance ^ c.sector) & 1) == 0)
                apply(c);
        std::erase_if(changes_, [](change const& c) { return c.sector != whole_file; });
    }

    void lose_power(power_loss& loss)
    {
        auto limit = whole_file; // where a truncation that did not reach the disk cut: nothing behind it was written afterwards
        for (auto& c : changes_) {
            bool const kept = loss.keeps(c.when);
            if (c.sector == whole_file) {
                if (!kept && c.shrinks)
                    limit = std::min(limit, c.size);
                else if (kept && limit == whole_file)
                    apply(c);
            } else if (kept && c.sector * sector < limit)
                apply(c);
        }
        changes_.clear();
        cut(durable_, durable_size_);
        content_ = durable_;
        size_ = durable_size_;
    }

    /// The time of the oldest change that is not on the disk; `otherwise` if there is none.
    std::uint64_t oldest_change(std::uint64_t otherwise) const noexcept
    {
        return changes_.empty() ? otherwise : changes_.front().when;
    }

private:
    static constexpr auto whole_file = std::numeric_limits<std::size_t>::max();

    using state = std::shared_ptr<char const>; // of a sector; null: zeros
    struct change {
        std::uint64_t when;
        std::size_t sector; ///< or `whole_file`: its size
        std::size_t size;   ///< the new one
        bool shrinks;
        state bytes;
    };

    static std::size_t sectors_of(std::size_t n) noexcept { return (n + sector - 1) / sector; }

    static void copy(state const& from, std::size_t at, std::size_t n, char* to) noexcept
    {
        if (from)
            std::memcpy(to, from.get() + at, n);
        else
            std::memset(to, 0, n);
    }

    // Zeros from there on.
    static void cut(std::vector<state>& sectors, std::size_t n)
    {
        if (sectors.size() < sectors_of(n))
            return;
        sectors.resize(sectors_of(n));
        if (n % sector == 0)
            return;
        auto const last = std::make_shared<char[]>(sector);
        copy(sectors.back(), 0, n % sector, last.get());
        sectors.back() = {last, last.get()};
    }

    void apply(change& c)
    {
        if (c.sector == whole_file)
            return set_durable_size(c.size);
        reach(c.sector + 1);
        durable_[c.sector] = std::move(c.bytes);
    }

    // Bytes behind the end may be on the disk already, when the new size is not.
    void set_durable_size(std::size_t n)
    {
        if (n < durable_size_)
            cut(durable_, n);
        reach(sectors_of(n));
        durable_size_ = n;
    }
    void reach(std::size_t sectors)
    {
        if (durable_.size() < sectors)
            durable_.resize(sectors);
    }

    std::vector<state> content_;
    std::size_t size_ = 0;
    std::vector<state> durable_;
    std::size_t durable_size_ = 0;
    std::vector<change> changes_;
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
