// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/detail/responder_core.hpp>
#include <cosaga/detail/responder_machine.hpp>

#include <memory>
#include <utility>

namespace cosaga::detail {

template <class Transport>
std::unique_ptr<component> make_responder(Transport& t, std::string topic, std::string name,
    std::unique_ptr<responder_handler> handler, responder_options options)
{
    return std::make_unique<responder_machine<Transport>>(
        t, std::move(topic), std::move(name), std::move(handler), std::move(options));
}

} // namespace cosaga::detail
