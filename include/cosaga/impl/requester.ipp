// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/requester_core.hpp>
#include <cosaga/detail/requester_machine.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Transport>
std::unique_ptr<requester_core> make_requester_core(Transport& t, requester_options options)
{
    return std::make_unique<requester_machine<Transport>>(t, std::move(options));
}

} // namespace cosaga::detail
