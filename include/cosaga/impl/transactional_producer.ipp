// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/producer_core.hpp>
#include <cosaga/detail/producer_machine.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Transport>
std::unique_ptr<producer_core> make_producer_core(Transport& t, std::unique_ptr<outcome_source> resource, producer_options options)
{
    return std::make_unique<producer_machine<Transport>>(t, std::move(resource), std::move(options));
}

} // namespace cosaga::detail
