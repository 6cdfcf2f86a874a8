// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/strand_timer.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/testing/virtual_environment.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using cosaga::detail::strand_timer;

TEST(strand_timer, calls_once_for_all_that_armed_it_before)
{
    cosaga::testing::virtual_environment env;
    strand_timer timer{env, asio::make_strand(env.get_executor())};
    int calls = 0;
    for (int i = 0; i < 3; ++i)
        timer.arm(1s, [&] { ++calls; });
    env.run_for(2s);
    EXPECT_EQ(calls, 1);
    timer.arm(1s, [&] { ++calls; });
    env.run_for(2s);
    EXPECT_EQ(calls, 2);
}

TEST(strand_timer, does_not_call_after_its_end)
{
    cosaga::testing::virtual_environment env;
    int calls = 0;
    {
        strand_timer timer{env, asio::make_strand(env.get_executor())};
        timer.arm(1s, [&] { ++calls; });
    }
    env.run_for(2s);
    EXPECT_EQ(calls, 0);
}

TEST(strand_timer, may_be_armed_on_any_thread)
{
    asio::io_context io;
    cosaga::system_environment env{io.get_executor()};
    std::atomic<int> calls = 0;
    auto work = asio::make_work_guard(io);
    std::thread runs{[&] { io.run(); }};
    {
        strand_timer timer{env, asio::make_strand(io.get_executor())};
        for (int n = 0; n < 2000; ++n) { // often while the last one comes to its end
            timer.arm(0us, [&] { ++calls; });
            std::this_thread::yield();
        }
        while (calls == 0)
            std::this_thread::yield();
    }
    work.reset();
    runs.join();
}

} // namespace
