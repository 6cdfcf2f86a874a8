// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/requester_options.hpp>
#include <cosaga/responder_options.hpp>

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

    std::unique_ptr<running_requester> requester; ///< if there is one
    std::vector<std::unique_ptr<running_consumer>> consumers;
    std::vector<std::unique_ptr<running_responder>> responders;
};

/// Defined in impl/node.ipp, away from those who use it.
template <class Store, class Transport>
std::unique_ptr<node_core> make_node_core(Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox);

} // namespace cosaga::detail
