// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What the settlements of one turn ask of the store and of those who wait for receipts.
struct relay_outcome {
    struct buried {
        message_row row;  ///< without content
        message_id id;
    };
    std::vector<std::int64_t> erase;   ///< accepted: rows to remove
    std::vector<message_id> accepted;  ///< their ids
    std::vector<message_row> update;   ///< failed: rows with new attempts, due_at, last_error; without content
    std::vector<buried> bury;          ///< rows to move to state dead
};

/// The messages of one destination that are in memory: which may be published now, and what a settlement means.
///
/// A state machine without I/O. A message that fails waits for its schedule and holds back later messages of its
/// key. When `failures_until_down` settlements in a row failed, the destination counts as down: then one message
/// probes it at growing intervals, and only the attempts of the probe are counted, so that an outage does not
/// send a whole window to the dead letters.
class relay_window {
public:
    static constexpr std::uint32_t failures_until_down = 8;

    relay_window(std::size_t messages, std::size_t bytes, schedule const& retries)
        : most_messages_{messages}, most_bytes_{bytes}, retries_{retries}
    {
    }

    /// How many more rows may be taken; bytes may be exceeded by one row.
    std::size_t room() const noexcept
    {
        bool const full = held_messages_ >= most_messages_ || held_bytes_ >= most_bytes_;
        return full ? 0 : most_messages_ - held_messages_;
    }
    std::size_t bytes_left() const noexcept { return held_bytes_ >= most_bytes_ ? 0 : most_bytes_ - held_bytes_; }
    std::size_t size() const noexcept { return held_messages_; }
    bool is_down() const noexcept { return failures_in_a_row_ >= failures_until_down; }

    /// Takes the next row in order of seq.
    /// @param wait how long it must still wait, for a row whose earlier attempts failed before a restart.
    void take(message_row row, steady_time now, duration wait)
    {
        auto const bytes = memory_of(row.content);
        ++held_messages_;
        held_bytes_ += bytes;
        held h{{row.seq, row.content.id, row.attempts, bytes}, std::move(row.content), now + wait};
        if (wait > duration::zero())
            hold(std::move(h));
        else
            fresh_.push_back(std::move(h));
    }

    /// What is to be published now, in order.
    std::vector<envelope> publishable(steady_time now)
    {
        std::vector<envelope> batch;
        if (is_down()) {
            if (now >= probe_at_ && !probe_ && publish_probe(batch))
                probe_ = batch.front().tag;
            return batch;
        }
        for (auto k = keys_.begin(); k != keys_.end();) {
            if (k->second.front().due > now) {
                ++k;
                continue;
            }
            for (auto& h : k->second)
                batch.push_back(to_envelope(std::move(h)));
            k = keys_.erase(k);
        }
        while (!keyless_.empty() && keyless_.begin()->first <= now)
            batch.push_back(to_envelope(std::move(keyless_.extract(keyless_.begin()).mapped())));
        batch.reserve(batch.size() + fresh_.size());
        for (auto& h : fresh_) {
            auto const same = keys_.find(h.content.key);
            // After a restart what failed before may be read behind what did not.
            if (same != keys_.end() && same->second.front().of.seq < h.of.seq)
                hold(std::move(h));
            else
                batch.push_back(to_envelope(std::move(h)));
        }
        fresh_.clear();
        return batch;
    }

    /// When `publishable` has something to publish that it has not now.
    std::optional<steady_time> next_due() const
    {
        if (is_down())
            return probe_ || held_messages_ == in_flight_ ? std::nullopt : std::optional{probe_at_};
        std::optional<steady_time> next;
        auto const consider = [&next](steady_time t) { next = next ? std::min(*next, t) : t; };
        for (auto const& [key, waiting] : keys_)
            consider(waiting.front().due);
        if (!keyless_.empty())
            consider(keyless_.begin()->first);
        return next;
    }

    /// @param random a source of 64 random bits.
    template <class Random>
    void settle(settlement s, steady_time now, time_point wall_now, Random&& random, relay_outcome& out)
    {
        auto const settled = release(s.tag);
        if (!settled)
            return;
        bool const was_probe = probe_ == s.tag;
        if (was_probe)
            probe_.reset();
        if (s.result != verdict::failed)
            failures_in_a_row_ = 0;
        switch (s.result) {
        case verdict::accepted:
            out.erase.push_back(settled->seq);
            out.accepted.push_back(settled->id);
            forget(*settled);
            break;
        case verdict::rejected: bury(*settled, std::move(s.reason), out); break;
        case verdict::failed: fail(*settled, std::move(s), was_probe, now, wall_now, random, out); break;
        }
    }

private:
    struct entry {
        std::int64_t seq = 0;
        message_id id;
        std::uint32_t attempts = 0;
        std::size_t bytes = 0;
    };
    struct held {
        entry of;
        message content;
        steady_time due{};
    };
    struct slot {
        entry of;
        std::uint32_t generation = 0;
        bool used = false;
    };

    envelope to_envelope(held h)
    {
        if (free_.empty()) {
            free_.push_back(static_cast<std::uint32_t>(slots_.size()));
            slots_.emplace_back();
        }
        auto const index = free_.back();
        free_.pop_back();
        auto& s = slots_[index];
        s.of = h.of;
        s.used = true;
        ++in_flight_;
        return {std::uint64_t{s.generation} << 32 | index, std::move(h.content)};
    }

    std::optional<entry> release(std::uint64_t tag)
    {
        auto const index = static_cast<std::uint32_t>(tag);
        if (index >= slots_.size() || !slots_[index].used || slots_[index].generation != tag >> 32)
            return std::nullopt;
        auto& s = slots_[index];
        s.used = false;
        ++s.generation;
        --in_flight_;
        free_.push_back(index);
        return s.of;
    }

    void forget(entry const& e)
    {
        --held_messages_;
        held_bytes_ -= e.bytes;
    }

    void bury(entry const& e, std::string reason, relay_outcome& out)
    {
        message_row row;
        row.seq = e.seq;
        row.attempts = e.attempts;
        row.last_error = std::move(reason);
        out.bury.push_back({std::move(row), e.id});
        forget(e);
    }

    template <class Random>
    void fail(entry e, settlement s, bool was_probe, steady_time now, time_point wall_now, Random& random,
        relay_outcome& out)
    {
        bool const was_down = is_down();
        ++failures_in_a_row_;
        auto const blocked = s.content.key.empty() ? keys_.end() : keys_.find(s.content.key);
        bool const behind_another = blocked != keys_.end() && blocked->second.front().of.seq < e.seq;
        bool const counts = was_probe || (!behind_another && !was_down);
        if (counts)
            ++e.attempts;
        auto const wait = retries_.delay_after(std::max<std::uint32_t>(e.attempts, 1), random());
        if (is_down() && (was_probe || !was_down)) {
            probe_at_ = now + retries_.delay_without_end(failures_in_a_row_ - failures_until_down + 1, random());
        }
        if (counts && !wait) {
            bury(e, std::move(s.reason), out);
            return;
        }
        auto const delay = wait.value_or(duration::zero());
        if (counts) {
            message_row row;
            row.seq = e.seq;
            row.attempts = e.attempts;
            row.due_at = wall_now + delay;
            row.last_error = std::move(s.reason);
            out.update.push_back(std::move(row));
        }
        hold({e, std::move(s.content), now + delay});
    }

    void hold(held h)
    {
        if (h.content.key.empty()) {
            keyless_.emplace(h.due, std::move(h));
            return;
        }
        auto& waiting = keys_[h.content.key];
        auto const place = std::find_if(
            waiting.begin(), waiting.end(), [&](held const& other) { return other.of.seq > h.of.seq; });
        waiting.insert(place, std::move(h));
    }

    // The oldest message, whatever it waits for: heads of keys only, so that none overtakes its own key.
    bool publish_probe(std::vector<envelope>& batch)
    {
        std::erase_if(fresh_, [this](held& h) {
            bool const same = keys_.contains(h.content.key);
            if (same)
                hold(std::move(h));
            return same;
        });
        auto oldest_key = keys_.end();
        for (auto k = keys_.begin(); k != keys_.end(); ++k)
            if (oldest_key == keys_.end() || k->second.front().of.seq < oldest_key->second.front().of.seq)
                oldest_key = k;
        if (oldest_key != keys_.end()) {
            auto& waiting = oldest_key->second;
            auto probe = std::move(waiting.front());
            waiting.pop_front();
            if (waiting.empty())
                keys_.erase(oldest_key);
            batch.push_back(to_envelope(std::move(probe)));
        } else if (!keyless_.empty()) {
            batch.push_back(to_envelope(std::move(keyless_.extract(keyless_.begin()).mapped())));
        } else if (!fresh_.empty()) {
            batch.push_back(to_envelope(std::move(fresh_.front())));
            fresh_.pop_front();
        }
        return !batch.empty();
    }

    std::size_t most_messages_;
    std::size_t most_bytes_;
    schedule retries_;
    std::size_t held_messages_ = 0;
    std::size_t held_bytes_ = 0;
    std::size_t in_flight_ = 0;
    std::uint32_t failures_in_a_row_ = 0;
    std::optional<std::uint64_t> probe_; // the tag of the one message in flight while down
    steady_time probe_at_{};
    std::vector<slot> slots_;
    std::vector<std::uint32_t> free_;
    std::deque<held> fresh_;                       // taken, not yet published, in order of seq
    std::map<std::string, std::deque<held>> keys_; // by key, each in order of seq
    std::multimap<steady_time, held> keyless_;     // by due time
};

} // namespace cosaga::detail
