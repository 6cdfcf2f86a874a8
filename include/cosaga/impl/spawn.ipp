// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/spawn.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <utility>

namespace cosaga::detail {

COSAGA_DECL asio::any_io_executor strand_of(asio::any_io_executor executor)
{
    return asio::make_strand(std::move(executor));
}

COSAGA_DECL void post_to(asio::any_io_executor const& executor, task f)
{
    asio::post(executor, std::move(f));
}

COSAGA_DECL asio::awaitable<void> resume_on(asio::any_io_executor executor)
{
    co_await asio::post(executor, asio::use_awaitable);
}

COSAGA_DECL void spawn_on(asio::any_io_executor const& executor, asio::awaitable<void> body,
    std::function<void(std::exception_ptr)> ended, std::shared_ptr<asio::cancellation_signal> cancel)
{
    auto const slot = cancel ? cancel->slot() : asio::cancellation_slot{};
    std::function<void(std::exception_ptr)> end = std::move(ended);
    if (cancel)
        end = [told = std::move(end), kept = std::move(cancel)](std::exception_ptr e) { told(e); };
    asio::co_spawn(executor, std::move(body), asio::bind_cancellation_slot(slot, std::move(end)));
}

COSAGA_DECL asio::awaitable<void> run_on(asio::any_io_executor const& executor, asio::awaitable<void> body)
{
    return asio::co_spawn(executor, std::move(body), asio::use_awaitable);
}

} // namespace cosaga::detail
