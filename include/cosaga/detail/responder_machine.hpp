// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/direct_sender.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/responder_core.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/responder_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Receives requests, has several handled at a time, and sends the answers.
template <transport Transport>
class responder_machine final : public component {
public:
    responder_machine(Transport& t, std::string topic, std::string name, std::unique_ptr<responder_handler> handler,
        responder_options options)
        : environment_{&t.get_environment()},
          topic_{std::move(topic)},
          options_{std::move(options)},
          handler_{std::move(handler)},
          ids_{*environment_},
          strand_{strand_of(environment_->get_executor())},
          room_{strand_},
          ended_{strand_},
          sender_{t, strand_, most_replies,
              [this](message const&, std::string const& why) { environment_->report("responder of " + topic_ + ": " + why); }},
          subscription_{t.subscribe(topic_, std::move(name))}
    {
    }

    void start() override
    {
        running_ = true;
        spawn_on(strand_, receive(), [this](std::exception_ptr e) { end_one(e); });
    }

    asio::awaitable<void> stop() override { return run_on(strand_, do_stop()); }

private:
    static constexpr std::size_t most_replies = 8192;

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
                spawn_on(strand_, handle(std::move(d)), [this](std::exception_ptr e) {
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
        auto reply = co_await handler_->handle(d.content, topic_);
        answer(d.content, std::move(reply));
        acknowledge(d.tag);
    }

    // A reply goes only to a declared destination: the names in a request are bytes from outside.
    void answer(message const& request, message reply)
    {
        reply.id = ids_();
        reply.time = environment_->now();
        reply.topic = request.find_header(reply_topic_header);
        reply.source = options_.service;
        reply.headers.push_back({correlation_header, request.id.to_string()});
        try {
            sender_.send(std::string{request.find_header(reply_consumer_header)}, std::move(reply));
        } catch (boost::system::system_error const& e) {
            environment_->report("responder of " + topic_ + ": no answer to a request of " + request.source + ": " + e.what());
        }
    }

    bool is_overdue(message const& request) const
    {
        auto const text = request.find_header(deadline_header);
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
            environment_->report("responder of " + topic_ + ": " + describe(e));
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
    std::unique_ptr<responder_handler> handler_;
    message_id_generator ids_;
    asio::any_io_executor strand_;
    event room_;
    event ended_;
    direct_sender<Transport> sender_;
    typename Transport::subscription_type subscription_;
    bool running_ = false;
    std::size_t handling_ = 0;
};

} // namespace cosaga::detail
