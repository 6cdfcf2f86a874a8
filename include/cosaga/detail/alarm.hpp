// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/environment.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

/// Notifies an event at a time: the one timer of a relay or consumer, touched only when an earlier time is set.
///
/// It may notify too early (for a time that was set before), so the waiter looks at the clock itself.
/// @par Thread safety
/// none: `set` and the destructor run on `strand`.
class alarm {
public:
    alarm(environment& env, asio::any_io_executor strand, std::shared_ptr<event> target)
        : environment_{&env}, strand_{std::move(strand)}, state_{std::make_shared<state>(std::move(target))}
    {
    }
    alarm(alarm const&) = delete;
    alarm& operator=(alarm const&) = delete;
    ~alarm() { cancel(); }

    void set(steady_time when)
    {
        if (state_->armed && state_->when <= when)
            return;
        cancel();
        state_ = std::make_shared<state>(state_->target);
        state_->armed = true;
        state_->when = when;
        // Bound to the strand, so that the timer is destroyed where it is cancelled, never at the same time.
        environment_->wait_until(when,
            asio::bind_executor(strand_,
                asio::bind_cancellation_slot(state_->signal.slot(), [s = state_](boost::system::error_code ec) {
                    s->armed = false;
                    if (!ec)
                        s->target->notify();
                })));
    }

    void cancel()
    {
        if (std::exchange(state_->armed, false))
            state_->signal.emit(asio::cancellation_type::terminal);
    }

private:
    struct state {
        explicit state(std::shared_ptr<event> e) : target{std::move(e)} {}
        std::shared_ptr<event> target;
        asio::cancellation_signal signal;
        steady_time when{};
        bool armed = false;
    };

    environment* environment_;
    asio::any_io_executor strand_;
    std::shared_ptr<state> state_;
};

} // namespace cosaga::detail
