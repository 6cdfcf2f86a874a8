// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/direct_sender.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/requester_core.hpp>
#include <cosaga/detail/responder_core.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

class requester_core::pending {
public:
    explicit pending(asio::any_io_executor executor) : answered{std::make_unique<event>(std::move(executor))} {}
    message_id id;
    std::string topic;
    steady_time deadline{};
    std::unique_ptr<event> answered;
    std::optional<message> reply;
    std::optional<errc> failed;
    std::string why;
};

/// Sends requests, and finds who waits for an answer.
template <transport Transport>
class requester_machine final : public requester_core {
public:
    requester_machine(Transport& t, requester_options options)
        : transport_{&t},
          environment_{&t.get_environment()},
          options_{std::move(options)},
          ids_{*environment_},
          strand_{strand_of(environment_->get_executor())},
          tick_{std::make_shared<event>(strand_)},
          ended_{strand_},
          alarm_{*environment_, strand_, tick_},
          sender_{t, strand_, options_.outstanding, [this](message const& m, std::string const& why) { refused(m, why); }},
          replies_{t.subscribe(options_.reply_topic, options_.reply_consumer)}
    {
    }
    /// Destroys the coroutines that still wait for an answer: their frames hold what they wait for, and nobody else will end that.
    ~requester_machine() override
    {
        auto const waiting = std::move(pending_);
        for (auto const& [id, p] : waiting)
            p->answered.reset();
    }

    void start() override
    {
        running_ = 2;
        spawn_on(strand_, receive(), [this](std::exception_ptr e) { end_one(e); });
        spawn_on(strand_, expire(), [this](std::exception_ptr e) { end_one(e); });
    }

    asio::awaitable<void> stop() override { return run_on(strand_, do_stop()); }

    std::shared_ptr<pending> ask(std::string_view topic, message m, duration timeout) override
    {
        auto const consumers = transport_->consumers_of(topic);
        if (consumers.size() != 1)
            throw make_error(errc::no_route, "request: the topic '" + std::string{topic} + "' has "
                                                 + std::to_string(consumers.size()) + " consumers, and needs one");
        auto waiting = std::make_shared<pending>(environment_->get_executor());
        waiting->id = ids_();
        waiting->topic = topic;
        waiting->deadline = environment_->steady_now() + timeout;
        m.id = waiting->id;
        m.time = environment_->now();
        m.topic = topic;
        m.source = options_.service;
        m.headers.push_back({std::string{reply_topic_header}, options_.reply_topic});
        m.headers.push_back({std::string{reply_consumer_header}, options_.reply_consumer});
        {
            std::lock_guard const lock{mutex_};
            if (stopping_)
                throw make_error(errc::transport_closed, "request: the requester was stopped");
            if (pending_.size() >= options_.outstanding)
                throw make_error(errc::limit_exceeded,
                    "request: " + std::to_string(options_.outstanding) + " requests are waiting already");
            if (auto const& r = responders_[waiting->topic]; !r.silent)
                m.headers.push_back({std::string{deadline_header}, std::to_string((m.time + timeout + r.ahead).time_since_epoch().count())});
            pending_.emplace(waiting->id, waiting);
            if (waiting->deadline < next_deadline_)
                tick_->notify();
        }
        try {
            sender_.send(consumers.front(), std::move(m));
        } catch (...) {
            forget(waiting->id);
            throw;
        }
        return waiting;
    }

    asio::awaitable<message> answer(std::shared_ptr<pending> waiting) override
    {
        std::exception_ptr aborted;
        try {
            co_await waiting->answered->wait();
        } catch (...) {
            aborted = std::current_exception();
        }
        forget(waiting->id);
        if (aborted)
            std::rethrow_exception(aborted);
        if (waiting->failed)
            throw make_error(*waiting->failed, waiting->why.empty() ? "request: no answer" : waiting->why);
        if (waiting->reply->type == refusal_type)
            throw make_error(errc::request_refused, waiting->reply->payload);
        co_return std::move(*waiting->reply);
    }

private:
    /// What is known of the clock of who answers a topic. A deadline is a time, and one whose clock is ahead would drop every request
    /// unseen: so each answer tells its time, and after a request without an answer the next has no deadline.
    struct responder_clock {
        duration ahead{};
        bool silent = false;
    };
    static constexpr duration most_ahead = std::chrono::days{1};

    void forget(message_id const& id)
    {
        std::lock_guard const lock{mutex_};
        pending_.erase(id);
    }

    void refused(message const& request, std::string const& why)
    {
        std::lock_guard const lock{mutex_};
        auto const found = pending_.find(request.id);
        if (found == pending_.end() || found->second->reply || found->second->failed)
            return;
        found->second->failed = errc::request_refused;
        found->second->why = why;
        found->second->answered->notify();
    }

    asio::awaitable<void> receive()
    {
        for (;;) {
            std::vector<delivery> batch;
            try {
                batch = co_await replies_.receive(options_.outstanding);
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            std::vector<std::uint64_t> tags;
            for (auto& d : batch) {
                tags.push_back(d.tag);
                auto const id = message_id::parse(d.content.find_header(correlation_header));
                std::lock_guard const lock{mutex_};
                auto const found = id ? pending_.find(*id) : pending_.end();
                if (found == pending_.end() || found->second->reply || found->second->failed)
                    continue; // too late, or not ours
                auto const now = environment_->now();
                responders_[found->second->topic] = {std::clamp(d.content.time, now, now + most_ahead) - now, false};
                found->second->reply = std::move(d.content);
                found->second->answered->notify();
            }
            replies_.acknowledge(std::move(tags));
        }
    }

    asio::awaitable<void> expire()
    {
        while (!stopping()) {
            auto const now = environment_->steady_now();
            auto const next = expire_before(now);
            if (next != steady_time::max())
                alarm_.set(next);
            co_await tick_->wait();
        }
    }

    // Fails what is overdue, and says when the next is.
    steady_time expire_before(steady_time now)
    {
        std::lock_guard const lock{mutex_};
        next_deadline_ = steady_time::max();
        for (auto& [id, waiting] : pending_) {
            if (waiting->reply || waiting->failed)
                continue;
            if (waiting->deadline > now) {
                next_deadline_ = std::min(next_deadline_, waiting->deadline);
                continue;
            }
            waiting->failed = errc::timed_out;
            responders_[waiting->topic].silent = true;
            waiting->answered->notify();
        }
        return next_deadline_;
    }

    bool stopping()
    {
        std::lock_guard const lock{mutex_};
        return stopping_;
    }

    void end_one(std::exception_ptr e)
    {
        --running_;
        ended_.notify();
        if (e)
            environment_->report("requester of " + options_.reply_topic + " ended: " + describe(e));
    }

    asio::awaitable<void> do_stop()
    {
        {
            std::lock_guard const lock{mutex_};
            stopping_ = true;
            for (auto& [id, waiting] : pending_) {
                if (waiting->reply || waiting->failed)
                    continue;
                waiting->failed = errc::transport_closed;
                waiting->answered->notify();
            }
        }
        co_await sender_.stop();
        replies_.close();
        tick_->notify();
        while (running_ > 0)
            co_await ended_.wait();
        alarm_.cancel();
    }

    Transport* transport_;
    environment* environment_;
    requester_options options_;
    message_id_generator ids_;
    asio::any_io_executor strand_;
    std::shared_ptr<event> tick_;
    event ended_;
    alarm alarm_;
    direct_sender<Transport> sender_;
    typename Transport::subscription_type replies_;
    int running_ = 0;
    std::mutex mutex_; // guards what follows
    bool stopping_ = false;
    std::map<message_id, std::shared_ptr<pending>> pending_;
    steady_time next_deadline_ = steady_time::max();
    std::map<std::string, responder_clock> responders_; // by topic: only those with a route come here
};

} // namespace cosaga::detail
