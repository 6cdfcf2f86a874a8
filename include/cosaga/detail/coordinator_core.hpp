// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/transactional_options.hpp>

#include <memory>

namespace cosaga::detail {

class coordinator_core : public component {
public:
    virtual coordinator_counters counters() const = 0;
};

/// Defined in impl/coordinator.ipp, away from those who use it.
template <class Store, class Transport>
std::unique_ptr<coordinator_core> make_coordinator_core(
    Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox, coordinator_options options);

} // namespace cosaga::detail
