// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/codec/binary.hpp>
#include <cosaga/codec/json.hpp>

#include <boost/describe/class.hpp>
#include <boost/describe/enum.hpp>

#include <benchmark/benchmark.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace {

struct order_line {
    std::string sku;
    int quantity = 1;
    std::int64_t price_cents = 0;
};
BOOST_DESCRIBE_STRUCT(order_line, (), (sku, quantity, price_cents))

enum class order_state { placed, paid };
BOOST_DESCRIBE_ENUM(order_state, placed, paid)

struct order {
    std::string id;
    std::int64_t customer = 0;
    order_state state{};
    std::vector<order_line> lines;
    std::optional<std::string> note;
    bool gift = false;
};
BOOST_DESCRIBE_STRUCT(order, (), (id, customer, state, lines, note, gift))

order three_lines()
{
    return {"order-2024-000123", 4711, order_state::paid,
        {{"SKU-1001", 2, 1999}, {"SKU-2002", 1, 24950}, {"SKU-3003", 12, 350}}, "leave at the door", true};
}

template <class Codec>
void encode(benchmark::State& state)
{
    auto const body = three_lines();
    std::size_t size = 0;
    for (auto _ : state) {
        auto bytes = Codec::encode(body);
        size = bytes.size();
        benchmark::DoNotOptimize(bytes);
    }
    state.SetItemsProcessed(state.iterations());
    state.counters["bytes"] = static_cast<double>(size);
}

template <class Codec>
void decode(benchmark::State& state)
{
    auto const bytes = Codec::encode(three_lines());
    for (auto _ : state)
        benchmark::DoNotOptimize(Codec::template decode<order>(bytes));
    state.SetItemsProcessed(state.iterations());
    state.counters["bytes"] = static_cast<double>(bytes.size());
}

BENCHMARK(encode<cosaga::json_codec>)->Name("codec/json/encode");
BENCHMARK(decode<cosaga::json_codec>)->Name("codec/json/decode");
BENCHMARK(encode<cosaga::binary_codec>)->Name("codec/binary/encode");
BENCHMARK(decode<cosaga::binary_codec>)->Name("codec/binary/decode");

} // namespace
