// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/config.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <utility>

namespace cosaga::detail {

struct alarm::state {
    explicit state(std::shared_ptr<event> e) : target{std::move(e)} {}
    std::shared_ptr<event> target;
    asio::cancellation_signal signal;
    steady_time when{};
    bool armed = false;
};

COSAGA_DECL alarm::alarm(environment& env, asio::any_io_executor strand, std::shared_ptr<event> target)
    : environment_{&env}, strand_{std::move(strand)}, state_{std::make_shared<state>(std::move(target))}
{
}

COSAGA_DECL alarm::~alarm()
{
    cancel();
}

COSAGA_DECL void alarm::set(steady_time when)
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

COSAGA_DECL void alarm::cancel()
{
    if (std::exchange(state_->armed, false))
        state_->signal.emit(asio::cancellation_type::terminal);
}

} // namespace cosaga::detail
