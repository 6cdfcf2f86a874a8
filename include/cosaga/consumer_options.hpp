// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>

namespace cosaga {

struct consumer_options {
    std::size_t batch = 1024;                         ///< most messages applied in one transaction, >= 1
    schedule retries{};                               ///< for a handler that throws; then a dead letter
    std::size_t max_retrying = 10'000;                ///< messages taken and waiting for a retry; above it no more are received
    duration retention = std::chrono::days{7};        ///< how long applied messages are remembered
    duration ledger_retention{};                      ///< how long what was applied stays in a ledger for reconciliation; 0: no ledger is kept
    duration poll_interval = std::chrono::seconds{5}; ///< safety net for retries that another process left
    std::size_t concurrency = 64;                     ///< preparations that run at the same time, >= 1
    duration grace = std::chrono::seconds{10};        ///< for preparations that run when the consumer is stopped; then they are cancelled
};

/// For consumers whose messages need nothing before their transaction.
struct no_preparation {};

/// What a consumer did since it started.
struct consumer_counters {
    std::uint64_t applied = 0;
    std::uint64_t duplicates = 0;  ///< dropped: taken before
    std::uint64_t retried = 0;     ///< failed attempts that will be repeated
    std::uint64_t dead = 0;        ///< messages parked as dead letters
};

/// A consumer as its owner sees it, whatever it handles.
class running_consumer {
public:
    virtual ~running_consumer() = default;
    virtual queue_name const& queue() const noexcept = 0;
    virtual consumer_counters counters() const noexcept = 0;
    virtual void start() = 0;
    virtual asio::awaitable<void> stop() = 0;
};

} // namespace cosaga
