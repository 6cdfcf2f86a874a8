// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transactional_options.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What producers and coordinators tell each other.
namespace cosaga::detail {

/// A half message is the message itself under `transactions_topic`, with these headers, which consumers never see.
inline constexpr std::string_view half_topic_header = "cosagatopic";   // the topic that it is for
inline constexpr std::string_view half_checks_header = "cosagachecks"; // check_options, unless the coordinator's
inline constexpr std::string_view half_delay_header = "cosagadelay";   // microseconds

/// Topics that services may not send to by way of a coordinator: it would speak in its own name.
inline constexpr std::string_view reserved_prefix = "cosaga.";
/// Names of headers that the user's must not begin with.
inline constexpr std::string_view reserved_header_prefix = "cosaga";

/// No delay and no time between checks is longer: sums with times cannot overflow.
inline constexpr duration longest_delay = std::chrono::hours{24 * 366};

/// Outcomes and check-backs: the type says which, the payload is the id of the half message in text form. Outcomes of one kind may come
/// together, their ids separated by a space each.
inline constexpr std::array<std::string_view, 4> outcome_types{
    "cosaga.commit", "cosaga.rollback", "cosaga.ongoing", "cosaga.unknown"};
inline constexpr std::string_view check_type = "cosaga.check";

inline std::string_view type_of(transaction_outcome o) noexcept
{
    return outcome_types[static_cast<std::size_t>(o)];
}

inline std::optional<transaction_outcome> outcome_of(message const& m) noexcept
{
    auto const found = std::find(outcome_types.begin(), outcome_types.end(), m.type);
    if (found == outcome_types.end())
        return std::nullopt;
    return static_cast<transaction_outcome>(found - outcome_types.begin());
}

inline message make_control(
    message_id const& own_id, std::string_view topic, std::string_view type, message_id const& about, std::string const& source, time_point now)
{
    message m;
    m.id = own_id;
    m.time = now;
    m.topic = topic;
    m.type = type;
    m.source = source;
    m.content_type = "text/plain";
    m.payload = about.to_string();
    return m;
}

/// The marks of a coordinator that say what became of the half messages of a service: see `fence_marks`.
inline std::string half_messages_scope(std::string_view service)
{
    return "half messages/" + std::string{service};
}

/// Outcomes in one message.
inline constexpr std::size_t most_outcomes = 64;

/// The ids of half messages that a payload names; none for anything else.
inline std::vector<message_id> parse_ids(std::string_view text)
{
    constexpr std::size_t length = 36;
    if ((text.size() + 1) % (length + 1) != 0 || (text.size() + 1) / (length + 1) > most_outcomes)
        return {};
    std::vector<message_id> ids;
    for (; text.size() >= length; text.remove_prefix(std::min(text.size(), length + 1))) {
        auto const id = message_id::parse(text.substr(0, length));
        if (!id || (text.size() > length && text[length] != ' '))
            return {};
        ids.push_back(*id);
    }
    return ids;
}

/// Up to `N` whole numbers >= 0, separated by spaces; nothing for anything else.
template <std::size_t N>
std::optional<std::array<std::int64_t, N>> parse_numbers(std::string_view text)
{
    std::array<std::int64_t, N> numbers{};
    auto const* at = text.data();
    auto const* const end = at + text.size();
    for (std::size_t i = 0; i < N; ++i) {
        if (i > 0 && (at == end || *at++ != ' '))
            return std::nullopt;
        auto const parsed = std::from_chars(at, end, numbers[i]);
        if (parsed.ec != std::errc{} || numbers[i] < 0)
            return std::nullopt;
        at = parsed.ptr;
    }
    return at == end ? std::optional{numbers} : std::nullopt;
}

/// @throws system_error `errc::bad_argument` that names `who` and the ranges.
inline void require_valid(check_options const& o, std::string const& who)
{
    if (o.first > duration::zero() && o.interval > duration::zero() && o.cap >= o.interval && o.first <= longest_delay
        && o.cap <= longest_delay && o.most >= 1 && o.most <= 1000)
        return;
    throw make_error(errc::bad_argument, who + ": checks need first > 0, interval > 0, cap >= interval, none over a year, and most from 1 to 1,000");
}

inline std::string to_text(check_options const& o)
{
    return std::to_string(o.first.count()) + ' ' + std::to_string(o.interval.count()) + ' ' + std::to_string(o.cap.count()) + ' '
         + std::to_string(o.most);
}

/// How a half message is to be handled, taken from its headers.
struct half_instructions {
    std::optional<check_options> checks;
    duration delay{};
};

/// @throws system_error `errc::malformed_data`, `errc::bad_argument`
inline half_instructions read_instructions(message const& m)
{
    half_instructions made;
    if (auto const text = m.find_header(half_checks_header); !text.empty()) {
        auto const n = parse_numbers<4>(text);
        if (!n)
            throw make_error(errc::malformed_data, "a half message with unreadable check options");
        made.checks = check_options{duration{(*n)[0]}, duration{(*n)[1]}, duration{(*n)[2]},
            static_cast<std::uint32_t>(std::min<std::int64_t>((*n)[3], 1'000'000))};
        require_valid(*made.checks, "half message");
    }
    if (auto const text = m.find_header(half_delay_header); !text.empty()) {
        auto const n = parse_numbers<1>(text);
        if (!n || duration{(*n)[0]} > longest_delay)
            throw make_error(errc::malformed_data, "a half message with an unreadable delay, or one of over a year");
        made.delay = duration{(*n)[0]};
    }
    return made;
}

/// Makes of a half message the message that consumers see; its topic is set already.
inline void remove_instructions(message& m)
{
    std::erase_if(m.headers, [](header const& h) {
        return h.name == half_topic_header || h.name == half_checks_header || h.name == half_delay_header;
    });
}

/// The delay after `checks` of them had no definite answer.
inline duration check_delay(check_options const& o, std::uint32_t checks) noexcept
{
    auto delay = o.interval;
    for (std::uint32_t n = 1; n < checks && delay < o.cap; ++n)
        delay = std::min(delay * 2, o.cap);
    return delay;
}

} // namespace cosaga::detail
