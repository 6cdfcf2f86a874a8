// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

namespace cosaga {

/// When to try again, and when to stop: a value, without a clock of its own.
///
/// @code
/// auto s = schedule::exponential({.first = 200ms, .cap = 5min, .attempts = 12});
/// auto t = schedule::list({1s, 30s, 5min, 1h});
/// @endcode
/// The jitter takes a random part off each delay, so that many clients that failed together do not
/// come back together ("equal jitter" at the default 0.5; see the AWS Architecture Blog, "Exponential
/// Backoff And Jitter", 2015).
class schedule {
public:
    /// An `attempts` that never ends.
    static constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();
    /// The longest `list`.
    static constexpr std::size_t max_list = 32;

    struct exponential_options {
        duration first = std::chrono::milliseconds{200}; ///< the delay after the first failed attempt, > 0
        double factor = 2.0;                             ///< what each delay is multiplied by, >= 1
        duration cap = std::chrono::minutes{5};          ///< no delay is longer, >= first
        std::uint32_t attempts = 16;                     ///< all attempts together, >= 1
        double jitter = 0.5;                             ///< the largest part taken off a delay, 0 to 1
    };

    /// The default exponential schedule.
    schedule() = default;

    /// @throws system_error `errc::bad_argument` when an option is out of its range.
    static schedule exponential(exponential_options const& options)
    {
        bool const valid = options.first > duration::zero() && options.factor >= 1.0 && std::isfinite(options.factor)
                        && options.cap >= options.first && options.attempts >= 1 && options.jitter >= 0.0
                        && options.jitter <= 1.0;
        if (!valid)
            throw make_error(errc::bad_argument,
                "schedule::exponential: needs first > 0, factor >= 1, cap >= first, attempts >= 1, jitter in [0, 1]");
        schedule made;
        made.exponential_ = options;
        return made;
    }

    /// The delays between attempts, one by one; after the last of them the schedule ends.
    /// @throws system_error `errc::bad_argument` for an empty list, more than `max_list` delays or a negative one.
    static schedule list(std::initializer_list<duration> delays, double jitter = 0.0)
    {
        return list(std::span<duration const>{delays.begin(), delays.size()}, jitter);
    }
    /// @copydoc list
    static schedule list(std::span<duration const> delays, double jitter = 0.0)
    {
        bool const valid = delays.size() >= 1 && delays.size() <= max_list && jitter >= 0.0 && jitter <= 1.0
                        && std::all_of(delays.begin(), delays.end(), [](duration d) { return d >= duration::zero(); });
        if (!valid)
            throw make_error(errc::bad_argument,
                "schedule::list: needs 1 to 32 delays, none of them negative, and jitter in [0, 1]");
        schedule made;
        made.listed_ = delays.size();
        std::copy(delays.begin(), delays.end(), made.list_.begin());
        made.exponential_.jitter = jitter;
        return made;
    }

    /// How long to wait after `failed` attempts (1 or more), or nothing when the schedule has ended.
    /// @param random 64 random bits, from `environment::random`.
    std::optional<duration> delay_after(std::uint32_t failed, std::uint64_t random) const
    {
        if (failed >= attempts())
            return std::nullopt;
        return jittered(failed, random);
    }

    /// Like `delay_after`, but stays at the last delay instead of ending: for what must be retried until it succeeds.
    duration delay_without_end(std::uint32_t failed, std::uint64_t random) const
    {
        return jittered(failed, random);
    }

    /// All attempts together, the first one included.
    std::uint32_t attempts() const noexcept
    {
        return listed_ > 0 ? static_cast<std::uint32_t>(listed_) + 1 : exponential_.attempts;
    }

    /// The longest time from the first attempt to the last one, `duration::max()` when it never ends.
    /// Rounded up. What remembers messages (marks) must remember them for longer.
    duration longest() const
    {
        if (attempts() == unlimited)
            return duration::max();
        if (listed_ > 0)
            return saturated(std::accumulate(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(listed_), 0.0L,
                [](long double sum, duration d) { return sum + static_cast<long double>(d.count()); }));
        // A geometric series up to the cap; adding it up one by one could take four billion steps.
        auto const first = static_cast<long double>(exponential_.first.count());
        auto const cap = static_cast<long double>(exponential_.cap.count());
        auto const delays = static_cast<long double>(attempts() - 1);
        auto const growth = std::log(static_cast<long double>(exponential_.factor));
        if (growth == 0)
            return saturated(first * delays);
        auto const growing = std::min(delays, std::ceil(std::log(cap / first) / growth));
        auto const grown = first * std::expm1(growing * growth) / (static_cast<long double>(exponential_.factor) - 1);
        return saturated(grown + cap * (delays - growing));
    }

    /// The delays of a `list`; empty for any other.
    std::span<duration const> delays() const noexcept { return {list_.data(), listed_}; }
    /// What an exponential schedule was made of; of a list, its jitter only.
    exponential_options const& parameters() const noexcept { return exponential_; }

private:
    static duration saturated(long double microseconds)
    {
        constexpr auto most = static_cast<long double>(duration::max().count());
        return microseconds < most ? duration{static_cast<duration::rep>(std::ceil(microseconds))} : duration::max();
    }

    duration delay_before_jitter(std::uint32_t failed) const
    {
        std::uint32_t const index = std::max<std::uint32_t>(failed, 1) - 1;
        if (listed_ > 0)
            return list_[std::min<std::size_t>(index, listed_ - 1)];
        double const grown = static_cast<double>(exponential_.first.count()) * std::pow(exponential_.factor, index);
        double const cap = static_cast<double>(exponential_.cap.count());
        return grown >= cap ? exponential_.cap : duration{static_cast<duration::rep>(grown)};
    }

    duration jittered(std::uint32_t failed, std::uint64_t random) const
    {
        auto const full = delay_before_jitter(failed);
        double const share = static_cast<double>(random >> 11) * 0x1.0p-53; // [0, 1)
        double const off = static_cast<double>(full.count()) * exponential_.jitter * share;
        return full - duration{static_cast<duration::rep>(off)};
    }

    exponential_options exponential_{};
    std::array<duration, max_list> list_{};
    std::size_t listed_ = 0;
};

} // namespace cosaga
