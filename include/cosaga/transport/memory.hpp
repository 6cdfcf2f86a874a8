// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/memory_network.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// Says that the named consumer has to get each message of the topic.
struct memory_route {
    std::string topic;
    std::string consumer;
};

struct memory_transport_options {
    std::string service = "service";    ///< the declared name that receivers see as `delivery.sender`
    std::vector<memory_route> routes{}; ///< where messages from here go
    message_limits limits{};
    std::size_t window_messages = 1024;               ///< of one publisher at one subscription, not settled; >= 1
    std::size_t window_bytes = std::size_t{16} << 20; ///< the same in bytes; a single message may exceed it
};

/// Carries messages within one process, for tests and for services that live together.
///
/// Nothing is serialised. Messages wait at their publisher until a subscription has room for them.
/// @par Thread safety
/// every member may be called from any thread.
class memory_transport {
public:
    using publisher_type = publisher_handle;
    using subscription_type = subscription_handle;

    /// A network of its own.
    explicit memory_transport(environment& env, memory_transport_options options = {})
        : memory_transport{std::make_shared<detail::memory_network>(env.get_executor()), env, std::move(options)}
    {
    }
    /// Another service on the network of `other`, with its own name, routes and end.
    memory_transport(memory_transport& other, environment& env, memory_transport_options options = {})
        : memory_transport{other.network_, env, std::move(options)}
    {
    }
    memory_transport(memory_transport const&) = delete;
    memory_transport& operator=(memory_transport const&) = delete;
    ~memory_transport() { handles_.close_all(); }

    std::vector<std::string> consumers_of(std::string_view topic) const
    {
        std::vector<std::string> names;
        for (auto const& r : options_.routes)
            if (r.topic == topic)
                names.push_back(r.consumer);
        return names;
    }

    publisher_type open_publisher(std::string_view topic, std::string_view consumer)
    {
        auto const is_it = [&](memory_route const& r) { return r.topic == topic && r.consumer == consumer; };
        if (std::none_of(options_.routes.begin(), options_.routes.end(), is_it))
            throw make_error(errc::no_route, "no route for the topic '" + std::string{topic} + "' to the consumer '"
                                                 + std::string{consumer}
                                                 + "': declare it in memory_transport_options::routes");
        return publisher_type{
            handles_.add(network_->open_publisher(topic, consumer, options_.service, options_.limits, faults_))};
    }

    subscription_type subscribe(std::string_view topic, std::string_view consumer)
    {
        auto subscriber = network_->open_subscription(
            *environment_, topic, consumer, {options_.window_messages, options_.window_bytes});
        subscription_type handle{handles_.add(subscriber->state)};
        std::lock_guard const lock{mutex_};
        if (started_)
            network_->let_in(std::move(subscriber));
        else
            waiting_.push_back(std::move(subscriber));
        return handle;
    }

    void start()
    {
        std::lock_guard const lock{mutex_};
        started_ = true;
        for (auto& s : std::exchange(waiting_, {}))
            network_->let_in(std::move(s));
    }

    asio::awaitable<void> close()
    {
        handles_.close_all();
        // Behind what closing the handles has posted.
        auto const done = std::make_shared<detail::event>(network_->get_executor());
        asio::post(network_->get_executor(), [done] { done->notify(); });
        co_await done->wait();
    }

    message_limits const& limits() const noexcept { return options_.limits; }
    environment& get_environment() noexcept { return *environment_; }

    /// The next `n` messages published here fail with that reason. What fails with them, being of their key, does not count.
    void fail_next(std::size_t n, std::string reason = "fault injected")
    {
        asio::post(network_->get_executor(), [f = faults_, n, r = std::move(reason)] {
            f->fail = n;
            f->reason = r;
        });
    }
    /// The next `n` messages that leave here arrive twice.
    void duplicate_next(std::size_t n)
    {
        asio::post(network_->get_executor(), [f = faults_, n] { f->duplicate = n; });
    }
    /// The next `n` acknowledgements of messages from here are lost, so that these come again.
    void drop_acknowledgements_next(std::size_t n)
    {
        asio::post(network_->get_executor(), [f = faults_, n] { f->drop_acknowledgements = n; });
    }

private:
    memory_transport(
        std::shared_ptr<detail::memory_network> network, environment& env, memory_transport_options options)
        : environment_{&env}, network_{std::move(network)}, options_{std::move(options)}
    {
        if (options_.window_messages == 0 || options_.window_bytes == 0)
            throw make_error(errc::bad_configuration, "memory_transport: the window must be at least 1");
    }

    environment* environment_;
    std::shared_ptr<detail::memory_network> network_;
    memory_transport_options options_;
    std::shared_ptr<detail::memory_faults> faults_ = std::make_shared<detail::memory_faults>();
    detail::handle_registry handles_;
    std::mutex mutex_;
    bool started_ = false;
    std::vector<std::shared_ptr<detail::memory_network::subscriber>> waiting_; // for `start`
};

static_assert(transport<memory_transport>);

} // namespace cosaga
