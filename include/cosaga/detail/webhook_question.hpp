// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/notification_query.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/query.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace cosaga {
struct webhook_answerer_options;
}

namespace cosaga::detail {

/// What stands in the target of a question: `/.../asker?id=...&subject=...`.
struct webhook_question {
    std::string asker;
    notification_query query;
};

/// The name in the last part of the path, decoded; empty if it is malformed.
std::string asker_in(std::string_view target);

/// Nothing if an escape is malformed, or there is neither an id nor a subject. Names beside those are skipped.
std::optional<webhook_question> parse_webhook_question(std::string_view target);

/// The target, or URL, of a question: the inverse.
std::string write_webhook_question(std::string_view url, notification_query const& q);

webhook_query_options query_options_of(webhook_answerer_options options);

webhook_answer write_notification_answer(notification_answer const& a);

} // namespace cosaga::detail
