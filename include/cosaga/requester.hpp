// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/component.hpp>
#include <cosaga/detail/requester_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/requester_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga {

/// Asks another service and waits for its answer, over any transport.
///
/// Nothing of it is stored: a request is lost with its process, and a time-out does not tell whether the other side
/// acted. What must happen is sent through an outbox instead.
/// @par Thread safety
/// `request` from any number of coroutines on any threads; `start` and `stop` once each.
template <transport Transport, class Codec>
class requester final : public component {
public:
    requester(Transport& t, requester_options options) : core_{detail::make_requester_core(t, std::move(options))} {}
    requester(requester const&) = delete;
    requester& operator=(requester const&) = delete;

    void start() override { core_->start(); }

    /// Ends waiting: open requests throw `errc::transport_closed`.
    asio::awaitable<void> stop() override { return core_->stop(); }

    /// Sends `body` to the one consumer of `topic` and waits for its answer.
    /// @param timeout > 0; counted from the call.
    /// @par Errors
    /// @li `errc::timed_out` - no answer in time; it may still have been acted upon.
    /// @li `errc::request_refused` - the responder answered with an error, which the context repeats.
    /// @li `errc::no_route` - the topic has no consumer, or more than one.
    /// @li `errc::limit_exceeded` - too many requests are waiting.
    /// @li `errc::malformed_data` - the answer is no `Reply`.
    /// @par Cancellation
    /// throws `operation_aborted`; a later answer is dropped.
    template <class Reply, class Request>
    asio::awaitable<Reply> request(std::string_view topic, Request const& body, duration timeout)
    {
        message m;
        m.type = message_type_of<Request>();
        m.content_type = Codec::content_type;
        m.payload = Codec::encode(body);
        return await_reply<Reply>(core_->ask(topic, std::move(m), timeout));
    }

private:
    template <class Reply>
    asio::awaitable<Reply> await_reply(std::shared_ptr<detail::requester_core::pending> waiting)
    {
        auto const reply = co_await core_->answer(std::move(waiting));
        if (reply.type != message_type_of<Reply>() || reply.content_type != Codec::content_type)
            throw make_error(errc::malformed_data, "request: the answer is a '" + reply.type + "' as '"
                                                       + reply.content_type + "', not a '"
                                                       + std::string{message_type_of<Reply>()} + "'");
        co_return Codec::template decode<Reply>(reply.payload);
    }

    std::unique_ptr<detail::requester_core> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/requester.ipp>
#endif
