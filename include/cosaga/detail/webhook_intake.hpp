// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/receiver_options.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// A request that was looked at: the message in it, or what to answer instead.
struct taken_webhook {
    bool accepted = false;
    message content{};
    webhook_answer answer{};
};

/// The options, if they make sense.
webhook_receiver_options checked(webhook_receiver_options options);

/// Verifies a request and reads its message.
taken_webhook take_webhook(webhook_request const& r, webhook_receiver_options const& options, time_point now);

/// Verifies that a request is signed; nothing, or what to answer.
/// @param content what stands in place of the body.
std::optional<webhook_answer> check_webhook_signature(webhook_request const& r, std::string_view content,
    std::function<std::vector<webhook_secret>()> const& secrets, time_point now, duration tolerance);

webhook_answer refuse_webhook(std::uint32_t status, std::string why);
webhook_answer accept_webhook(bool fresh);
/// For what a handler or the store threw: the sender is told which of the two. Throws again that it was cancelled.
webhook_answer fail_webhook(std::exception_ptr const& e);

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_intake.ipp>
#endif
