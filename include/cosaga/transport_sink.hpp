// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/notification_sink.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cosaga {

/// Delivers notifications over a transport: a destination is the name of a consumer to which the transport has a route of the topic.
///
/// The receiver consumes them like any message, `node.consume<paid>(std::string{cosaga::notifications_topic}, "merchant1", ...)`: each is
/// applied once there. It counts as delivered when the receiver has taken responsibility for it.
/// @par Thread safety
/// any number of coroutines on any threads.
template <transport Transport>
class transport_sink {
public:
    /// @param topic under which receivers get them.
    explicit transport_sink(Transport& t, std::string topic = std::string{notifications_topic}) : transport_{&t}, topic_{std::move(topic)} {}
    transport_sink(transport_sink const&) = delete;
    transport_sink& operator=(transport_sink const&) = delete;

    /// @throws system_error `errc::bad_argument` for a destination without a route.
    void check(std::string const& destination) const
    {
        auto const known = transport_->consumers_of(topic_);
        if (std::find(known.begin(), known.end(), destination) == known.end())
            throw make_error(errc::bad_argument, "no route is declared for the topic '" + topic_ + "' to the consumer '" + destination + "'");
    }

    /// Waits until the receiver has taken the message, for as long as that takes.
    /// @par Cancellation
    /// what was sent may still arrive.
    asio::awaitable<attempt_result> deliver(std::string const& destination, message const& m)
    {
        auto link = take(destination);
        std::vector<envelope> batch(1);
        batch.front().content = m;
        batch.front().content.topic = topic_;
        link->publish(std::move(batch));
        auto settled = co_await link->settled(); // cancelled, the link is closed: what is on its way is forgotten
        give_back(destination, std::move(link));
        attempt_result result;
        result.reason = std::move(settled.front().reason);
        result.outcome = settled.front().result == verdict::accepted ? attempt_outcome::delivered : attempt_outcome::failed;
        co_return result;
    }

private:
    using publisher_type = typename Transport::publisher_type;
    using link_ptr = std::unique_ptr<publisher_type>;

    static constexpr std::size_t kept = 8; // idle links to one destination

    link_ptr take(std::string const& destination)
    {
        {
            std::lock_guard const lock{mutex_};
            auto& idle = idle_[destination];
            if (!idle.empty()) {
                auto link = std::move(idle.back());
                idle.pop_back();
                return link;
            }
        }
        return std::make_unique<publisher_type>(transport_->open_publisher(topic_, destination));
    }

    void give_back(std::string const& destination, link_ptr link)
    {
        std::lock_guard const lock{mutex_};
        auto& idle = idle_[destination];
        if (idle.size() < kept)
            idle.push_back(std::move(link));
    }

    Transport* transport_;
    std::string topic_;
    std::mutex mutex_; // guards what follows
    std::map<std::string, std::vector<link_ptr>, std::less<>> idle_; // one message at a time on each
};

} // namespace cosaga
