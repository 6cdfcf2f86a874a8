// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/detail/webhook_content.hpp>
#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/webhook/answerer.hpp>
#include <cosaga/webhook/signature.hpp>
#include <cosaga/webhook/url.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What comes to an endpoint from a stranger, after HTTP: headers and a body; and the texts that come in answers and destinations.
namespace {

using namespace cosaga::detail;
using cosaga::errc;
using cosaga::message;
using cosaga::time_point;
using cosaga::webhook_format;
using cosaga::webhook_request;
using cosaga::webhook_secret;
using fuzz::require;

time_point const now{std::chrono::seconds{1'700'000'000}};

// Lines `name: value` up to an empty one, then the body.
webhook_request parse_request(std::string_view text)
{
    webhook_request r;
    while (!text.empty()) {
        auto const line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        if (line.empty())
            break;
        auto const colon = line.find(':');
        auto const value = colon == line.npos ? std::string_view{} : line.substr(colon + 1);
        r.headers.push_back({std::string{line.substr(0, colon)}, std::string{value}});
    }
    r.body = text;
    return r;
}

std::string_view without_space(std::string_view json)
{
    constexpr std::string_view space = " \t\r\n";
    auto const from = json.find_first_not_of(space);
    return from == json.npos ? std::string_view{} : json.substr(from, json.find_last_not_of(space) + 1 - from);
}

void check_written_again(message const& m, webhook_format format)
{
    webhook_request r;
    try {
        auto content = to_webhook_content(m, format);
        r.headers = std::move(content.headers);
        r.headers.push_back({"content-type", content.content_type});
        r.body = std::move(content.body);
    } catch (boost::system::system_error const& e) {
        require(e.code() == errc::bad_argument, "what cannot be written is a bad argument");
        return;
    }
    for (auto const& h : r.headers)
        require(is_header_value(h.name) && is_header_value(h.value), "no header breaks out of its line");
    auto back = from_webhook_content(r, {});
    require(without_space(back.payload) == without_space(m.payload), "the payload comes back");
    back.payload = m.payload;
    if (m.content_type.empty())
        back.content_type.clear();
    require(back == m, "a message comes back as it was written");
}

void check_request(webhook_request const& r)
{
    static std::vector<webhook_secret> const secrets{webhook_secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}};
    cosaga::webhook_receiver_options options;
    options.name = "fuzz";
    options.secrets = [] { return secrets; };
    auto const taken = take_webhook(r, options, now);
    require(!taken.accepted, "a stranger has no signature");
    require(taken.answer.status == 400 || taken.answer.status == 401 || taken.answer.status == 413, "he is told so");

    message m;
    if (!fuzz::decodes([&] { m = from_webhook_content(r, {}); }))
        return;
    check_written_again(m, webhook_format::structured);
    check_written_again(m, webhook_format::binary);
}

void check_texts(std::string_view text)
{
    if (auto const wait = parse_retry_after(text, now))
        require(*wait >= cosaga::duration::zero() && *wait <= longest_retry_after, "a wait is bounded");
    if (auto const when = parse_rfc3339(text))
        require(parse_rfc3339(to_rfc3339(*when)) == *when, "a time has a text");
    try {
        auto const url = cosaga::parse_webhook_url(text);
        require(is_header_value(url.target) && url.target.find(' ') == std::string::npos, "a target is one word of a request line");
        require(is_header_value(url.host) && url.host.find_first_of(" @/?#\\") == std::string::npos, "a host is a host");
        auto const again = cosaga::parse_webhook_url(url.origin() + url.target);
        require(again.host == url.host && again.port == url.port && again.target == url.target, "a URL is what it says");
    } catch (boost::system::system_error const& e) {
        require(e.code() == errc::bad_argument, e.what());
    }
    if (auto const question = parse_webhook_question(text)) {
        auto const again = parse_webhook_question(write_webhook_question("/x", question->query));
        require(again && again->query.id == question->query.id && again->query.subject == question->query.subject, "a question comes back");
    }
    try {
        webhook_secret const secret{text};
        require(secret.reveal() == text, "a secret has one text");
    } catch (boost::system::system_error const& e) {
        require(e.code() == errc::bad_argument, e.what());
    }
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    std::string_view const text{reinterpret_cast<char const*>(data), size};
    fuzz::memory_watch const memory;
    check_texts(text);
    check_request(parse_request(text));
    memory.require_at_most(std::size_t{64} << 10, 200, size);
    return 0;
}
