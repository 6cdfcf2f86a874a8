// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/query.hpp>

#include <exception>
#include <optional>
#include <utility>

namespace cosaga {

namespace detail {

inline std::optional<webhook_answer> refuse_question(webhook_request const& r, webhook_query_options const& options, time_point now)
{
    if (r.method != "GET") {
        auto answer = refuse_webhook(405, "only GET");
        answer.headers.push_back({"allow", "GET"});
        return answer;
    }
    auto const secrets = [&] { return options.secrets(r.target); };
    return check_webhook_signature(r, "GET " + r.target, secrets, now, options.tolerance);
}

} // namespace detail

COSAGA_DECL webhook_query::webhook_query(environment& env, webhook_query_options options)
    : environment_{&env}, options_{std::move(options)}
{
    if (!options_.secrets || options_.tolerance <= duration::zero())
        throw make_error(errc::bad_configuration, "webhook_query_options: secrets and a positive tolerance are needed");
}

COSAGA_DECL asio::awaitable<webhook_answer> webhook_query::answer(webhook_request const& request, answerer const& f)
{
    auto refused = detail::refuse_question(request, options_, environment_->now());
    if (refused)
        co_return std::move(*refused);
    webhook_answer made;
    std::exception_ptr failed;
    try {
        made = co_await f(request.target);
    } catch (...) {
        failed = std::current_exception();
    }
    if (failed)
        made = detail::fail_webhook(failed);
    co_return made;
}

} // namespace cosaga
