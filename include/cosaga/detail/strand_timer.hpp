// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <functional>
#include <memory>
#include <utility>

namespace cosaga::detail {

/// One timer of an object that lives on a strand and is protected otherwise.
/// @par Thread safety
/// any thread.
class strand_timer {
public:
    strand_timer(environment& env, asio::any_io_executor strand) : environment_{&env}, strand_{std::move(strand)} {}
    strand_timer(strand_timer const&) = delete;
    strand_timer& operator=(strand_timer const&) = delete;
    ~strand_timer()
    {
        // Neither a signal nor its timer may be cancelled while it fires.
        asio::post(strand_, [s = state_] {
            if (s->armed)
                s->signal.emit(asio::cancellation_type::terminal);
        });
    }

    /// Calls `f` on the strand after `span`; does nothing when the timer is armed already.
    void arm(duration span, std::function<void()> f)
    {
        auto const when = environment_->steady_now() + span;
        asio::dispatch(
            strand_, [env = environment_, strand = strand_, s = state_, when, call = std::move(f)]() mutable {
                if (std::exchange(s->armed, true))
                    return;
                env->wait_until(
                    when, asio::bind_executor(strand, asio::bind_cancellation_slot(s->signal.slot(),
                                                          [s, call = std::move(call)](boost::system::error_code ec) {
                                                              s->armed = false;
                                                              if (!ec)
                                                                  call();
                                                          })));
            });
    }

private:
    struct state {
        asio::cancellation_signal signal;
        bool armed = false;
    };

    environment* environment_;
    asio::any_io_executor strand_;
    std::shared_ptr<state> state_ = std::make_shared<state>();
};

} // namespace cosaga::detail
