// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <zmq.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace cosaga::detail {

namespace asio = boost::asio;

[[noreturn]] inline void throw_zeromq_error(std::string const& what)
{
    throw make_error(errc::transport_failed, what + ": " + zmq_strerror(zmq_errno()));
}

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
    bool more() const noexcept { return more_; }
    void set_more(bool more) noexcept { more_ = more; }
    void assign(std::string_view content)
    {
        zmq_msg_close(&message_);
        if (zmq_msg_init_size(&message_, content.size()) != 0) {
            zmq_msg_init(&message_);
            throw_zeromq_error("zmq_msg_init_size");
        }
        if (!content.empty())
            std::memcpy(zmq_msg_data(&message_), content.data(), content.size());
    }
    /// The service behind the authenticated key of the peer, or nothing.
    std::string_view user_id() noexcept
    {
        auto const* const id = zmq_msg_gets(&message_, "User-Id");
        return id ? std::string_view{id} : std::string_view{};
    }

private:
    zmq_msg_t message_;
    bool more_ = false; // another part of the same message follows
};

/// A ZeroMQ socket, of libzmq or of a simulation.
///
/// It tells of changes, not of states, and any call may swallow a change. So after any use `events` has to be asked, and
/// what it says acted on, before the socket is left alone with `wait`.
/// @par Thread safety
/// none: one thread at a time, with a lock between them.
class zeromq_socket {
public:
    enum class sent { yes, full, unreachable };

    zeromq_socket() = default;
    zeromq_socket(zeromq_socket const&) = delete;
    zeromq_socket& operator=(zeromq_socket const&) = delete;
    virtual ~zeromq_socket() = default;

    virtual void set(int option, int value) = 0;
    virtual void set(int option, std::int64_t value) = 0;
    virtual void set(int option, std::string const& value) = 0;

    /// @return the endpoint with the port that was chosen, for `tcp://127.0.0.1:*`.
    virtual std::string bind(std::string const& endpoint) = 0;
    virtual void unbind(std::string const& endpoint) noexcept = 0;
    virtual void connect(std::string const& endpoint) = 0;

    /// Which of ZMQ_POLLIN and ZMQ_POLLOUT hold.
    virtual int events() = 0;

    /// Receives one part if there is one.
    virtual bool receive(zeromq_message& to) = 0;
    virtual sent send(std::string_view part, bool more = false) = 0;
    /// To the peer of a ROUTER.
    sent send_to(std::string_view routing_id, std::string_view part)
    {
        auto const first = send(routing_id, true);
        return first == sent::yes ? send(part) : first;
    }

    /// Calls the handler that the socket was made with on the next change; maybe also when the socket is destroyed.
    virtual void wait() = 0;
};

/// Makes sockets. It outlives them; its destructor waits until they have sent what they still may send.
class zeromq_context {
public:
    zeromq_context() = default;
    zeromq_context(zeromq_context const&) = delete;
    zeromq_context& operator=(zeromq_context const&) = delete;
    virtual ~zeromq_context() = default;

    /// @param type ZMQ_DEALER, for one.
    /// @param on_change called on `executor` for each `wait`, and possibly after the socket is destroyed.
    virtual std::unique_ptr<zeromq_socket> make_socket(
        int type, asio::any_io_executor executor, std::function<void()> on_change) = 0;
};

} // namespace cosaga::detail
