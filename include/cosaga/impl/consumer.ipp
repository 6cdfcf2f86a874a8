// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/consumer_machine.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Store, class Transport>
std::unique_ptr<running_consumer> make_consumer(Store& s, Transport& t, std::string topic, std::string name,
    consumer_parts<typename Store::transaction_type> parts, consumer_options const& options)
{
    return std::make_unique<consumer_machine<Store, Transport>>(
        s, t, std::move(topic), std::move(name), std::move(parts), options);
}

} // namespace cosaga::detail
