// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// How a store runs works: in groups, with cancellation, bookkeeping, watchers and an end. Every store behaves the same.
#include "storage_kits.hpp"

#include <cosaga/detail/event.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace cosaga;
using namespace std::chrono_literals;
using storage_kits::code_of;

queue_name const orders{queue_side::outbox, "orders", "warehouse"};

message_row row_of(std::string key, std::size_t size = 10)
{
    message_row row;
    row.content.topic = "orders";
    row.content.key = std::move(key);
    row.content.payload.assign(size, 'x');
    return row;
}

template <class Tx>
std::int64_t append(Tx& tx, message_row row, message_state state = message_state::ready, queue_name const& queue = orders)
{
    tx.append(queue, state, {&row, 1});
    return row.seq;
}

template <class Kit>
class storage_groups : public storage_kits::threaded_store<Kit> {};
TYPED_TEST_SUITE(storage_groups, storage_kits::all);

template <class Kit>
class storage_time : public storage_kits::virtual_store<Kit> {
protected:
    std::optional<std::string> value(std::string const& key)
    {
        return this->transact([&](auto& tx) { return Kit::get(tx, key); });
    }
};
TYPED_TEST_SUITE(storage_time, storage_kits::all);

// works

TYPED_TEST(storage_groups, rolls_back_only_the_work_that_throws)
{
    std::vector<std::function<void(typename TypeParam::transaction&)>> works;
    for (int i = 0; i < 30; ++i)
        works.push_back([i](auto& tx) {
            TypeParam::put(tx, "key" + std::to_string(i), "value");
            append(tx, row_of("row" + std::to_string(i)));
            if (i % 3 == 0)
                throw std::out_of_range{std::to_string(i)};
        });
    auto const errors = this->run_as_group(works);
    for (int i = 0; i < 30; ++i) {
        if (i % 3 != 0) {
            EXPECT_FALSE(errors[static_cast<std::size_t>(i)]);
            continue;
        }
        try {
            std::rethrow_exception(errors[static_cast<std::size_t>(i)]);
        } catch (std::out_of_range const& e) {
            EXPECT_EQ(e.what(), std::to_string(i));
        }
    }
    this->open();
    this->transact([](auto& tx) {
        for (int i = 0; i < 30; ++i)
            EXPECT_EQ(TypeParam::get(tx, "key" + std::to_string(i)).has_value(), i % 3 != 0);
        EXPECT_EQ(tx.read(orders, message_state::ready, 0, 100).size(), 20u);
        EXPECT_EQ(tx.count(orders, message_state::ready), 20u);
    });
}

TYPED_TEST(storage_groups, works_that_wait_together_are_one_commit_and_fail_together)
{
    this->kit_.break_commits();
    std::vector<std::function<void(typename TypeParam::transaction&)>> works(5, [](auto& tx) {
        TypeParam::put(tx, "key", "value");
        append(tx, row_of("row", storage_kits::large));
    });
    works.push_back([](auto&) { throw std::logic_error{"its own"}; });
    auto const errors = this->run_as_group(works);
    for (std::size_t i = 0; i < 5; ++i)
        EXPECT_EQ(code_of(errors[i]), errc::store_full);
    EXPECT_THROW(std::rethrow_exception(errors[5]), std::logic_error);
    this->kit_.mend_commits();
    this->transact([](auto& tx) {
        EXPECT_FALSE(TypeParam::get(tx, "key"));
        EXPECT_EQ(tx.count(orders, message_state::ready), 0u);
        EXPECT_TRUE(tx.read(orders, message_state::ready, 0, 10).empty());
        append(tx, row_of("row", storage_kits::large));
    });
    this->transact([](auto& tx) { EXPECT_EQ(tx.count(orders, message_state::ready), 1u); });
}

TYPED_TEST(storage_groups, a_result_of_any_default_constructible_type_comes_back)
{
    auto use = [&]() -> asio::awaitable<void> {
        auto& s = *this->store_;
        auto const text = co_await s.transact([](auto&) { return std::vector<std::string>(3, "text"); });
        EXPECT_EQ(text, std::vector<std::string>(3, "text"));
        auto const moved = co_await s.transact([](auto&) { return std::make_unique<int>(7); });
        EXPECT_EQ(*moved, 7);
        auto const yes = co_await s.transact([](auto&) { return true; });
        EXPECT_TRUE(yes);
    };
    this->spawn(use()).get();
}

TYPED_TEST(storage_groups, a_named_work_is_used_where_it_is)
{
    struct counter {
        std::vector<int> calls;
        void operator()(typename TypeParam::transaction&) { calls.push_back(1); }
    } count;
    auto use = [&]() -> asio::awaitable<void> {
        co_await this->store_->transact(count);
        co_await this->store_->transact(count);
    };
    this->spawn(use()).get();
    EXPECT_EQ(count.calls.size(), 2u);
}

TYPED_TEST(storage_groups, an_awaitable_may_be_kept_and_awaited_later)
{
    auto use = [&]() -> asio::awaitable<void> {
        int answer = 0;
        std::optional<asio::awaitable<void>> kept;
        {
            int local = 42; // gone when the work runs
            kept.emplace(this->store_->transact([&answer, local](auto&) { answer = local; }));
        }
        co_await std::move(*kept);
        EXPECT_EQ(answer, 42);
    };
    this->spawn(use()).get();
}

TYPED_TEST(storage_groups, an_awaitable_that_is_never_awaited_does_nothing)
{
    bool ran = false;
    {
        auto const dropped = this->store_->transact([&](auto&) { ran = true; });
    }
    this->transact([](auto&) {});
    EXPECT_FALSE(ran);
}

TYPED_TEST(storage_groups, works_of_one_thread_run_in_the_order_in_which_they_were_awaited)
{
    std::vector<int> order;
    std::vector<std::function<void(typename TypeParam::transaction&)>> works;
    for (int i = 0; i < 300; ++i)
        works.push_back([&order, i](auto&) { order.push_back(i); });
    this->run_as_group(works);
    ASSERT_EQ(order.size(), 300u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TYPED_TEST(storage_groups, many_coroutines_on_many_threads)
{
#if defined(__clang__) && !defined(BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
    GTEST_SKIP() << "clang 16 keeps the address of a thread's variable across a suspension, so Asio frees frames into "
                    "another thread's cache: define BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING";
#endif
    for (int i = 0; i < 3; ++i)
        this->threads_.emplace_back([&] { this->io_.run(); });
    auto const add = [&](int n) -> asio::awaitable<void> {
        for (int i = 0; i < 20; ++i) {
            auto work = [&](auto& tx) {
                auto const before = TypeParam::get(tx, "sum");
                TypeParam::put(tx, "sum", std::to_string(before ? std::stoi(*before) + 1 : 1));
                append(tx, row_of(std::to_string(n)));
                if (i % 7 == 3)
                    throw std::runtime_error{"no"};
            };
            try {
                co_await this->store_->transact(work);
            } catch (std::runtime_error const&) {
                EXPECT_EQ(i % 7, 3);
            }
        }
    };
    std::vector<std::future<void>> running;
    for (int n = 0; n < 40; ++n)
        running.push_back(this->spawn(add(n)));
    for (auto& r : running)
        r.get();
    this->transact([](auto& tx) {
        EXPECT_EQ(TypeParam::get(tx, "sum"), std::to_string(40 * 17));
        EXPECT_EQ(tx.read(orders, message_state::ready, 0, 10000).size(), 40u * 17);
        EXPECT_EQ(tx.count(orders, message_state::ready), 40u * 17);
    });
}

TYPED_TEST(storage_groups, an_executor_does_not_run_out_of_work_while_a_work_is_going_on)
{
    typename TestFixture::plug blocked{*this};
    asio::io_context io;
    bool done = false;
    auto use = [&]() -> asio::awaitable<void> {
        co_await this->store_->transact([](auto&) {});
        done = true;
    };
    asio::co_spawn(io, use(), asio::use_future);
    std::thread later{[&] { blocked.release(); }};
    io.run();
    later.join();
    EXPECT_TRUE(done);
    blocked.done().get();
}

TYPED_TEST(storage_groups, one_coroutine_that_throws_out_of_its_executor_does_not_keep_others_from_resuming)
{
    typename TestFixture::plug blocked{*this};
    asio::io_context io;
    int done = 0;
    auto use = [&]() -> asio::awaitable<void> { co_await this->store_->transact([](auto&) {}); };
    for (int i = 0; i < 20; ++i)
        asio::co_spawn(io, use(), [&](std::exception_ptr) {
            ++done;
            throw std::runtime_error{"out of run"};
        });
    io.poll();
    blocked.release();
    int thrown = 0;
    for (;;) // until it returns: the store's thread may still hold what is outstanding
        try {
            io.run();
            break;
        } catch (std::exception const&) {
            ++thrown;
        }
    EXPECT_EQ(done, 20);
    EXPECT_GT(thrown, 0);
    blocked.done().get();
}

TYPED_TEST(storage_groups, an_executor_may_be_destroyed_before_it_resumes_anybody)
{
    auto const held = std::make_shared<int>(1);
    typename TestFixture::plug blocked{*this};
    {
        asio::io_context io;
        auto use = [](auto& s, std::shared_ptr<int>) -> asio::awaitable<void> {
            auto work = [](auto&) { return std::string(100, 'x'); };
            co_await s.transact(work);
            ADD_FAILURE() << "resumed";
        };
        for (int i = 0; i < 5; ++i)
            asio::co_spawn(io, use(*this->store_, held), asio::use_future);
        io.poll();
        blocked.release();
        blocked.done().get();
        this->transact([](auto&) {}); // the others are committed
        EXPECT_EQ(held.use_count(), 6);
    }
    EXPECT_EQ(held.use_count(), 1);
}

// cancellation

TYPED_TEST(storage_groups, a_work_that_is_cancelled_while_it_waits_never_runs)
{
    typename TestFixture::plug blocked{*this};
    asio::cancellation_signal signal;
    bool ran = false;
    std::promise<std::exception_ptr> ended;
    auto work = [&](auto&) { ran = true; };
    asio::co_spawn(this->io_, this->store_->transact(work),
        asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { ended.set_value(e); }));
    this->settle();
    asio::post(this->io_, [&] { signal.emit(asio::cancellation_type::terminal); });
    // At once: the store's thread is still held.
    EXPECT_EQ(code_of(ended.get_future().get()), asio::error::operation_aborted);
    blocked.release();
    blocked.done().get();
    this->transact([](auto&) {});
    EXPECT_FALSE(ran);
}

TYPED_TEST(storage_groups, a_work_that_is_cancelled_after_it_started_is_finished_and_reported)
{
    asio::cancellation_signal signal;
    std::promise<void> entered, released;
    std::promise<std::exception_ptr> ended;
    auto work = [&](auto& tx) {
        TypeParam::put(tx, "key", "value");
        entered.set_value();
        released.get_future().wait();
    };
    asio::co_spawn(this->io_, this->store_->transact(work),
        asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { ended.set_value(e); }));
    entered.get_future().wait();
    asio::post(this->io_, asio::use_future([&] { signal.emit(asio::cancellation_type::terminal); })).get();
    released.set_value();
    EXPECT_FALSE(ended.get_future().get());
    this->transact([](auto& tx) { EXPECT_EQ(TypeParam::get(tx, "key"), "value"); });
}

TYPED_TEST(storage_groups, loses_a_race_against_another_awaitable)
{
    using namespace asio::experimental::awaitable_operators;
    typename TestFixture::plug blocked{*this};
    cosaga::detail::event other{this->io_.get_executor()};
    bool ran = false;
    auto use = [&]() -> asio::awaitable<std::size_t> {
        auto work = [&](auto&) { ran = true; };
        auto const winner = co_await (this->store_->transact(work) || other.wait());
        co_return winner.index();
    };
    auto winner = asio::co_spawn(this->io_, use(), asio::use_future);
    this->settle();
    other.notify();
    EXPECT_EQ(winner.get(), 1u);
    blocked.release();
    blocked.done().get();
    this->transact([](auto&) {});
    EXPECT_FALSE(ran);
}

// closing

TYPED_TEST(storage_groups, close_finishes_what_waits_and_then_refuses)
{
    typename TestFixture::plug blocked{*this};
    auto waiting = this->start([](auto& tx) { TypeParam::put(tx, "waiting", "yes"); });
    this->store_->defer([](auto& tx) { TypeParam::put(tx, "deferred", "yes"); });
    this->settle();
    auto closed = this->spawn(this->store_->close());
    this->settle();
    EXPECT_EQ(closed.wait_for(0s), std::future_status::timeout);
    auto late = this->start([](auto&) { ADD_FAILURE() << "ran after close"; });
    try {
        late.get();
        ADD_FAILURE() << "accepted after close";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::store_closed);
    }
    blocked.release();
    EXPECT_NO_THROW(waiting.get());
    EXPECT_NO_THROW(closed.get());
    EXPECT_NO_THROW(this->spawn(this->store_->close()).get());
    this->store_->defer([](auto&) { ADD_FAILURE() << "deferred after close"; });
    this->open();
    this->transact([](auto& tx) {
        EXPECT_EQ(TypeParam::get(tx, "waiting"), "yes");
        EXPECT_EQ(TypeParam::get(tx, "deferred"), "yes");
    });
    blocked.done().get();
}

TYPED_TEST(storage_groups, the_destructor_finishes_what_has_started_and_refuses_what_has_not)
{
    typename TestFixture::plug blocked{*this};
    std::vector<std::future<void>> waiting;
    for (int i = 0; i < 100; ++i)
        waiting.push_back(this->start([](auto&) { ADD_FAILURE() << "ran"; }));
    this->store_->defer([](auto& tx) { TypeParam::put(tx, "deferred", "yes"); });
    this->settle();
    std::thread later{[&] {
        for (auto& w : waiting)
            try {
                w.get();
                ADD_FAILURE() << "finished";
            } catch (boost::system::system_error const& e) {
                EXPECT_EQ(e.code(), errc::store_closed);
            }
        blocked.release();
    }};
    this->open();
    later.join();
    blocked.done().get();
    this->transact([](auto& tx) { EXPECT_EQ(TypeParam::get(tx, "deferred"), "yes"); });
}

TYPED_TEST(storage_groups, the_destructor_does_not_hang_on_bookkeeping_that_cannot_be_committed)
{
    std::mutex mutex;
    std::vector<std::string> reports;
    this->env_.set_reporter([&](std::string const& what) {
        std::lock_guard const lock{mutex};
        reports.push_back(what);
    });
    this->kit_.break_commits();
    this->store_->defer([](auto& tx) { append(tx, row_of("row", storage_kits::large)); });
    this->store_.reset();
    EXPECT_EQ(reports.size(), 1u);
    this->env_.set_reporter({});
    this->open();
    this->transact([](auto& tx) { EXPECT_EQ(tx.count(orders, message_state::ready), 0u); });
}

// watchers

struct notices {
    std::function<void(commit_notice)> function()
    {
        return [this](commit_notice n) {
            std::lock_guard const lock{mutex};
            all.push_back(std::move(n));
        };
    }
    std::vector<std::string> keys() const
    {
        std::vector<std::string> found;
        for (auto const& n : all)
            for (auto const& r : n.ready)
                found.push_back(r.content.key);
        return found;
    }

    std::mutex mutex;
    std::vector<commit_notice> all;
};

TYPED_TEST(storage_groups, a_watcher_is_handed_the_rows_that_a_commit_made_ready)
{
    notices seen;
    auto const watch = this->store_->watch(orders, seen.function());
    std::int64_t seq = 0;
    this->transact([&](auto& tx) {
        append(tx, row_of("one", 1000));
        append(tx, row_of("dead"), message_state::dead);
        append(tx, row_of("prepared"), message_state::prepared);
        append(tx, row_of("elsewhere"), message_state::ready, {queue_side::inbox, "orders", "warehouse"});
        seq = append(tx, row_of("two"));
        EXPECT_TRUE(seen.all.empty());
    });
    ASSERT_EQ(seen.all.size(), 1u); // before the work was resumed
    EXPECT_EQ(seen.keys(), (std::vector<std::string>{"one", "two"}));
    EXPECT_EQ(seen.all[0].ready[0].content, row_of("one", 1000).content);
    EXPECT_EQ(seen.all[0].ready[1].seq, seq);
    EXPECT_FALSE(seen.all[0].due);
    EXPECT_FALSE(seen.all[0].look);
    this->transact([](auto& tx) { append(tx, row_of("dead"), message_state::dead); });
    EXPECT_EQ(seen.keys().size(), 2u);
    for (std::size_t i = 1; i < seen.all.size(); ++i)
        EXPECT_TRUE(seen.all[i].ready.empty() && !seen.all[i].due && !seen.all[i].look);
}

TYPED_TEST(storage_groups, a_watcher_is_told_the_earliest_due_time)
{
    notices seen;
    auto const watch = this->store_->watch(orders, seen.function());
    this->transact([&](auto& tx) {
        for (auto const due : {30s, 10s, 20s}) {
            auto row = row_of("delayed");
            row.due_at = time_point{due};
            append(tx, row, message_state::delayed);
        }
    });
    ASSERT_EQ(seen.all.size(), 1u);
    EXPECT_EQ(seen.all[0].due, time_point{10s});
    EXPECT_TRUE(seen.all[0].ready.empty());
}

TYPED_TEST(storage_groups, a_watcher_is_told_to_look_when_rows_become_ready_in_another_way)
{
    std::int64_t seq = 0;
    this->transact([&](auto& tx) { seq = append(tx, row_of("delayed"), message_state::delayed); });
    notices seen;
    auto const watch = this->store_->watch(orders, seen.function());
    this->transact([&](auto& tx) {
        append(tx, row_of("before"));
        message_row moved;
        moved.seq = seq;
        EXPECT_TRUE(tx.move(orders, message_state::delayed, message_state::ready, moved));
        append(tx, row_of("after"));
    });
    ASSERT_EQ(seen.all.size(), 1u);
    EXPECT_TRUE(seen.all[0].look);
    EXPECT_TRUE(seen.all[0].ready.empty()) << "who takes these would pass the moved row";
}

TYPED_TEST(storage_groups, a_watcher_never_sees_what_was_undone_or_taken_away_again)
{
    notices seen;
    auto const watch = this->store_->watch(orders, seen.function());
    this->run_as_group({[](auto& tx) { append(tx, row_of("kept")); },
        [](auto& tx) {
            append(tx, row_of("thrown"));
            throw 1;
        }});
    EXPECT_EQ(seen.keys(), std::vector<std::string>{"kept"});
    this->transact([](auto& tx) {
        auto const seq = append(tx, row_of("erased"));
        EXPECT_EQ(tx.erase(orders, message_state::ready, std::span{&seq, 1}), 1u);
    });
    EXPECT_EQ(seen.keys(), std::vector<std::string>{"kept"});
    this->kit_.break_commits();
    auto failing = this->start([](auto& tx) { append(tx, row_of("failed", storage_kits::large)); });
    EXPECT_ANY_THROW(failing.get());
    EXPECT_EQ(seen.keys(), std::vector<std::string>{"kept"});
    this->kit_.mend_commits();
    this->transact([](auto& tx) { append(tx, row_of("later")); });
    EXPECT_EQ(seen.keys(), (std::vector<std::string>{"kept", "later"}));
}

TYPED_TEST(storage_groups, notices_come_in_the_order_of_commits)
{
    notices seen;
    auto const watch = this->store_->watch(orders, seen.function());
    auto const add = [&]() -> asio::awaitable<void> {
        for (int i = 0; i < 25; ++i)
            co_await this->store_->transact([](auto& tx) {
                append(tx, row_of("row"));
                append(tx, row_of("row"));
            });
    };
    std::vector<std::future<void>> running;
    for (int n = 0; n < 20; ++n)
        running.push_back(this->spawn(add()));
    for (auto& r : running)
        r.get();
    std::vector<std::int64_t> seqs;
    for (auto const& n : seen.all)
        for (auto const& r : n.ready)
            seqs.push_back(r.seq);
    EXPECT_EQ(seqs.size(), 1000u);
    EXPECT_TRUE(std::is_sorted(seqs.begin(), seqs.end()));
}

TYPED_TEST(storage_groups, several_watchers_each_get_the_rows_until_their_handles_are_gone)
{
    notices first, second;
    std::optional<watch_handle> one{this->store_->watch(orders, first.function())};
    auto two = this->store_->watch(orders, second.function());
    this->transact([](auto& tx) { append(tx, row_of("a")); });
    one.reset();
    watch_handle moved{std::move(two)};
    this->transact([](auto& tx) { append(tx, row_of("b")); });
    EXPECT_EQ(first.keys(), std::vector<std::string>{"a"});
    EXPECT_EQ(second.keys(), (std::vector<std::string>{"a", "b"}));
    moved = {};
    this->transact([](auto& tx) { append(tx, row_of("c")); });
    EXPECT_EQ(second.keys().size(), 2u);
}

TYPED_TEST(storage_groups, destroying_a_handle_waits_for_the_call_that_is_running)
{
    std::promise<void> entered, released;
    std::atomic<bool> finished{false};
    std::optional<watch_handle> watch{this->store_->watch(orders, [&](commit_notice) {
        entered.set_value();
        released.get_future().wait();
        finished = true;
    })};
    auto running = this->start([](auto& tx) { append(tx, row_of("a")); });
    entered.get_future().wait();
    std::thread later{[&] { released.set_value(); }};
    watch.reset();
    EXPECT_TRUE(finished);
    later.join();
    running.get();
}

TYPED_TEST(storage_groups, a_watcher_may_end_itself_and_one_that_throws_is_reported)
{
    std::vector<std::string> reports;
    this->env_.set_reporter([&](std::string const& what) { reports.push_back(what); });
    int calls = 0;
    std::optional<watch_handle> itself;
    itself = this->store_->watch(orders, [&](commit_notice) {
        ++calls;
        itself.reset();
    });
    auto const failing = this->store_->watch(orders, [](commit_notice) { throw std::runtime_error{"cannot"}; });
    for (int i = 0; i < 2; ++i)
        this->transact([](auto& tx) { append(tx, row_of("a")); });
    EXPECT_EQ(calls, 1);
    ASSERT_EQ(reports.size(), 2u);
    EXPECT_NE(reports[0].find("cannot"), std::string::npos);
    this->env_.set_reporter({});
}

TYPED_TEST(storage_groups, a_watch_handle_may_outlive_its_store)
{
    notices seen;
    auto const watch = this->store_->watch(orders, seen.function());
    this->open();
    this->transact([](auto& tx) { append(tx, row_of("a")); });
    EXPECT_TRUE(seen.all.empty());
}

// bookkeeping

TYPED_TEST(storage_time, bookkeeping_rides_with_the_next_group)
{
    this->store_->defer([](auto& tx) { TypeParam::put(tx, "key", "value"); });
    auto const before = this->env_.steady_now();
    this->transact([](auto& tx) { EXPECT_FALSE(TypeParam::get(tx, "key")); }); // works come first
    EXPECT_EQ(this->value("key"), "value");
    EXPECT_EQ(this->env_.steady_now(), before);
}

TYPED_TEST(storage_time, bookkeeping_of_an_idle_store_is_committed_by_itself)
{
    int runs = 0;
    this->store_->defer([&](auto& tx) {
        ++runs;
        TypeParam::put(tx, "key", "value");
    });
    this->store_->defer([&](auto&) { ++runs; });
    this->env_.run_for(49ms);
    EXPECT_EQ(runs, 0);
    this->env_.run_for(2ms);
    EXPECT_EQ(runs, 2);
    this->env_.run();
    EXPECT_EQ(runs, 2);
    this->open();
    EXPECT_EQ(this->value("key"), "value");
}

TYPED_TEST(storage_time, much_bookkeeping_does_not_wait)
{
    int runs = 0;
    for (int i = 0; i < 1024; ++i)
        this->store_->defer([&](auto&) { ++runs; });
    this->env_.poll();
    EXPECT_EQ(runs, 1024);
}

TYPED_TEST(storage_time, bookkeeping_that_throws_is_rolled_back_alone_and_reported)
{
    this->store_->defer([](auto& tx) { TypeParam::put(tx, "a", "value"); });
    this->store_->defer([](auto& tx) {
        TypeParam::put(tx, "b", "value");
        throw std::runtime_error{"broken bookkeeping"};
    });
    this->store_->defer([](auto& tx) { TypeParam::put(tx, "c", "value"); });
    this->env_.run_for(100ms);
    ASSERT_EQ(this->env_.reports().size(), 1u);
    EXPECT_NE(this->env_.reports()[0].find("broken bookkeeping"), std::string::npos);
    EXPECT_EQ(this->value("a"), "value");
    EXPECT_FALSE(this->value("b"));
    EXPECT_EQ(this->value("c"), "value");
    EXPECT_EQ(this->env_.reports().size(), 1u);
}

TYPED_TEST(storage_time, bookkeeping_runs_again_when_its_commit_failed)
{
    this->kit_.break_commits();
    int runs = 0;
    this->store_->defer([&](auto& tx) {
        ++runs;
        append(tx, row_of("deferred", storage_kits::large));
    });
    EXPECT_ANY_THROW(this->transact([](auto& tx) { append(tx, row_of("work", storage_kits::large)); }));
    EXPECT_EQ(runs, 1);
    this->kit_.mend_commits();
    this->transact([](auto&) {});
    EXPECT_EQ(runs, 2);
    auto const rows = this->transact([](auto& tx) { return tx.read(orders, message_state::ready, 0, 10); });
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].content.key, "deferred");
}

TYPED_TEST(storage_time, bookkeeping_alone_is_tried_again_later_when_its_commit_failed)
{
    this->kit_.break_commits();
    int runs = 0;
    this->store_->defer([&](auto& tx) {
        ++runs;
        append(tx, row_of("deferred", storage_kits::large));
    });
    this->env_.run_for(100ms);
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(this->env_.reports().size(), 1u);
    this->env_.run_for(3s);
    EXPECT_EQ(runs, 4); // once a second
    this->kit_.mend_commits();
    this->env_.run();
    EXPECT_EQ(runs, 5);
    EXPECT_EQ(this->transact([](auto& tx) { return tx.count(orders, message_state::ready); }), 1u);
}

TYPED_TEST(storage_time, bookkeeping_of_a_store_that_fails_for_ever_is_bounded)
{
    this->kit_.break_commits();
    int runs = 0;
    for (int i = 0; i < 65'536 + 10; ++i)
        this->store_->defer([&, i](auto&) {
            EXPECT_GE(i, 10) << "the oldest are dropped";
            ++runs;
        });
    EXPECT_EQ(this->env_.reports().size(), 10u);
    this->kit_.mend_commits();
    this->env_.run();
    EXPECT_EQ(runs, 65'536);
}

TYPED_TEST(storage_time, the_destructor_of_a_store_that_nobody_runs_any_more_does_its_bookkeeping)
{
    bool started = false;
    std::exception_ptr refused;
    auto work = [](auto&) { ADD_FAILURE() << "ran"; };
    auto use = [&]() -> asio::awaitable<void> {
        started = true;
        co_await this->store_->transact(work);
    };
    asio::co_spawn(this->env_.get_executor(), use(), [&](std::exception_ptr e) { refused = e; });
    this->env_.run_until([&] { return started; });
    this->store_->defer([](auto& tx) { TypeParam::put(tx, "deferred", "done"); });
    this->open();
    this->env_.run_until([&] { return refused != nullptr; });
    EXPECT_EQ(code_of(refused), errc::store_closed);
    EXPECT_EQ(this->value("deferred"), "done");
}

} // namespace
