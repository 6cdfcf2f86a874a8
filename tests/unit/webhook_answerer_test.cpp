// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/codec/json.hpp>
#include <cosaga/webhook/answerer.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "unit/two_services.hpp"

namespace {

using namespace cosaga_tests;
using cosaga::message_id;
using cosaga::notification;
using cosaga::notification_answer;
using cosaga::notification_query;
using cosaga::webhook_answer;
using cosaga::webhook_answerer;
using cosaga::webhook_asker;
using cosaga::webhook_request;
using cosaga::webhook_secret;
using cosaga::detail::parse_webhook_question;
using cosaga::detail::write_webhook_question;
using answers = std::optional<notification_answer>;

/// What of a notifier is asked.
struct known_notifications {
    asio::awaitable<std::optional<notification>> find(message_id id)
    {
        auto const found = all.find(id);
        std::optional<notification> result;
        if (found != all.end())
            result = found->second;
        co_return result;
    }
    std::map<message_id, notification> all;
};

struct webhook_questions : testing::Test {
    static cosaga::webhook_answerer_options options(webhook_questions* t)
    {
        cosaga::webhook_answerer_options o;
        o.find_asker = [t](std::string const& name) {
            auto const found = t->askers.find(name);
            return found == t->askers.end() ? webhook_asker{} : found->second;
        };
        return o;
    }

    std::string add(std::string const& destination, cosaga::notification_state state)
    {
        notification n;
        n.id = ids();
        n.destination = destination;
        n.state = state;
        n.attempts = 3;
        n.reason = "answered with status 503";
        notifications.all.emplace(n.id, n);
        return n.id.to_string();
    }

    webhook_answer ask(std::string const& target, std::string const& as)
    {
        webhook_request r;
        r.method = "GET";
        r.target = target;
        auto const now = std::chrono::floor<std::chrono::seconds>(env.now()).time_since_epoch().count();
        r.headers = {{"webhook-id", "q1"}, {"webhook-timestamp", std::to_string(now)},
            {"webhook-signature", cosaga::sign_webhook(askers.at(as).secrets, {"q1", now}, "GET " + target)}};
        return run(env, answerer.answer(r));
    }
    notification_answer state(std::string const& target, std::string const& as)
    {
        auto const a = ask(target, as);
        EXPECT_EQ(a.status, 200u) << a.body;
        EXPECT_EQ(a.content_type, "application/json");
        return cosaga::json_codec::decode<notification_answer>(a.body);
    }

    cosaga::testing::virtual_environment env;
    cosaga::message_id_generator ids{env};
    std::map<std::string, webhook_asker> askers{
        {"bakery", {{webhook_secret::make()}, {"https://bakery.test/hooks"}}},
        {"caf\xc3\xa9 & co", {{webhook_secret::make()}, {"https://cafe.test/old", "https://cafe.test/new"}}},
    };
    known_notifications notifications;
    webhook_answerer<known_notifications> answerer{env, notifications, options(this)};
};

TEST_F(webhook_questions, are_answered_with_the_state_of_one_s_own_notifications)
{
    auto const id = add("https://bakery.test/hooks", cosaga::notification_state::given_up);
    auto const a = state("/notices/bakery?id=" + id, "bakery");
    EXPECT_EQ(a.state, "given_up");
    EXPECT_EQ(a.attempts, 3u);
    EXPECT_EQ(a.reason, "answered with status 503");
    EXPECT_EQ(a.id, id);
    auto const other = add("https://cafe.test/old", cosaga::notification_state::delivered);
    EXPECT_EQ(state("/notices/caf%C3%A9%20%26%20co?id=" + other, "caf\xc3\xa9 & co").state, "delivered");
    EXPECT_EQ(state("/notices/bakery?id=" + other, "bakery").state, "unknown");
    EXPECT_EQ(state("/notices/bakery?id=" + ids().to_string(), "bakery").state, "unknown");
    EXPECT_EQ(state("/notices/bakery?id=no-uuid", "bakery").state, "unknown");
    EXPECT_EQ(state("/notices/bakery?subject=order-7", "bakery").state, "unknown");
}

TEST_F(webhook_questions, are_answered_to_who_signs_with_the_secrets_of_the_name)
{
    auto const id = add("https://bakery.test/hooks", cosaga::notification_state::delivered);
    EXPECT_EQ(ask("/notices/bakery?id=" + id, "caf\xc3\xa9 & co").status, 401u);
    EXPECT_EQ(ask("/notices/nobody?id=" + id, "bakery").status, 401u);
    EXPECT_EQ(ask("/notices/?id=" + id, "bakery").status, 401u);
    EXPECT_EQ(ask("/notices/bakery%2?id=" + id, "bakery").status, 401u);
}

TEST_F(webhook_questions, need_an_id_or_a_subject)
{
    for (std::string const query : {"", "?", "?id=", "?id=%2", "?id=%zz", "?id=%+1", "?id", "?other=1", "?&&"})
        EXPECT_EQ(ask("/notices/bakery" + query, "bakery").status, 400u) << query;
}

TEST_F(webhook_questions, are_put_to_the_user_s_query_first)
{
    std::string asked;
    auto facts = [&](std::string const& asker, notification_query const& q) -> asio::awaitable<answers> {
        asked = asker + ' ' + q.subject;
        answers found;
        if (q.subject == "broken")
            throw std::runtime_error{"hidden"};
        if (q.subject == "order 7/8") {
            found.emplace();
            found->state = "paid";
            found->fact = R"({"cents":5})";
        }
        co_return found;
    };
    webhook_answerer const unused{env, notifications, options(this)};
    webhook_answerer with_facts{env, notifications, options(this), facts};
    auto const put = [&](notification_query const& q) {
        webhook_request r;
        r.method = "GET";
        r.target = write_webhook_question("/notices/bakery", q);
        auto const now = std::chrono::floor<std::chrono::seconds>(env.now()).time_since_epoch().count();
        r.headers = {{"webhook-id", "q1"}, {"webhook-timestamp", std::to_string(now)},
            {"webhook-signature", cosaga::sign_webhook(askers.at("bakery").secrets, {"q1", now}, "GET " + r.target)}};
        return run(env, with_facts.answer(r));
    };
    auto const a = put({.subject = "order 7/8"});
    EXPECT_EQ(cosaga::json_codec::decode<notification_answer>(a.body).fact, R"({"cents":5})");
    EXPECT_EQ(asked, "bakery order 7/8");
    auto const id = add("https://bakery.test/hooks", cosaga::notification_state::pending);
    EXPECT_EQ(cosaga::json_codec::decode<notification_answer>(put({.id = id, .subject = "none"}).body).state, "pending");
    auto const broken = put({.subject = "broken"});
    EXPECT_EQ(broken.status, 500u);
    EXPECT_EQ(broken.body.find("hidden"), std::string::npos);
}

TEST_F(webhook_questions, come_back_as_they_were_written)
{
    std::string every;
    for (int c = 1; c < 256; ++c)
        every += static_cast<char>(c);
    for (notification_query const& q : {notification_query{every, every}, notification_query{"", "a=b&c"}, notification_query{"x", ""}}) {
        auto const back = parse_webhook_question(write_webhook_question("/a/b", q));
        ASSERT_TRUE(back);
        EXPECT_EQ(back->asker, "b");
        EXPECT_EQ(back->query.id, q.id);
        EXPECT_EQ(back->query.subject, q.subject);
    }
    EXPECT_EQ(write_webhook_question("/a?b=c", {.subject = "d e"}), "/a?b=c&subject=d%20e");
}

TEST_F(webhook_questions, need_to_know_who_may_ask)
{
    cosaga::webhook_answerer_options const none;
    EXPECT_THROW((webhook_answerer<known_notifications>{env, notifications, none}), boost::system::system_error);
}

} // namespace
