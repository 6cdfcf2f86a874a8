// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <zmq.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

namespace asio = boost::asio;

[[noreturn]] inline void throw_zeromq_error(std::string const& what)
{
    throw make_error(errc::transport_failed, what + ": " + zmq_strerror(zmq_errno()));
}

/// One libzmq context: its own I/O thread, and its own place for the authenticator.
class zeromq_context {
public:
    zeromq_context()
    {
        int major = 0, minor = 0, patch = 0;
        zmq_version(&major, &minor, &patch);
        // Older ones can be crashed or blocked by a peer that is not authenticated (CVE-2019-13132, CVE-2020-15166).
        if (major * 10000 + minor * 100 + patch < 40303)
            throw make_error(errc::bad_configuration, "libzmq is older than 4.3.3: update it");
        handle_.reset(zmq_ctx_new());
        if (!handle_)
            throw_zeromq_error("zmq_ctx_new");
    }

    void* get() const noexcept { return handle_.get(); }

private:
    struct terminate {
        void operator()(void* context) const noexcept
        {
            while (zmq_ctx_term(context) != 0 && zmq_errno() == EINTR) {
            }
        }
    };
    std::unique_ptr<void, terminate> handle_;
};

/// One message part.
class zeromq_message {
public:
    zeromq_message() noexcept { zmq_msg_init(&message_); }
    zeromq_message(zeromq_message const&) = delete;
    zeromq_message& operator=(zeromq_message const&) = delete;
    ~zeromq_message() { zmq_msg_close(&message_); }

    zmq_msg_t* get() noexcept { return &message_; }
    std::string_view view() noexcept
    {
        return {static_cast<char const*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
    }
    bool more() noexcept { return zmq_msg_more(&message_) != 0; }
    /// The service behind the authenticated key of the peer, or nothing.
    std::string_view user_id() noexcept
    {
        auto const* const id = zmq_msg_gets(&message_, "User-Id");
        return id ? std::string_view{id} : std::string_view{};
    }

private:
    zmq_msg_t message_;
};

/// A libzmq socket whose readiness is waited for through Asio.
///
/// Its descriptor tells of changes, not of states, and any call on the socket may swallow a change. So after any
/// use `events` has to be asked, and what it says acted on, before the socket is left alone with `wait`.
/// @par Thread safety
/// none: one thread at a time, with a lock between them.
class zeromq_socket {
public:
    enum class sent { yes, full, unreachable };

    zeromq_socket(zeromq_context& context, int type, asio::any_io_executor executor)
        : handle_{zmq_socket(context.get(), type)}, descriptor_{std::move(executor)}
    {
        if (!handle_)
            throw_zeromq_error("zmq_socket");
        int fd = -1;
        std::size_t size = sizeof fd;
        if (zmq_getsockopt(handle_, ZMQ_FD, &fd, &size) != 0) {
            zmq_close(handle_);
            throw_zeromq_error("ZMQ_FD");
        }
        descriptor_.assign(fd);
    }
    zeromq_socket(zeromq_socket const&) = delete;
    zeromq_socket& operator=(zeromq_socket const&) = delete;
    ~zeromq_socket()
    {
        descriptor_.release(); // before the descriptor is closed and its number used again
        zmq_close(handle_);
    }

    void set(int option, int value) { set(option, &value, sizeof value); }
    void set(int option, std::int64_t value) { set(option, &value, sizeof value); }
    void set(int option, std::string const& value) { set(option, value.data(), value.size()); }

    /// @return the endpoint with the port that was chosen, for `tcp://127.0.0.1:*`.
    std::string bind(std::string const& endpoint)
    {
        if (zmq_bind(handle_, endpoint.c_str()) != 0)
            throw_zeromq_error("cannot listen on " + endpoint);
        char buffer[1024];
        std::size_t size = sizeof buffer;
        if (zmq_getsockopt(handle_, ZMQ_LAST_ENDPOINT, buffer, &size) != 0)
            throw_zeromq_error("ZMQ_LAST_ENDPOINT");
        return {buffer, size - 1};
    }

    void unbind(std::string const& endpoint) noexcept { zmq_unbind(handle_, endpoint.c_str()); }

    void connect(std::string const& endpoint)
    {
        if (zmq_connect(handle_, endpoint.c_str()) != 0)
            throw_zeromq_error("cannot connect to " + endpoint);
    }

    /// Which of ZMQ_POLLIN and ZMQ_POLLOUT hold.
    int events()
    {
        int flags = 0;
        std::size_t size = sizeof flags;
        if (zmq_getsockopt(handle_, ZMQ_EVENTS, &flags, &size) != 0)
            return 0;
        return flags;
    }

    /// Receives one part if there is one.
    bool receive(zeromq_message& to) noexcept
    {
        for (;;) {
            if (zmq_msg_recv(to.get(), handle_, ZMQ_DONTWAIT) >= 0)
                return true;
            if (zmq_errno() != EINTR)
                return false;
        }
    }

    sent send(std::string_view part, bool more = false) noexcept
    {
        for (;;) {
            if (zmq_send(handle_, part.data(), part.size(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0)
                return sent::yes;
            if (zmq_errno() == EINTR)
                continue;
            return zmq_errno() == EHOSTUNREACH ? sent::unreachable : sent::full;
        }
    }

    /// To the peer of a ROUTER.
    sent send_to(std::string_view routing_id, std::string_view part) noexcept
    {
        auto const first = send(routing_id, true);
        return first == sent::yes ? send(part) : first;
    }

    /// Calls `handler(error_code)` on the next change, also when the socket is destroyed.
    template <class Handler>
    void wait(Handler&& handler)
    {
        descriptor_.async_wait(asio::posix::descriptor_base::wait_read, std::forward<Handler>(handler));
    }

private:
    void set(int option, void const* value, std::size_t size)
    {
        if (zmq_setsockopt(handle_, option, value, size) != 0)
            throw_zeromq_error("zmq_setsockopt " + std::to_string(option));
    }

    void* handle_;
    asio::posix::stream_descriptor descriptor_;
};

} // namespace cosaga::detail
