// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// compiler: GNU <13
// expect: name the function object first: g++ 12 destroys it twice (GCC PR 99576)
#include <cosaga/storage/memory.hpp>

#include <memory>

cosaga::asio::awaitable<void> use(cosaga::memory_store& store)
{
    auto const shared = std::make_shared<int>(1);
#ifdef COSAGA_EXPECT_SUCCESS
    auto work = [shared](cosaga::memory_transaction& tx) { tx.put("numbers", "one", std::to_string(*shared)); };
    co_await store.transact(work);
#else
    // lint: allow C3 - what the compiler must refuse
    co_await store.transact([shared](cosaga::memory_transaction& tx) { tx.put("numbers", "one", std::to_string(*shared)); }); // lint: allow C3 - what the compiler must refuse
#endif
}
