// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// What became of a local transaction, as far as somebody can say.
enum class transaction_outcome : std::uint8_t {
    commit,   ///< it committed, for ever
    rollback, ///< it did not, and never will
    ongoing,  ///< it is running: ask again
    unknown,  ///< cannot be said now
};

/// When a coordinator asks back about a half message that is neither committed nor rolled back.
///
/// The defaults are those of the one broker that has transactional messages (Apache RocketMQ 5: 6 s, 30 s, 15 checks).
struct check_options {
    duration first = std::chrono::seconds{6};     ///< after it was stored, > 0
    duration interval = std::chrono::seconds{30}; ///< after an answer "ongoing", > 0; doubles with each check that has no definite answer
    duration cap = std::chrono::minutes{5};       ///< up to this, >= interval
    std::uint32_t most = 15;                      ///< checks that reached the service, 1 to 1,000; then the half message is parked

    friend bool operator==(check_options const&, check_options const&) = default;
};

struct coordinator_options {
    std::string name;                        ///< the consumer of `transactions_topic` that it is, and the service as which its transport speaks
    check_options checks{};                  ///< for half messages that say nothing else
    duration answer_timeout = std::chrono::seconds{10}; ///< how long a delivered check waits for its answer
    std::size_t checks_in_flight = 64;       ///< of each service, 1 or more
    std::size_t batch = 1024;                ///< most half messages and outcomes in one transaction, >= 1
    duration retention = std::chrono::hours{24 * 7}; ///< how long outcomes are remembered, for those that come late; > 0
};

/// What a coordinator did since it started.
struct coordinator_counters {
    std::uint64_t prepared = 0;
    std::uint64_t committed = 0;
    std::uint64_t rolled_back = 0;
    std::uint64_t checks = 0;  ///< that reached a service
    std::uint64_t parked = 0;  ///< after the last check
    std::uint64_t refused = 0; ///< half messages and outcomes that were told why
};

struct producer_options {
    std::string service;                   ///< the name of this service: the `source` of its messages, and who is asked back
    std::vector<std::string> coordinators; ///< names, at least one; the next is tried when one does not take a half message
    duration prepare_timeout = std::chrono::seconds{2};  ///< for each coordinator, > 0
    duration resolve_timeout = std::chrono::seconds{5};  ///< how long `send` waits for the coordinator to take the outcome, > 0
    duration check_timeout = std::chrono::seconds{8};    ///< then a check-back has no answer, > 0
    std::size_t checks_at_once = 64;       ///< check-backs that are answered at the same time, >= 1
};

/// What a transactional message carries beside its body. Trivially destructible: it refers to what the caller keeps.
struct transaction_options {
    std::string_view key{};            ///< messages of one key and topic arrive in the order of their commits
    duration delay{};                  ///< not visible to consumers before, even if committed; counted from `send`, 0 to 366 days
    std::span<header const> headers{}; ///< lower-case names, not "cosaga..."; `subject`, `traceparent`, extensions
    std::optional<check_options> checks{}; ///< instead of the coordinator's
};

/// Where producers send half messages and outcomes: a route to each coordinator, as a consumer of its name.
inline constexpr std::string_view transactions_topic = "cosaga.transactions";
/// The topic under which a coordinator keeps half messages in its inbox, one queue for each service: for `dead_letter_filter`.
inline constexpr std::string_view half_messages_topic = "cosaga.half_messages";
/// Where coordinators ask back: a route to each producing service, as a consumer of its name.
inline constexpr std::string_view checks_topic = "cosaga.checks";

} // namespace cosaga
