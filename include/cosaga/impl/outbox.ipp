// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/outbox_machine.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Store, class Transport>
outbox_core_ptr<Store> make_outbox_core(Store& s, Transport& t, outbox_options options)
{
    return std::make_unique<outbox_machine<Store, Transport>>(s, t, std::move(options));
}

} // namespace cosaga::detail
