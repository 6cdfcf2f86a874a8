// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/base64.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/signature.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cosaga::errc;
using cosaga::sign_webhook;
using cosaga::time_point;
using cosaga::verify_webhook;
using cosaga::webhook_headers;
using cosaga::webhook_secret;
using cosaga::webhook_stamp;
using cosaga::webhook_verdict;

std::string base64(std::string_view bytes)
{
    std::string text(cosaga::detail::base64_size(bytes.size()), '\0');
    cosaga::detail::base64_encode(std::as_bytes(std::span{bytes.data(), bytes.size()}), text.data());
    return text;
}

webhook_secret secret_of(std::string_view bytes)
{
    return webhook_secret{"whsec_" + base64(bytes)};
}

// As tests of the specification's libraries have it.
constexpr std::string_view published_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
constexpr std::string_view published_id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
constexpr std::int64_t published_timestamp = 1614265330;
constexpr std::string_view published_body = R"({"test": 2432232314})";
constexpr std::string_view published_signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

time_point at(std::int64_t seconds)
{
    return time_point{std::chrono::seconds{seconds}};
}

struct signed_request {
    std::string id = "msg_1";
    std::string timestamp = "1000000";
    std::string body = "{}";
    std::string signature = {};
    webhook_headers headers() const { return {id, timestamp, signature}; }
};

webhook_secret const ours = secret_of("0123456789abcdef0123456789abcdef");
webhook_secret const others = secret_of("fedcba9876543210fedcba9876543210");

signed_request make_signed(webhook_secret const& secret = ours)
{
    signed_request r;
    r.signature = sign_webhook(secret, webhook_stamp{r.id, 1000000}, r.body);
    return r;
}

webhook_verdict verify(signed_request const& r, time_point now = at(1000000))
{
    return verify_webhook(std::span{&ours, 1}, r.headers(), r.body, now);
}

std::string message_of(std::string_view text)
{
    try {
        webhook_secret const refused{text};
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::bad_argument);
        return e.what();
    }
    return "taken";
}

TEST(webhook_signature, is_what_the_specification_publishes)
{
    webhook_secret const secret{published_secret};
    EXPECT_EQ(sign_webhook(secret, {published_id, published_timestamp}, published_body), published_signature);
    auto const timestamp = std::to_string(published_timestamp);
    webhook_headers const headers{published_id, timestamp, published_signature};
    EXPECT_EQ(verify_webhook(std::span{&secret, 1}, headers, published_body, at(published_timestamp)), webhook_verdict::authentic);
}

// RFC 4231, of the keys that are long enough: test case 3 has 20 bytes of key, 4 has 25, 6 has 131. What is signed begins with the id and the
// time, so these were computed by another implementation (Python's hmac) from its key of case 4 and contents of the cases.
TEST(webhook_signature, is_hmac_sha256_as_another_implementation_has_it)
{
    std::string key;
    for (char c = 1; c <= 25; ++c)
        key += c;
    EXPECT_EQ(sign_webhook(secret_of(key), {"Hi", 0}, "There"), "v1,n8O4cfhg+0LBSFXa8l3ANy8QuFMQc21gsK1poz9yuSY=");
    EXPECT_EQ(sign_webhook(secret_of(key), {"4231-4", 1}, std::string(50, '\xcd')), "v1,ZX1O85HiW/LKLRBif52Pc1uTvK7uU87N41GGcD5N3LU=");
    EXPECT_EQ(sign_webhook(secret_of(std::string(64, '\xaa')), {"4231-6", 2}, "Test Using Larger Than Block-Size Key - Hash Key First"),
        "v1,2DGbPPjpFqWEvtpiXySNGhX26pU9ka1cltwuVSXClMs=");
}

TEST(webhook_signature, is_made_with_each_of_several_secrets)
{
    std::vector<webhook_secret> const both{ours, others};
    auto const header = sign_webhook(both, {"msg_1", 1000000}, "{}");
    EXPECT_EQ(header, make_signed(ours).signature + ' ' + make_signed(others).signature);
}

TEST(webhook_signature, is_refused_for_an_id_that_could_be_mistaken)
{
    for (std::string const id : {"", "a.b", "a b", "a\r\nx: y", "\x7f", "\xc3\xa4"})
        EXPECT_THROW(sign_webhook(ours, webhook_stamp{id, 0}, "{}"), boost::system::system_error) << id;
    EXPECT_THROW(sign_webhook(ours, webhook_stamp{std::string(256, 'a'), 0}, "{}"), boost::system::system_error);
    EXPECT_THROW(sign_webhook(std::vector<webhook_secret>{}, webhook_stamp{"a", 0}, "{}"), boost::system::system_error);
    EXPECT_THROW(sign_webhook(std::vector<webhook_secret>(9, ours), webhook_stamp{"a", 0}, "{}"), boost::system::system_error);
}

TEST(webhook_secret, is_24_to_64_bytes_of_base64)
{
    EXPECT_NO_THROW(secret_of(std::string(24, 'k')));
    EXPECT_NO_THROW(secret_of(std::string(64, 'k')));
    for (std::size_t const size : {0u, 1u, 23u, 65u, 1000u})
        EXPECT_THROW(secret_of(std::string(size, 'k')), boost::system::system_error) << size;
    EXPECT_THROW(webhook_secret{published_secret.substr(6)}, boost::system::system_error);
    EXPECT_THROW(webhook_secret{"whsec_"}, boost::system::system_error);
    EXPECT_THROW(webhook_secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!"}, boost::system::system_error);
}

TEST(webhook_secret, is_not_told_by_its_errors)
{
    auto const said = message_of("whsec_c2VjcmV0IGJ1dCBzaG9ydA==");
    EXPECT_EQ(said.find("c2Vj"), std::string::npos) << said;
    EXPECT_EQ(said.find("secret but"), std::string::npos) << said;
    EXPECT_NE(said.find("24 to 64 bytes"), std::string::npos) << said;
}

TEST(webhook_secret, is_revealed_as_it_was_given)
{
    EXPECT_EQ(webhook_secret{published_secret}.reveal(), published_secret);
    auto const made = webhook_secret::make();
    EXPECT_EQ(webhook_secret{made.reveal()}.reveal(), made.reveal());
    EXPECT_NE(webhook_secret::make().reveal(), made.reveal());
}

TEST(webhook_secret, is_overwritten_when_it_is_destroyed)
{
    alignas(webhook_secret) unsigned char memory[sizeof(webhook_secret)] = {};
    auto* const secret = new (memory) webhook_secret{secret_of(std::string(32, 'k'))};
    EXPECT_EQ(memory[0], 'k');
    secret->~webhook_secret();
    std::string_view const left{reinterpret_cast<char const*>(memory), webhook_secret::most_bytes};
    EXPECT_EQ(left.find('k'), std::string_view::npos);
}

TEST(webhook_verification, takes_what_was_signed_with_any_of_its_secrets)
{
    EXPECT_EQ(verify(make_signed()), webhook_verdict::authentic);
    EXPECT_EQ(verify(make_signed(others)), webhook_verdict::wrong_signature);
    std::vector<webhook_secret> const both{others, ours};
    auto const r = make_signed();
    EXPECT_EQ(verify_webhook(both, r.headers(), r.body, at(1000000)), webhook_verdict::authentic);
    EXPECT_EQ(verify_webhook(std::span<webhook_secret const>{}, r.headers(), r.body, at(1000000)), webhook_verdict::wrong_signature);
}

TEST(webhook_verification, takes_one_right_signature_among_several)
{
    auto r = make_signed();
    auto const right = r.signature;
    for (auto const& header : {"v1a,abcd v2,efgh " + right, make_signed(others).signature + ' ' + right, right + "  v1,", ' ' + right + ' '}) {
        r.signature = header;
        EXPECT_EQ(verify(r), webhook_verdict::authentic) << header;
    }
    r.signature = "v1a,abcd v2,efgh";
    EXPECT_EQ(verify(r), webhook_verdict::unknown_version);
    r.signature = "   ";
    EXPECT_EQ(verify(r), webhook_verdict::unknown_version);
}

TEST(webhook_verification, refuses_what_is_forged)
{
    for (std::size_t i = 3; i < make_signed().signature.size(); ++i) {
        auto r = make_signed();
        r.signature[i] = r.signature[i] == 'A' ? 'B' : 'A';
        EXPECT_EQ(verify(r), webhook_verdict::wrong_signature) << i;
    }
    auto body = make_signed();
    body.body = "{ }";
    EXPECT_EQ(verify(body), webhook_verdict::wrong_signature);
    auto id = make_signed();
    id.id = "msg_2";
    EXPECT_EQ(verify(id), webhook_verdict::wrong_signature);
    auto time = make_signed();
    time.timestamp = "1000001";
    EXPECT_EQ(verify(time), webhook_verdict::wrong_signature);
    auto cut = make_signed();
    cut.signature.resize(cut.signature.size() - 4);
    EXPECT_EQ(verify(cut), webhook_verdict::wrong_signature);
    auto zeros = make_signed();
    zeros.signature = "v1," + base64(std::string(32, '\0'));
    EXPECT_EQ(verify(zeros), webhook_verdict::wrong_signature);
}

TEST(webhook_verification, tolerates_five_minutes_either_way)
{
    auto const r = make_signed();
    EXPECT_EQ(verify(r, at(1000000) + 5min), webhook_verdict::authentic);
    EXPECT_EQ(verify(r, at(1000000) + 5min + 1us), webhook_verdict::too_old);
    EXPECT_EQ(verify(r, at(1000000) - 5min), webhook_verdict::authentic);
    EXPECT_EQ(verify(r, at(1000000) - 5min - 1us), webhook_verdict::too_new);
    EXPECT_EQ(verify_webhook(std::span{&ours, 1}, r.headers(), r.body, at(1000000) + 2s, 1s), webhook_verdict::too_old);
}

TEST(webhook_verification, names_what_is_missing_or_malformed)
{
    auto const changed = [](std::string signed_request::*member, std::string value) {
        auto r = make_signed();
        r.*member = std::move(value);
        return verify(r);
    };
    EXPECT_EQ(changed(&signed_request::id, ""), webhook_verdict::missing_id);
    EXPECT_EQ(changed(&signed_request::timestamp, ""), webhook_verdict::missing_timestamp);
    EXPECT_EQ(changed(&signed_request::signature, ""), webhook_verdict::missing_signature);
    EXPECT_EQ(changed(&signed_request::id, "a.b"), webhook_verdict::malformed_id);
    EXPECT_EQ(changed(&signed_request::id, std::string(256, 'x')), webhook_verdict::malformed_id);
    for (std::string const text : {"x", "-1", "+1", "1.5", " 1", "1 ", "0x10", "9999999999999", "1e3"})
        EXPECT_EQ(changed(&signed_request::timestamp, text), webhook_verdict::malformed_timestamp) << text;
    EXPECT_EQ(changed(&signed_request::signature, std::string(4097, 'x')), webhook_verdict::malformed_signature);
    std::string many;
    for (int i = 0; i < 17; ++i)
        many += "v1,a ";
    EXPECT_EQ(changed(&signed_request::signature, many), webhook_verdict::malformed_signature);
    EXPECT_TRUE(is_malformed(webhook_verdict::missing_id));
    EXPECT_FALSE(is_malformed(webhook_verdict::too_old));
    EXPECT_FALSE(is_malformed(webhook_verdict::authentic));
}

} // namespace
