// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

// Asio's `strand`, `post` and `co_spawn` with one type each: every other closure or executor type costs a compiler a quarter of a second.
namespace cosaga::detail {

namespace asio = boost::asio;

/// A function that is called once.
class task {
public:
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, task>)
    task(F&& f) : function_{std::make_unique<holder<std::remove_cvref_t<F>>>(std::forward<F>(f))}
    {
    }

    void operator()() { function_->call(); }

private:
    struct base {
        virtual ~base() = default;
        virtual void call() = 0;
    };
    template <class F>
    struct holder final : base {
        explicit holder(F&& f) : function{std::move(f)} {}
        explicit holder(F const& f) : function{f} {}
        void call() override { function(); }
        F function;
    };

    std::unique_ptr<base> function_;
};

/// Runs what it is given one after another, on that executor.
asio::any_io_executor strand_of(asio::any_io_executor executor);

/// Calls `f` on the executor, never at once.
void post_to(asio::any_io_executor const& executor, task f);

/// Resumes on the executor, behind what was posted to it before.
asio::awaitable<void> resume_on(asio::any_io_executor executor);

/// Runs the coroutine on the executor and tells `ended` what it threw, or null.
/// @param cancel cancels it; kept as long as the coroutine, which may be destroyed where it waits, later than who has started it.
void spawn_on(asio::any_io_executor const& executor, asio::awaitable<void> body,
    std::function<void(std::exception_ptr)> ended, std::shared_ptr<asio::cancellation_signal> cancel = nullptr);

/// Runs the coroutine on the executor; who awaits this resumes on its own.
asio::awaitable<void> run_on(asio::any_io_executor const& executor, asio::awaitable<void> body);

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/spawn.ipp>
#endif
