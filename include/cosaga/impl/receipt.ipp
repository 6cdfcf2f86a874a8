// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/receipt_registry.hpp>
#include <cosaga/receipt.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>

namespace cosaga {

COSAGA_DECL message_id receipt::id() const
{
    return state_->id;
}

COSAGA_DECL asio::awaitable<void> receipt::acknowledged() const
{
    return asio::async_initiate<asio::use_awaitable_t<> const, void(std::exception_ptr)>(
        detail::initiate_receipt{state_}, asio::use_awaitable);
}

} // namespace cosaga
