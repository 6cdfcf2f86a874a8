// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/coordinator_core.hpp>
#include <cosaga/detail/coordinator_machine.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Store, class Transport>
std::unique_ptr<coordinator_core> make_coordinator_core(
    Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox, coordinator_options options)
{
    return std::make_unique<coordinator_machine<Store, Transport>>(s, t, outbox, std::move(options));
}

} // namespace cosaga::detail
