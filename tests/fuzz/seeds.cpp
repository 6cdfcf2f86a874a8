// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "body_checks.hpp"

#include <unit/sorted_ledger.hpp>

#include <cosaga/detail/comparison.hpp>
#include <cosaga/detail/comparison_answer.hpp>
#include <cosaga/detail/sqlite_messages.hpp>
#include <cosaga/detail/zeromq_frames.hpp>
#ifdef COSAGA_FUZZ_WEBHOOK
#include <cosaga/detail/webhook_content.hpp>
#endif

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

// Writes into the folder that it is given what the encoders make: the first inputs of a corpus.
namespace {

using cosaga::binary_codec;
using cosaga::json_codec;
using cosaga::message;
using cosaga::verdict;
using namespace cosaga::detail;

class seed_writer {
public:
    explicit seed_writer(std::filesystem::path folder) : folder_{std::move(folder)} {}

    void operator()(std::string const& target, std::string_view bytes)
    {
        auto const folder = folder_ / target;
        std::filesystem::create_directories(folder);
        std::ofstream out{folder / ("seed" + std::to_string(++written_)), std::ios::binary};
        out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }

private:
    std::filesystem::path folder_;
    int written_ = 0;
};

std::string chosen(int choice, std::string const& bytes)
{
    return static_cast<char>(choice) + bytes;
}

template <std::size_t N>
constexpr std::string_view binary(char const (&literal)[N])
{
    return {literal, N - 1};
}

fuzz::strict_values all_strict_values()
{
    auto const all = bodies::full_body();
    return {std::monostate{}, true, all.i8, all.i16, all.i32, all.i64, all.u8, all.u16, all.u32, all.u64, all.f32, all.f64,
        std::string{"text"}, all.bytes, all.id, all.when, all.lasting, all.paint, std::optional<std::string>{"note"},
        std::vector<std::optional<std::int32_t>>{1, std::nullopt}, std::array<std::vector<bool>, 2>{all.flags, {}},
        std::variant<std::monostate, std::int32_t, std::string, bodies::colour>{bodies::colour::blue}};
}

template <class Codec>
void write_bodies(seed_writer& write, std::string const& target)
{
    using bodies::point;
    write(target, chosen(0, Codec::encode(bodies::full_body())));
    write(target, chosen(0, Codec::encode(bodies::everything{})));
    write(target, chosen(1, Codec::encode(bodies::order_v1{"a-1", 250, "soon"})));
    write(target, chosen(1, Codec::encode(bodies::order_v2{.id = "a-2", .cents = 250, .places = {}})));
    write(target, chosen(1, Codec::encode(bodies::order_v2{.id = "a-3", .cents = {}, .voucher = {}, .places = {{"x", {1, 2}}}})));
    write(target, chosen(2, Codec::encode(all_strict_values())));
    for (auto const& one : all_strict_values())
        write(target, chosen(2, Codec::encode(fuzz::strict_values{one})));
    write(target, chosen(3, Codec::encode(bodies::deep_tree(16))));
    write(target, chosen(3, Codec::encode(bodies::tree{{bodies::tree{}, bodies::deep_tree(3)}})));
    using map = std::map<std::string, std::optional<point>>;
    write(target, chosen(4, Codec::encode(map{{"a", point{1, 2}}, {"b", std::nullopt}})));
}

message sample_message(int n)
{
    message m;
    m.id = cosaga::message_id::first_of(cosaga::time_point{std::chrono::seconds{n}});
    m.time = cosaga::time_point{std::chrono::microseconds{n % 2 == 0 ? -n : n}};
    m.topic = n % 3 == 0 ? "other" : "orders";
    m.key = std::string(static_cast<std::size_t>(n % 5), 'k');
    m.type = "t";
    m.source = n % 4 == 0 ? "shop" : "desk";
    if (n % 2 == 1)
        m.headers = {{"subject", "s"}, {"x", ""}};
    m.payload = std::string(static_cast<std::size_t>(n), 'p');
    return m;
}

void write_frames(seed_writer& write)
{
    std::string frame;
    auto const keep = [&] {
        write("zeromq_frames", chosen(0, frame));
        write("zeromq_frames", chosen(1, frame));
    };
    write_hello(frame, "stock");
    keep();
    write_open(frame, {300, ~std::uint64_t{0}, 7, "orders", "stock", "shop"});
    keep();
    write_window(frame, {300, 7, 200, 4, 1 << 24, {{1, 300}, {~std::uint64_t{0}, 1 << 20}, {3, 0}}});
    keep();
    std::vector<settled_tag> const settled{{1, verdict::accepted, {}}, {~std::uint64_t{0}, verdict::rejected, "no"},
        {3, verdict::failed, ""}};
    write_settle(frame, {7, 200}, settled, {});
    keep();
    write_shut(frame, {7, 200});
    keep();
    write_done(frame, 7);
    keep();
    write_ping(frame);
    keep();
    for (int count = 1; count <= 4; ++count) {
        begin_batch(frame, 7, 200);
        std::vector<message> batch;
        for (int n = 0; n < count; ++n)
            batch.push_back(sample_message(n + count));
        for (std::size_t i = 0; i < batch.size(); ++i)
            append_message(frame, "orders", i << 33 | i, batch[i], i > 0 ? &batch[i - 1] : nullptr);
        keep();
    }
}

#ifdef COSAGA_FUZZ_WEBHOOK
void write_webhooks(seed_writer& write)
{
    for (int n = 0; n < 4; ++n)
        for (auto const format : {cosaga::webhook_format::structured, cosaga::webhook_format::binary}) {
            auto m = sample_message(n);
            m.type = "order";
            m.source = "shop";
            m.headers.clear();
            auto const content = to_webhook_content(m, format);
            std::string text = "webhook-id: m" + std::to_string(n) + "\nwebhook-timestamp: 1700000000\nwebhook-signature: v1,AAAA v1a,BBBB\n";
            text += "content-type: " + content.content_type + '\n';
            for (auto const& h : content.headers)
                text += h.name + ": " + h.value + '\n';
            write("webhook_request", text + '\n' + content.body);
        }
    for (char const* text : {"https://merchant.example/hooks?a=b%20c", "http://[::1]:8080/", "https://a@b/", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "120",
             "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "2026-11-23T06:00:00.25Z",
             "/notices/bakery?id=0189f0a1-b2c3-7d4e-8f50-61728394a5b6&subject=order%2F7"})
        write("webhook_request", text);
}
#else
void write_webhooks(seed_writer&) {}
#endif

// Both sides of a comparison of two ledgers that differ in each way.
void write_comparison(seed_writer& write)
{
    std::mt19937_64 chance{1};
    auto records = ledgers::make_records(500, std::chrono::seconds{1}, chance);
    ledgers::sorted_ledger here{records};
    records.erase(records.begin() + 100);
    records[300].key += "!";
    ledgers::sorted_ledger there{records};
    comparison c{ledgers::everything, 1, 100};
    comparison_answer answer{there, ledgers::everything};
    std::vector<cosaga::ledger_difference> found;
    std::string answers;
    for (std::optional<std::string> request = c.open(); request;) {
        write("comparison", chosen(0, *request));
        auto const text = answer(*request);
        answers += chosen(static_cast<int>(text.size() % 256), chosen(static_cast<int>(text.size() / 256), text));
        write("comparison", chosen(1, answers));
        request = c.next(here, text, found);
    }
}

void write_others(seed_writer& write)
{
    cosaga::queue_name const queue{cosaga::queue_side::outbox, "orders", "stock"};
    std::string bytes;
    for (int n = 0; n < 6; ++n) {
        encode_attributes(bytes, sample_message(n), queue);
        write("stored_attributes", bytes);
    }
    for (char const* text : {"0189f0a1-b2c3-7d4e-8f50-61728394a5b6", "0189F0A1-B2C3-7D4E-8F50-61728394A5B6", "shop/order 1",
             "shop/0189f0a1-b2c3-7d4e-8f50-61728394a5b6", "", "QUJD", "QUI=", "QQ==", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
             "a \"b\" \\ \n\x01", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"})
        write("text_forms", text);
    for (char const* text : {"0", "-0", "-0.0", "1e-7", "123456789012345678901234567890", "18446744073709551615",
             "-9223372036854775808", "9223372036854775808", "0.1", "1.7976931348623157e308", "4.9e-324", "2.2250738585072014e-308",
             "1e309", "1e-400", "7.038531e-26", "9007199254740993.0", "3.4028235677973366e38", "-128", "4294967296"})
        write("json_number", text);
    for (char const* text : {"null", "[1,2.5,-3e2,\"a\\n\\u00e9\",true,{}]", "{\"a\":1,\"a\":2.5}", "{\"a\":{\"b\":[1.5,\"\\\"\"]},\"c\":-0.0}",
             "[[[[[[[[]]]]]]]]", " { \"x\" : [ 1e5 , 7 ] } ", "\"\\ud83d\\ude00\"", "{\"a\":1.5,\"b\":[{\"a\":1.5}]}"})
        write("json_document", text);
    write("json_document", json_codec::encode(bodies::full_body()));
    write("wire", binary("\1\0\3\0\6\0\x0b\x40\x05\0\x80\x01\x05\2ab\3xyz12345678"));
    write("wire", binary("\2\xff\x04\0\x09\0\x0a\5\x07\x09\xff\x01 abc0123456789abcdef\2ab\2cd"));
    // Steps of the queues: join or open, add, give out, settle, give back, leave.
    write("delivery_queue", binary("\x1c\x2c\x1d\x25\x0a\3\x1c\x22\x15\x07\x08\x25\x01\0\x0c\x03\1\x05\x07"));
    write("delivery_queue", binary("\x1c\x1c\x1c\x35\x1a\1\x0a\5\x12\x15\x07\x15\x42\x15\x07\x07\x03\0\x04"));
    write("dispatch_queue", binary("\x10\x1b\x2b\x1b\x05\x10\x3b\x06\x08\0\x05\x01\x05\x02\xff\2\x05\x08\0\x08\0"));
    write("dispatch_queue", binary("\0\0\x1b\x1b\x2b\x05\x0a\0\x03\x05\x01\x02\x0f\1\x05\x78\3\x04\x21"));
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 2) {
        std::fprintf(stderr, "usage: seeds FOLDER\n");
        return 2;
    }
    seed_writer write{argv[1]};
    write_bodies<binary_codec>(write, "binary_body");
    write_bodies<json_codec>(write, "json_body");
    write_frames(write);
    write_comparison(write);
    write_others(write);
    write_webhooks(write);
    return 0;
}
