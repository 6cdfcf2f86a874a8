// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace cosaga::detail {

/// One timer that calls a function a while after it was armed.
/// @par Thread safety
/// any thread. The function is called on the environment's executor, never after `stop` returned.
class background_timer {
public:
    background_timer(environment& env, std::function<void()> f) : state_{std::make_shared<state>(env, std::move(f))} {}
    background_timer(background_timer const&) = delete;
    background_timer& operator=(background_timer const&) = delete;
    ~background_timer() { stop(); }

    /// Calls the function after `span`; does nothing when the timer is armed already.
    void arm(duration span) { state_->arm(span); }

    /// Never calls the function again, waiting for a call that is running.
    void stop()
    {
        {
            std::lock_guard const lock{state_->call};
            state_->function = nullptr;
        }
        state_->cancel();
    }

private:
    struct state : std::enable_shared_from_this<state> {
        state(environment& e, std::function<void()> f)
            : env{&e}, strand{asio::make_strand(e.get_executor())}, function{std::move(f)}
        {
        }

        void arm(duration span)
        {
            {
                std::lock_guard const lock{mutex};
                if (std::exchange(armed, true))
                    return;
            }
            // On the strand, because neither a signal nor its timer may be cancelled while it fires.
            asio::post(strand, [self = shared_from_this(), when = env->steady_now() + span] {
                std::lock_guard const lock{self->call};
                if (!self->function)
                    return; // stopped: the environment may be gone
                self->waiting = true;
                self->env->wait_until(when,
                    asio::bind_executor(self->strand,
                        asio::bind_cancellation_slot(self->signal.slot(),
                            [self](boost::system::error_code ec) { self->fire(ec); })));
            });
        }

        void fire(boost::system::error_code ec)
        {
            waiting = false;
            {
                std::lock_guard const lock{mutex};
                armed = false;
            }
            std::lock_guard const lock{call};
            if (!ec && function)
                function();
        }

        void cancel()
        {
            {
                std::lock_guard const lock{mutex};
                if (!armed)
                    return;
            }
            asio::post(strand, [self = shared_from_this()] {
                if (self->waiting) // else the slot still leads to a timer that is gone
                    self->signal.emit(asio::cancellation_type::terminal);
            });
        }

        environment* env;
        asio::strand<asio::any_io_executor> strand;
        asio::cancellation_signal signal;
        bool waiting = false; // on the strand only
        std::mutex mutex;
        bool armed = false;
        std::mutex call; // held while the function runs
        std::function<void()> function;
    };

    std::shared_ptr<state> state_;
};

} // namespace cosaga::detail
