// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/webhook_question.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_query.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/query.hpp>
#include <cosaga/webhook/signature.hpp>
#include <cosaga/webhook/sink.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga {

/// One who may ask, as the service that is asked knows it.
struct webhook_asker {
    std::vector<webhook_secret> secrets{};   ///< a question is signed with one of them; none: nobody of that name may ask
    std::vector<std::string> destinations{}; ///< whose notifications are its own
};

struct webhook_answerer_options {
    /// Finds one by the name that stands in the question; `{}` for a name that nobody has. Called on the caller's thread.
    std::function<webhook_asker(std::string const& name)> find_asker;
    duration tolerance = std::chrono::minutes{5}; ///< how far a timestamp may be from now, either way
};

/// Looks for business facts behind notifications, of one who asks.
///
/// | expression    | type | meaning |
/// |---------------|------|---------|
/// | `f(asker, q)` | `asio::awaitable<std::optional<notification_answer>>` | an answer for the asker of that name, or nothing: then the state of the notification is the answer |
template <class F>
concept asker_query = requires(F& f, std::string const& asker, notification_query const& q) {
    { f(asker, q) } -> std::same_as<asio::awaitable<std::optional<notification_answer>>>;
};

/// Answers signed `GET`s of receivers that missed a notification: with the fact behind it, or its state; to the receiver concerned alone.
///
/// @code
/// webhook_answerer_options options;
/// options.find_asker = [&](std::string const& name) { ... return webhook_asker{m.secrets, {m.url}}; };
/// webhook_answerer answerer{env, notifier, options, find_payment};
/// endpoint.serve("/notices/", [&](webhook_request const& r) { return answerer.answer(r); });
/// ...
/// notification_query const q{.subject = "order-7"};                                          // at the receiver
/// auto const a = co_await ask_notification(sink, "https://bank.example/notices/bakery", q);
/// @endcode
/// The last part of the path names who asks. Whoever it names, the question has to be signed with a secret of that one, and what was sent to others is
/// unknown to it, as if there were none. The rest is the query: `?id=...`, `?subject=...` or both, percent-encoded. The answer is a
/// `notification_answer` in JSON.
/// @par Thread safety
/// any number of coroutines on any threads, if `Query` allows it.
template <class Notifier, asker_query Query = no_facts>
class webhook_answerer {
public:
    /// @throws system_error `errc::bad_configuration` without `find_asker` or a tolerance.
    webhook_answerer(environment& env, Notifier& n, webhook_answerer_options options, Query q = {})
        : notifier_{&n}, find_asker_{options.find_asker}, query_{std::move(q)}, signed_{env, detail::query_options_of(std::move(options))}
    {
    }
    webhook_answerer(webhook_answerer const&) = delete;
    webhook_answerer& operator=(webhook_answerer const&) = delete;

    /// @param request is used until it completes.
    /// @par Completes with
    /// 200 and the answer; 400, 401, 405 or 500 as `webhook_query` has them.
    asio::awaitable<webhook_answer> answer(webhook_request const& request) { return signed_.answer(request, look_up_); }

private:
    asio::awaitable<webhook_answer> look_up(std::string const& target)
    {
        auto const question = detail::parse_webhook_question(target);
        if (!question)
            co_return detail::refuse_webhook(400, "the query needs an id or a subject");
        auto found = co_await query_(question->asker, question->query);
        if (!found)
            found = co_await state_of(*question);
        co_return detail::write_notification_answer(*found);
    }

    asio::awaitable<notification_answer> state_of(detail::webhook_question const& question)
    {
        notification_answer unknown;
        auto const id = message_id::parse(question.query.id);
        if (!id)
            co_return unknown;
        auto const known = co_await notifier_->find(*id);
        auto const own = find_asker_(question.asker).destinations;
        if (known && std::find(own.begin(), own.end(), known->destination) != own.end())
            co_return answer_of(*known);
        co_return unknown;
    }

    Notifier* notifier_;
    std::function<webhook_asker(std::string const&)> find_asker_;
    Query query_;
    webhook_query signed_;
    webhook_query::answerer const look_up_ = [this](std::string const& target) { return look_up(target); };
};

template <class Notifier>
webhook_answerer(environment&, Notifier&, webhook_answerer_options) -> webhook_answerer<Notifier, no_facts>;

/// Asks a service that has a `webhook_answerer`.
/// @param url of the service, with the name by which it knows who asks; the sink has its secrets.
/// @param q is used until it completes; an id, a subject or both.
/// @par Errors
/// @li as `webhook_sink::ask`.
/// @li `errc::request_refused` - answered with another status than 200, which the context names.
/// @li `errc::malformed_data` - the answer is no `notification_answer`.
/// @par Cancellation
/// as `webhook_sink::ask`.
asio::awaitable<notification_answer> ask_notification(webhook_sink& sink, std::string url, notification_query const& q);

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_answerer.ipp>
#endif
