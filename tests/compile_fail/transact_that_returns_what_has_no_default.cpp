// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: what a work returns must be default constructible
#include <cosaga/storage/memory.hpp>

struct answer {
#ifdef COSAGA_EXPECT_SUCCESS
    answer() = default;
#endif
    explicit answer(int n) : number{n} {}
    int number = 0;
};

cosaga::asio::awaitable<void> use(cosaga::memory_store& store)
{
    co_await store.transact([](cosaga::memory_transaction&) { return answer{42}; });
}
