// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/responder_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace cosaga::detail {

inline constexpr char refusal_type[] = "cosaga.refused";

/// What a responder does with requests, whatever their type.
class responder_handler {
public:
    responder_handler() = default;
    responder_handler(responder_handler const&) = delete;
    responder_handler& operator=(responder_handler const&) = delete;
    virtual ~responder_handler() = default;

    /// Type, content type and payload of the answer. Does not throw for anything in the request or its handling.
    virtual asio::awaitable<message> handle(message const& request, std::string_view topic) = 0;
};

/// Defined in impl/responder.ipp, away from those who use it.
template <class Transport>
std::unique_ptr<component> make_responder(Transport& t, std::string topic, std::string name,
    std::unique_ptr<responder_handler> handler, responder_options options);

} // namespace cosaga::detail
