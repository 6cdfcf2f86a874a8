// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/ledger_wire.hpp>
#include <cosaga/ledger.hpp>

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace {

using namespace cosaga;

std::string hex(detail::sha256_digest const& digest)
{
    std::string text;
    for (auto const b : digest) {
        text += "0123456789abcdef"[b >> 4];
        text += "0123456789abcdef"[b & 15];
    }
    return text;
}

std::string sha256_of(std::string_view text, std::size_t step)
{
    detail::sha256 h;
    for (; !text.empty(); text.remove_prefix(std::min(step, text.size())))
        h.append(text.substr(0, step));
    return hex(h.finish());
}

// The examples of FIPS 180-4 and of NIST's test vectors.
TEST(sha256, has_the_published_digests)
{
    EXPECT_EQ(sha256_of("", 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_of("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (std::size_t const step : {1u, 7u, 64u, 1000u}) {
        EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", step),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        EXPECT_EQ(sha256_of(std::string(1'000'000, 'a'), step),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
}

ledger_sum random_sum(std::mt19937_64& chance)
{
    detail::sha256_digest d;
    for (auto& b : d)
        b = chance() % 4 == 0 ? 0xff : static_cast<unsigned char>(chance()); // with carries
    return ledger_sum{d};
}

TEST(ledger_sum, does_not_depend_on_order_and_is_undone_by_subtraction)
{
    std::mt19937_64 chance{1};
    for (int i = 0; i < 2000; ++i) {
        auto const a = random_sum(chance);
        auto const b = random_sum(chance);
        auto const c = random_sum(chance);
        auto first = a;
        (first += b) += c;
        auto second = c;
        (second += a) += b;
        EXPECT_EQ(first, second);
        EXPECT_EQ(first.count, 3u);
        (first -= b) -= a;
        EXPECT_EQ(first, c);
        (first -= c);
        EXPECT_EQ(first, ledger_sum{});
    }
}

TEST(ledger_record, has_another_digest_when_anything_differs)
{
    ledger_record r;
    r.id = *message_id::parse("01890000-0000-7000-8000-000000000001");
    r.time = time_point{std::chrono::seconds{1'700'000'000}};
    r.key = "ab";
    r.fields.add("cents", "1");
    auto const changed = [&](auto change) {
        auto other = r;
        change(other);
        return other.digest() != r.digest();
    };
    EXPECT_FALSE(changed([](auto&) {}));
    EXPECT_TRUE(changed([](auto& o) { o.time += duration{1}; }));
    EXPECT_TRUE(changed([](auto& o) { o.id = {}; }));
    EXPECT_TRUE(changed([](auto& o) { o.key = "a"; }));
    EXPECT_TRUE(changed([](auto& o) { o.fields = {}; }));
    EXPECT_TRUE(changed([](auto& o) { o.fields.add("state", ""); }));
}

TEST(ledger_fields, come_back_by_name_and_as_text)
{
    ledger_fields f;
    f.add("cents", "250").add("state", "paid");
    EXPECT_EQ(f.find("state"), "paid");
    EXPECT_EQ(f.find("city"), std::nullopt);
    EXPECT_EQ(f.to_string(), "cents=250, state=paid");
    EXPECT_EQ(ledger_fields::from_bytes(f.bytes()), f);
    EXPECT_THROW(ledger_fields::from_bytes("\x05" "ab"), boost::system::system_error);
    EXPECT_THROW(f.add("note", std::string(2000, 'x')), boost::system::system_error);
}

TEST(ledger_bounds, lie_between_their_neighbours_and_come_back_from_the_wire)
{
    std::mt19937_64 chance{1};
    for (int i = 0; i < 20'000; ++i) {
        ledger_position a{time_point{duration{static_cast<std::int64_t>(chance() >> (2 + chance() % 60))}}, {}};
        message_id::bytes_type bytes{};
        for (auto& b : bytes)
            b = static_cast<unsigned char>(chance() % 3);
        a.id = message_id{bytes};
        auto b = a;
        if (i % 2 == 0)
            b.time += duration{static_cast<std::int64_t>(chance() % 1'000'000)};
        bytes[chance() % bytes.size()] += 2;
        b.id = message_id{bytes};
        if (b.time.time_since_epoch().count() > static_cast<std::int64_t>(detail::max_wire_time))
            continue;
        auto const between = detail::separator(a, b);
        EXPECT_LT(a, between);
        EXPECT_LE(between, b);
        std::string written;
        detail::wire_writer w{written};
        detail::write_position(w, a);
        detail::write_bound(w, a, between);
        detail::write_bound(w, between, {b.time + duration{1}, b.id});
        detail::wire_reader r{written};
        EXPECT_EQ(detail::read_position(r), a);
        EXPECT_EQ(detail::read_bound(r, a), between);
        EXPECT_EQ(detail::read_bound(r, between), (ledger_position{b.time + duration{1}, b.id}));
        EXPECT_TRUE(r.at_end());
    }
}

} // namespace
