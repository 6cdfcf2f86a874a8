// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/message.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace {

using cosaga::message;
using cosaga::message_limits;

message small_message()
{
    message m;
    m.topic = "orders";
    m.key = "customer-7";
    m.type = "order";
    m.source = "shop";
    m.content_type = "application/json";
    m.headers = {{"subject", "order-1"}, {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"subject", "ignored"}};
    m.payload = "{}";
    return m;
}

TEST(message, finds_the_first_header_of_a_name)
{
    auto const m = small_message();
    EXPECT_EQ(m.subject(), "order-1");
    EXPECT_EQ(m.traceparent(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    EXPECT_EQ(m.find_header("absent"), "");
}

TEST(message, within_the_limits_passes_also_exactly_at_them)
{
    message_limits const limits;
    auto m = small_message();
    EXPECT_NO_THROW(check_limits(m, limits));
    m.payload.assign(limits.payload, 'x');
    m.topic.assign(limits.name, 't');
    m.key.assign(limits.key, 'k');
    m.headers.assign(limits.headers, {std::string(limits.name, 'n'), std::string(limits.header_value, 'v')});
    EXPECT_NO_THROW(check_limits(m, limits));
}

TEST(message, each_attribute_over_its_limit_is_named)
{
    struct excess {
        char const* named;
        std::function<void(message&)> make;
    };
    message_limits const limits;
    excess const all[] = {
        {"payload", [&](message& m) { m.payload.assign(limits.payload + 1, 'x'); }},
        {"topic", [&](message& m) { m.topic.assign(limits.name + 1, 'x'); }},
        {"type", [&](message& m) { m.type.assign(limits.name + 1, 'x'); }},
        {"source", [&](message& m) { m.source.assign(limits.name + 1, 'x'); }},
        {"content type", [&](message& m) { m.content_type.assign(limits.name + 1, 'x'); }},
        {"key", [&](message& m) { m.key.assign(limits.key + 1, 'x'); }},
        {"header count", [&](message& m) { m.headers.resize(limits.headers + 1); }},
        {"header name", [&](message& m) { m.headers[1].name.assign(limits.name + 1, 'x'); }},
        {"header value", [&](message& m) { m.headers[1].value.assign(limits.header_value + 1, 'x'); }},
    };
    for (auto const& [named, make] : all) {
        auto m = small_message();
        make(m);
        try {
            check_limits(m, limits);
            ADD_FAILURE() << named;
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), cosaga::errc::limit_exceeded);
            EXPECT_NE(std::string{e.what()}.find("message " + std::string{named}), std::string::npos) << e.what();
            EXPECT_EQ(std::string{e.what()}.find("xx"), std::string::npos) << "data in an error: " << e.what();
        }
    }
}

TEST(message, memory_counts_everything_that_grows)
{
    auto m = small_message();
    auto const before = memory_of(m);
    EXPECT_GE(before, sizeof(message));
    m.payload.append(100, 'x');
    m.headers.push_back({"a", "b"});
    EXPECT_EQ(memory_of(m), before + 100 + sizeof(cosaga::header) + 2);
}

} // namespace
