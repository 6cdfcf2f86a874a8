// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// compiler: GNU <13
// expect: name the function object first: g++ 12 destroys it twice (GCC PR 99576)
#include <cosaga/storage/memory.hpp>
#include <cosaga/transactional_producer.hpp>
#include <cosaga/transport/memory.hpp>

#include <memory>
#include <string>

using producer_type = cosaga::transactional_producer<cosaga::memory_transport, cosaga::fence<cosaga::memory_store>>;

cosaga::asio::awaitable<void> use(producer_type& producer)
{
    auto const shared = std::make_shared<int>(1);
    std::string const body = "shoes";
#ifdef COSAGA_EXPECT_SUCCESS
    auto place = [shared](cosaga::memory_transaction& tx) { tx.put("numbers", "one", std::to_string(*shared)); };
    co_await producer.send("orders", body, place);
#else
    // lint: allow C3 - what the compiler must refuse
    co_await producer.send("orders", body, [shared](cosaga::memory_transaction& tx) { tx.put("numbers", "one", std::to_string(*shared)); }); // lint: allow C3 - what the compiler must refuse
#endif
}
