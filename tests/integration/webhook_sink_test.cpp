// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/error.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/webhook/sink.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

#include "integration/webhook_world.hpp"

namespace {

using namespace cosaga_tests;
using cosaga::attempt_outcome;
using cosaga::attempt_result;
using cosaga::errc;
using cosaga::message;
using cosaga::webhook_format;
using cosaga::webhook_secret;
using cosaga::webhook_sink;
using cosaga::webhook_sink_options;

class webhook_delivery : public testing::Test, public webhook_world {
public:
    webhook_delivery()
    {
        options.secrets = [this](std::string const&) { return secrets; };
        options.allow_http = true;
        options.allowed_networks = {"127.0.0.0/8"};
        options.connect_limit = 2s;
        options.answer_limit = 2s;
        options.ca_file = ca_file();
    }

    std::string ca_file()
    {
        auto const file = folder.file("ca.pem");
        authority.write(file, folder.file("ca.key"));
        return file;
    }

    attempt_result deliver(std::string const& url) { return deliver(url, make_message()); }

    attempt_result deliver(std::string const& url, message const& m)
    {
        webhook_sink sink{env, options};
        return run(sink.deliver(url, m));
    }

    attempt_result deliver_to(std::string answer)
    {
        scripted_server server{scripted_server::answering(std::move(answer))};
        return deliver(server.url());
    }

    temporary_folder folder;
    test_certificate authority{test_certificate::form{"DNS:authority", -3600, 3600, nullptr, true}};
    std::vector<webhook_secret> secrets{webhook_secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}};
    webhook_sink_options options;
};

std::string header_of(std::string const& request, std::string const& name)
{
    auto const at = request.find("\r\n" + name + ": ");
    auto const from = at + name.size() + 4;
    return at == std::string::npos ? std::string{} : request.substr(from, request.find("\r\n", from) - from);
}

TEST_F(webhook_delivery, is_judged_by_the_status)
{
    struct row {
        char const* status;
        attempt_outcome outcome;
    };
    row const table[] = {
        {"200 OK", attempt_outcome::delivered}, {"202 Accepted", attempt_outcome::delivered}, {"204 No Content", attempt_outcome::delivered},
        {"299 Odd", attempt_outcome::delivered}, {"301 Moved", attempt_outcome::failed}, {"302 Found", attempt_outcome::failed},
        {"304 Not Modified", attempt_outcome::failed}, {"308 Permanent", attempt_outcome::failed}, {"400 Bad", attempt_outcome::failed},
        {"401 No", attempt_outcome::failed}, {"404 Not", attempt_outcome::failed}, {"410 Gone", attempt_outcome::gone},
        {"429 Many", attempt_outcome::failed}, {"500 Oops", attempt_outcome::failed}, {"503 Busy", attempt_outcome::failed},
        {"101 Switching Protocols", attempt_outcome::failed}, {"600 Odd", attempt_outcome::failed},
    };
    for (auto const& r : table) {
        auto const result = deliver_to("HTTP/1.1 " + std::string{r.status} + "\r\nContent-Length: 0\r\n\r\n");
        EXPECT_EQ(result.outcome, r.outcome) << r.status << result.reason;
        EXPECT_EQ(std::to_string(result.status), std::string{r.status}.substr(0, 3));
        EXPECT_EQ(result.reason.empty(), result.outcome == attempt_outcome::delivered) << result.reason;
    }
}

TEST_F(webhook_delivery, never_follows_a_redirect)
{
    scripted_server elsewhere{scripted_server::answering("HTTP/1.1 200 OK\r\n\r\n")};
    auto const result = deliver_to("HTTP/1.1 307 Over\r\nLocation: " + elsewhere.url() + "\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(result.outcome, attempt_outcome::failed);
    EXPECT_NE(result.reason.find("redirect"), std::string::npos) << result.reason;
    EXPECT_EQ(elsewhere.accepted(), 0u);
}

TEST_F(webhook_delivery, passes_on_when_to_try_again)
{
    EXPECT_EQ(deliver_to("HTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\n").retry_after, 2min);
    EXPECT_EQ(deliver_to("HTTP/1.1 429 Many\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n").retry_after, 0s);
    EXPECT_FALSE(deliver_to("HTTP/1.1 503 Busy\r\nRetry-After: soon\r\n\r\n").retry_after);
    EXPECT_FALSE(deliver_to("HTTP/1.1 503 Busy\r\n\r\n").retry_after);
}

TEST_F(webhook_delivery, is_a_signed_post_of_a_cloud_event)
{
    secrets.push_back(webhook_secret::make());
    for (auto const format : {webhook_format::structured, webhook_format::binary, webhook_format::plain}) {
        options.format = format;
        std::promise<std::string> seen;
        scripted_server server{[&](tcp::socket& s) {
            seen.set_value(scripted_server::read_request(s));
            scripted_server::write(s, "HTTP/1.1 200 OK\r\n\r\n");
        }};
        auto const m = make_message();
        EXPECT_EQ(deliver(server.url("/hooks?x=1"), m).outcome, attempt_outcome::delivered);
        auto const request = seen.get_future().get();
        EXPECT_TRUE(request.starts_with("POST /hooks?x=1 HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port()) + "\r\n")) << request;
        auto const body = request.substr(request.find("\r\n\r\n") + 4);
        auto const id = header_of(request, "webhook-id");
        EXPECT_EQ(id, m.id.to_string());
        auto const timestamp = header_of(request, "webhook-timestamp");
        auto const signature = header_of(request, "webhook-signature");
        for (auto const& secret : secrets)
            EXPECT_EQ(cosaga::verify_webhook(std::span{&secret, 1}, {id, timestamp, signature}, body, env.now()), cosaga::webhook_verdict::authentic);
        auto const type = header_of(request, "Content-Type");
        EXPECT_EQ(type, format == webhook_format::structured ? "application/cloudevents+json" : "application/json");
        EXPECT_EQ(header_of(request, "ce-type"), format == webhook_format::binary ? "order" : "");
        EXPECT_EQ(format == webhook_format::structured, body != m.payload);
    }
}

TEST_F(webhook_delivery, survives_every_odd_answer)
{
    std::string const big(100'000, 'x');
    struct row {
        std::string answer;
        attempt_outcome outcome;
        char const* reason;
    };
    std::string many_informational;
    for (int n = 0; n < 100; ++n)
        many_informational += "HTTP/1.1 103 Early Hints\r\n\r\n";
    row const table[] = {
        {"", attempt_outcome::failed, "no answer"},
        {"garbage\r\n\r\n", attempt_outcome::failed, "no answer"},
        {"HTTP/1.1 2", attempt_outcome::failed, "no answer"},
        {"HTTP/1.1 abc\r\n\r\n", attempt_outcome::failed, "no answer"},
        {"HTTP/1.1 200 OK\r\nA: " + big + "\r\n\r\n", attempt_outcome::failed, "over the limit"},
        {big, attempt_outcome::failed, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", attempt_outcome::delivered, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + big, attempt_outcome::delivered, ""},
        {"HTTP/1.1 200 OK\r\n\r\n" + big + big, attempt_outcome::delivered, ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", attempt_outcome::delivered, ""},
        {"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + big, attempt_outcome::failed, "500"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", attempt_outcome::delivered, ""},
        {many_informational + "HTTP/1.1 200 OK\r\n\r\n", attempt_outcome::failed, "informational"},
        {"HTTP/1.0 200 OK\r\n\r\n", attempt_outcome::delivered, ""},
    };
    for (auto const& r : table) {
        auto const result = deliver_to(r.answer);
        EXPECT_EQ(result.outcome, r.outcome) << r.answer.substr(0, 60) << ": " << result.reason;
        EXPECT_NE(result.reason.find(r.reason), std::string::npos) << r.answer.substr(0, 60) << ": " << result.reason;
    }
}

TEST_F(webhook_delivery, cuts_off_answers_that_never_end)
{
    options.answer_limit = 300ms;
    auto const endless = [&](std::string const& first, std::string const& then, cosaga::duration pause) {
        std::atomic<bool> stop = false;
        std::size_t written = 0;
        attempt_result result;
        auto const begin = env.steady_now();
        {
            scripted_server server{[&](tcp::socket& s) {
                scripted_server::read_request(s);
                scripted_server::write(s, first);
                for (; !stop && scripted_server::write(s, then) && written < 50'000'000; written += then.size())
                    std::this_thread::sleep_for(pause);
            }};
            result = deliver(server.url());
            stop = true;
        }
        EXPECT_LT(env.steady_now() - begin, 2s);
        EXPECT_LT(written, 50'000'000u);
        return result;
    };
    std::string const block(4096, 'y');
    EXPECT_EQ(endless("HTTP/1.1 200 OK\r\n\r\n", block, 0us).outcome, attempt_outcome::delivered);
    EXPECT_EQ(endless("HTTP/1.1 200 OK\r\n\r\n", "y", 20ms).outcome, attempt_outcome::delivered);
    EXPECT_EQ(endless("HTTP/1.1 200 OK\r\nA: ", block, 0us).outcome, attempt_outcome::failed);
    auto const drip = endless("HTTP/1.1 200 OK\r\nA: ", "y", 20ms);
    EXPECT_EQ(drip.outcome, attempt_outcome::failed);
    EXPECT_EQ(drip.status, 0u);
    EXPECT_NE(drip.reason.find("time limit"), std::string::npos) << drip.reason;
}

TEST_F(webhook_delivery, gives_up_on_who_does_not_answer_or_connect)
{
    options.answer_limit = 100ms;
    options.connect_limit = 200ms;
    std::promise<void> end;
    auto const ended = end.get_future().share();
    scripted_server silent{[ended](tcp::socket&) { ended.wait(); }};
    auto const answer = deliver(silent.url());
    EXPECT_NE(answer.reason.find("no answer within the time limit"), std::string::npos) << answer.reason;
    auto const tls = deliver("https://127.0.0.1:" + std::to_string(silent.port()) + "/");
    EXPECT_NE(tls.reason.find("no connection within the time limit"), std::string::npos) << tls.reason;

    // A full backlog: the system does not answer who wants to connect.
    tcp::acceptor full{io};
    full.open(tcp::v4());
    full.bind(tcp::endpoint{asio::ip::address_v4::loopback(), 0});
    full.listen(0);
    std::list<tcp::socket> fill;
    for (int n = 0; n < 4; ++n) {
        auto& s = fill.emplace_back(io);
        s.open(tcp::v4());
        s.native_non_blocking(true); // Asio's own connect would wait all the same
        auto const to = full.local_endpoint();
        static_cast<void>(::connect(s.native_handle(), to.data(), static_cast<socklen_t>(to.size())));
    }
    auto const url = "http://127.0.0.1:" + std::to_string(full.local_endpoint().port()) + "/";
    auto const connection = deliver(url);
    EXPECT_NE(connection.reason.find("no connection within the time limit"), std::string::npos) << connection.reason;
    full.close();
    EXPECT_NE(deliver(url).reason.find("no connection"), std::string::npos);
    end.set_value();
}

TEST(webhook_limits, fit_into_an_attempt_of_the_notifier)
{
    webhook_sink_options const sink;
    EXPECT_LT(sink.connect_limit + sink.answer_limit, cosaga::notifier_options{}.attempt_timeout);
}

TEST_F(webhook_delivery, goes_to_the_address_that_was_checked_and_nowhere_else)
{
    scripted_server server{scripted_server::answering("HTTP/1.1 200 OK\r\n\r\n")};
    auto const port = ':' + std::to_string(server.port()) + '/';
    std::atomic<int> lookups = 0;
    options.resolve = [&](std::string const& host) {
        ++lookups;
        std::vector<asio::ip::address> found;
        if (host == "mixed.test")
            found = {asio::ip::make_address("10.1.2.3"), asio::ip::make_address("::1"), asio::ip::make_address("127.0.0.1")};
        else if (host == "inside.test")
            found = {asio::ip::make_address("169.254.169.254"), asio::ip::make_address("::ffff:127.0.0.1")};
        else if (host == "broken.test")
            throw std::runtime_error{"no such name"};
        return found;
    };
    EXPECT_EQ(deliver("http://mixed.test" + port).outcome, attempt_outcome::delivered);
    EXPECT_EQ(lookups, 1);
    for (auto const* const host : {"http://inside.test", "http://[::ffff:127.0.0.1]", "http://[::1]", "http://10.0.0.1"}) {
        auto const result = deliver(host + port);
        EXPECT_EQ(result.outcome, attempt_outcome::failed);
        EXPECT_NE(result.reason.find("not public"), std::string::npos) << result.reason;
        EXPECT_EQ(result.reason.find("169.254"), std::string::npos) << result.reason;
    }
    EXPECT_NE(deliver("http://broken.test" + port).reason.find("no address"), std::string::npos);
    EXPECT_NE(deliver("http://none.test" + port).reason.find("no address"), std::string::npos);
    EXPECT_EQ(server.accepted(), 1u);

    options.allowed_networks.clear();
    options.resolve = nullptr;
    for (auto const* const host : {"http://127.0.0.1", "http://localhost", "http://0x7f.1", "http://2130706433", "http://127.1"})
        EXPECT_EQ(deliver(host + port).outcome, attempt_outcome::failed) << host;
    EXPECT_EQ(server.accepted(), 1u);
}

TEST_F(webhook_delivery, is_not_delayed_by_a_name_that_is_never_found)
{
    std::promise<void> end;
    auto const ended = end.get_future().share();
    options.resolver_threads = 2;
    options.resolver_memory = 0s;
    options.connect_limit = 300ms;
    options.resolve = [ended](std::string const& host) {
        if (host == "slow.test")
            ended.wait();
        return std::vector<asio::ip::address>{asio::ip::make_address("127.0.0.1")};
    };
    scripted_server server{scripted_server::answering("HTTP/1.1 200 OK\r\n\r\n")};
    auto const port = ':' + std::to_string(server.port()) + '/';
    webhook_sink sink{env, options};
    auto const m = make_message();
    for (int n = 0; n < 3; ++n) {
        auto const slow = run(sink.deliver("http://slow.test" + port, m));
        EXPECT_NE(slow.reason.find("time limit"), std::string::npos) << slow.reason;
        EXPECT_EQ(run(sink.deliver("http://fast.test" + port, m)).outcome, attempt_outcome::delivered);
    }
    end.set_value();
}

TEST_F(webhook_delivery, does_not_tell_secrets)
{
    auto const text = secrets.front().reveal();
    options.secrets = [](std::string const&) -> std::vector<webhook_secret> { throw std::runtime_error{"whsec_hidden"}; };
    auto const thrown = deliver("http://127.0.0.1:1/");
    EXPECT_EQ(thrown.outcome, attempt_outcome::failed);
    EXPECT_EQ(thrown.reason.find("hidden"), std::string::npos) << thrown.reason;
    options.secrets = [](std::string const&) { return std::vector<webhook_secret>{}; };
    EXPECT_NE(deliver("http://127.0.0.1:1/").reason.find("no secret"), std::string::npos);
    options.secrets = [&](std::string const&) { return secrets; };
    auto const echo = deliver_to("HTTP/1.1 500 " + text + "\r\nX: " + text + "\r\n\r\n" + text);
    EXPECT_EQ(echo.reason.find(text), std::string::npos) << echo.reason;
    EXPECT_TRUE(reports().empty());
}

TEST_F(webhook_delivery, refuses_what_would_inject_a_header)
{
    scripted_server server{scripted_server::answering("HTTP/1.1 200 OK\r\n\r\n")};
    for (std::string const tail : {"\r\nX-Injected: 1", "x\ny", " HTTP/1.1\r\nHost: other"}) {
        auto const result = deliver(server.url() + tail);
        EXPECT_EQ(result.outcome, attempt_outcome::failed);
        EXPECT_EQ(result.reason.find("Injected"), std::string::npos) << result.reason;
    }
    for (auto const format : {webhook_format::structured, webhook_format::binary, webhook_format::plain}) {
        options.format = format;
        auto m = make_message();
        m.content_type = "text/plain\r\nX-Injected: 1";
        EXPECT_EQ(deliver(server.url(), m).outcome, attempt_outcome::failed);
    }
    EXPECT_EQ(server.accepted(), 0u);
    options.user_agent = "a\r\nb: c";
    EXPECT_THROW(deliver(server.url()), boost::system::system_error);
}

TEST_F(webhook_delivery, checks_destinations_and_options)
{
    webhook_sink sink{env, options};
    EXPECT_NO_THROW(sink.check("https://merchant.example/hooks"));
    EXPECT_NO_THROW(sink.check("http://127.0.0.1:9/"));
    for (auto const* const url : {"", "merchant", "https://a:b@c/", "https://10.0.0.1/", "https://[::1]/"})
        EXPECT_THROW(sink.check(url), boost::system::system_error) << url;
    options.allow_http = false;
    webhook_sink strict{env, options};
    EXPECT_THROW(strict.check("http://127.0.0.1:9/"), boost::system::system_error);

    auto const refused = [&](auto change, errc expected = errc::bad_configuration) {
        auto o = options;
        change(o);
        try {
            webhook_sink const never{env, o};
            ADD_FAILURE();
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), expected) << e.what();
        }
    };
    refused([](auto& o) { o.secrets = nullptr; });
    refused([](auto& o) { o.connect_limit = 0s; });
    refused([](auto& o) { o.max_answer_header = 0; });
    refused([](auto& o) { o.resolver_threads = 0; });
    refused([](auto& o) { o.ca_file = "/no/such/file"; });
    refused([](auto& o) { o.allowed_networks = {"everything"}; }, errc::bad_argument);
}

TEST_F(webhook_delivery, can_be_cancelled)
{
    using namespace boost::asio::experimental::awaitable_operators;
    std::promise<void> end;
    auto const ended = end.get_future().share();
    scripted_server silent{[ended](tcp::socket&) { ended.wait(); }};
    webhook_sink sink{env, options};
    auto const m = make_message();
    auto const url = silent.url();
    auto const race = [&]() -> asio::awaitable<std::size_t> {
        auto const first = co_await (sink.deliver(url, m) || env.sleep_for(50ms));
        co_return first.index();
    };
    auto const begin = env.steady_now();
    EXPECT_EQ(run(race()), 1u);
    EXPECT_LT(env.steady_now() - begin, 1s);
    end.set_value();
}

TEST_F(webhook_delivery, is_many_at_the_same_time)
{
    scripted_server server{scripted_server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")};
    webhook_world others{2};
    webhook_sink sink{others.env, options};
    auto const url = server.url();
    std::vector<std::future<attempt_result>> running;
    std::list<message> messages;
    for (int n = 0; n < 200; ++n)
        running.push_back(asio::co_spawn(others.io, sink.deliver(url, messages.emplace_back(make_message())), asio::use_future));
    for (auto& r : running) {
        auto const result = r.get();
        EXPECT_EQ(result.outcome, attempt_outcome::delivered) << result.reason;
    }
}

TEST_F(webhook_delivery, runs_to_its_end_when_the_sink_is_destroyed)
{
    std::promise<void> got;
    std::promise<void> end;
    auto const ended = end.get_future().share();
    scripted_server server{[&](tcp::socket& s) {
        scripted_server::read_request(s);
        got.set_value();
        ended.wait();
        scripted_server::write(s, "HTTP/1.1 200 OK\r\n\r\n");
    }};
    auto sink = std::make_unique<webhook_sink>(env, options);
    auto const m = make_message();
    auto const url = server.url();
    auto running = asio::co_spawn(io, sink->deliver(url, m), asio::use_future);
    got.get_future().wait();
    sink.reset();
    end.set_value();
    EXPECT_EQ(running.get().outcome, attempt_outcome::delivered);
}

} // namespace
