// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

namespace cosaga::detail {

/// As in "2026-01-01T00:00:15.000Z".
inline std::string time_text(time_point t)
{
    using namespace std::chrono;
    auto const day = floor<days>(t);
    year_month_day const date{day};
    hh_mm_ss const time{floor<milliseconds>(t - day)};
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
        static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
    return text.data();
}

} // namespace cosaga::detail
