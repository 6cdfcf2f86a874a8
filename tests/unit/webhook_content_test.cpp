// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/webhook_content.hpp>
#include <cosaga/error.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace cosaga::detail;
using cosaga::errc;
using cosaga::message;
using cosaga::message_id;
using cosaga::time_point;
using cosaga::webhook_format;
using cosaga::webhook_request;

time_point const noon = time_point{std::chrono::sys_days{std::chrono::year{2026} / 11 / 23}} + 12h;

message make_message()
{
    message m;
    m.id = *message_id::parse("0198f3a0-0000-7000-8000-000000000001");
    m.time = noon + 250ms;
    m.topic = "payments";
    m.key = "customer 7";
    m.type = "payment.settled";
    m.source = "bank/\"north\"";
    m.content_type = "application/json";
    m.headers = {{"subject", "50 % \xc3\xbc"}, {"traceparent", "00-1-2-03"}};
    m.payload = "{ \"amount\": 1.0, \"big\": 123456789012345678901234567890 }";
    return m;
}

webhook_request to_request(message const& m, webhook_format format)
{
    auto content = to_webhook_content(m, format);
    webhook_request r;
    r.headers = std::move(content.headers);
    r.headers.push_back({"Content-Type", content.content_type});
    r.body = std::move(content.body);
    return r;
}

message come_back(message const& m, webhook_format format)
{
    auto back = from_webhook_content(to_request(m, format), {});
    back.id = m.id;
    back.topic = m.topic;
    return back;
}

webhook_request structured(std::string body)
{
    webhook_request r;
    r.headers = {{"content-type", "application/cloudevents+json; charset=utf-8"}};
    r.body = std::move(body);
    return r;
}

std::string event(std::string const& more)
{
    return R"({"specversion":"1.0","id":"a","source":"s","type":"t")" + more + "}";
}

errc error_of(webhook_request const& r)
{
    try {
        from_webhook_content(r, {});
    } catch (boost::system::system_error const& e) {
        return static_cast<errc>(e.code().value());
    }
    return {};
}

TEST(webhook_content, is_the_message_again_when_it_is_read)
{
    auto const m = make_message();
    EXPECT_EQ(come_back(m, webhook_format::structured), m);
    EXPECT_EQ(come_back(m, webhook_format::binary), m);
    auto bytes = m;
    bytes.content_type = "application/octet-stream";
    bytes.payload = std::string("\0\xff\x80", 3);
    EXPECT_EQ(come_back(bytes, webhook_format::structured), bytes);
    EXPECT_EQ(come_back(bytes, webhook_format::binary), bytes);
    auto wrong = m;
    wrong.payload = "{no json";
    EXPECT_EQ(come_back(wrong, webhook_format::structured), wrong);
    auto empty = m;
    empty.payload.clear();
    EXPECT_EQ(come_back(empty, webhook_format::structured), empty);
}

TEST(webhook_content, is_a_cloud_event_as_others_write_it)
{
    auto m = make_message();
    m.headers.clear();
    m.payload = "{\"a\":1}";
    EXPECT_EQ(to_webhook_content(m, webhook_format::structured).body,
        R"({"specversion":"1.0","id":"0198f3a0-0000-7000-8000-000000000001","source":"bank/\"north\"","type":"payment.settled",)"
        R"("time":"2026-11-23T12:00:00.250000Z","partitionkey":"customer 7","datacontenttype":"application/json","data":{"a":1}})");
    auto const binary = to_webhook_content(m, webhook_format::binary);
    EXPECT_EQ(binary.content_type, "application/json");
    EXPECT_EQ(binary.body, "{\"a\":1}");
    cosaga::header const key{"ce-partitionkey", "customer%207"};
    EXPECT_EQ(binary.headers.back(), key);
    auto const plain = to_webhook_content(m, webhook_format::plain);
    EXPECT_TRUE(plain.headers.empty());
    EXPECT_EQ(plain.body, "{\"a\":1}");
}

TEST(webhook_content, has_no_line_break_that_would_begin_a_header)
{
    auto const refused = [](auto change) {
        for (auto const format : {webhook_format::structured, webhook_format::binary}) {
            auto m = make_message();
            change(m);
            try {
                to_webhook_content(m, format);
                ADD_FAILURE();
            } catch (boost::system::system_error const& e) {
                EXPECT_EQ(e.code(), errc::bad_argument) << e.what();
            }
        }
    };
    refused([](message& m) { m.key = "a\r\nx: y"; });
    refused([](message& m) { m.type = "a\nb"; });
    refused([](message& m) { m.source = std::string("a\0b", 3); });
    refused([](message& m) { m.content_type = "text/plain\r\nx: y"; });
    refused([](message& m) { m.headers.push_back({"a\r\nb", "c"}); });
    refused([](message& m) { m.headers.push_back({"Upper", "c"}); });
    refused([](message& m) { m.headers.push_back({"", "c"}); });
    refused([](message& m) { m.headers.push_back({"note", "c\rd"}); });
    refused([](message& m) { m.headers.push_back({"type", "again"}); });
    refused([](message& m) { m.headers.push_back({"subject", "again"}); });
    refused([](message& m) { m.type.clear(); });
    refused([](message& m) { m.source.clear(); });
}

TEST(webhook_content, keeps_the_very_text_of_json_data)
{
    for (std::string const data : {"1.0", "12345678901234567890123", "[1, 2 ,{\"a\":\"}\"}]", "\"x\\\"}\"", "true", "null", "{\"data\":\"\\\\\"}"}) {
        for (auto const& spaced : {",\"data\":" + data, ",\n \"data\" : " + data + " \t", ",\"data\":" + data + ",\"x\":\"y,}\""}) {
            auto const m = from_webhook_content(structured(event(spaced)), {});
            EXPECT_EQ(m.payload, data) << spaced;
            EXPECT_EQ(m.content_type, "application/json");
        }
    }
}

TEST(webhook_content, takes_what_others_may_write)
{
    auto const m = from_webhook_content(structured(event(
        R"(,"time":"2026-11-23T13:00:00+01:00","datacontenttype":"Text/XML; charset=utf-8","data":"<a>\"</a>","count":7,"flag":true,"none":null)")), {});
    EXPECT_EQ(m.time, noon);
    EXPECT_EQ(m.content_type, "text/xml");
    EXPECT_EQ(m.payload, "<a>\"</a>");
    EXPECT_EQ(m.find_header("count"), "7");
    EXPECT_EQ(m.find_header("flag"), "true");
    EXPECT_TRUE(m.find_header("none").empty());
    auto const bytes = from_webhook_content(structured(event(R"(,"data_base64":"AP8=")")), {});
    EXPECT_EQ(bytes.payload, std::string("\0\xff", 2));
    webhook_request plain;
    plain.headers = {{"CONTENT-TYPE", "Application/JSON;charset=utf-8"}};
    plain.body = "{}";
    EXPECT_EQ(from_webhook_content(plain, {}).content_type, "application/json");
}

TEST(webhook_content, is_malformed_in_many_ways)
{
    for (std::string const body : {"", "{", "[]", "1", "{}", R"({"specversion":"1.0"})", R"({"specversion":"0.3","id":"a","source":"s","type":"t"})"})
        EXPECT_EQ(error_of(structured(body)), errc::malformed_data) << body;
    for (std::string const more : {R"(,"time":"yesterday")", R"(,"time":"2026-02-30T00:00:00Z")", R"(,"UPPER":"x")", R"(,"a b":"x")",
             R"(,"x":{})", R"(,"x":[1])", R"(,"data_base64":"?")", R"(,"data_base64":7)", R"(,"data":1,"data_base64":"AAAA")",
             R"(,"x":"1","x":"2")", R"(,"type":"t")", "} {"})
        EXPECT_EQ(error_of(structured(event(more))), errc::malformed_data) << more;
    EXPECT_EQ(error_of(structured(event(",\"x\":\"" + std::string(4097, 'x') + '"'))), errc::limit_exceeded);
    EXPECT_EQ(error_of(structured(std::string(100, '[') + std::string(100, ']'))), errc::limit_exceeded);
    auto batch = structured("[]");
    batch.headers.front().value = "application/cloudevents-batch+json";
    EXPECT_EQ(error_of(batch), errc::malformed_data);

    auto const binary = to_request(make_message(), webhook_format::binary);
    for (auto const* const missing : {"ce-id", "ce-source", "ce-type"}) {
        auto r = binary;
        std::erase_if(r.headers, [&](cosaga::header const& h) { return h.name == missing; });
        EXPECT_EQ(error_of(r), errc::malformed_data) << missing;
    }
    auto twice = binary;
    twice.headers.push_back({"CE-Subject", "again"});
    EXPECT_EQ(error_of(twice), errc::malformed_data);
    for (std::string const value : {"%", "%2", "a%zz", "%%20"}) {
        auto r = binary;
        r.headers.push_back({"ce-x", value});
        EXPECT_EQ(error_of(r), errc::malformed_data) << value;
    }
}

TEST(retry_after, is_seconds_or_a_date)
{
    auto const parse = [](std::string_view text) { return parse_retry_after(text, noon); };
    EXPECT_EQ(parse("0"), 0s);
    EXPECT_EQ(parse(" 120 "), 2min);
    EXPECT_EQ(parse("99999999999999999999999"), longest_retry_after);
    EXPECT_EQ(parse("Mon, 23 Nov 2026 12:00:30 GMT"), 30s);
    EXPECT_EQ(parse("Monday, 23-Nov-26 12:01:00 GMT"), 1min);
    EXPECT_EQ(parse("Mon Nov 23 13:00:00 2026"), 1h);
    EXPECT_EQ(parse("Tue Dec  1 12:00:00 2026"), longest_retry_after);
    EXPECT_EQ(parse("Sun, 06 Nov 1994 08:49:37 GMT"), 0s);
    EXPECT_EQ(parse("Sunday, 06-Nov-94 08:49:37 GMT"), 0s);
    for (auto const* const text : {"", " ", "-1", "1.5", "soon", "5 minutes", "Mon, 31 Feb 2026 12:00:00 GMT", "Mon, 23 Nov 2026 25:00:00 GMT",
             "Mon, 23 Nov 2026 12:00:30", "Mon, 23 Xxx 2026 12:00:30 GMT", "Mon, 23 anF 2026 12:00:30 GMT", ",", ", GMT", " GMT", "Mon Nov"})
        EXPECT_EQ(parse(text), std::nullopt) << text;
}

TEST(rfc3339, is_written_and_read)
{
    EXPECT_EQ(to_rfc3339(noon), "2026-11-23T12:00:00Z");
    EXPECT_EQ(to_rfc3339(noon + 1us), "2026-11-23T12:00:00.000001Z");
    EXPECT_EQ(parse_rfc3339(to_rfc3339(noon + 123456us)), noon + 123456us);
    EXPECT_EQ(parse_rfc3339("2026-11-23T12:00:00.1234567899Z"), noon + 123456us);
    EXPECT_EQ(parse_rfc3339("2026-11-23T10:30:00-01:30"), noon);
    for (auto const* const text : {"", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00:00.Z", "2026-11-23T12:00:00+1:00", "2026-13-01T00:00:00Z",
             "2026-11-23T12:00:00+24:00", "2026-11-23T12:00:00ZZ", "2026-11-23 12:00:00Z"})
        EXPECT_EQ(parse_rfc3339(text), std::nullopt) << text;
}

} // namespace
