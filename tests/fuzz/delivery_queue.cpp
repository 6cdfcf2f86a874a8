// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/detail/delivery_queue.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using cosaga::delivery;
using cosaga::message;
using cosaga::steady_time;
using cosaga::verdict;
using cosaga::detail::delivery_queue;
using cosaga::detail::held_message;
using cosaga::detail::settled_delivery;
using fuzz::require;

// A delivery queue, and beside it the plain list of what it must hold.
class model {
public:
    void open_lane()
    {
        if (lanes_.size() == 4)
            return;
        auto const lane = queue_.open_lane();
        require(!lanes_.contains(lane) && messages_of(lane) == 0, "a lane that is in use is not given out again");
        lanes_[lane] = true;
    }

    void close_lane(std::size_t which)
    {
        if (auto const lane = lane_at(which)) {
            queue_.close_lane(*lane);
            lanes_.erase(*lane);
        }
    }

    void push(std::size_t which, std::size_t key, std::size_t size)
    {
        auto const lane = lane_at(which);
        if (!lane || held_.size() == 64)
            return;
        message m;
        m.key = key == 0 ? std::string{} : std::string(1, static_cast<char>('a' + key));
        auto const number = ++pushed_;
        m.payload = std::to_string(number) + std::string(size, ' ');
        held_[number] = {.lane = *lane, .key = m.key, .cost = cosaga::detail::flow_cost(m)};
        queue_.push({*lane, number * 3}, std::move(m), "shop");
    }

    void take(std::size_t most)
    {
        auto taken = queue_.take(most, now_);
        require(taken.size() <= most, "no more is given than was asked for");
        for (auto& d : taken) {
            auto const number = std::stoull(d.content.payload);
            require(held_.contains(number), "what is given is held");
            auto& m = held_.at(number);
            require(!m.out, "what is handed out is not given again");
            require(d.content.key == m.key && d.sender == "shop", "a delivery is what was pushed");
            require(d.attempt == ++m.attempts, "attempts are counted");
            require(!m.due || *m.due <= now_, "a message does not come again before it is due");
            check_order(number, m);
            m.due.reset();
            m.out = std::move(d);
        }
        require(taken.size() == most || !queue_.is_ready(now_), "what is ready is given");
    }

    void settle(std::size_t which, std::size_t result)
    {
        auto const found = out_at(which);
        if (found == held_.end())
            return;
        auto const verdict_given = static_cast<verdict>(result % 3);
        auto const m = std::move(found->second);
        old_tags_.push_back(m.out->tag);
        auto const number = found->first;
        held_.erase(found);
        std::vector<settled_delivery> settled;
        queue_.settle(m.out->tag, verdict_given, "why", settled);
        require(settled.size() == (lanes_.contains(m.lane) ? 1u : 0u), "a settlement goes to a sender that is there");
        for (auto const& s : settled)
            require(s.from.lane == m.lane && s.from.tag == number * 3 && s.result == verdict_given && s.reason == "why",
                "a settlement is that of the message");
    }

    void retry(std::size_t which, std::size_t delay)
    {
        auto const found = out_at(which);
        if (found == held_.end())
            return;
        auto& m = found->second;
        m.due = now_ + cosaga::duration{delay};
        m.retried = true;
        old_tags_.push_back(m.out->tag);
        queue_.retry(*std::exchange(m.out, std::nullopt), *m.due);
    }

    // A tag that names nothing (any more) changes nothing.
    void use_wrong_tag(std::size_t which)
    {
        std::uint64_t const tag = which < old_tags_.size() ? old_tags_[which] : which << (which % 40);
        for (auto const& [number, m] : held_)
            if (m.out && m.out->tag == tag)
                return; // the same slot and attempt
        std::vector<settled_delivery> settled;
        queue_.settle(tag, verdict::accepted, {}, settled);
        delivery d;
        d.tag = tag;
        queue_.retry(std::move(d), now_);
        require(settled.empty(), "a tag that names nothing settles nothing");
    }

    void wait(std::size_t time) { now_ += cosaga::duration{time}; }

    void clear()
    {
        for (auto const& [number, m] : held_)
            if (m.out)
                old_tags_.push_back(m.out->tag);
        queue_.clear();
        held_.clear();
    }

    void check() const
    {
        delivery_queue::usage all;
        std::map<std::uint32_t, std::vector<held_message>> by_lane;
        for (auto const& [number, m] : held_) {
            ++all.messages;
            all.bytes += m.cost;
            by_lane[m.lane].push_back({number * 3, m.cost});
        }
        require(queue_.held().messages == all.messages && queue_.held().bytes == all.bytes, "the total is counted");
        for (auto const& [lane, open] : lanes_) {
            auto const& expected = by_lane[lane];
            std::size_t bytes = 0;
            for (auto const& h : expected)
                bytes += h.bytes;
            require(queue_.held(lane).messages == expected.size() && queue_.held(lane).bytes == bytes, "a lane is counted");
            require(queue_.held_messages(lane) == expected, "what a lane holds is listed in order of arrival");
        }
    }

    // Settles everything: nothing may be left over.
    void drain()
    {
        for (std::size_t rounds = 2 * held_.size() + 2; !held_.empty(); --rounds) {
            require(rounds > 0, "everything is delivered in the end");
            if (auto const next = queue_.next_due(); next && *next > now_)
                now_ = *next;
            take(100);
            for (std::size_t i = held_.size(); i > 0; --i)
                settle(0, 0);
        }
        require(queue_.held().messages == 0 && queue_.held().bytes == 0, "an empty queue counts nothing");
        require(!queue_.is_ready(now_) && !queue_.next_due(), "an empty queue has nothing to give");
    }

private:
    struct held {
        std::uint32_t lane = 0;
        std::string key;
        std::size_t cost = 0;
        std::uint32_t attempts = 0;
        bool retried = false;
        std::optional<steady_time> due{};
        std::optional<delivery> out{};
    };

    // Nothing of a key passes what was pushed before it and waits, or was given back and is not settled.
    void check_order(std::uint64_t number, held const& m) const
    {
        if (m.key.empty())
            return;
        for (auto const& [before, other] : held_)
            if (before < number && other.key == m.key)
                require(other.out && !other.retried, "a key is delivered in order");
    }

    std::optional<std::uint32_t> lane_at(std::size_t which) const
    {
        if (lanes_.empty())
            return std::nullopt;
        return std::next(lanes_.begin(), static_cast<std::ptrdiff_t>(which % lanes_.size()))->first;
    }

    std::size_t messages_of(std::uint32_t lane) const
    {
        return static_cast<std::size_t>(
            std::count_if(held_.begin(), held_.end(), [&](auto const& m) { return m.second.lane == lane; }));
    }

    std::map<std::uint64_t, held>::iterator out_at(std::size_t which)
    {
        auto const out = [](auto const& m) { return m.second.out.has_value(); };
        auto const count = static_cast<std::size_t>(std::count_if(held_.begin(), held_.end(), out));
        if (count == 0)
            return held_.end();
        auto at = std::find_if(held_.begin(), held_.end(), out);
        for (which %= count; which > 0; --which)
            at = std::find_if(std::next(at), held_.end(), out);
        return at;
    }

    delivery_queue queue_;
    std::map<std::uint32_t, bool> lanes_; // the open ones
    std::map<std::uint64_t, held> held_;  // by number, in order of arrival
    std::vector<std::uint64_t> old_tags_;
    std::uint64_t pushed_ = 0;
    steady_time now_{};
};

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size > 256)
        return -1; // what is longer finds nothing new
    fuzz::choices input{data, size};
    model m;
    m.open_lane();
    for (int steps = 0; steps < 64 && !input.at_end(); ++steps) {
        auto const step = input.byte();
        std::size_t const number = step >> 4;
        switch (step & 15) {
        case 0: m.open_lane(); break;
        case 1: m.close_lane(number); break;
        case 2: m.wait(number); break;
        case 3: m.use_wrong_tag(input.byte()); break;
        case 4:
            if (number == 0)
                m.clear();
            break;
        case 5:
        case 6: m.take(number + 1); break;
        case 7:
        case 8:
        case 9: m.settle(number, step & 15); break;
        case 10:
        case 11: m.retry(number, input.below(8)); break;
        default: m.push(number, number % 4, step & 3); break;
        }
        if (steps % 4 == 3)
            m.check();
    }
    m.check();
    m.drain();
    return 0;
}
