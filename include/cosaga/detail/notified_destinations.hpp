// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/notification_options.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// One destination with something pending, in memory.
struct notified {
    notified(std::string n, std::uint64_t i) : name{std::move(n)}, number{i} {}

    std::string const name;
    std::uint64_t const number;
    time_point next = time_point::max(); ///< when something is due that is not `busy`, or earlier
    std::set<std::int64_t> busy{};       ///< rows that are being tried, or were and the result is not stored
    std::size_t known = 0;               ///< pending rows when it was looked at last

private:
    friend class notified_destinations;
    enum class place : std::uint8_t { none, later, ready, paused };

    steady_time paused_until{};
    std::uint32_t failures = 0; // in a row
    std::size_t allowed = 1;    // attempts at a time
    std::size_t in_flight = 0;
    bool trusted = false;       // the last attempt delivered
    bool has_turn = false;
    place at = place::none;
    time_point later_key{};      // where it stands in the order of its place
    steady_time paused_key{};
    std::uint64_t ready_key = 0;
    bool ready_share = false;
};

/// Decides which destinations have their turn: a state machine without input and output.
///
/// Those whose last attempt failed are tried with one at a time. Together with those of which nothing is known they get half of all attempts at most: so
/// the others have the rest, however many hang. Each stands behind those that were there before it, so a long queue at one delays no
/// other. After some failures in a row a destination is paused, each time for longer, and the one attempt after that decides: that is its circuit breaker.
class notified_destinations {
public:
    explicit notified_destinations(notifier_options const& options) : options_{options} {}

    notified* find(std::string_view name)
    {
        auto const found = all_.find(name);
        return found == all_.end() ? nullptr : found->second.get();
    }

    /// Something is due there at that time; a destination that is not known yet is made.
    void note(std::string const& name, time_point due)
    {
        auto& d = all_[name];
        if (!d)
            d = std::make_unique<notified>(name, ++made_);
        note(*d, due);
    }
    void note(notified& d, time_point due)
    {
        if (due >= d.next)
            return;
        d.next = due;
        put(d);
    }

    struct turn {
        notified* destination;
        std::size_t room; ///< attempts that may begin there
    };

    /// Those that have something to do now, at most `most`; each turn is to be ended. Those that are not trusted come first: they are limited.
    std::vector<turn> take_turns(time_point now, steady_time steady_now, std::size_t most)
    {
        now_ = now;
        steady_now_ = steady_now;
        while (!paused_.empty() && paused_.begin()->first.first <= steady_now)
            put(*paused_.begin()->second);
        while (!later_.empty() && later_.begin()->first.first <= now)
            put(*later_.begin()->second);
        std::vector<turn> turns;
        auto free = options_.in_flight - std::min(options_.in_flight, running());
        for (bool const trusted : {false, true}) {
            auto room = std::min(free, room_for(trusted));
            auto& ready = ready_[trusted];
            while (!ready.empty() && room > 0 && turns.size() < most) {
                auto& d = *ready.begin()->second;
                auto const here = std::min(room, d.allowed - d.in_flight);
                room -= here;
                free -= here;
                d.has_turn = true;
                put(d);
                turns.push_back({&d, here});
            }
        }
        return turns;
    }

    /// Something is due there next at that time, beside what is busy; the reference may be invalid afterwards.
    void end_turn(notified& d, time_point next)
    {
        d.has_turn = false;
        d.next = next;
        put(d);
        forget_if_idle(d);
    }
    /// What became of an attempt there is stored; it is tried again at that time.
    void recorded(std::string const& name, std::optional<time_point> due)
    {
        if (due)
            note(name, *due);
        else if (auto* const d = find(name))
            forget_if_idle(*d);
    }

    /// An attempt begins, in a turn. @return in whose share it is.
    bool begin(notified& d, std::int64_t seq)
    {
        d.busy.insert(seq);
        ++d.in_flight;
        ++running_[d.trusted];
        return d.trusted;
    }
    /// It has ended, or is over in time.
    void end(notified& d, bool delivered, duration pause, steady_time now)
    {
        steady_now_ = now;
        --d.in_flight;
        d.trusted = delivered;
        d.paused_until = std::max(d.paused_until, now + pause);
        if (delivered) {
            d.failures = 0;
            d.allowed = std::min(options_.in_flight_per_destination, d.allowed + 1);
            d.paused_until = {};
        } else {
            d.allowed = 1;
            if (++d.failures >= options_.breaker_failures)
                d.paused_until = std::max(d.paused_until, now + open_time(d.failures - options_.breaker_failures));
        }
        put(d);
    }
    /// Its coroutine is gone.
    void release(bool trusted) { --running_[trusted]; }

    std::size_t running() const noexcept { return running_[0] + running_[1]; }
    std::size_t paused() const noexcept { return paused_.size(); }

    /// When there may be something to do, `max` if only the end of an attempt or something new can change that.
    steady_time next(time_point now, steady_time steady_now) const
    {
        auto when = paused_.empty() ? steady_time::max() : paused_.begin()->first.first;
        if (running() >= options_.in_flight)
            return when;
        for (bool const trusted : {false, true})
            if (!ready_[trusted].empty() && room_for(trusted) > 0)
                return steady_now;
        if (later_.empty())
            return when;
        auto const due = later_.begin()->first.first;
        // Not the difference of any two times, which may overflow.
        return std::min(when, steady_now + (due > now + longest_wait ? longest_wait : std::max(due - now, shortest_wait)));
    }

private:
    // Idle destinations beyond that are forgotten, and begin as unknown ones again.
    static constexpr std::size_t most_remembered = 16'384;
    static constexpr duration longest_wait = std::chrono::hours{1};
    static constexpr duration shortest_wait = std::chrono::milliseconds{1}; // the two clocks may differ a little

    std::size_t room_for(bool trusted) const noexcept
    {
        auto const share = trusted ? options_.in_flight : options_.in_flight / 2;
        return share - std::min(share, running_[trusted]);
    }

    void forget_if_idle(notified& d)
    {
        if (d.next == time_point::max() && !d.has_turn && d.in_flight == 0 && d.busy.empty() && all_.size() > most_remembered)
            all_.erase(all_.find(d.name));
    }

    duration open_time(std::uint32_t failures_more) const noexcept
    {
        auto open = options_.breaker_open;
        for (; failures_more > 0 && open < options_.breaker_cap; --failures_more)
            open = std::min(open * 2, options_.breaker_cap);
        return open;
    }

    // Where it belongs now: it has its place in one of the orders, or none.
    void put(notified& d)
    {
        auto const to = place_of(d);
        if (to == notified::place::ready && d.at == to && d.ready_share == d.trusted)
            return; // it does not lose its turn
        switch (std::exchange(d.at, to)) {
        case notified::place::later: later_.erase({d.later_key, d.number}); break;
        case notified::place::ready: ready_[d.ready_share].erase(d.ready_key); break;
        case notified::place::paused: paused_.erase({d.paused_key, d.number}); break;
        case notified::place::none: break;
        }
        switch (to) {
        case notified::place::later:
            d.later_key = d.next;
            later_.emplace(std::pair{d.later_key, d.number}, &d);
            break;
        case notified::place::ready:
            d.ready_key = ++last_ready_;
            d.ready_share = d.trusted;
            ready_[d.ready_share].emplace(d.ready_key, &d);
            break;
        case notified::place::paused:
            d.paused_key = d.paused_until;
            paused_.emplace(std::pair{d.paused_key, d.number}, &d);
            break;
        case notified::place::none: break;
        }
    }

    notified::place place_of(notified const& d) const noexcept
    {
        if (d.has_turn || d.next == time_point::max() || d.in_flight >= d.allowed)
            return notified::place::none;
        if (d.paused_until > steady_now_)
            return notified::place::paused;
        return d.next <= now_ ? notified::place::ready : notified::place::later;
    }

    notifier_options options_;
    time_point now_{};
    steady_time steady_now_{};
    std::uint64_t made_ = 0;
    std::uint64_t last_ready_ = 0;
    std::map<std::string, std::unique_ptr<notified>, std::less<>> all_;
    std::map<std::pair<time_point, std::uint64_t>, notified*> later_;
    std::map<std::pair<steady_time, std::uint64_t>, notified*> paused_;
    std::array<std::map<std::uint64_t, notified*>, 2> ready_; // those that are not trusted, and those that are
    std::array<std::size_t, 2> running_{};                    // the same
};

} // namespace cosaga::detail
