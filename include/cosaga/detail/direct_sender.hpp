// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

// Headers of requests and replies; lower-case letters and digits, as CloudEvents wants extensions.
inline constexpr char reply_topic_header[] = "replytopic";
inline constexpr char reply_consumer_header[] = "replyconsumer";
inline constexpr char correlation_header[] = "correlationid";
inline constexpr char deadline_header[] = "deadline"; // microseconds since 1970, on the responder's clock as far as it is known

/// Publishes messages that are in no table: requests and replies. What fails is not repeated.
/// @par Thread safety
/// `send` from any thread; `stop` once, before destruction unless the executor no longer runs.
template <transport Transport>
class direct_sender {
public:
    using failure_handler = std::function<void(message const&, std::string const& reason)>;

    /// @param most messages that may be outstanding; the next one is refused with `errc::limit_exceeded`.
    /// @param on_failure called on `strand` for what the destination refused.
    direct_sender(Transport& t, asio::any_io_executor strand, std::size_t most, failure_handler on_failure)
        : transport_{&t}, strand_{std::move(strand)}, most_{most}, on_failure_{std::move(on_failure)}, ended_{strand_}
    {
    }
    direct_sender(direct_sender const&) = delete;
    direct_sender& operator=(direct_sender const&) = delete;

    void send(std::string const& consumer, message m)
    {
        check_limits(m, transport_->limits());
        std::lock_guard const lock{mutex_};
        if (stopping_)
            throw make_error(errc::transport_closed, "send: stopped");
        if (outstanding_ >= most_)
            throw make_error(errc::limit_exceeded,
                "send: " + std::to_string(most_) + " messages are outstanding; the destination does not take them");
        auto const name = std::pair{m.topic, consumer};
        auto to = publishers_.find(name);
        if (to == publishers_.end()) {
            to = publishers_.emplace(name, transport_->open_publisher(m.topic, consumer)).first;
            ++running_;
            spawn_on(strand_, drain(&to->second), [this](std::exception_ptr e) { ended(e); });
        }
        ++outstanding_;
        std::vector<envelope> batch;
        batch.push_back({0, std::move(m)});
        to->second.publish(std::move(batch));
    }

    /// Runs on the strand.
    asio::awaitable<void> stop()
    {
        {
            std::lock_guard const lock{mutex_};
            stopping_ = true;
            for (auto& [name, publisher] : publishers_)
                publisher.close();
        }
        for (;;) {
            bool const done = is_done();
            if (done)
                co_return;
            co_await ended_.wait();
        }
    }

private:
    using publisher_type = typename Transport::publisher_type;

    asio::awaitable<void> drain(publisher_type* publisher)
    {
        for (;;) {
            std::vector<settlement> settled;
            try {
                settled = co_await publisher->settled();
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            {
                std::lock_guard const lock{mutex_};
                outstanding_ -= settled.size();
            }
            for (auto const& s : settled)
                if (s.result != verdict::accepted)
                    on_failure_(s.content, s.reason);
        }
    }

    bool is_done()
    {
        std::lock_guard const lock{mutex_};
        return running_ == 0;
    }

    void ended(std::exception_ptr e)
    {
        {
            std::lock_guard const lock{mutex_};
            --running_;
        }
        ended_.notify();
        if (e)
            transport_->get_environment().report("sending ended: " + describe(e));
    }

    Transport* transport_;
    asio::any_io_executor strand_;
    std::size_t most_;
    failure_handler on_failure_;
    event ended_;
    std::mutex mutex_; // guards what follows
    std::map<std::pair<std::string, std::string>, publisher_type> publishers_; // by topic and consumer
    std::size_t outstanding_ = 0;
    std::size_t running_ = 0;
    bool stopping_ = false;
};

} // namespace cosaga::detail
