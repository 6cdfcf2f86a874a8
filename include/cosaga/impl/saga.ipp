// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_service.hpp>
#include <cosaga/impl/consumer.ipp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Store, class Transport>
std::unique_ptr<saga_core<typename Store::transaction_type>> make_saga_core(
    Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox, std::string_view content_type, saga_options options)
{
    return std::make_unique<saga_service<Store, Transport>>(s, t, outbox, content_type, std::move(options));
}

} // namespace cosaga::detail
