// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

// What sagas and their participants tell each other. A command is the user's body, an answer too, with these headers.
namespace cosaga::detail {

inline constexpr std::string_view saga_id_header = "cosagasaga";
inline constexpr std::string_view saga_step_header = "cosagastep";      // "2" an action, "2/undo", "2/confirm"
inline constexpr std::string_view saga_reply_header = "cosagareply";    // of a command: the topic of the answer
inline constexpr std::string_view saga_answer_header = "cosagaanswer";  // of an answer: success, refused or ongoing
inline constexpr std::string_view saga_again_header = "cosagaagain";    // of an ongoing one: microseconds until it is asked again

inline constexpr std::string_view answer_success = "success";
inline constexpr std::string_view answer_refused = "refused";
inline constexpr std::string_view answer_ongoing = "ongoing";

inline constexpr std::string_view undo_suffix = "/undo";
inline constexpr std::string_view confirm_suffix = "/confirm";

inline void set_header(message& m, std::string_view name, std::string value)
{
    m.headers.push_back({std::string{name}, std::move(value)});
}

/// A number from outside, or -1.
inline std::int64_t parse_number(std::string_view text) noexcept
{
    std::int64_t n = -1;
    auto const end = text.data() + text.size();
    auto const [at, ec] = std::from_chars(text.data(), end, n);
    return ec == std::errc{} && at == end && n >= 0 ? n : -1;
}

} // namespace cosaga::detail
