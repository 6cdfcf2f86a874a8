// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/query.hpp>

#include <exception>
#include <utility>

namespace cosaga {

COSAGA_DECL webhook_query::webhook_query(environment& env, webhook_query_options options)
    : environment_{&env}, options_{std::move(options)}
{
    if (!options_.secrets || options_.tolerance <= duration::zero())
        throw make_error(errc::bad_configuration, "webhook_query_options: secrets and a positive tolerance are needed");
}

COSAGA_DECL asio::awaitable<webhook_answer> webhook_query::answer(webhook_request const& request, answerer const& f)
{
    webhook_answer made;
    if (request.method != "GET") {
        made = detail::refuse_webhook(405, "only GET");
        made.headers.push_back({"allow", "GET"});
        co_return made;
    }
    auto const secrets = [&] { return options_.secrets(request.target); };
    auto refused = detail::check_webhook_signature(
        request, "GET " + request.target, secrets, environment_->now(), options_.tolerance);
    if (refused)
        co_return std::move(*refused);
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
