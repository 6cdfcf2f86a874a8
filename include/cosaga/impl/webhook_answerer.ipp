// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/json.hpp>
#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_text.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/answerer.hpp>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>
#include <vector>

namespace cosaga {

namespace detail {

inline std::string percent_encode(std::string_view text)
{
    constexpr char digits[] = "0123456789ABCDEF";
    std::string encoded;
    for (char const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        if (is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~')
            encoded += c;
        else
            encoded.append(1, '%').append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
    }
    return encoded;
}

inline std::optional<std::string> percent_decode(std::string_view text)
{
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            decoded += text[i];
            continue;
        }
        auto const escape = text.substr(i + 1, 2);
        unsigned value = 0;
        auto const read = std::from_chars(escape.data(), escape.data() + escape.size(), value, 16);
        if (escape.size() != 2 || read.ec != std::errc{} || read.ptr != escape.data() + 2)
            return std::nullopt;
        decoded += static_cast<char>(value);
        i += 2;
    }
    return decoded;
}

COSAGA_DECL std::string asker_in(std::string_view target)
{
    auto const path = target.substr(0, target.find('?'));
    return percent_decode(path.substr(path.rfind('/') + 1)).value_or("");
}

COSAGA_DECL std::optional<webhook_question> parse_webhook_question(std::string_view target)
{
    webhook_question question;
    question.asker = asker_in(target);
    auto const mark = target.find('?');
    auto rest = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
    while (!rest.empty()) {
        auto const part = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
        auto const name = part.substr(0, part.find('='));
        auto value = percent_decode(part.substr(std::min(name.size() + 1, part.size())));
        if (!value)
            return std::nullopt;
        if (name == "id")
            question.query.id = std::move(*value);
        else if (name == "subject")
            question.query.subject = std::move(*value);
    }
    if (question.query.id.empty() && question.query.subject.empty())
        return std::nullopt;
    return question;
}

COSAGA_DECL std::string write_webhook_question(std::string_view url, notification_query const& q)
{
    std::string text{url};
    char separator = url.find('?') == std::string_view::npos ? '?' : '&';
    auto const add = [&](char const* name, std::string const& value) {
        if (!value.empty())
            text.append(1, std::exchange(separator, '&')).append(name).append(1, '=').append(percent_encode(value));
    };
    add("id", q.id);
    add("subject", q.subject);
    return text;
}

COSAGA_DECL webhook_query_options query_options_of(webhook_answerer_options options)
{
    if (!options.find_asker)
        throw make_error(errc::bad_configuration, "webhook_answerer_options::find_asker is needed");
    webhook_query_options made;
    made.secrets = [find = std::move(options.find_asker)](std::string const& target) {
        auto const name = asker_in(target);
        return name.empty() ? std::vector<webhook_secret>{} : find(name).secrets;
    };
    made.tolerance = options.tolerance;
    return made;
}

COSAGA_DECL webhook_answer write_notification_answer(notification_answer const& a)
{
    webhook_answer answer;
    answer.body = json_codec::encode(a);
    answer.content_type = json_codec::content_type;
    return answer;
}

} // namespace detail

COSAGA_DECL asio::awaitable<notification_answer> ask_notification(webhook_sink& sink, std::string url, notification_query const& q)
{
    auto const answer = co_await sink.ask(detail::write_webhook_question(url, q));
    if (answer.status != 200)
        throw make_error(errc::request_refused, "the question was answered with status " + std::to_string(answer.status));
    co_return json_codec::decode<notification_answer>(answer.body);
}

} // namespace cosaga
