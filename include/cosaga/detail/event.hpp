// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <memory>

namespace cosaga::detail {

namespace asio = boost::asio;

/// Wakes one waiting coroutine; a notification that finds nobody waiting is kept for the next wait.
///
/// Used instead of Asio's channel, whose cancellation can lose a message or fail the next send (Asio 1.26).
/// @par Thread safety
/// `notify` from any thread; one coroutine at a time waits.
class event {
public:
    /// @param executor by way of which waiters are resumed, each on its own associated executor.
    explicit event(asio::any_io_executor executor);
    event(event const&) = delete;
    event& operator=(event const&) = delete;

    void notify();

    /// Suspends until `notify`, at once when there was one since the last wait.
    /// @par Cancellation
    /// throws `operation_aborted`; a notification is never lost by it.
    asio::awaitable<void> wait();

private:
    struct shared;
    struct initiate;
    struct cancel;

    std::shared_ptr<shared> shared_;
};

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/event.ipp>
#endif
