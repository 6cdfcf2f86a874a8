// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What one publisher may have outstanding at one subscription.
struct flow_window {
    std::size_t messages = 1024;
    std::size_t bytes = std::size_t{16} << 20; ///< by `flow_cost`; a single message may exceed it
};

/// What a message counts for in a window. Part of the wire protocol: both sides compute it.
inline std::size_t flow_cost(message const& m) noexcept
{
    std::size_t sum = 256 + m.topic.size() + m.key.size() + m.type.size() + m.source.size() + m.content_type.size()
                    + m.payload.size();
    for (auto const& h : m.headers)
        sum += 64 + h.name.size() + h.value.size();
    return sum;
}

/// A message that a receiver has and did not settle.
struct held_message {
    std::uint64_t tag = 0;
    std::size_t bytes = 0; ///< by `flow_cost`

    bool operator==(held_message const&) const = default;
};

/// Where a delivery came from: a lane of the subscription, and the number that the sender knows the message by.
struct delivery_origin {
    std::uint32_t lane = 0;
    std::uint64_t tag = 0;
};

/// The end of one delivery, for its sender.
struct settled_delivery {
    delivery_origin from;
    verdict result = verdict::accepted;
    std::string reason;
};

/// The receiving side of one subscription, without I/O: what waits, what is handed out, what comes again and when.
///
/// Messages arrive by lanes, one for each publisher. A message that is given back holds its key: later messages of
/// the key wait until it was delivered again and settled. Others pass.
/// @par Thread safety
/// none.
class delivery_queue {
public:
    /// What a lane has here: waiting, handed out, or coming again.
    struct usage {
        std::size_t messages = 0;
        std::size_t bytes = 0;
    };

    std::uint32_t open_lane()
    {
        if (free_lanes_.empty()) {
            lanes_.emplace_back();
            free_lanes_.push_back(static_cast<std::uint32_t>(lanes_.size() - 1));
        }
        auto const lane = free_lanes_.back();
        free_lanes_.pop_back();
        lanes_[lane] = {.held = {}, .open = true};
        return lane;
    }

    /// The sender is gone for good: what it sent is delivered all the same, and its settlements go nowhere.
    void close_lane(std::uint32_t lane)
    {
        lanes_[lane].open = false;
        reuse_if_empty(lane);
    }

    usage held(std::uint32_t lane) const noexcept { return lanes_[lane].held; }
    usage held() const noexcept { return total_; }

    /// What of a lane is not settled, in order of arrival.
    std::vector<held_message> held_messages(std::uint32_t lane) const
    {
        std::map<std::uint64_t, held_message> found;
        for (auto const& s : slots_)
            if (s.state != slot_state::free && s.from.lane == lane)
                found.emplace(s.arrival, held_message{s.from.tag, s.bytes});
        std::vector<held_message> all;
        all.reserve(found.size());
        for (auto const& [arrival, message] : found)
            all.push_back(message);
        return all;
    }

    void push(delivery_origin from, message content, std::string_view sender)
    {
        auto const index = allocate();
        auto& s = slots_[index];
        s.from = from;
        s.bytes = flow_cost(content);
        s.content = std::move(content);
        s.sender.assign(sender);
        s.arrival = ++arrivals_;
        s.attempt = 0;
        s.state = slot_state::ready;
        count(s, 1);
        ready_.push_back(index);
    }

    /// At most `most` deliveries: first those that come again and are due, then the waiting ones in order.
    std::vector<delivery> take(std::size_t most, steady_time now)
    {
        std::vector<delivery> taken;
        while (taken.size() < most) {
            if (!due_.empty() && due_.begin()->first <= now) {
                auto const index = due_.begin()->second;
                leave_park(index);
                taken.push_back(hand_out(index));
            } else if (!ready_.empty()) {
                auto const index = ready_.front();
                ready_.pop_front();
                if (auto* const h = find_hold(slots_[index].content.key))
                    park(*h, index, std::nullopt);
                else
                    taken.push_back(hand_out(index));
            } else {
                break;
            }
        }
        return taken;
    }

    /// True when `take` has something to give, or may have after sorting out held keys.
    bool is_ready(steady_time now) const noexcept
    {
        return !ready_.empty() || (!due_.empty() && due_.begin()->first <= now);
    }

    /// When something comes again, if `is_ready` does not say so already.
    std::optional<steady_time> next_due() const
    {
        return due_.empty() ? std::nullopt : std::optional{due_.begin()->first};
    }

    /// Ends a delivery that is handed out; any other tag is ignored.
    void settle(std::uint64_t tag, verdict result, std::string reason, std::vector<settled_delivery>& out)
    {
        auto const index = find_handed_out(tag);
        if (!index)
            return;
        auto& s = slots_[*index];
        auto const from = s.from;
        auto* const h = std::exchange(s.holding, nullptr);
        count(s, -1);
        release(*index);
        if (lanes_[from.lane].open)
            out.push_back({from, result, std::move(reason)});
        else
            reuse_if_empty(from.lane);
        if (h) {
            --h->second.out;
            advance(*h);
        }
    }

    /// Takes a delivery back; it comes again at `due`. Ignored unless it is handed out.
    void retry(delivery d, steady_time due)
    {
        auto const index = find_handed_out(d.tag);
        if (!index)
            return;
        auto& s = slots_[*index];
        s.content = std::move(d.content);
        auto* h = std::exchange(s.holding, nullptr);
        if (h) {
            --h->second.out;
            s.content.key = h->first; // whatever the caller did to it: the hold is found by it
        } else if (s.content.key.empty()) {
            s.state = slot_state::parked;
            due_.emplace(due, *index);
            return;
        } else {
            h = &*holds_.try_emplace(s.content.key).first;
        }
        park(*h, *index, due);
        advance(*h);
    }

    /// Forgets everything but the lanes.
    void clear()
    {
        ready_.clear();
        due_.clear();
        holds_.clear();
        free_.clear();
        slots_.clear();
        total_ = {};
        for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) {
            lanes_[lane].held = {};
            reuse_if_empty(lane);
        }
    }

private:
    enum class slot_state : std::uint8_t { free, ready, out, parked };

    struct parked {
        std::uint32_t index = 0;
        std::optional<steady_time> due; // of one that was given back; the others only wait behind it
    };
    using due_index = std::multimap<steady_time, std::uint32_t>;
    struct hold {
        std::map<std::uint64_t, parked> waiting; // by arrival
        std::size_t retried = 0;                 // how many of them were given back
        std::size_t out = 0;                     // delivered from here and not settled
        std::optional<due_index::iterator> scheduled;
    };
    using hold_map = std::unordered_map<std::string, hold>;

    struct slot {
        message content;
        std::string sender;
        delivery_origin from;
        std::size_t bytes = 0;
        std::uint64_t arrival = 0;
        hold_map::value_type* holding = nullptr; // the key that waits for this one, which is handed out
        std::uint32_t generation = 0;            // tells a reused slot from what it was before
        std::uint32_t attempt = 0;
        slot_state state = slot_state::free;
    };
    struct lane_state {
        usage held;
        bool open = false;
    };

    std::uint32_t allocate()
    {
        if (free_.empty()) {
            slots_.emplace_back();
            slots_.back().generation = ++generations_;
            return static_cast<std::uint32_t>(slots_.size() - 1);
        }
        auto const index = free_.back();
        free_.pop_back();
        slots_[index].generation = ++generations_;
        return index;
    }

    void release(std::uint32_t index)
    {
        slots_[index].state = slot_state::free;
        free_.push_back(index);
    }

    std::optional<std::uint32_t> find_handed_out(std::uint64_t tag) const noexcept
    {
        auto const index = static_cast<std::uint32_t>(tag);
        if (index >= slots_.size() || slots_[index].generation != tag >> 32 || slots_[index].state != slot_state::out)
            return std::nullopt;
        return index;
    }

    delivery hand_out(std::uint32_t index)
    {
        auto& s = slots_[index];
        s.state = slot_state::out;
        ++s.attempt;
        delivery d;
        d.tag = std::uint64_t{s.generation} << 32 | index;
        d.content = std::move(s.content);
        d.attempt = s.attempt;
        d.sender = s.sender;
        return d;
    }

    void count(slot const& s, int direction) noexcept
    {
        for (auto* const u : {&lanes_[s.from.lane].held, &total_}) {
            u->messages += static_cast<std::size_t>(direction);
            u->bytes += direction > 0 ? s.bytes : std::size_t{0} - s.bytes;
        }
    }

    void reuse_if_empty(std::uint32_t lane)
    {
        auto& l = lanes_[lane];
        if (l.open || l.held.messages > 0)
            return;
        for (auto const f : free_lanes_)
            if (f == lane)
                return;
        free_lanes_.push_back(lane);
    }

    hold_map::value_type* find_hold(std::string const& key)
    {
        if (holds_.empty() || key.empty())
            return nullptr;
        auto const found = holds_.find(key);
        return found == holds_.end() ? nullptr : &*found;
    }

    void park(hold_map::value_type& h, std::uint32_t index, std::optional<steady_time> due)
    {
        auto& s = slots_[index];
        s.state = slot_state::parked;
        h.second.waiting.emplace(s.arrival, parked{index, due});
        if (due)
            ++h.second.retried;
    }

    // Takes a slot that is due out of `due_`, and of its key if it has one.
    void leave_park(std::uint32_t index)
    {
        auto& s = slots_[index];
        due_.erase(due_.begin());
        auto* const h = find_hold(s.content.key);
        if (!h)
            return;
        auto const found = h->second.waiting.find(s.arrival);
        if (found->second.due)
            --h->second.retried;
        h->second.waiting.erase(found);
        h->second.scheduled.reset();
        ++h->second.out;
        s.holding = h;
    }

    // Decides what of a held key comes next: one at a time, until none is left that was given back.
    void advance(hold_map::value_type& h)
    {
        auto& of = h.second;
        if (of.scheduled)
            due_.erase(*std::exchange(of.scheduled, std::nullopt));
        if (of.out > 0)
            return;
        if (of.retried > 0) {
            auto const& head = of.waiting.begin()->second;
            of.scheduled = due_.emplace(head.due.value_or(steady_time::min()), head.index);
            return;
        }
        // Before what waits already: later ones of the key may be among it.
        for (auto w = of.waiting.rbegin(); w != of.waiting.rend(); ++w) {
            slots_[w->second.index].state = slot_state::ready;
            ready_.push_front(w->second.index);
        }
        auto const key = h.first;
        holds_.erase(key);
    }

    std::vector<slot> slots_;
    std::vector<std::uint32_t> free_;
    std::vector<lane_state> lanes_;
    std::vector<std::uint32_t> free_lanes_;
    std::deque<std::uint32_t> ready_; // slots that wait, each key in order
    due_index due_;                   // slots that come again: without a key, or first of their key
    hold_map holds_;
    usage total_;
    std::uint64_t arrivals_ = 0;
    std::uint32_t generations_ = 0; // never reset, so that a tag from before `clear` names nothing
};

} // namespace cosaga::detail
