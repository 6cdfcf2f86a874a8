// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: what a work returns must be a value
#include <cosaga/storage/memory.hpp>

cosaga::asio::awaitable<void> use(cosaga::memory_store& store, int& number)
{
#ifdef COSAGA_EXPECT_SUCCESS
    co_await store.transact([&](cosaga::memory_transaction&) { return number; });
#else
    co_await store.transact([&](cosaga::memory_transaction&) -> int& { return number; });
#endif
}
