// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/webhook_content.hpp>
#include <cosaga/webhook/query.hpp>
#include <cosaga/webhook/receiver.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "unit/two_services.hpp"

namespace {

using namespace cosaga_tests;
using cosaga::memory_store;
using cosaga::message;
using cosaga::message_id;
using cosaga::webhook_answer;
using cosaga::webhook_format;
using cosaga::webhook_query;
using cosaga::webhook_query_options;
using cosaga::webhook_receiver;
using cosaga::webhook_receiver_options;
using cosaga::webhook_request;
using cosaga::webhook_secret;

class webhook_reception : public testing::Test {
public:
    webhook_receiver_options options()
    {
        webhook_receiver_options o;
        o.name = "bank";
        o.secrets = [this] { return secrets; };
        return o;
    }

    std::int64_t seconds() { return std::chrono::floor<std::chrono::seconds>(env.now()).time_since_epoch().count(); }

    void sign(webhook_request& r, std::string const& id, std::string_view content)
    {
        std::erase_if(r.headers, [](cosaga::header const& h) { return h.name.starts_with("Webhook-"); });
        r.headers.push_back({"Webhook-Id", id});
        r.headers.push_back({"Webhook-Timestamp", std::to_string(seconds())});
        r.headers.push_back({"Webhook-Signature", cosaga::sign_webhook(secrets.front(), {id, seconds()}, content)});
    }

    webhook_request make(std::string const& number, webhook_format format = webhook_format::structured)
    {
        message m;
        m.id = ids();
        m.type = "order";
        m.source = "bank";
        m.content_type = "application/json";
        m.payload = R"({"id":")" + number + R"(","cents":5})";
        auto content = cosaga::detail::to_webhook_content(m, format);
        webhook_request r;
        r.headers = std::move(content.headers);
        r.headers.push_back({"Content-Type", content.content_type});
        r.body = std::move(content.body);
        sign(r, m.id.to_string(), r.body);
        return r;
    }

    webhook_answer receive(webhook_request const& r) { return run(env, receiver.receive(r, record)); }

    std::size_t applied()
    {
        std::size_t n = 0;
        auto count = [&](auto& tx) { n = tx.entries("orders").size(); };
        run(env, store.transact(count));
        return n;
    }

    cosaga::testing::virtual_environment env;
    cosaga::message_id_generator ids{env};
    std::vector<webhook_secret> secrets{webhook_secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}};
    memory_store store{env};
    webhook_receiver<memory_store, order, refund> receiver{store, options()};
    struct handler {
        void operator()(auto& tx, order const& o)
        {
            ++calls;
            tx.put("orders", o.id + '/' + std::to_string(calls), "");
            if (fails)
                throw std::runtime_error{"the stock is empty: secret detail"};
        }
        void operator()(auto&, refund const&) {}
        int calls = 0;
        bool fails = false;
    } record;
};

TEST_F(webhook_reception, applies_each_once_in_every_format)
{
    for (auto const format : {webhook_format::structured, webhook_format::binary}) {
        auto const r = make("a", format);
        auto const first = receive(r);
        EXPECT_EQ(first.status, 200u) << first.body;
        EXPECT_EQ(first.body, "applied");
        auto const second = receive(r);
        EXPECT_EQ(second.status, 200u);
        EXPECT_EQ(second.body, "duplicate");
    }
    EXPECT_EQ(record.calls, 2);
    EXPECT_EQ(applied(), 2u);
}

TEST_F(webhook_reception, applies_once_what_it_was_told_in_two_ways)
{
    order const body{"a", 5};
    auto const told_first = make("a");
    std::string const first{told_first.find_header("webhook-id")};
    EXPECT_EQ(receive(told_first).body, "applied");
    EXPECT_FALSE(run(env, receiver.apply(first, body, record)));

    auto const asked_first = make("b");
    std::string const second{asked_first.find_header("webhook-id")};
    EXPECT_TRUE(run(env, receiver.apply(second, body, record)));
    EXPECT_EQ(receive(asked_first).body, "duplicate");

    record.fails = true;
    EXPECT_THROW(run(env, receiver.apply("c", body, record)), std::runtime_error);
    record.fails = false;
    EXPECT_TRUE(run(env, receiver.apply("c", body, record)));
    EXPECT_EQ(applied(), 3u);
}

TEST_F(webhook_reception, takes_a_plain_body_with_the_type_it_is_told)
{
    auto o = options();
    o.plain_type = "order";
    webhook_receiver<memory_store, order> plain{store, o};
    webhook_request r;
    r.headers = {{"content-type", "application/json; charset=utf-8"}};
    r.body = R"({"id":"p","cents":1})";
    sign(r, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", r.body);
    EXPECT_EQ(run(env, plain.receive(r, record)).status, 200u);
    EXPECT_EQ(run(env, plain.receive(r, record)).body, "duplicate");
    EXPECT_EQ(record.calls, 1);
}

TEST_F(webhook_reception, gives_the_message_itself_to_a_handler_of_no_types)
{
    webhook_receiver<memory_store> raw{store, options()};
    std::vector<message> seen;
    auto keep = [&](auto&, message const& m) { seen.push_back(m); };
    auto const r = make("x");
    EXPECT_EQ(run(env, raw.receive(r, keep)).status, 200u);
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].topic, "webhooks");
    EXPECT_EQ(seen[0].id.to_string(), r.find_header("webhook-id"));
    EXPECT_EQ(seen[0].payload, R"({"id":"x","cents":5})");
}

TEST_F(webhook_reception, refuses_what_is_forged_replayed_or_malformed)
{
    struct row {
        std::uint32_t status;
        void (*change)(webhook_reception&, webhook_request&);
    };
    row const table[] = {
        {401, [](webhook_reception&, webhook_request& r) { r.body += ' '; }},
        {401, [](webhook_reception& t, webhook_request&) { t.secrets.front() = webhook_secret::make(); }},
        {401, [](webhook_reception& t, webhook_request&) { t.secrets.clear(); }},
        {401, [](webhook_reception& t, webhook_request&) { t.env.run_for(6min); }},
        {400, [](webhook_reception&, webhook_request& r) { r.headers.clear(); }},
        {400, [](webhook_reception& t, webhook_request& r) { r.body = "{"; t.sign(r, "a", r.body); }},
        {400, [](webhook_reception& t, webhook_request& r) { r = t.make("x"); r.body.replace(r.body.find("\"order\""), 7, "\"other\""); t.sign(r, "b", r.body); }},
        {400, [](webhook_reception& t, webhook_request& r) { r = t.make("x"); r.body.replace(r.body.find("5}"), 1, "\"\""); t.sign(r, "c", r.body); }},
        {405, [](webhook_reception&, webhook_request& r) { r.method = "PUT"; }},
        {413, [](webhook_reception&, webhook_request& r) { r.body.resize(std::size_t{8} << 20); }},
        {413, [](webhook_reception& t, webhook_request& r) { r.headers = {{"content-type", "text/plain"}}; r.body.assign((std::size_t{1} << 20) + 1, 'x'); t.sign(r, "d", r.body); }},
    };
    auto const secret = secrets;
    for (auto const& entry : table) {
        secrets = secret;
        auto r = make("x");
        entry.change(*this, r);
        auto const answer = receive(r);
        EXPECT_EQ(answer.status, entry.status) << &entry - table << ": " << answer.body;
        EXPECT_FALSE(answer.body.empty());
    }
    EXPECT_EQ(record.calls, 0);
}

TEST_F(webhook_reception, takes_signatures_of_the_old_and_the_new_secret_while_one_is_replaced)
{
    auto const old = make("a");
    secrets.insert(secrets.begin(), webhook_secret::make());
    EXPECT_EQ(receive(old).status, 200u);
    EXPECT_EQ(receive(make("b")).status, 200u);
    secrets.pop_back();
    EXPECT_EQ(receive(old).status, 401u);
}

TEST_F(webhook_reception, asks_the_sender_to_try_again_when_the_handler_or_the_store_fails)
{
    auto const r = make("a");
    record.fails = true;
    auto const failed = receive(r);
    EXPECT_EQ(failed.status, 500u);
    EXPECT_EQ(failed.body.find("secret"), std::string::npos);
    EXPECT_NE(failed.detail.find("the stock is empty"), std::string::npos);
    record.fails = false;
    store.fail_next_commits(1);
    EXPECT_EQ(receive(r).status, 503u);
    EXPECT_EQ(applied(), 0u);
    EXPECT_EQ(receive(r).body, "applied");
    EXPECT_EQ(applied(), 1u);
}

TEST_F(webhook_reception, does_not_tell_what_the_function_for_secrets_threw)
{
    auto o = options();
    o.secrets = []() -> std::vector<webhook_secret> { throw std::runtime_error{"whsec_hidden"}; };
    webhook_receiver<memory_store, order> closed{store, o};
    auto const r = make("a");
    auto const answer = run(env, closed.receive(r, record));
    EXPECT_EQ(answer.status, 503u);
    EXPECT_EQ((answer.body + answer.detail).find("hidden"), std::string::npos);
}

TEST_F(webhook_reception, forgets_after_the_retention)
{
    auto o = options();
    o.retention = 1h;
    webhook_receiver<memory_store, order> short_memory{store, o};
    auto const r = make("a");
    EXPECT_EQ(run(env, short_memory.receive(r, record)).body, "applied");
    auto const id = *message_id::parse(r.find_header("webhook-id"));
    env.run_for(2h);
    for (int n = 0; n < 256; ++n) {
        auto const other = make("b");
        run(env, short_memory.receive(other, record));
    }
    env.run_for(1min);
    std::optional<cosaga::mark> left;
    auto look = [&](auto& tx) { left = find_mark(tx, "inbox/webhooks/bank", id); };
    run(env, store.transact(look));
    EXPECT_FALSE(left);
}

TEST_F(webhook_reception, has_options_that_make_sense)
{
    auto const refused = [&](auto change) {
        auto o = options();
        change(o);
        try {
            webhook_receiver<memory_store, order> const never{store, o};
            ADD_FAILURE();
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), cosaga::errc::bad_configuration) << e.what();
        }
    };
    refused([](auto& o) { o.name.clear(); });
    refused([](auto& o) { o.topic.clear(); });
    refused([](auto& o) { o.secrets = nullptr; });
    refused([](auto& o) { o.tolerance = 0s; });
    refused([](auto& o) { o.retention = 10min; });
}

TEST_F(two_services, a_webhook_handler_can_send)
{
    std::vector<webhook_secret> const secrets{webhook_secret::make()};
    webhook_receiver_options o;
    o.name = "bank";
    o.plain_type = "order";
    o.secrets = [&] { return secrets; };
    webhook_receiver<memory_node::outbox_type, order> receiver{shop.node->get_outbox(), o};
    webhook_request r;
    r.body = R"({"id":"w","cents":1})";
    auto const now = std::chrono::floor<std::chrono::seconds>(env.now()).time_since_epoch().count();
    r.headers = {{"content-type", "application/json"}, {"webhook-id", "m1"}, {"webhook-timestamp", std::to_string(now)},
        {"webhook-signature", cosaga::sign_webhook(secrets, {"m1", now}, r.body)}};
    auto pass_on = [](auto& tx, order const& body) { tx.send("orders", body); };
    EXPECT_EQ(run(env, receiver.receive(r, pass_on)).status, 200u);
    EXPECT_EQ(run(env, receiver.receive(r, pass_on)).body, "duplicate");
    EXPECT_EQ(shop.count(outgoing, cosaga::message_state::ready), 1u);
}

TEST_F(webhook_reception, question_is_answered_to_who_signs_it)
{
    webhook_query_options o;
    o.secrets = [this](std::string const& target) {
        return target.starts_with("/mine/") ? secrets : std::vector<webhook_secret>{};
    };
    webhook_query query{env, o};
    webhook_query::answerer const state = [](std::string const& target) -> asio::awaitable<webhook_answer> {
        if (target == "/mine/broken")
            throw std::runtime_error{"hidden"};
        webhook_answer a;
        a.body = "delivered " + target;
        co_return a;
    };
    auto const ask = [&](std::string const& target, std::string const& signed_content) {
        webhook_request r;
        r.method = "GET";
        r.target = target;
        sign(r, "q1", signed_content);
        return run(env, query.answer(r, state));
    };
    EXPECT_EQ(ask("/mine/1", "GET /mine/1").body, "delivered /mine/1");
    EXPECT_EQ(ask("/mine/2", "GET /mine/1").status, 401u);
    EXPECT_EQ(ask("/mine/1", "").status, 401u);
    EXPECT_EQ(ask("/others/1", "GET /others/1").status, 401u);
    auto const broken = ask("/mine/broken", "GET /mine/broken");
    EXPECT_EQ(broken.status, 500u);
    EXPECT_EQ(broken.body.find("hidden"), std::string::npos);
    webhook_request post;
    sign(post, "q2", "");
    EXPECT_EQ(run(env, query.answer(post, state)).status, 405u);
}

} // namespace
