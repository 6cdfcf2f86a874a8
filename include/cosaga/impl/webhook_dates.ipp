// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_dates.hpp>
#include <cosaga/detail/webhook_text.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace cosaga::detail {

/// A date and time of day as it is read, field by field, from a text.
///
/// A pattern says what stands there: Y, M, D, h, m, s a digit of that field, `d` a digit or
/// space of the day, `bbb` the name of a month, anything else itself.
class date_fields {
public:
    bool read(std::string_view text, std::string_view pattern) noexcept
    {
        if (text.size() != pattern.size())
            return false;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (pattern[i] == 'b') { // and the two after it
                if (!read_month(text.substr(i, 3)))
                    return false;
                i += 2;
            } else if (!read_one(text[i], pattern[i])) {
                return false;
            }
        }
        return true;
    }

    /// RFC 9110: a year of two digits more than 50 years ahead is one of the past.
    void complete_year(time_point now) noexcept
    {
        int const current = static_cast<int>(std::chrono::year_month_day{std::chrono::floor<std::chrono::days>(now)}.year());
        year_ += current / 100 * 100;
        if (year_ > current + 50)
            year_ -= 100;
    }

    std::optional<time_point> time() const noexcept
    {
        std::chrono::year_month_day const date{std::chrono::year{year_}, std::chrono::month{month_}, std::chrono::day{day_}};
        if (!date.ok() || hour_ > 23 || minute_ > 59 || second_ > 60) // 60: a leap second
            return std::nullopt;
        return time_point{std::chrono::sys_days{date}} + std::chrono::hours{hour_} + std::chrono::minutes{minute_}
             + std::chrono::seconds{second_};
    }

    std::optional<duration> time_of_day() const noexcept
    {
        if (hour_ > 23 || minute_ > 59)
            return std::nullopt;
        return std::chrono::hours{hour_} + std::chrono::minutes{minute_};
    }

private:
    bool read_one(char c, char kind) noexcept
    {
        bool const digit = c >= '0' && c <= '9';
        auto const value = static_cast<unsigned>(digit ? c - '0' : 0);
        switch (kind) {
        case 'Y': year_ = year_ * 10 + static_cast<int>(value); return digit;
        case 'M': month_ = month_ * 10 + value; return digit;
        case 'D': day_ = day_ * 10 + value; return digit;
        case 'd': day_ = day_ * 10 + value; return digit || c == ' ';
        case 'h': hour_ = hour_ * 10 + static_cast<int>(value); return digit;
        case 'm': minute_ = minute_ * 10 + static_cast<int>(value); return digit;
        case 's': second_ = second_ * 10 + static_cast<int>(value); return digit;
        default: return c == kind;
        }
    }

    bool read_month(std::string_view name) noexcept
    {
        constexpr std::string_view names = "JanFebMarAprMayJunJulAugSepOctNovDec";
        auto const at = names.find(name);
        month_ = static_cast<unsigned>(at / 3 + 1);
        return at != std::string_view::npos && at % 3 == 0;
    }

    int year_ = 0;
    unsigned month_ = 0;
    unsigned day_ = 0;
    int hour_ = 0;
    int minute_ = 0;
    int second_ = 0;
};

/// One of the three forms of RFC 9110, section 5.6.7; the name of the day is not compared with the date.
inline std::optional<time_point> parse_http_date(std::string_view text, time_point now) noexcept
{
    constexpr std::string_view zone = " GMT";
    if (auto const comma = text.find(','); comma != std::string_view::npos && text.ends_with(zone)) {
        auto const rest = text.substr(comma + 1, text.size() - comma - 1 - zone.size());
        date_fields fields;
        if (fields.read(rest, " DD bbb YYYY hh:mm:ss"))
            return fields.time();
        date_fields old; // RFC 850
        if (!old.read(rest, " DD-bbb-YY hh:mm:ss"))
            return std::nullopt;
        old.complete_year(now);
        return old.time();
    }
    date_fields asctime;
    if (text.size() > 4 && asctime.read(text.substr(3), " bbb dd hh:mm:ss YYYY"))
        return asctime.time();
    return std::nullopt;
}

COSAGA_DECL std::optional<duration> parse_retry_after(std::string_view text, time_point now) noexcept
{
    text = trimmed(text);
    if (text.empty())
        return std::nullopt;
    if (std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        std::int64_t seconds = 0;
        auto const parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
        std::int64_t const most = std::chrono::duration_cast<std::chrono::seconds>(longest_retry_after).count();
        return duration{std::chrono::seconds{parsed.ec == std::errc{} ? std::min(seconds, most) : most}};
    }
    auto const date = parse_http_date(text, now);
    if (!date)
        return std::nullopt;
    return std::clamp(*date - now, duration::zero(), longest_retry_after);
}

COSAGA_DECL std::string to_rfc3339(time_point when)
{
    auto const day = std::chrono::floor<std::chrono::days>(when);
    std::chrono::year_month_day const date{day};
    std::chrono::hh_mm_ss const time{when - day};
    auto const padded = [](long long value, std::size_t width) {
        auto digits = std::to_string(value);
        return std::string(width - std::min(width, digits.size()), '0') + digits;
    };
    auto text = padded(static_cast<int>(date.year()), 4) + '-' + padded(static_cast<unsigned>(date.month()), 2) + '-'
              + padded(static_cast<unsigned>(date.day()), 2) + 'T' + padded(time.hours().count(), 2) + ':'
              + padded(time.minutes().count(), 2) + ':' + padded(time.seconds().count(), 2);
    if (time.subseconds().count() != 0)
        text += '.' + padded(time.subseconds().count(), 6);
    return text + 'Z';
}

/// The offset may lead beyond the years that have a text.
inline bool has_four_digits(time_point when) noexcept
{
    int const year = static_cast<int>(std::chrono::year_month_day{std::chrono::floor<std::chrono::days>(when)}.year());
    return year >= 0 && year <= 9999;
}

COSAGA_DECL std::optional<time_point> parse_rfc3339(std::string_view text) noexcept
{
    constexpr std::size_t seconds_end = 19;
    date_fields fields;
    if (text.size() < seconds_end + 1 || !fields.read(text.substr(0, seconds_end), "YYYY-MM-DDThh:mm:ss"))
        return std::nullopt;
    auto time = fields.time();
    text.remove_prefix(seconds_end);
    if (text.front() == '.') {
        std::int64_t unit = 100'000;
        std::size_t i = 1;
        for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i, unit /= 10)
            if (time)
                *time += duration{unit * (text[i] - '0')};
        if (i == 1)
            return std::nullopt;
        text.remove_prefix(i);
    }
    if (text != "Z" && text != "z") {
        date_fields offset;
        if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || !offset.read(text.substr(1), "hh:mm"))
            return std::nullopt;
        auto const span = offset.time_of_day();
        if (!span || !time)
            return std::nullopt;
        *time += text[0] == '+' ? -*span : *span;
    }
    return time && has_four_digits(*time) ? time : std::nullopt;
}

} // namespace cosaga::detail
