// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cosaga {

namespace detail {
class publisher_state;
class subscription_state;
} // namespace detail

/// The publisher of every transport of the library; see the concept `publisher`. Destroying it closes it.
class publisher_handle {
public:
    publisher_handle() = default;
    explicit publisher_handle(std::shared_ptr<detail::publisher_state> state);
    publisher_handle(publisher_handle&&) = default;
    publisher_handle& operator=(publisher_handle&& other) noexcept;
    ~publisher_handle();

    void publish(std::vector<envelope> batch);
    /// @par Cancellation
    /// throws `operation_aborted` and loses nothing.
    asio::awaitable<std::vector<settlement>> settled();
    void close();

private:
    std::shared_ptr<detail::publisher_state> state_;
};

/// The subscription of every transport of the library; see the concept `subscription`. Destroying it closes it.
class subscription_handle {
public:
    subscription_handle() = default;
    explicit subscription_handle(std::shared_ptr<detail::subscription_state> state);
    subscription_handle(subscription_handle&&) = default;
    subscription_handle& operator=(subscription_handle&& other) noexcept;
    ~subscription_handle();

    /// @par Cancellation
    /// throws `operation_aborted` and loses nothing.
    asio::awaitable<std::vector<delivery>> receive(std::size_t most);
    void acknowledge(std::vector<std::uint64_t> tags);
    void retry(delivery d, duration delay);
    void reject(std::uint64_t tag, std::string reason);
    void close();

private:
    std::shared_ptr<detail::subscription_state> state_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/transport_handles.ipp>
#endif
