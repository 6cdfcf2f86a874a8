// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/testing/host.hpp>
#include <cosaga/testing/simulated_transport.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// What the services of a workload are built on: a store and a transport. A platform is a class with
///
/// | expression                            | meaning |
/// |---------------------------------------|---------|
/// | `P::store_type`, `P::transport_type`  | models of the concepts |
/// | `P::open(host)`                       | `std::unique_ptr<store_type>` on what is durable there |
/// | `P::connect(host, service, routes)`   | `std::unique_ptr<transport_type>` |
/// | `P::get(tx, table, key)`              | `std::optional<std::string>` from a table of the workload's own |
/// | `P::put(tx, table, key, value)`       | |
/// | `P::entries(tx, table)`               | `std::map<std::string, std::string>` |
/// | `P::verify(tx)`                       | throws when what is on the disk is broken in itself |
///
/// This one keeps everything in memory: the fastest.
struct memory_platform {
    using store_type = memory_store;
    using transport_type = simulated_transport;

    static std::unique_ptr<store_type> open(host& h)
    {
        return std::make_unique<memory_store>(h.get_environment(), h.durable<memory_disk>());
    }
    static std::unique_ptr<transport_type> connect(host& h, std::string service, std::vector<simulated_route> routes)
    {
        return std::make_unique<simulated_transport>(
            h, simulated_transport_options{.service = std::move(service), .routes = std::move(routes)});
    }
    static std::optional<std::string> get(memory_transaction& tx, std::string_view table, std::string_view key)
    {
        return tx.get(table, key);
    }
    static void put(memory_transaction& tx, std::string_view table, std::string_view key, std::string value)
    {
        tx.put(table, key, std::move(value));
    }
    static std::map<std::string, std::string> entries(memory_transaction& tx, std::string_view table)
    {
        return tx.entries(table);
    }
    static void verify(memory_transaction&) {}
};

/// How often a node looks for what nobody told it of. Most of a run's virtual time is spent waiting for late retries.
inline constexpr duration seldom = std::chrono::minutes{1};

/// How many messages a store has still to send or to apply: what is not at its end.
template <store_transaction Tx>
std::size_t count_pending(Tx& tx)
{
    std::size_t pending = 0;
    for (auto const& queue : tx.queues())
        for (auto const state : {message_state::ready, message_state::delayed, message_state::prepared})
            pending += tx.count(queue, state);
    return pending;
}

} // namespace cosaga::testing
