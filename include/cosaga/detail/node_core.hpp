// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/outbox_core.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <vector>

namespace cosaga::detail {

/// What runs on a node, started and stopped in order.
class node_core {
public:
    node_core() = default;
    node_core(node_core const&) = delete;
    node_core& operator=(node_core const&) = delete;
    virtual ~node_core() = default;

    virtual asio::awaitable<void> start() = 0;
    virtual asio::awaitable<void> stop() = 0;
    virtual asio::awaitable<void> run() = 0;
    virtual asio::awaitable<void> run(asio::awaitable<void> body) = 0;

    std::vector<std::unique_ptr<running_consumer>> consumers;
    std::vector<component*> components;             ///< in the order of starting
    std::vector<std::unique_ptr<component>> owned; ///< those of them that are the node's own
};

/// Defined in impl/node.ipp, away from those who use it.
template <class Store, class Transport>
std::unique_ptr<node_core> make_node_core(Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox);

} // namespace cosaga::detail
