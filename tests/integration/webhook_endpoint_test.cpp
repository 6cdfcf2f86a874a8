// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/error.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/webhook/answerer.hpp>
#include <cosaga/webhook/endpoint.hpp>
#include <cosaga/webhook/query.hpp>
#include <cosaga/webhook/receiver.hpp>
#include <cosaga/webhook/sink.hpp>

#include <boost/describe/class.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "integration/webhook_world.hpp"

namespace {

using namespace cosaga_tests;
using cosaga::attempt_outcome;
using cosaga::attempt_result;
using cosaga::errc;
using cosaga::message;
using cosaga::webhook_answer;
using cosaga::webhook_endpoint;
using cosaga::webhook_endpoint_options;
using cosaga::webhook_query;
using cosaga::webhook_receiver;
using cosaga::webhook_request;
using cosaga::webhook_secret;
using cosaga::webhook_sink;
using cosaga::webhook_sink_options;

struct order {
    std::string id;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(order, (), (id, cents))

class webhook_service : public testing::Test, public webhook_world {
public:
    webhook_service() : webhook_world{2}
    {
        to.secrets = [this](std::string const&) { return secrets; };
        to.allow_http = true;
        to.allowed_networks = {"127.0.0.0/8"};
        to.resolve = [](std::string const&) { return std::vector<asio::ip::address>{asio::ip::address_v4::loopback()}; };
        to.ca_file = folder.file("ca.pem");
        authority.write(to.ca_file, folder.file("ca.key"));
        at.grace = 1s;
    }
    ~webhook_service() override { stop(); }

    void start(webhook_endpoint::handler f)
    {
        endpoint = std::make_unique<webhook_endpoint>(env, at);
        endpoint->serve("/hooks", std::move(f));
        endpoint->start();
    }

    void stop()
    {
        if (endpoint)
            run(stop_endpoint());
        endpoint.reset();
    }
    asio::awaitable<void> stop_endpoint() { co_await endpoint->stop(); }

    // Of a certificate that the server will use.
    void use_certificate(test_certificate::form const& f)
    {
        at.certificate_file = folder.file("server.pem");
        at.key_file = folder.file("server.key");
        test_certificate{f}.write(at.certificate_file, at.key_file);
    }

    std::string url(std::string const& scheme = "http", std::string const& host = "127.0.0.1", std::string const& path = "/hooks") const
    {
        return scheme + "://" + host + ':' + std::to_string(endpoint->port()) + path;
    }

    attempt_result deliver(std::string const& destination)
    {
        webhook_sink sink{env, to};
        auto const m = make_message();
        return run(sink.deliver(destination, m));
    }

    // Sends bytes, and reads what comes until the end.
    std::string exchange(std::string_view request)
    {
        asio::io_context own;
        tcp::socket s{own};
        s.connect(tcp::endpoint{asio::ip::address_v4::loopback(), endpoint->port()});
        boost::system::error_code ec;
        asio::write(s, asio::buffer(request), ec);
        std::string all;
        char buffer[4096];
        while (!ec) {
            auto const n = s.read_some(asio::buffer(buffer), ec);
            all.append(buffer, n);
        }
        return all;
    }

    static asio::awaitable<webhook_answer> echo(webhook_request const& r)
    {
        webhook_answer a;
        a.body = r.method + ' ' + r.target + ' ' + std::to_string(r.body.size());
        co_return a;
    }

    temporary_folder folder;
    test_certificate authority{test_certificate::form{"DNS:authority", -3600, 3600, nullptr, true}};
    std::vector<webhook_secret> secrets{webhook_secret::make()};
    webhook_sink_options to;
    webhook_endpoint_options at;
    std::unique_ptr<webhook_endpoint> endpoint;
};

TEST_F(webhook_service, applies_what_a_sink_delivers)
{
    cosaga::memory_store store{env};
    cosaga::webhook_receiver_options o;
    o.name = "bank";
    o.secrets = [this] { return secrets; };
    webhook_receiver<cosaga::memory_store, order> receiver{store, o};
    auto record = [](auto& tx, order const& body) { tx.put("orders", body.id, std::to_string(body.cents)); };
    start([&](webhook_request const& r) { return receiver.receive(r, record); });
    webhook_sink sink{env, to};
    auto const m = make_message();
    auto const here = url();
    for (int n = 0; n < 3; ++n) {
        auto const result = run(sink.deliver(here, m));
        EXPECT_EQ(result.outcome, attempt_outcome::delivered) << result.reason;
    }
    secrets.front() = webhook_secret::make();
    EXPECT_EQ(run(sink.deliver(here, m)).outcome, attempt_outcome::delivered);
    to.secrets = [](std::string const&) { return std::vector<webhook_secret>(1, webhook_secret::make()); };
    EXPECT_EQ(deliver(here).status, 401u);
    std::size_t applied = 0;
    auto count = [&](auto& tx) { applied = tx.entries("orders").size(); };
    run(store.transact(count));
    EXPECT_EQ(applied, 1u);
    EXPECT_EQ(deliver(url("http", "127.0.0.1", "/other")).status, 404u);
    EXPECT_EQ(endpoint->counters().answered, 5u);
    EXPECT_EQ(endpoint->counters().refused, 1u);
    run(store.close());
}

TEST_F(webhook_service, answers_questions)
{
    cosaga::webhook_query_options o;
    o.secrets = [this](std::string const&) { return secrets; };
    webhook_query query{env, o};
    webhook_query::answerer const state_of = [](std::string const& target) -> asio::awaitable<webhook_answer> {
        webhook_answer a;
        a.status = target.ends_with("/7") ? 200 : 404;
        a.body = R"({"state":"delivered"})";
        a.content_type = "application/json";
        co_return a;
    };
    start([&](webhook_request const& r) { return query.answer(r, state_of); });
    webhook_sink sink{env, to};
    auto const right = url() + "?id=/7";
    auto const answer = run(sink.ask(right));
    EXPECT_EQ(answer.status, 200u);
    EXPECT_EQ(answer.body, R"({"state":"delivered"})");
    EXPECT_EQ(answer.content_type, "application/json");
    EXPECT_EQ(run(sink.ask(url())).status, 404u);
    auto const nobody = url();
    stop();
    try {
        run(sink.ask(nobody));
        ADD_FAILURE();
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::unreachable) << e.what();
    }
}

TEST_F(webhook_service, answers_what_became_of_a_notification)
{
    struct {
        asio::awaitable<std::optional<cosaga::notification>> find(cosaga::message_id id)
        {
            std::optional<cosaga::notification> found{std::in_place};
            found->id = id;
            found->destination = "https://bakery.test/hooks";
            co_return found;
        }
    } notifications;
    cosaga::webhook_answerer_options o;
    o.find_asker = [this](std::string const& name) {
        return name == "bakery" ? cosaga::webhook_asker{secrets, {"https://bakery.test/hooks"}} : cosaga::webhook_asker{};
    };
    cosaga::webhook_answerer answerer{env, notifications, o};
    endpoint = std::make_unique<webhook_endpoint>(env, at);
    endpoint->serve("/notices/", [&](webhook_request const& r) { return answerer.answer(r); });
    endpoint->start();
    webhook_sink sink{env, to};
    cosaga::notification_query const q{.id = ids().to_string()};
    auto const a = run(cosaga::ask_notification(sink, url("http", "127.0.0.1", "/notices/bakery"), q));
    EXPECT_EQ(a.state, "pending");
    EXPECT_EQ(a.id, q.id);
    try {
        run(cosaga::ask_notification(sink, url("http", "127.0.0.1", "/notices/florist"), q));
        ADD_FAILURE();
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::request_refused) << e.what();
    }
}

TEST_F(webhook_service, is_trusted_for_a_certificate_of_its_name_alone)
{
    struct row {
        test_certificate::form form;
        std::string host;
        char const* refused; // part of the reason, or null
    };
    test_certificate const stranger{test_certificate::form{"DNS:stranger", -3600, 3600, nullptr, true}};
    row const table[] = {
        {{"DNS:merchant.test", -3600, 3600, &authority}, "merchant.test", nullptr},
        {{"DNS:merchant.test", -3600, 3600, &authority}, "MERCHANT.test", nullptr},
        {{"DNS:*.merchant.test", -3600, 3600, &authority}, "hooks.merchant.test", nullptr},
        {{"IP:127.0.0.1", -3600, 3600, &authority}, "127.0.0.1", nullptr},
        {{"DNS:other.test", -3600, 3600, &authority}, "merchant.test", "hostname mismatch"},
        {{"DNS:*.test", -3600, 3600, &authority}, "a.b.test", "hostname mismatch"},
        {{"DNS:m*.test", -3600, 3600, &authority}, "merchant.test", "hostname mismatch"},
        {{"DNS:127.0.0.1", -3600, 3600, &authority}, "127.0.0.1", "IP address mismatch"},
        {{"DNS:merchant.test", -7200, -3600, &authority}, "merchant.test", "has expired"},
        {{"DNS:merchant.test", 3600, 7200, &authority}, "merchant.test", "not yet valid"},
        {{"DNS:merchant.test", -3600, 3600, &stranger}, "merchant.test", "unable to get local issuer"},
        {{"DNS:merchant.test", -3600, 3600, nullptr}, "merchant.test", "self-signed"},
    };
    for (auto const& r : table) {
        use_certificate(r.form);
        start(echo);
        auto const result = deliver(url("https", r.host));
        EXPECT_EQ(result.outcome, r.refused ? attempt_outcome::failed : attempt_outcome::delivered) << r.form.names << ": " << result.reason;
        EXPECT_NE(result.reason.find(r.refused ? r.refused : ""), std::string::npos) << r.form.names << ": " << result.reason;
        stop();
    }
}

TEST_F(webhook_service, does_not_take_tls_for_http_or_the_other_way_round)
{
    start(echo);
    EXPECT_NE(deliver(url("https")).reason.find("TLS"), std::string::npos);
    stop();
    use_certificate({"IP:127.0.0.1", -3600, 3600, &authority});
    start(echo);
    EXPECT_EQ(deliver(url("http")).outcome, attempt_outcome::failed);
    to.ca_file.clear(); // the system's do not know the test's authority
    EXPECT_EQ(deliver(url("https")).outcome, attempt_outcome::failed);
}

TEST_F(webhook_service, refuses_requests_over_its_limits)
{
    at.max_header = 1024;
    at.max_body = 1000;
    at.request_limit = 300ms;
    start(echo);
    struct row {
        std::string request;
        std::string answer;
    };
    std::string const post = "POST /hooks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    row const table[] = {
        {post + "Content-Length: 1000\r\n\r\n" + std::string(1000, 'x'), "HTTP/1.1 200 OK"},
        {post + "Content-Length: 1001\r\n\r\n" + std::string(1001, 'x'), "HTTP/1.1 413 "},
        {post + "Content-Length: 99999999999999\r\n\r\n", "HTTP/1.1 413 "},
        {post + "Content-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
        {post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 200 OK"},
        {post + "Transfer-Encoding: chunked\r\n\r\n400\r\n" + std::string(1024, 'x') + "\r\n0\r\n\r\n", "HTTP/1.1 413 "},
        {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
        {post + "A: " + std::string(2000, 'x') + "\r\n\r\n", "HTTP/1.1 431 "},
        {post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"},
        {"garbage\r\n\r\n", "HTTP/1.1 400 "},
        {std::string("\x16\x03\x01\x00\x05hello\r\n\r\n", 14), "HTTP/1.1 400 "},
        {"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 "},
        {"POST /hook", ""}, // never completed
        {post + "Content-Length: 5\r\n\r\nhel", ""},
    };
    for (auto const& r : table) {
        auto const answer = exchange(r.request);
        EXPECT_EQ(answer.substr(0, r.answer.size()), r.answer) << r.request.substr(0, 100) << " -> " << answer;
        EXPECT_EQ(answer.empty(), r.answer.empty()) << answer;
    }
    EXPECT_EQ(endpoint->counters().broken, 2u);
}

TEST_F(webhook_service, serves_several_requests_on_a_connection)
{
    start(echo);
    std::string const one = "POST /hooks?a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
    auto const answers = exchange(one + one + "POST /hooks HTTP/1.1\r\nConnection: close\r\n\r\n");
    std::size_t found = 0;
    for (auto where = answers.find("HTTP/1.1 200"); where != std::string::npos; where = answers.find("HTTP/1.1 200", where + 1))
        ++found;
    EXPECT_EQ(found, 3u) << answers;
    EXPECT_EQ(endpoint->counters().connections, 1u);
    auto const head = exchange("HEAD /hooks HTTP/1.1\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
}

TEST_F(webhook_service, finds_the_longest_path)
{
    endpoint = std::make_unique<webhook_endpoint>(env, at);
    auto const named = [](std::string name) {
        return [name](webhook_request const&) -> asio::awaitable<webhook_answer> {
            webhook_answer a;
            a.body = name;
            co_return a;
        };
    };
    endpoint->serve("/a/", named("folder"));
    endpoint->serve("/a/b/", named("deeper"));
    endpoint->serve("/a/b/c", named("exact"));
    EXPECT_THROW(endpoint->serve("/a/", named("again")), boost::system::system_error);
    EXPECT_THROW(endpoint->serve("a", named("relative")), boost::system::system_error);
    endpoint->start();
    auto const get = [&](std::string const& path) {
        auto const answer = exchange("GET " + path + " HTTP/1.1\r\nConnection: close\r\n\r\n");
        return answer.substr(answer.find("\r\n\r\n") + 4);
    };
    EXPECT_EQ(get("/a/x?/a/b/"), "folder");
    EXPECT_EQ(get("/a/b/x/y"), "deeper");
    EXPECT_EQ(get("/a/b/c?q"), "exact");
    EXPECT_EQ(get("/a"), "nobody is here");
    EXPECT_EQ(get("/"), "nobody is here");
    EXPECT_EQ(get("*"), "nobody is here");
}

TEST_F(webhook_service, reports_a_handler_that_throws_and_sends_no_broken_header)
{
    start([](webhook_request const& r) -> asio::awaitable<webhook_answer> {
        if (r.target == "/hooks?throw")
            throw std::runtime_error{"hidden"};
        webhook_answer a;
        a.headers.push_back({"x", "a\r\nInjected: 1"});
        co_return a;
    });
    auto const thrown = exchange("GET /hooks?throw HTTP/1.1\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(thrown.starts_with("HTTP/1.1 500 ")) << thrown;
    EXPECT_EQ(thrown.find("hidden"), std::string::npos);
    ASSERT_EQ(reports().size(), 1u);
    EXPECT_NE(reports().front().find("hidden"), std::string::npos);
    auto const injected = exchange("GET /hooks HTTP/1.1\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(injected.starts_with("HTTP/1.1 500 ")) << injected;
    EXPECT_EQ(injected.find("Injected"), std::string::npos);
}

TEST_F(webhook_service, lets_others_wait_when_it_has_enough_connections)
{
    at.max_connections = 2;
    at.idle_limit = 200ms;
    at.request_limit = 200ms;
    start(echo);
    asio::io_context own;
    std::list<tcp::socket> idle;
    for (int n = 0; n < 2; ++n)
        idle.emplace_back(own).connect(tcp::endpoint{asio::ip::address_v4::loopback(), endpoint->port()});
    auto const begin = env.steady_now();
    EXPECT_EQ(deliver(url()).outcome, attempt_outcome::delivered); // when one of the others has run into its limit
    EXPECT_GT(env.steady_now() - begin, 100ms);
    EXPECT_EQ(endpoint->counters().broken, 0u);
}

TEST_F(webhook_service, finishes_what_runs_when_it_is_stopped_and_cancels_it_after_the_grace)
{
    std::promise<void> begun;
    std::atomic<bool> finished = false;
    start([&](webhook_request const& r) -> asio::awaitable<webhook_answer> {
        begun.set_value();
        co_await env.sleep_for(r.target == "/hooks?long" ? 1h : 200ms);
        finished = true;
        co_return webhook_answer{};
    });
    webhook_sink sink{env, to};
    auto const m = make_message();
    auto const here = url();
    auto running = asio::co_spawn(io, sink.deliver(here, m), asio::use_future);
    begun.get_future().wait();
    stop();
    EXPECT_TRUE(finished);
    EXPECT_EQ(running.get().outcome, attempt_outcome::delivered);

    begun = {};
    at.grace = 100ms;
    start([&](webhook_request const&) -> asio::awaitable<webhook_answer> {
        begun.set_value();
        co_await env.sleep_for(1h);
        co_return webhook_answer{};
    });
    auto const there = url();
    auto cut = asio::co_spawn(io, sink.deliver(there, m), asio::use_future);
    begun.get_future().wait();
    auto const begin = env.steady_now();
    stop();
    EXPECT_LT(env.steady_now() - begin, 1s);
    EXPECT_EQ(cut.get().outcome, attempt_outcome::failed);
}

TEST_F(webhook_service, cancels_a_handler_that_takes_too_long)
{
    at.answer_limit = 100ms;
    start([&](webhook_request const&) -> asio::awaitable<webhook_answer> {
        co_await env.sleep_for(1h);
        co_return webhook_answer{};
    });
    auto const result = deliver(url());
    EXPECT_NE(result.reason.find("no answer"), std::string::npos) << result.reason;
    EXPECT_EQ(endpoint->counters().broken, 1u);
}

TEST_F(webhook_service, may_be_destroyed_while_it_runs)
{
    std::promise<void> begun;
    start([&](webhook_request const&) -> asio::awaitable<webhook_answer> {
        begun.set_value();
        co_await env.sleep_for(1h);
        co_return webhook_answer{};
    });
    webhook_sink sink{env, to};
    auto const m = make_message();
    auto const here = url();
    auto running = asio::co_spawn(io, sink.deliver(here, m), asio::use_future);
    begun.get_future().wait();
    endpoint.reset();
    EXPECT_EQ(running.get().outcome, attempt_outcome::failed);
}

TEST_F(webhook_service, is_open_to_others_only_when_the_code_says_so)
{
    auto const refused = [&](auto change, errc expected = errc::bad_configuration) {
        auto o = at;
        change(o);
        try {
            webhook_endpoint const never{env, o};
            ADD_FAILURE();
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), expected) << e.what();
        }
    };
    for (auto const* const address : {"0.0.0.0", "::", "192.168.1.1"})
        refused([&](auto& o) { o.address = address; }, errc::insecure_endpoint);
    refused([](auto& o) { o.address = "localhost"; });
    refused([](auto& o) { o.certificate_file = "x"; });
    refused([](auto& o) { o.certificate_file = o.key_file = "/no/such/file"; });
    refused([](auto& o) { o.max_connections = 0; });
    refused([](auto& o) { o.request_limit = 0s; });
    at.address = "::1";
    EXPECT_NO_THROW(webhook_endpoint(env, at));
    at.address = "0.0.0.0";
    at.insecure = true;
    EXPECT_NO_THROW(webhook_endpoint(env, at)); // it binds when it is started
    at.insecure = false;
    at.address = "127.0.0.1";
    start(echo);
    at.port = endpoint->port();
    webhook_endpoint second{env, at};
    try {
        second.start();
        ADD_FAILURE();
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::transport_failed);
        EXPECT_NE(std::string{e.what()}.find("127.0.0.1:" + std::to_string(at.port)), std::string::npos) << e.what();
    }
}

} // namespace
