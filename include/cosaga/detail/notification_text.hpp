// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/time_text.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/schedule.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

// What a notifier writes into rows and marks: readable by people, and by itself.
namespace cosaga::detail {

/// In this header a notification carries a schedule of its own; receivers never see it.
inline constexpr std::string_view schedule_header = "cosagaschedule";

/// No delay and no deadline is longer: sums with times cannot overflow.
inline constexpr duration longest_notification = std::chrono::hours{24 * 366};

/// The word before the next space; both are taken off `text`.
inline std::string_view take_word(std::string_view& text)
{
    auto const space = std::min(text.find(' '), text.size());
    auto const word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    return word;
}

template <class Number>
bool parse_whole(std::string_view text, Number& n)
{
    auto const parsed = std::from_chars(text.data(), text.data() + text.size(), n);
    return !text.empty() && parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
}

inline std::optional<time_point> parse_time(std::string_view text)
{
    using namespace std::chrono;
    constexpr std::string_view form = "0000-00-00T00:00:00.000Z";
    auto const number = [&](std::size_t at, std::size_t digits) {
        unsigned n = 0;
        return parse_whole(text.substr(at, digits), n) ? n : 10'000u;
    };
    if (text.size() != form.size())
        return std::nullopt;
    for (std::size_t i = 0; i < form.size(); ++i)
        if (form[i] != '0' && form[i] != text[i])
            return std::nullopt;
    year_month_day const date{year{static_cast<int>(number(0, 4))}, month{number(5, 2)}, day{number(8, 2)}};
    if (number(0, 4) > 9999 || !date.ok() || number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 59 || number(20, 3) > 999)
        return std::nullopt;
    return time_point{sys_days{date}} + hours{number(11, 2)} + minutes{number(14, 2)} + seconds{number(17, 2)} + milliseconds{number(20, 3)};
}

/// One line of at most so many bytes, without what a terminal would act upon.
inline std::string one_line(std::string_view text, std::size_t most)
{
    std::string line{text.substr(0, most)};
    if (line.size() < text.size())
        while (!line.empty() && (static_cast<unsigned char>(text[line.size()]) & 0xc0) == 0x80)
            line.pop_back(); // not within a character
    std::replace_if(line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
    return line;
}

inline constexpr std::array<std::string_view, 3> attempt_outcomes{"delivered", "failed", "gone"};

/// As in "2026-01-01T00:00:15.000Z failed 12ms 503 Service Unavailable".
inline std::string attempt_text(notification_attempt const& a)
{
    constexpr std::size_t longest_reason = 160;
    auto const milliseconds = std::chrono::floor<std::chrono::milliseconds>(a.latency).count();
    return time_text(a.time) + ' ' + std::string{attempt_outcomes[static_cast<std::size_t>(a.outcome)]} + ' ' + std::to_string(milliseconds)
         + "ms " + std::to_string(a.status) + ' ' + one_line(a.reason, longest_reason);
}

inline std::optional<notification_attempt> parse_attempt(std::string_view line)
{
    notification_attempt a;
    auto const time = parse_time(take_word(line));
    auto const outcome = std::find(attempt_outcomes.begin(), attempt_outcomes.end(), take_word(line));
    auto latency = take_word(line);
    std::int64_t milliseconds = 0;
    if (!time || outcome == attempt_outcomes.end() || !latency.ends_with("ms"))
        return std::nullopt;
    latency.remove_suffix(2);
    if (!parse_whole(latency, milliseconds) || milliseconds < 0 || milliseconds > 1'000'000'000 || !parse_whole(take_word(line), a.status))
        return std::nullopt;
    a.time = *time;
    a.outcome = static_cast<attempt_outcome>(outcome - attempt_outcomes.begin());
    a.latency = std::chrono::milliseconds{milliseconds};
    a.reason = line;
    return a;
}

/// What is written with a notification: why it is in its state, if there is something to say; when its first attempt was due, while there are others to
/// come; and a line for each attempt. Bounded: of many attempts the first and the last ones are kept.
struct notification_record {
    static constexpr std::size_t most_attempts = 32;
    static constexpr std::string_view due_word = "due ";

    std::string reason{};
    std::optional<time_point> due{};
    std::vector<std::string> attempts{};

    static notification_record parse(std::string_view text)
    {
        notification_record made;
        for (bool first = true; !text.empty(); first = false) {
            auto const end = std::min(text.find('\n'), text.size());
            std::string line{text.substr(0, end)};
            text.remove_prefix(std::min(end + 1, text.size()));
            if (parse_attempt(line))
                made.attempts.push_back(std::move(line));
            else if (line.starts_with(due_word))
                made.due = parse_time(std::string_view{line}.substr(due_word.size()));
            else if (first)
                made.reason = std::move(line);
        }
        return made;
    }

    void add(notification_attempt const& a)
    {
        if (attempts.size() >= most_attempts)
            attempts.erase(attempts.begin() + 1);
        attempts.push_back(attempt_text(a));
    }

    std::string text() const
    {
        std::string all = one_line(reason, 2200); // it may name a destination
        auto const add_line = [&](std::string const& line) { all += (all.empty() ? "" : "\n") + line; };
        if (due)
            add_line(std::string{due_word} + time_text(*due));
        for (auto const& a : attempts)
            add_line(a);
        return all;
    }

    std::vector<notification_attempt> history() const
    {
        std::vector<notification_attempt> made;
        for (auto const& line : attempts)
            if (auto a = parse_attempt(line))
                made.push_back(std::move(*a));
        return made;
    }
};

/// @throws system_error `errc::bad_argument`
inline void require_valid(notification_schedule const& s, std::string const& who)
{
    if (s.first < duration::zero() || s.first > longest_notification || s.deadline < duration::zero())
        throw make_error(errc::bad_argument, who + ": a schedule needs first from 0 to 366 days, and no negative deadline");
    if (s.lasts() > longest_notification)
        throw make_error(errc::bad_argument, who + ": the schedule could last for more than 366 days: give it fewer attempts, or a deadline");
}

inline std::string to_text(notification_schedule const& s)
{
    auto const number = [](double d) {
        std::array<char, 32> text{};
        auto const written = std::to_chars(text.data(), text.data() + text.size(), d);
        return std::string{text.data(), written.ptr};
    };
    auto const& p = s.retries.parameters();
    auto const delays = s.retries.delays();
    std::string text = std::to_string(s.first.count()) + ' ' + std::to_string(s.deadline.count()) + ' ' + number(p.jitter);
    if (delays.empty())
        return text + " exponential " + std::to_string(p.first.count()) + ' ' + number(p.factor) + ' ' + std::to_string(p.cap.count()) + ' '
             + std::to_string(p.attempts);
    text += " list";
    for (auto const d : delays)
        text += ' ' + std::to_string(d.count());
    return text;
}

/// Nothing for what is no schedule.
inline std::optional<notification_schedule> parse_schedule(std::string_view text)
{
    auto const take = [&](auto& n) { return parse_whole(take_word(text), n); };
    std::int64_t first = 0;
    std::int64_t deadline = 0;
    double jitter = 0;
    if (!take(first) || !take(deadline) || !take(jitter))
        return std::nullopt;
    notification_schedule made;
    made.first = duration{first};
    made.deadline = duration{deadline};
    try {
        if (take_word(text) == "list") {
            std::vector<duration> delays;
            for (std::int64_t d = 0; !text.empty();) {
                if (!take(d))
                    return std::nullopt;
                delays.emplace_back(d);
            }
            made.retries = schedule::list(delays, jitter);
        } else {
            std::int64_t least = 0;
            std::int64_t cap = 0;
            schedule::exponential_options o;
            if (!take(least) || !take(o.factor) || !take(cap) || !take(o.attempts))
                return std::nullopt;
            o.first = duration{least};
            o.cap = duration{cap};
            o.jitter = jitter;
            made.retries = schedule::exponential(o);
        }
        require_valid(made, "a stored schedule");
    } catch (boost::system::system_error const&) {
        return std::nullopt;
    }
    return made;
}

} // namespace cosaga::detail
