// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/component.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/responder_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/responder_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace cosaga {

namespace detail {

template <class Codec, class Request, class Handler>
class typed_responder_handler final : public responder_handler {
public:
    explicit typed_responder_handler(Handler handler) : handler_{std::move(handler)} {}

    asio::awaitable<message> handle(message const& request, std::string_view topic) override
    {
        message reply;
        reply.content_type = Codec::content_type;
        auto const body = decode_body<Codec, Request>(request, topic);
        if (auto const* const asked = std::get_if<Request>(&body)) {
            std::exception_ptr failed;
            try {
                auto const answer = co_await handler_(*asked);
                reply.type = message_type_of<reply_type>();
                reply.payload = Codec::encode(answer);
            } catch (...) {
                failed = std::current_exception();
            }
            if (failed)
                refuse(reply, describe(failed));
        } else {
            refuse(reply, std::get<not_applicable>(body).reason);
        }
        co_return reply;
    }

private:
    using reply_type = typename std::invoke_result_t<Handler&, Request const&>::value_type;

    static void refuse(message& reply, std::string why)
    {
        reply.type = refusal_type;
        reply.payload = std::move(why);
    }

    Handler handler_;
};

} // namespace detail

/// Answers the requests that a `requester` sends to a topic.
///
/// `Handler` is called as `asio::awaitable<Reply>(Request const&)`, several at a time; what it throws is the answer of that
/// request (`errc::request_refused` there). Requests whose deadline has passed are dropped unanswered. A request may come twice.
/// @par Thread safety
/// `start` once; `stop` once, before destruction unless the executor no longer runs.
template <transport Transport, class Codec, class Request, class Handler>
class responder final : public component {
public:
    responder(Transport& t, std::string topic, std::string name, Handler handler, responder_options options)
        : core_{detail::make_responder(t, std::move(topic), std::move(name),
              std::make_unique<detail::typed_responder_handler<Codec, Request, Handler>>(std::move(handler)),
              std::move(options))}
    {
    }
    responder(responder const&) = delete;
    responder& operator=(responder const&) = delete;

    void start() override { core_->start(); }

    /// Takes no more requests, and finishes those that are being handled.
    asio::awaitable<void> stop() override { return core_->stop(); }

private:
    std::unique_ptr<component> core_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/responder.ipp>
#endif
