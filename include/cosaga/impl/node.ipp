// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/node_core.hpp>
#include <cosaga/detail/node_machine.hpp>

#include <memory>

namespace cosaga::detail {

template <class Store, class Transport>
std::unique_ptr<node_core> make_node_core(Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox)
{
    return std::make_unique<node_machine<Store, Transport>>(s, t, outbox);
}

} // namespace cosaga::detail
