// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/direct_sender.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga {

struct responder_options {
    std::string service;            ///< who answers: the `source` of replies
    std::size_t concurrency = 64;   ///< requests handled at the same time, >= 1
};

/// A responder as its owner sees it, whatever it answers.
class running_responder {
public:
    virtual ~running_responder() = default;
    virtual void start() = 0;
    virtual asio::awaitable<void> stop() = 0;
};

/// Answers the requests that a `requester` sends to a topic.
///
/// `Handler` is called as `asio::awaitable<Reply>(Request const&)`, several at a time; what it throws is the answer of that
/// request (`errc::request_refused` there). Requests whose deadline has passed are dropped unanswered. A request may come twice.
/// @par Thread safety
/// `start` once; `stop` once, before destruction unless the executor no longer runs.
template <transport Transport, class Codec, class Request, class Handler>
class responder final : public running_responder {
public:
    responder(Transport& t, std::string topic, std::string name, Handler handler, responder_options options)
        : environment_{&t.get_environment()},
          topic_{std::move(topic)},
          options_{std::move(options)},
          handler_{std::move(handler)},
          ids_{*environment_},
          strand_{asio::make_strand(environment_->get_executor())},
          room_{strand_},
          ended_{strand_},
          sender_{t, strand_, most_replies,
              [this](message const&, std::string const& why) { environment_->report("responder of " + topic_ + ": " + why); }},
          subscription_{t.subscribe(topic_, std::move(name))}
    {
    }
    responder(responder const&) = delete;
    responder& operator=(responder const&) = delete;

    void start() override
    {
        running_ = true;
        asio::co_spawn(strand_, receive(), [this](std::exception_ptr e) { end_one(e); });
    }

    /// Takes no more requests, and finishes those that are being handled.
    asio::awaitable<void> stop() override { return asio::co_spawn(strand_, do_stop(), asio::use_awaitable); }

private:
    static constexpr std::size_t most_replies = 8192;
    using reply_type = typename std::invoke_result_t<Handler&, Request const&>::value_type;

    asio::awaitable<void> receive()
    {
        for (;;) {
            std::vector<delivery> batch;
            try {
                batch = co_await subscription_.receive(options_.concurrency);
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            for (auto& d : batch) {
                while (handling_ >= options_.concurrency)
                    co_await room_.wait();
                ++handling_;
                asio::co_spawn(strand_, handle(std::move(d)), [this](std::exception_ptr e) {
                    --handling_;
                    room_.notify();
                    report(e);
                });
            }
        }
    }

    asio::awaitable<void> handle(delivery d)
    {
        if (is_overdue(d.content)) {
            acknowledge(d.tag);
            co_return;
        }
        message reply;
        auto const body = detail::decode_body<Codec, Request>(d.content, topic_);
        if (auto const* const request = std::get_if<Request>(&body)) {
            std::exception_ptr failed;
            try {
                auto const answer = co_await handler_(*request);
                reply.type = message_type_of<reply_type>();
                reply.payload = Codec::encode(answer);
            } catch (...) {
                failed = std::current_exception();
            }
            if (failed)
                refuse(reply, detail::describe(failed));
        } else {
            refuse(reply, std::get<detail::not_applicable>(body).reason);
        }
        answer(d.content, std::move(reply));
        acknowledge(d.tag);
    }

    static void refuse(message& reply, std::string why)
    {
        reply.type = detail::refusal_type;
        reply.payload = std::move(why);
    }

    // A reply goes only to a declared destination: the names in a request are bytes from outside.
    void answer(message const& request, message reply)
    {
        reply.id = ids_();
        reply.time = environment_->now();
        reply.topic = request.find_header(detail::reply_topic_header);
        reply.source = options_.service;
        reply.content_type = Codec::content_type;
        reply.headers.push_back({detail::correlation_header, request.id.to_string()});
        try {
            sender_.send(std::string{request.find_header(detail::reply_consumer_header)}, std::move(reply));
        } catch (boost::system::system_error const& e) {
            environment_->report("responder of " + topic_ + ": no answer to a request of " + request.source + ": " + e.what());
        }
    }

    bool is_overdue(message const& request) const
    {
        auto const text = request.find_header(detail::deadline_header);
        std::int64_t deadline = 0;
        auto const parsed = std::from_chars(text.data(), text.data() + text.size(), deadline);
        return parsed.ec == std::errc{} && environment_->now().time_since_epoch().count() > deadline;
    }

    void acknowledge(std::uint64_t tag)
    {
        std::vector<std::uint64_t> tags(1, tag);
        subscription_.acknowledge(std::move(tags));
    }

    void end_one(std::exception_ptr e)
    {
        running_ = false;
        report(e);
    }

    void report(std::exception_ptr e)
    {
        ended_.notify();
        if (e)
            environment_->report("responder of " + topic_ + ": " + detail::describe(e));
    }

    asio::awaitable<void> do_stop()
    {
        subscription_.close();
        while (running_ || handling_ > 0)
            co_await ended_.wait();
        co_await sender_.stop();
    }

    environment* environment_;
    std::string topic_;
    responder_options options_;
    Handler handler_;
    message_id_generator ids_;
    asio::strand<asio::any_io_executor> strand_;
    detail::event room_;
    detail::event ended_;
    detail::direct_sender<Transport> sender_;
    typename Transport::subscription_type subscription_;
    bool running_ = false;
    std::size_t handling_ = 0;
};

} // namespace cosaga
