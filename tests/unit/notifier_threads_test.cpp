// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A notifier on several threads, with the real clock.
#include "notification_services.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <atomic>
#include <thread>

namespace {

using namespace cosaga_tests;

/// Refuses every tenth attempt; may be called on several threads.
struct threaded_sink {
    asio::awaitable<attempt_result> deliver(std::string const&, cosaga::message const&)
    {
        auto const n = ++attempts;
        if (n % 7 == 0)
            co_await env->sleep_for(2ms);
        attempt_result result;
        result.outcome = n % 10 == 0 ? attempt_outcome::failed : attempt_outcome::delivered;
        co_return result;
    }
    void check(std::string const&) {}

    cosaga::environment* env;
    std::atomic<int> attempts{0};
};

TEST(notifier_on_threads, delivers_what_many_coroutines_make)
{
    constexpr int producers = 8;
    constexpr std::uint64_t each = 100;
    storage_kits::scratch_folder folder;
    asio::io_context context{2};
    auto guard = asio::make_work_guard(context);
    cosaga::system_environment env{context.get_executor()};
    cosaga::sqlite_store store{env, folder.file("bank.db")};
    cosaga::memory_transport transport{env, {.service = "bank"}};
    cosaga::node node{store, transport, {.service = "bank"}};
    threaded_sink sink{&env};
    auto const retries = cosaga::schedule::exponential({.first = 10ms, .cap = 100ms, .attempts = 50});
    cosaga::notifier notifier{node.get_outbox(), sink, {.schedule = {.retries = retries}}};
    node.attach(notifier);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] { context.run(); });
    auto const wait_for = [&](asio::awaitable<void> what) { asio::co_spawn(context, std::move(what), asio::use_future).get(); };
    wait_for(node.start());

    auto const produce = [&](int number) -> asio::awaitable<void> {
        for (std::uint64_t i = 0; i < each; ++i) {
            auto work = [&](auto& tx) { return tx.notify("shop" + std::to_string((static_cast<std::uint64_t>(number) + i) % 20), paid{"p", 1}); };
            auto const id = co_await notifier.transact(work);
            auto const found = co_await notifier.find(id);
            EXPECT_TRUE(found);
        }
    };
    std::vector<std::future<void>> running;
    for (int i = 0; i < producers; ++i)
        running.push_back(asio::co_spawn(context, produce(i), asio::use_future));
    for (auto& r : running)
        r.get();
    auto const all = producers * each;
    for (int i = 0; i < 3000 && notifier.counters().delivered < all; ++i)
        std::this_thread::sleep_for(10ms);
    EXPECT_EQ(notifier.counters().delivered, all);
    wait_for(node.stop());
    guard.reset();
    for (auto& t : threads)
        t.join();
}

} // namespace
