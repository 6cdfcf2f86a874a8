// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: the codec cannot encode this result: describe it with BOOST_DESCRIBE_STRUCT
#include <cosaga/node.hpp>
#include <cosaga/saga_context.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/transport/memory.hpp>

#include <boost/describe/class.hpp>

#include <string>

namespace shop {

struct held {
    std::string id;
};
#ifdef COSAGA_EXPECT_SUCCESS
BOOST_DESCRIBE_STRUCT(held, (), (id))
#endif

} // namespace shop

using saga = cosaga::saga_context<cosaga::node<cosaga::memory_store, cosaga::memory_transport>::outbox_type>;

cosaga::asio::awaitable<void> place(saga& s)
{
    auto const hold = [](auto&) { return shop::held{"shoes"}; };
    co_await s.step("hold", hold);
}
