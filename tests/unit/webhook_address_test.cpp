// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/error.hpp>
#include <cosaga/webhook/address_guard.hpp>
#include <cosaga/webhook/url.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using boost::asio::ip::make_address;
using cosaga::address_guard;
using cosaga::address_network;
using cosaga::errc;
using cosaga::is_public;
using cosaga::parse_webhook_url;

TEST(webhook_address, is_public_only_where_the_internet_is)
{
    struct row {
        char const* address;
        bool expected;
    };
    row const table[] = {
        {"1.1.1.1", true}, {"8.8.8.8", true}, {"93.184.216.34", true}, {"9.255.255.255", true}, {"11.0.0.0", true},
        {"100.63.255.255", true}, {"100.128.0.0", true}, {"126.255.255.255", true}, {"128.0.0.0", true},
        {"169.253.255.255", true}, {"169.255.0.0", true}, {"172.15.255.255", true}, {"172.32.0.0", true},
        {"192.0.1.0", true}, {"192.167.255.255", true}, {"192.169.0.0", true}, {"198.17.255.255", true},
        {"198.20.0.0", true}, {"223.255.255.255", true},
        {"0.0.0.0", false}, {"0.1.2.3", false}, {"10.0.0.0", false}, {"10.255.255.255", false}, {"100.64.0.0", false},
        {"100.127.255.255", false}, {"127.0.0.1", false}, {"127.255.255.255", false}, {"169.254.169.254", false},
        {"172.16.0.0", false}, {"172.31.255.255", false}, {"192.0.0.1", false}, {"192.0.2.1", false},
        {"192.88.99.1", false}, {"192.168.0.1", false}, {"198.18.0.0", false}, {"198.19.255.255", false},
        {"198.51.100.7", false}, {"203.0.113.9", false}, {"224.0.0.1", false}, {"239.255.255.255", false},
        {"240.0.0.0", false}, {"255.255.255.255", false},
        {"2606:4700:4700::1111", true}, {"2001:4860:4860::8888", true}, {"2a00:1450::1", true}, {"2001:200::", true},
        {"3ffe::1", true}, {"2003::", true},
        {"::", false}, {"::1", false}, {"::7f00:1", false}, {"::ffff:127.0.0.1", false}, {"::ffff:8.8.8.8", false},
        {"64:ff9b::7f00:1", false}, {"64:ff9b::808:808", false}, {"64:ff9b:1::1", false}, {"100::1", false},
        {"2001::1", false}, {"2001:2::1", false}, {"2001:10::1", false}, {"2001:1ff:ffff::", false},
        {"2001:db8::1", false}, {"2002:7f00:1::", false}, {"2002:808:808::1", false}, {"3fff::1", false},
        {"3fff:fff::1", false}, {"5f00::1", false}, {"fc00::1", false}, {"fdff::1", false}, {"fe80::1", false},
        {"febf::1", false}, {"fec0::1", false}, {"ff02::1", false}, {"4000::1", false},
    };
    for (auto const& r : table)
        EXPECT_EQ(is_public(make_address(r.address)), r.expected) << r.address;
}

TEST(webhook_address, may_be_of_a_network_that_is_allowed)
{
    address_guard const guard{std::vector<std::string>{"127.0.0.0/8", "10.1.2.3/32", "172.16.0.0/13", "fd00::/8", "::1/128"}};
    for (auto const* const text : {"127.0.0.1", "127.9.9.9", "10.1.2.3", "172.23.255.255", "fd12::1", "::1", "8.8.8.8"})
        EXPECT_TRUE(guard.permits(make_address(text))) << text;
    for (auto const* const text : {"10.1.2.4", "172.24.0.0", "fc00::1", "::2", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "192.168.0.1"})
        EXPECT_FALSE(guard.permits(make_address(text))) << text;
    EXPECT_FALSE(address_guard{}.permits(make_address("127.0.0.1")));
    EXPECT_TRUE(address_guard{std::vector<std::string>{"0.0.0.0/0"}}.permits(make_address("10.0.0.1")));
}

TEST(webhook_address, network_is_an_address_with_a_length)
{
    for (auto const* const text : {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "x/8", "10.0.0.0/8 ", "10.0.0.0/-1", "/8"}) {
        try {
            address_network const refused{text};
            ADD_FAILURE() << text;
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::bad_argument) << text;
        }
    }
}

TEST(webhook_url, is_taken_apart)
{
    auto const plain = parse_webhook_url("https://Merchant.Example/hooks?x=1&y=%20");
    EXPECT_TRUE(plain.secure);
    EXPECT_EQ(plain.host, "merchant.example");
    EXPECT_EQ(plain.port, 443);
    EXPECT_EQ(plain.target, "/hooks?x=1&y=%20");
    EXPECT_EQ(plain.authority(), "merchant.example");
    EXPECT_EQ(plain.origin(), "https://merchant.example");

    auto const six = parse_webhook_url("HTTP://[2001:DB8::1]:8080");
    EXPECT_FALSE(six.secure);
    EXPECT_EQ(six.host, "2001:db8::1");
    EXPECT_EQ(six.port, 8080);
    EXPECT_EQ(six.target, "/");
    EXPECT_EQ(six.authority(), "[2001:db8::1]:8080");

    EXPECT_EQ(parse_webhook_url("http://a").port, 80);
    EXPECT_EQ(parse_webhook_url("https://a?q").target, "/?q");
    EXPECT_EQ(parse_webhook_url("https://10.0.0.1:443/").authority(), "10.0.0.1");
    EXPECT_EQ(parse_webhook_url("https://a_b.c-d/x@y:z").target, "/x@y:z");
}

TEST(webhook_url, is_refused_with_a_reason_that_does_not_repeat_it)
{
    struct row {
        std::string url;
        char const* why;
    };
    row const table[] = {
        {"", "https://"}, {"merchant.example/x", "https://"}, {"ftp://a/", "https://"}, {"file:///etc/passwd", "https://"},
        {"https:/a", "https://"}, {"javascript:alert(1)", "https://"},
        {"https://", "host"}, {"https:///x", "host"}, {"https://a..b/", "host"}, {"https://.a/", "host"}, {"https://a./", "host"},
        {"https://-a/", "host"}, {"https://a-/", "host"}, {"https://" + std::string(64, 'a') + "/", "host"},
        {"https://[::1/", "host"}, {"https://[::1]x/", "host"}, {"https://[fe80::1%25eth0]/", "host"}, {"https://[127.0.0.1]/", "host"},
        {"https://a:b@c/", "user name"}, {"https://secret@a/", "user name"}, {"https://a@b@c/", "user name"},
        {"https://a:0/", "port"}, {"https://a:65536/", "port"}, {"https://a:/", "port"}, {"https://a:8o/", "port"}, {"https://a:1:2/", "port"},
        {"https://a/\r\nx: y", "percent-encoded"}, {"https://a/ b", "percent-encoded"}, {"https://a/\t", "percent-encoded"},
        {"https://a/\x01", "percent-encoded"}, {"https://a/\xc3\xa4", "percent-encoded"}, {"https://\xc3\xa4/", "percent-encoded"},
        {std::string{"https://a/\0", 11}, "percent-encoded"}, {"https://a\\@b/", "percent-encoded"}, {"https://a/<", "percent-encoded"},
        {"https://a/#b", "fragment"}, {"https://a/" + std::string(2048, 'x'), "2048"},
    };
    for (auto const& r : table) {
        try {
            parse_webhook_url(r.url);
            ADD_FAILURE() << r.url;
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::bad_argument);
            EXPECT_NE(std::string{e.what()}.find(r.why), std::string::npos) << r.url << ": " << e.what();
            EXPECT_EQ(std::string{e.what()}.find("secret"), std::string::npos) << e.what();
        }
    }
}

} // namespace
