// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/message.hpp>
#include <cosaga/relay_options.hpp>
#include <cosaga/storage.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// What a message carries beside its body. Trivially destructible: it refers to what the caller keeps.
struct send_options {
    std::string_view key{};                ///< messages of one key and topic arrive in order; none is promised without
    duration delay{};                      ///< not visible to consumers before, counted from the commit; >= 0
    std::span<header const> headers{};     ///< lower-case names; `subject`, `traceparent`, extensions
};

struct outbox_options {
    std::string service;    ///< who sends: the `source` of every message; 1 to 255 bytes
    relay_options relay{};  ///< of each destination
    std::vector<ledger_options> ledgers{}; ///< of topics that are reconciled
};

/// The state of one destination of an outbox.
struct destination_status {
    queue_name queue;
    std::size_t pending = 0;              ///< ready rows, in flight included
    std::size_t delayed = 0;
    std::size_t dead = 0;                 ///< dead letters now
    std::optional<duration> oldest_age;   ///< of the oldest pending row
    relay_counters counters;
};

} // namespace cosaga
