// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace cosaga {

struct saga_options {
    /// Where the answers of participants arrive; empty when no saga here calls any. The transport of a participant needs a route of it to
    /// this service.
    std::string reply_topic{};
    /// Names this process among those that share the store; the service's unless given. A process that starts takes over what one of the same
    /// name has left: two that run at the same time with one name take sagas from each other, which is safe and slow.
    std::string instance{};
    std::size_t max_active = 10'000;                       ///< sagas in memory, >= 1; others wait in the store
    duration lease = std::chrono::seconds{30};             ///< after which another process takes over from one that is gone; >= 1 s
    duration park_after = std::chrono::seconds{10};        ///< a saga that waits for longer leaves the memory until it is woken
    duration poll_interval = std::chrono::seconds{1};      ///< for what other processes have left or woken
    duration retention = std::chrono::hours{24 * 7};       ///< how long ended sagas are kept
    duration grace = std::chrono::seconds{10};             ///< for outside effects that run when the engine is stopped; then they are cancelled
    /// Between attempts of a step of which nobody knows whether it can succeed; when it ends, the saga is paused.
    schedule retries = schedule::exponential({.cap = std::chrono::minutes{1}, .attempts = schedule::unlimited});
    /// Between attempts to compensate or confirm; it never ends.
    schedule undo_retries = schedule::exponential({.cap = std::chrono::minutes{1}, .attempts = schedule::unlimited});
    /// Whether the branches of an `all` are undone at the same time, each in the reverse order of its steps, instead of all in the reverse
    /// order of completion.
    bool undo_branches_together = false;
    std::uint32_t stuck_after = 5;                         ///< failed attempts to compensate or confirm, from which on a saga counts as stuck
    /// Without an answer to a compensation or confirmation, from which on a saga counts as stuck and the participant is asked again; then after
    /// twice the time, and so on until that is over an hour.
    duration stuck_answer = std::chrono::minutes{5};
    std::size_t max_entries = 10'000;                      ///< of one journal; at the limit the saga is paused: continue it as new before
    std::size_t max_bytes = std::size_t{16} << 20;         ///< of one journal
};

/// For one saga.
struct begin_options {
    /// For all of the saga; when it has passed the saga is undone. It has no influence on what is being undone or confirmed.
    std::optional<duration> deadline{};
};

/// What an engine did since it started, and what is so now.
struct saga_counters {
    std::uint64_t begun = 0;
    std::uint64_t done = 0;
    std::uint64_t undone = 0;
    std::uint64_t paused = 0;
    std::uint64_t steps = 0;    ///< that were run, not replayed
    std::uint64_t replayed = 0; ///< outcomes that were found in a journal
    std::uint64_t retried = 0;  ///< failed attempts of steps and of compensations that are repeated
    std::uint64_t lost = 0;     ///< sagas that another process took over while they ran here
    std::size_t active = 0;     ///< in memory now
    std::size_t stuck = 0;      ///< now: compensation or confirmation does not succeed; an alarm should watch it
};

/// A saga, as an operator sees it.
struct saga_info {
    std::string id;
    std::string name;
    std::uint32_t version = 0;
    saga_state state = saga_state::running;
    std::string reason;     ///< why it is paused, does not get on, or was undone
    std::string owner;      ///< the process that runs it; empty when it sleeps or has ended
    time_point due_at{};    ///< when it wakes, if it sleeps
};

/// One line of a saga's journal, as an operator sees it.
struct saga_event {
    std::uint64_t number = 0;
    time_point at{};
    std::string step;    ///< `2` is the second step of the saga, `2.0.1` the first of the first branch there
    std::string what;    ///< `done`, `intended`, `undone` ...
    std::string name;
    std::string detail;  ///< results and arguments as they were encoded, reasons
};

} // namespace cosaga
