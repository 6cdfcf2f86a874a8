// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/signature.hpp>

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <string>
#include <vector>

namespace cosaga {

struct webhook_query_options {
    /// What who asks may sign with, by the target of the request: a receiver must not ask for what is another's. None: 401.
    std::function<std::vector<webhook_secret>(std::string const& target)> secrets;
    duration tolerance = std::chrono::minutes{5}; ///< how far a timestamp may be from now, either way
};

/// Answers signed `GET`s: the state of a notification, or of the business fact behind it, for a receiver that missed it. What a notifier
/// knows is answered by a `webhook_answerer`, which is made of this.
///
/// @code
/// webhook_query query{env, options};
/// auto const state_of = [&](std::string const& target) -> asio::awaitable<webhook_answer> { ... };
/// endpoint.serve("/payments/", [&](webhook_request const& r) { return query.answer(r, state_of); });
/// @endcode
/// What is signed in place of the body is `GET`, a space and the target as it stands in the request line, so that a signature is good for that
/// question alone; see `webhook_sink::ask`.
/// @par Thread safety
/// any number of coroutines on any threads.
class webhook_query {
public:
    /// Answers a question that was verified. What it throws is answered with 500.
    using answerer = std::function<asio::awaitable<webhook_answer>(std::string const& target)>;

    /// @throws system_error `errc::bad_configuration` without secrets or a tolerance.
    webhook_query(environment& env, webhook_query_options options);

    /// @param request and f are used until it completes.
    /// @par Completes with
    /// what `f` returns; 400, 401, 405 or 500 as `webhook_receiver` has them.
    asio::awaitable<webhook_answer> answer(webhook_request const& request, answerer const& f);

private:
    environment* environment_;
    webhook_query_options options_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_query.ipp>
#endif
