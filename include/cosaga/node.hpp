// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/json.hpp>
#include <cosaga/component.hpp>
#include <cosaga/consumer.hpp>
#include <cosaga/detail/node_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/outbox.hpp>
#include <cosaga/requester.hpp>
#include <cosaga/responder.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga {

struct node_options {
    std::string service;             ///< the name of this service: the `source` of its messages; 1 to 255 bytes
    relay_options relay{};
    std::vector<ledger_options> ledgers{}; ///< of topics that are reconciled
    std::string reply_topic{};       ///< to ask questions: where answers arrive; empty when this node asks none
    std::string reply_consumer{};    ///< under which name; the service's unless given
};

/// One service: a store, a transport, and everything that runs on them, started and stopped together.
///
/// @code
/// cosaga::node node{store, transport, {.service = "shop"}};
/// node.consume<payment>("payments", "shop", [](auto& tx, payment const& p) { tx.execute("...", p.id); });
/// co_await node.start();
/// co_await node.transact([&](auto& tx) { tx.send("orders", o); });
/// co_await node.stop();
/// @endcode
/// @par Thread safety
/// `transact` and `request` from any number of coroutines on any threads, the rest from one at a time. Destroy it after `stop`, or when its executor no
/// longer runs, and before the store and the transport.
template <store Store, transport Transport, class Codec = json_codec>
class node {
public:
    using outbox_type = outbox<Store, Transport, Codec>;
    using transaction = typename outbox_type::transaction;

    /// @throws system_error `errc::bad_configuration`
    node(Store& s, Transport& t, node_options options)
        : store_{&s},
          transport_{&t},
          options_{std::move(options)},
          outbox_{s, t, {.service = options_.service, .relay = options_.relay, .ledgers = options_.ledgers}},
          core_{detail::make_node_core(s, t, outbox_.core())}
    {
        if (options_.reply_topic.empty())
            return;
        auto const& name = options_.reply_consumer.empty() ? options_.service : options_.reply_consumer;
        auto made = std::make_unique<requester<Transport, Codec>>(
            t, requester_options{options_.service, options_.reply_topic, name});
        requester_ = made.get();
        own(std::move(made));
    }
    node(node const&) = delete;
    node& operator=(node const&) = delete;

    /// Applies the messages of `topic` under the consumer's name `name`: see `consumer`. Call it before `start`.
    /// @tparam Bodies the types of messages that `handler` takes; a message of another type is parked.
    template <class... Bodies, class Handler>
    void consume(std::string topic, std::string name, Handler handler, consumer_options const& options = {})
    {
        add_consumer<Bodies...>(std::move(topic), std::move(name), no_preparation{}, std::move(handler), options);
    }

    /// Like `consume`, with a coroutine for what must be done before the transaction.
    template <class Body, class Prepare, class Handler>
        requires std::is_invocable_v<Prepare&, Body const&>
    void consume(std::string topic, std::string name, Prepare prepare, Handler handler,
        consumer_options const& options = {})
    {
        add_consumer<Body>(std::move(topic), std::move(name), std::move(prepare), std::move(handler), options);
    }

    /// Answers requests of type `Request`: see `responder`. Call it before `start`.
    template <class Request, class Handler>
    void respond(std::string topic, std::string name, Handler handler)
    {
        own(std::make_unique<responder<Transport, Codec, Request, Handler>>(
            *transport_, std::move(topic), std::move(name), std::move(handler), responder_options{options_.service}));
    }

    /// Starts and stops it with the rest: a `coordinator`, a `transactional_producer`, a `notifier`. Call it before `start`.
    /// @param c must not be destroyed before the node has stopped, unless its executor no longer runs.
    void attach(component& c) { core_->components.push_back(&c); }

    /// @copydetails outbox::transact
    template <class Work>
    auto transact(Work&& work)
    {
        return outbox_.transact(std::forward<Work>(work));
    }

    /// @copydetails requester::request
    /// @pre `node_options::reply_topic` was given.
    template <class Reply, class Request>
    asio::awaitable<Reply> request(std::string_view topic, Request const& body, duration timeout)
    {
        if (!requester_)
            throw make_error(errc::bad_configuration, "request: the node has no reply_topic");
        return requester_->template request<Reply>(topic, body, timeout);
    }

    /// Lets messages in and out, those that earlier runs left included. If it throws, all is stopped again, as by `stop`.
    asio::awaitable<void> start() { return core_->start(); }

    /// Stops in order: nothing new is received, what is running finishes, acknowledgements leave, the transport and the
    /// store are closed. What is not sent yet stays in the store. Again: does nothing.
    asio::awaitable<void> stop() { return core_->stop(); }

    /// Starts, waits for SIGINT or SIGTERM, and stops. A signal that comes before this is called ends the process as usual,
    /// which loses nothing either.
    asio::awaitable<void> run() { return core_->run(); }

    /// Starts, awaits `body`, and stops, also when `body` throws: then that comes out.
    asio::awaitable<void> run(asio::awaitable<void> body) { return core_->run(std::move(body)); }

    outbox_type& get_outbox() noexcept { return outbox_; }
    Store& get_store() noexcept { return *store_; }
    Transport& get_transport() noexcept { return *transport_; }
    std::vector<std::unique_ptr<running_consumer>> const& consumers() const noexcept { return core_->consumers; }

private:
    void own(std::unique_ptr<component> c)
    {
        attach(*c);
        core_->owned.push_back(std::move(c));
    }

    template <class... Bodies, class Prepare, class Handler>
    void add_consumer(std::string topic, std::string name, Prepare prepare, Handler handler,
        consumer_options const& options)
    {
        using made = consumer<outbox_type, Handler, Prepare, Bodies...>;
        core_->consumers.push_back(std::make_unique<made>(
            outbox_, std::move(topic), std::move(name), std::move(prepare), std::move(handler), options));
    }

    Store* store_;
    Transport* transport_;
    node_options options_;
    outbox_type outbox_;
    std::unique_ptr<detail::node_core> core_;
    requester<Transport, Codec>* requester_ = nullptr; // owned by the core
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/node.ipp>
#endif
