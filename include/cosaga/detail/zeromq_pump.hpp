// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/zeromq_socket.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace cosaga::detail {

inline int to_milliseconds(duration d)
{
    auto const count = std::chrono::ceil<std::chrono::milliseconds>(d).count();
    return static_cast<int>(std::clamp<std::int64_t>(count, 0, std::numeric_limits<int>::max()));
}

/// What every socket is given: libzmq's own defaults wait for ever and accept messages of any size.
inline void set_common_options(
    zeromq_socket& socket, zeromq_options const& options, std::string const& endpoint, std::size_t largest_frame)
{
    auto const heartbeat = to_milliseconds(options.heartbeat);
    socket.set(ZMQ_LINGER, 0);
    socket.set(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(largest_frame));
    socket.set(ZMQ_HANDSHAKE_IVL, 5000);
    socket.set(ZMQ_HEARTBEAT_IVL, heartbeat);
    socket.set(ZMQ_HEARTBEAT_TIMEOUT, 3 * heartbeat);
    socket.set(ZMQ_HEARTBEAT_TTL, 3 * heartbeat);
    socket.set(ZMQ_RCVHWM, 64); // frames of one peer that wait to be read
    if (endpoint.find('[') != std::string::npos)
        socket.set(ZMQ_IPV6, 1);
}

/// Keeps handlers away from sockets that another thread uses or has closed.
///
/// Handlers run on a strand; the lock is for the few calls that come from outside of it, and for destruction.
struct zeromq_guard {
    std::mutex mutex;
    std::atomic<bool> closed = false; // written under the mutex
};

/// `f`, called under the lock unless the sockets are closed.
template <class F>
auto guarded(std::shared_ptr<zeromq_guard> guard, F f)
{
    return [guard = std::move(guard), f = std::move(f)](auto const&...) mutable {
        std::lock_guard const lock{guard->mutex};
        if (!guard->closed)
            f();
    };
}

/// A socket with the one loop that waits for it.
/// @par Thread safety
/// under the lock of its guard.
class zeromq_pump {
public:
    /// @param drain handles what has come; true when it stopped before the end and is to be called again.
    zeromq_pump(zeromq_context& context, int type, asio::any_io_executor strand, std::shared_ptr<zeromq_guard> guard,
        std::function<bool()> drain)
        : strand_{std::move(strand)},
          guard_{std::move(guard)},
          drain_{std::move(drain)},
          socket_{context.make_socket(type, strand_, guarded(guard_, [this] { changed(); }))}
    {
    }

    zeromq_socket& socket() noexcept { return *socket_; }

    /// Has to be called after every use of the socket from outside `drain`.
    /// @param mask of the events that are looked at. @param expected those that need no call of `drain`.
    void check(int mask, int expected)
    {
        if ((socket_->events() & mask) != expected)
            schedule();
        else
            wait();
    }

private:
    void schedule()
    {
        if (!std::exchange(scheduled_, true))
            asio::post(strand_, guarded(guard_, [this] { run(); }));
    }

    void wait()
    {
        if (!std::exchange(waiting_, true))
            socket_->wait();
    }

    void changed()
    {
        waiting_ = false;
        if (!scheduled_)
            run();
    }

    void run()
    {
        scheduled_ = false;
        if (drain_())
            schedule();
        else
            wait();
    }

    asio::any_io_executor strand_;
    std::shared_ptr<zeromq_guard> guard_;
    std::function<bool()> drain_;
    std::unique_ptr<zeromq_socket> socket_;
    bool waiting_ = false;
    bool scheduled_ = false;
};

/// Reads up to a number of frames; then others get their turn.
/// @param f called with the first part of each message.
/// @return true when there may be more.
template <class F>
bool drain_socket(zeromq_socket& socket, F&& f)
{
    constexpr int at_once = 32;
    for (int n = 0; n < at_once; ++n) {
        zeromq_message part;
        if (!socket.receive(part))
            return (socket.events() & ZMQ_POLLIN) != 0;
        f(part);
    }
    return true;
}

/// Reads and drops what is left of a message with too many parts.
inline bool skip_parts(zeromq_socket& socket, zeromq_message& last)
{
    bool skipped = false;
    bool more = last.more();
    while (more) {
        zeromq_message part;
        more = socket.receive(part) && part.more();
        skipped = true;
    }
    return skipped;
}

} // namespace cosaga::detail
