// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/notifier_core.hpp>
#include <cosaga/detail/notifier_machine.hpp>

#include <memory>
#include <string>
#include <utility>

namespace cosaga::detail {

template <class Store>
std::unique_ptr<notifier_core<typename Store::transaction_type>> make_notifier_core(Store& s, message_limits const& limits,
    std::string const& service, std::unique_ptr<erased_sink> sink, notifier_options options)
{
    return std::make_unique<notifier_machine<Store>>(s, limits, service, std::move(sink), std::move(options));
}

} // namespace cosaga::detail
