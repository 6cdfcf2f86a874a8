// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace cosaga::detail {

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date in one of the three forms. A date that has passed is 0.
std::optional<duration> parse_retry_after(std::string_view text, time_point now) noexcept;

/// The longest that `Retry-After` is believed.
inline constexpr duration longest_retry_after = std::chrono::days{7};

/// `2026-11-23T06:00:00.25Z`.
std::string to_rfc3339(time_point when);
std::optional<time_point> parse_rfc3339(std::string_view text) noexcept;

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_dates.ipp>
#endif
