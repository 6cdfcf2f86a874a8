// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/requester_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string_view>

namespace cosaga::detail {

/// The part of a requester that knows nothing of bodies, so that it can be compiled apart from their types.
class requester_core : public component {
public:
    class pending;

    requester_core() = default;
    requester_core(requester_core const&) = delete;
    requester_core& operator=(requester_core const&) = delete;

    /// Sends a request with this type, content type and payload.
    virtual std::shared_ptr<pending> ask(std::string_view topic, message request, duration timeout) = 0;
    /// The answer to it; throws when there is none, or the responder refused.
    virtual asio::awaitable<message> answer(std::shared_ptr<pending> waiting) = 0;
};

/// Defined in impl/requester.ipp, away from those who use it.
template <class Transport>
std::unique_ptr<requester_core> make_requester_core(Transport& t, requester_options options);

} // namespace cosaga::detail
