// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_sink.hpp>
#include <cosaga/schedule.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// When a notification is tried, and when it is given up.
///
/// The presets have no jitter unless it is given: the times are those of the list, counted from the end of the attempt before.
struct notification_schedule {
    schedule retries = webhook_delays(0); ///< the delays after failed attempts
    duration first{};                     ///< the delay before the first attempt, >= 0
    duration deadline{}; ///< no attempt later than this after the first one was due; 0: twice what the delays add up to, and an hour

    /// 15 attempts in about 24 hours, in the manner of a large payment provider: at once, then after 15 s, 30 s, 3 min, 10 min, 20 min,
    /// three times 30 min, 1 h, three times 3 h, twice 6 h.
    static notification_schedule fifteen_in_a_day(double jitter = 0)
    {
        using namespace std::chrono;
        return {.retries = schedule::list({seconds{15}, seconds{30}, minutes{3}, minutes{10}, minutes{20}, minutes{30}, minutes{30},
                                              minutes{30}, hours{1}, hours{3}, hours{3}, hours{3}, hours{6}, hours{6}},
                    jitter)};
    }

    /// 8 attempts in about 25 hours, in the manner of another one: at once, then after 4, 10, 10 min, 1, 2, 6, 15 h.
    static notification_schedule eight_in_a_day(double jitter = 0)
    {
        using namespace std::chrono;
        return {.retries = schedule::list(
                    {minutes{4}, minutes{10}, minutes{10}, hours{1}, hours{2}, hours{6}, hours{15}}, jitter)};
    }

    /// 10 attempts in about 76 hours, as the Standard Webhooks specification proposes: at once, then after 5 s, 5 min, 30 min, 2, 5, 10, 14, 20, 24 h.
    static notification_schedule standard_webhooks(double jitter = 0) { return {.retries = webhook_delays(jitter)}; }

    /// How long it may take from when the first attempt is due: the deadline, or what stands for it. `duration::max()` for ever.
    duration lasts() const
    {
        if (deadline > duration::zero())
            return deadline;
        auto const longest = retries.longest();
        return longest > duration::max() / 4 ? duration::max() : 2 * longest + std::chrono::hours{1};
    }

private:
    static schedule webhook_delays(double jitter)
    {
        using namespace std::chrono;
        return schedule::list({seconds{5}, minutes{5}, minutes{30}, hours{2}, hours{5}, hours{10}, hours{14}, hours{20}, hours{24}}, jitter);
    }
};

enum class notification_state : std::uint8_t {
    pending,   ///< to be tried, or tried again
    delivered, ///< the destination has it; for ever
    given_up,  ///< no attempt is left, or the destination wants nothing any more; until it is started again
};

/// One attempt to deliver a notification.
struct notification_attempt {
    time_point time{};  ///< when it began, to the millisecond
    duration latency{}; ///< how long it took, to the millisecond
    attempt_outcome outcome = attempt_outcome::failed;
    std::uint32_t status = 0; ///< of HTTP; 0 where there is none
    std::string reason{};     ///< why not delivered
};

/// What is known of a notification.
struct notification {
    message_id id;
    std::string destination;
    notification_state state = notification_state::pending;
    std::uint32_t attempts = 0;                  ///< since it was made, or started again
    std::optional<time_point> next{};            ///< when it is tried next, unless its destination is held back then; while pending
    std::string reason{};                        ///< why it was given up, or why the last attempt failed
    std::vector<notification_attempt> history{}; ///< the first attempt and the last ones, at most 32
    std::int64_t position = 0;                   ///< where it stands among those of its destination and state, for `list`
};

/// What a notification carries beside its body. Trivially destructible: it refers to what the caller keeps.
struct notification_options {
    std::optional<message_id> id{};         ///< one's own: a notification that is there already under this id is not made again
    std::string_view key{};                 ///< for the receiver; no order is promised
    duration delay{};                       ///< not tried before, counted from the commit; 0 to 366 days
    std::span<header const> headers{};      ///< lower-case names, not "cosaga..."; `subject`, `traceparent`, extensions
    std::optional<notification_schedule> schedule{}; ///< instead of the notifier's
};

struct notifier_options {
    std::string name{};                       ///< tells several notifiers of one store apart; may be empty for one of them
    notification_schedule schedule{};         ///< for notifications that say nothing else
    duration attempt_timeout = std::chrono::seconds{15}; ///< then an attempt has failed, and is cancelled; > 0
    std::size_t in_flight = 1024;             ///< attempts at the same time, >= 2; half of them at destinations of which the last attempt failed, or none is known
    std::size_t in_flight_per_destination = 8; ///< reached step by step with what is delivered, >= 1; one at a time after a failure
    std::uint32_t breaker_failures = 5;       ///< a destination is left alone for a while after so many in a row, >= 1
    duration breaker_open = std::chrono::seconds{5}; ///< for so long, > 0; then one attempt decides; each further failure doubles it
    duration breaker_cap = std::chrono::minutes{1};  ///< up to this, >= breaker_open
    duration retry_after_cap = std::chrono::hours{1}; ///< a destination that asks for a longer pause gets this one
    duration retention = std::chrono::hours{24 * 14}; ///< how long deliveries are remembered, counted from when the notification was made; more than every schedule lasts
    duration look_interval = std::chrono::seconds{10}; ///< how often it looks for what others have changed in the store (dead letters redriven, another process), > 0
};

/// What a notifier did since it started.
struct notifier_counters {
    std::uint64_t attempts = 0;  ///< that have ended
    std::uint64_t delivered = 0;
    std::uint64_t failed = 0;    ///< attempts that did not deliver
    std::uint64_t given_up = 0;
    std::uint64_t disabled = 0;  ///< destinations that wanted nothing any more
    std::size_t in_flight = 0;   ///< attempts now
    std::size_t held_back = 0;   ///< destinations that are left alone now: their circuit breaker is open, or they asked for a pause
};

/// The state of one destination of a notifier.
struct notified_destination {
    std::string name;
    std::size_t pending = 0;
    std::size_t given_up = 0;
    bool disabled = false; ///< it has said that it wants nothing any more
};

/// The topic of notifications; also that under which a notifier keeps them in its outbox, one queue for each destination, for
/// `dead_letter_filter`. A notifier with a name adds a dot and the name to it there.
inline constexpr std::string_view notifications_topic = "cosaga.notifications";
/// The topic under which a disabled destination is kept as a dead letter of the inbox, with a name as above: redriving or purging it enables the destination.
inline constexpr std::string_view disabled_destinations_topic = "cosaga.disabled_destinations";

} // namespace cosaga
