// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/transport/handles.hpp>

#include <utility>

namespace cosaga {

COSAGA_DECL publisher_handle::publisher_handle(std::shared_ptr<detail::publisher_state> state) : state_{std::move(state)}
{
}

COSAGA_DECL publisher_handle& publisher_handle::operator=(publisher_handle&& other) noexcept
{
    std::swap(state_, other.state_);
    return *this;
}

COSAGA_DECL publisher_handle::~publisher_handle()
{
    close();
}

COSAGA_DECL void publisher_handle::publish(std::vector<envelope> batch)
{
    state_->publish(std::move(batch));
}

COSAGA_DECL asio::awaitable<std::vector<settlement>> publisher_handle::settled()
{
    return detail::publisher_state::settled(state_);
}

COSAGA_DECL void publisher_handle::close()
{
    if (state_)
        state_->close();
}

COSAGA_DECL subscription_handle::subscription_handle(std::shared_ptr<detail::subscription_state> state)
    : state_{std::move(state)}
{
}

COSAGA_DECL subscription_handle& subscription_handle::operator=(subscription_handle&& other) noexcept
{
    std::swap(state_, other.state_);
    return *this;
}

COSAGA_DECL subscription_handle::~subscription_handle()
{
    close();
}

COSAGA_DECL asio::awaitable<std::vector<delivery>> subscription_handle::receive(std::size_t most)
{
    return detail::subscription_state::receive(state_, most);
}

COSAGA_DECL void subscription_handle::acknowledge(std::vector<std::uint64_t> tags)
{
    state_->acknowledge(tags);
}

COSAGA_DECL void subscription_handle::retry(delivery d, duration delay)
{
    state_->retry(std::move(d), delay);
}

COSAGA_DECL void subscription_handle::reject(std::uint64_t tag, std::string reason)
{
    state_->reject(tag, std::move(reason));
}

COSAGA_DECL void subscription_handle::close()
{
    if (state_)
        state_->close();
}

} // namespace cosaga
