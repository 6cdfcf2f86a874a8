// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/webhook_content.hpp>
#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/webhook/signature.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <utility>

namespace cosaga::detail {

COSAGA_DECL webhook_receiver_options checked(webhook_receiver_options options)
{
    auto const require = [](bool valid, char const* what) {
        if (!valid)
            throw make_error(errc::bad_configuration, std::string{"webhook_receiver_options::"} + what);
    };
    require(!options.name.empty() && options.name.size() <= options.limits.name, "name must have 1 to 255 bytes");
    require(!options.topic.empty() && options.topic.size() <= options.limits.name, "topic must have 1 to 255 bytes");
    require(options.secrets != nullptr, "secrets is needed");
    require(options.tolerance > duration::zero(), "tolerance must be positive");
    // Else a request could be replayed after its mark was purged.
    require(options.retention > 2 * options.tolerance, "retention must be longer than twice the tolerance");
    return options;
}

COSAGA_DECL webhook_answer refuse_webhook(std::uint32_t status, std::string why)
{
    webhook_answer answer;
    answer.status = status;
    answer.body = std::move(why);
    answer.detail = answer.body;
    return answer;
}

COSAGA_DECL webhook_answer accept_webhook(bool fresh)
{
    webhook_answer answer;
    answer.body = fresh ? "applied" : "duplicate";
    return answer;
}

COSAGA_DECL webhook_answer fail_webhook(std::exception_ptr const& e)
{
    try {
        std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        if (error.code() == asio::error::operation_aborted)
            throw;
    } catch (...) { // a failure
    }
    bool const store = is_store_failure(e);
    auto answer = refuse_webhook(store ? 503 : 500, store ? "the store failed" : "the handler failed");
    answer.detail += ": " + describe(e);
    return answer;
}

COSAGA_DECL std::optional<webhook_answer> check_webhook_signature(webhook_request const& r, std::string_view content,
    std::function<std::vector<webhook_secret>()> const& secrets, time_point now, duration tolerance)
{
    std::vector<webhook_secret> allowed;
    try {
        allowed = secrets();
    } catch (...) { // what it says is not told: it may name them
        return refuse_webhook(503, "the signature cannot be verified now");
    }
    if (allowed.size() > max_webhook_secrets)
        allowed.erase(allowed.begin() + max_webhook_secrets, allowed.end());
    webhook_headers headers;
    headers.id = r.find_header("webhook-id");
    headers.timestamp = r.find_header("webhook-timestamp");
    headers.signature = r.find_header("webhook-signature");
    auto const verdict = verify_webhook(allowed, headers, content, now, tolerance);
    if (verdict == webhook_verdict::authentic)
        return std::nullopt;
    return refuse_webhook(is_malformed(verdict) ? 400 : 401, cosaga::describe(verdict));
}

COSAGA_DECL taken_webhook take_webhook(webhook_request const& r, webhook_receiver_options const& options, time_point now)
{
    taken_webhook taken;
    auto& answer = taken.answer;
    if (r.method != "POST") {
        answer = refuse_webhook(405, "only POST");
        answer.headers.push_back({"allow", "POST"});
        return taken;
    }
    // In base64 within JSON it is longer by a half.
    if (r.body.size() > 2 * options.limits.payload + options.limits.headers * options.limits.header_value) {
        answer = refuse_webhook(413, "the body is too large");
        return taken;
    }
    if (auto refused = check_webhook_signature(r, r.body, options.secrets, now, options.tolerance)) {
        answer = std::move(*refused);
        return taken;
    }
    try {
        taken.content = from_webhook_content(r, options.limits);
    } catch (boost::system::system_error const& e) {
        answer = refuse_webhook(e.code() == errc::limit_exceeded ? 413 : 400, e.what());
        return taken;
    }
    auto& m = taken.content;
    m.id = message_id::from_foreign(options.name, r.find_header("webhook-id"));
    m.topic = options.topic;
    if (m.type.empty())
        m.type = options.plain_type;
    if (m.source.empty())
        m.source = options.name;
    if (m.time == time_point{})
        m.time = now;
    taken.accepted = true;
    return taken;
}

} // namespace cosaga::detail
