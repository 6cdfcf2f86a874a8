// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "two_services.hpp"

#include <cosaga/error.hpp>

#include <stdexcept>

namespace {

using namespace cosaga_tests;

class node : public two_services {};

asio::awaitable<void> throw_after(cosaga::environment& env, cosaga::duration span)
{
    co_await env.sleep_for(span);
    throw std::runtime_error{"enough"};
}

TEST_F(node, that_cannot_start_has_stopped_what_it_started)
{
    ship_everything();
    warehouse.store->fail_next_begins(3); // of the consumer and of the outbox
    EXPECT_THROW(run(env, warehouse.node->start()), boost::system::system_error);
    warehouse.node.reset(); // nothing may be left that refers to it
    warehouse.store.reset();
    env.run_for(1min);
}

TEST_F(node, stops_when_what_it_runs_for_has_ended)
{
    ship_everything();
    place("a");
    run(env, shop.node->start());
    run(env, warehouse.node->run(env.sleep_for(1s)));
    EXPECT_EQ(times["a"], 1);
    warehouse.node.reset();
    warehouse.store.reset();
    env.run_for(1min);
}

TEST_F(node, stops_when_what_it_runs_for_has_thrown)
{
    ship_everything();
    EXPECT_THROW(run(env, warehouse.node->run(throw_after(env, 1s))), std::runtime_error);
    warehouse.node.reset();
    warehouse.store.reset();
    env.run_for(1min);
    EXPECT_TRUE(env.reports().empty());
}

} // namespace
