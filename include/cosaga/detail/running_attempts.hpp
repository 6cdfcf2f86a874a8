// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/notification_text.hpp>
#include <cosaga/detail/notifier_core.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/notification_sink.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace cosaga::detail {

/// One attempt to deliver a notification.
struct running_attempt {
    std::string destination;
    message_row row;      ///< as it was read; while it runs without payload
    bool trusted = false; ///< in whose share it is

    message content{};
    std::uint64_t number = 0;
    time_point began{};
    steady_time since{};
    bool is_over = false; ///< in time, or ended
    attempt_result result{};
    asio::cancellation_signal cancel{};
};

/// The attempts that run. One that takes longer than the limit is over then: it is cancelled, and what becomes of it is of no interest any more.
///
/// Each has a place from its beginning until its coroutine has ended, also when the sink takes its time after the cancellation.
/// @par Thread safety
/// everything on the strand.
class running_attempts {
public:
    struct listener {
        std::function<void(running_attempt&, attempt_result)> over; ///< once for each attempt, at the latest with the limit
        std::function<void(running_attempt const&)> ended;          ///< its coroutine is gone
    };

    running_attempts(environment& env, asio::any_io_executor strand, erased_sink& sink, duration limit, listener tell)
        : environment_{&env}, strand_{std::move(strand)}, sink_{&sink}, limit_{limit}, tell_{std::make_shared<listener>(std::move(tell))}
    {
    }
    running_attempts(running_attempts const&) = delete;
    running_attempts& operator=(running_attempts const&) = delete;

    /// May call the listener at once.
    void launch(std::shared_ptr<running_attempt> a)
    {
        a->number = ++last_;
        a->began = environment_->now();
        a->since = environment_->steady_now();
        a->content = a->row.content;
        a->row.content.payload.clear();
        std::erase_if(a->content.headers, [](header const& h) { return h.name == schedule_header; });
        open_.emplace(a->number, a);
        alive_.emplace(a->number, a);
        // The listener is there for as long as somebody is interested.
        auto end = [this, a, alive = std::weak_ptr{tell_}](std::exception_ptr e) {
            if (alive.lock())
                finish(*a, e);
        };
        spawn_on(strand_, try_once(*sink_, a), std::move(end), {a, &a->cancel});
    }

    /// Ends those whose time is over.
    void end_overdue()
    {
        auto const now = environment_->steady_now();
        while (!open_.empty() && open_.begin()->second->since + limit_ <= now) {
            auto const a = open_.begin()->second;
            attempt_result result;
            result.reason = "no answer within " + std::to_string(std::chrono::ceil<std::chrono::seconds>(limit_).count()) + " s";
            settle(*a, std::move(result));
            a->cancel.emit(asio::cancellation_type::terminal);
        }
    }

    /// When the time of the next one is over; `max` if none runs.
    steady_time next() const { return open_.empty() ? steady_time::max() : open_.begin()->second->since + limit_; }
    /// Whether every attempt is over.
    bool empty() const noexcept { return open_.empty(); }

    /// Cancels all, and tells nothing any more.
    void abandon()
    {
        tell_.reset();
        open_.clear();
        auto const alive = std::exchange(alive_, {});
        for (auto const& [number, a] : alive)
            a->cancel.emit(asio::cancellation_type::terminal);
    }

private:
    using attempt_ptr = std::shared_ptr<running_attempt>;

    static asio::awaitable<void> try_once(erased_sink& sink, attempt_ptr a)
    {
        auto result = co_await sink.deliver(a->destination, a->content);
        a->result = std::move(result);
    }

    void finish(running_attempt& a, std::exception_ptr const& e)
    {
        alive_.erase(a.number);
        if (e) {
            a.result = {};
            a.result.reason = describe(e);
        }
        tell_->ended(a);
        if (!a.is_over)
            settle(a, std::move(a.result));
    }

    void settle(running_attempt& a, attempt_result result)
    {
        a.is_over = true;
        tell_->over(a, std::move(result));
        open_.erase(a.number);
    }

    environment* environment_;
    asio::any_io_executor strand_;
    erased_sink* sink_;
    duration limit_;
    std::shared_ptr<listener> tell_;
    std::map<std::uint64_t, attempt_ptr> open_;  // in the order of their beginning, which is that of their time limits
    std::map<std::uint64_t, attempt_ptr> alive_; // those and others whose coroutines have not ended
    std::uint64_t last_ = 0;
};

} // namespace cosaga::detail
