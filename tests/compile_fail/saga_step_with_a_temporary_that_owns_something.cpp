// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// compiler: GNU <13
// expect: name the function object first: g++ 12 destroys it twice (GCC PR 99576)
#include <cosaga/node.hpp>
#include <cosaga/saga_context.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/transport/memory.hpp>

#include <memory>
#include <string>

using saga = cosaga::saga_context<cosaga::node<cosaga::memory_store, cosaga::memory_transport>::outbox_type>;

cosaga::asio::awaitable<void> place(saga& s)
{
    auto const shared = std::make_shared<int>(1);
#ifdef COSAGA_EXPECT_SUCCESS
    auto hold = [shared](auto& tx) { tx.put("numbers", "one", std::to_string(*shared)); };
    co_await s.step("hold", hold);
#else
    // lint: allow C3 - what the compiler must refuse
    co_await s.step("hold", [shared](auto& tx) { tx.put("numbers", "one", std::to_string(*shared)); }); // lint: allow C3 - what the compiler must refuse
#endif
}
