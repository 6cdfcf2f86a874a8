// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/zeromq_socket.hpp>
#include <cosaga/error.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <zmq.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// A libzmq socket whose descriptor is waited for through Asio.
class libzmq_socket final : public zeromq_socket {
public:
    libzmq_socket(void* context, int type, asio::any_io_executor executor, std::function<void()> on_change)
        : handle_{zmq_socket(context, type)},
          descriptor_{std::move(executor)},
          on_change_{std::make_shared<std::function<void()>>(std::move(on_change))}
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
    ~libzmq_socket() override
    {
        descriptor_.release(); // before the descriptor is closed and its number used again
        zmq_close(handle_);
    }

    void set(int option, int value) override { set(option, &value, sizeof value); }
    void set(int option, std::int64_t value) override { set(option, &value, sizeof value); }
    void set(int option, std::string const& value) override { set(option, value.data(), value.size()); }

    std::string bind(std::string const& endpoint) override
    {
        if (zmq_bind(handle_, endpoint.c_str()) != 0)
            throw_zeromq_error("cannot listen on " + endpoint);
        char buffer[1024];
        std::size_t size = sizeof buffer;
        if (zmq_getsockopt(handle_, ZMQ_LAST_ENDPOINT, buffer, &size) != 0)
            throw_zeromq_error("ZMQ_LAST_ENDPOINT");
        return {buffer, size - 1};
    }

    void unbind(std::string const& endpoint) noexcept override { zmq_unbind(handle_, endpoint.c_str()); }

    void connect(std::string const& endpoint) override
    {
        if (zmq_connect(handle_, endpoint.c_str()) != 0)
            throw_zeromq_error("cannot connect to " + endpoint);
    }

    int events() override
    {
        int flags = 0;
        std::size_t size = sizeof flags;
        if (zmq_getsockopt(handle_, ZMQ_EVENTS, &flags, &size) != 0)
            return 0;
        return flags;
    }

    bool receive(zeromq_message& to) override
    {
        for (;;) {
            if (zmq_msg_recv(to.get(), handle_, ZMQ_DONTWAIT) >= 0) {
                to.set_more(zmq_msg_more(to.get()) != 0);
                return true;
            }
            if (zmq_errno() != EINTR)
                return false;
        }
    }

    sent send(std::string_view part, bool more) override
    {
        for (;;) {
            if (zmq_send(handle_, part.data(), part.size(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0)
                return sent::yes;
            if (zmq_errno() == EINTR)
                continue;
            return zmq_errno() == EHOSTUNREACH ? sent::unreachable : sent::full;
        }
    }

    void wait() override
    {
        descriptor_.async_wait(asio::posix::descriptor_base::wait_read,
            [f = on_change_](boost::system::error_code) { (*f)(); });
    }

private:
    void set(int option, void const* value, std::size_t size)
    {
        if (zmq_setsockopt(handle_, option, value, size) != 0)
            throw_zeromq_error("zmq_setsockopt " + std::to_string(option));
    }

    void* handle_;
    asio::posix::stream_descriptor descriptor_;
    std::shared_ptr<std::function<void()>> on_change_; // of which an operation that is not over yet needs one, too
};

/// One libzmq context: its own I/O thread, and its own place for the authenticator.
class libzmq_context final : public zeromq_context {
public:
    libzmq_context()
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

    std::unique_ptr<zeromq_socket> make_socket(
        int type, asio::any_io_executor executor, std::function<void()> on_change) override
    {
        return std::make_unique<libzmq_socket>(handle_.get(), type, std::move(executor), std::move(on_change));
    }

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

} // namespace cosaga::detail
