// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/environment.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <memory>

namespace cosaga::detail {

/// Notifies an event at a time: the one timer of a relay or consumer, touched only when an earlier time is set.
///
/// It may notify too early (for a time that was set before), so the waiter looks at the clock itself.
/// @par Thread safety
/// none: `set` and the destructor run on `strand`.
class alarm {
public:
    alarm(environment& env, asio::any_io_executor strand, std::shared_ptr<event> target);
    alarm(alarm const&) = delete;
    alarm& operator=(alarm const&) = delete;
    ~alarm();

    void set(steady_time when);
    void cancel();

private:
    struct state;

    environment* environment_;
    asio::any_io_executor strand_;
    std::shared_ptr<state> state_;
};

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/alarm.ipp>
#endif
