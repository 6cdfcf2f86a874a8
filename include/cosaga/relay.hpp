// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/receipt_registry.hpp>
#include <cosaga/detail/relay_window.hpp>
#include <cosaga/detail/retry_wait.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/relay_options.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga {

/// Sends the ready messages of one outbox queue to its destination until they are acknowledged.
///
/// A commit hands it the new rows while they are still in memory. What does not fit into its window stays on disk
/// only, and is read when there is room again; so memory is bounded by the window whatever the backlog. Acknowledged rows are removed by the next
/// group commit. Delayed rows become ready when they are due.
/// @par Thread safety
/// `counters` from any thread. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <store Store, transport Transport>
class relay {
public:
    relay(Store& s, Transport& t, queue_name queue, relay_options const& options,
        std::shared_ptr<detail::receipt_registry> receipts)
        : store_{&s},
          environment_{&s.get_environment()},
          queue_{std::move(queue)},
          options_{options},
          receipts_{std::move(receipts)},
          strand_{detail::strand_of(environment_->get_executor())},
          wake_{std::make_shared<detail::event>(strand_)},
          stopped_{strand_},
          alarm_{*environment_, strand_, wake_},
          window_{options.window_messages, options.window_bytes, options.retries},
          publisher_{t.open_publisher(queue_.topic, queue_.consumer)}
    {
    }
    relay(relay const&) = delete;
    relay& operator=(relay const&) = delete;

    queue_name const& queue() const noexcept { return queue_; }

    void start()
    {
        watch_ = store_->watch(queue_, [this](commit_notice notice) {
            detail::post_to(strand_, [this, n = std::move(notice)]() mutable { on_commit(std::move(n)); });
        });
        running_ = 2;
        detail::spawn_on(strand_, pump(), [this](std::exception_ptr e) { ended(e); });
        detail::spawn_on(strand_, collect(), [this](std::exception_ptr e) { ended(e); });
    }

    /// Stops sending. What is outstanding stays in the message table.
    asio::awaitable<void> stop()
    {
        // The body runs on the strand, where everything else of the relay runs.
        return detail::run_on(strand_, do_stop());
    }

    relay_counters counters() const noexcept
    {
        return {sent_.load(std::memory_order_relaxed), retried_.load(std::memory_order_relaxed),
            dead_.load(std::memory_order_relaxed)};
    }

private:
    // Reads at most this many rows at once, so that large rows cannot exceed the window by much.
    static constexpr std::size_t page = 64;
    static constexpr std::size_t promoted_at_once = 256;

    void on_commit(commit_notice notice)
    {
        if (notice.look) {
            caught_up_ = told_all_ = false;
            next_delayed_ = std::min(next_delayed_, environment_->now()); // whoever it was may have delayed some
        }
        if (notice.due)
            next_delayed_ = std::min(next_delayed_, *notice.due);
        auto const now = environment_->steady_now();
        for (auto& row : notice.ready) {
            if (told_all_)
                keep(std::move(row));
            else if (caught_up_)
                take_new(std::move(row), now);
        }
        wake_->notify();
    }

    // What a commit tells of while a read is on its way: the read may not have seen it.
    void keep(message_row row)
    {
        told_bytes_ += memory_of(row.content);
        told_.push_back(std::move(row));
        if (told_.size() > window_.room() || told_bytes_ > window_.bytes_left()) {
            told_all_ = false;
            told_.clear();
        }
    }

    void take_new(message_row row, steady_time now)
    {
        if (row.seq <= cursor_)
            return;
        if (window_.room() == 0)
            caught_up_ = false;
        else
            take(std::move(row), now);
    }

    void take(message_row row, steady_time now)
    {
        cursor_ = row.seq;
        auto const wait = detail::wait_of(row, options_.retries, environment_->now());
        window_.take(std::move(row), now, wait);
    }

    asio::awaitable<void> pump()
    {
        std::uint32_t store_failures = 0;
        while (!stopping_) {
            publish();
            std::exception_ptr failed;
            bool again = false;
            try {
                again = co_await read_more();
                again = co_await promote() || again;
                store_failures = 0;
            } catch (boost::system::system_error const& e) {
                failed = std::current_exception();
                environment_->report("relay of " + queue_.topic + " to " + queue_.consumer + ": " + e.what());
            }
            if (again || stopping_)
                continue;
            arm(failed ? ++store_failures : 0);
            co_await wake_->wait();
        }
    }

    void publish()
    {
        auto batch = window_.publishable(environment_->steady_now());
        if (!batch.empty())
            publisher_.publish(std::move(batch));
    }

    // Waits until half the window is free, so that a backlog is read in large pieces.
    bool should_read() const noexcept
    {
        return !caught_up_ && window_.room() >= (options_.window_messages + 1) / 2
            && window_.bytes_left() >= options_.window_bytes / 2;
    }

    asio::awaitable<bool> read_more()
    {
        if (!should_read())
            co_return false;
        auto const most = window_.room();
        auto const most_bytes = window_.bytes_left();
        bool ended = false;
        std::vector<message_row> rows;
        auto read = [&](auto& tx) {
            std::size_t bytes = 0;
            auto after = cursor_;
            while (rows.size() < most && bytes < most_bytes && !ended) {
                auto const wanted = std::min(page, most - rows.size());
                auto some = tx.read(queue_, message_state::ready, after, wanted);
                ended = some.size() < wanted;
                for (auto& row : some) {
                    bytes += memory_of(row.content);
                    after = row.seq;
                    rows.push_back(std::move(row));
                }
            }
        };
        told_.clear();
        told_bytes_ = 0;
        told_all_ = true;
        std::exception_ptr failed;
        try {
            co_await store_->transact(read);
        } catch (...) {
            failed = std::current_exception();
        }
        bool const told_all = std::exchange(told_all_, false);
        if (failed)
            std::rethrow_exception(failed);
        auto const now = environment_->steady_now();
        for (auto& row : rows)
            take(std::move(row), now);
        caught_up_ = ended && told_all;
        for (auto& row : std::exchange(told_, {}))
            if (caught_up_)
                take_new(std::move(row), now);
        co_return true;
    }

    asio::awaitable<bool> promote()
    {
        auto const now = environment_->now();
        if (now < next_delayed_)
            co_return false;
        std::size_t promoted = 0;
        std::optional<time_point> next;
        auto move_due = [&](auto& tx) {
            for (auto& row : tx.read_due(queue_, message_state::delayed, now, promoted_at_once))
                promoted += tx.move(queue_, message_state::delayed, message_state::ready, row) ? 1 : 0;
            next = tx.next_due(queue_, message_state::delayed);
        };
        // What commits tell of from now on may be newer than what this transaction sees.
        next_delayed_ = time_point::max();
        std::exception_ptr failed;
        try {
            co_await store_->transact(move_due);
        } catch (...) {
            failed = std::current_exception();
        }
        next_delayed_ = std::min(next_delayed_, failed ? now : next.value_or(time_point::max()));
        if (failed)
            std::rethrow_exception(failed);
        co_return promoted > 0;
    }

    void arm(std::uint32_t store_failures)
    {
        auto const now = environment_->steady_now();
        auto when = poll_at_ > now ? poll_at_ : now + options_.poll_interval;
        if (poll_at_ <= now) {
            poll_at_ = when;
            caught_up_ = false;
            next_delayed_ = std::min(next_delayed_, environment_->now());
            if (store_failures == 0)
                wake_->notify();
        }
        if (store_failures > 0)
            when = now + options_.retries.delay_without_end(store_failures, environment_->random());
        else if (next_delayed_ != time_point::max())
            when = std::min(when, now + std::max(next_delayed_ - environment_->now(), duration{1000}));
        if (auto const due = window_.next_due(); due && store_failures == 0)
            when = std::min(when, *due);
        alarm_.set(when);
    }

    asio::awaitable<void> collect()
    {
        while (!stopping_) {
            std::vector<settlement> settled;
            try {
                settled = co_await publisher_.settled();
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            auto const out = std::make_shared<detail::relay_outcome>();
            for (auto& s : settled)
                window_.settle(std::move(s), environment_->steady_now(), environment_->now(),
                    [this] { return environment_->random(); }, *out);
            record(out);
            wake_->notify();
        }
    }

    void record(std::shared_ptr<detail::relay_outcome> const& out)
    {
        sent_.fetch_add(out->accepted.size(), std::memory_order_relaxed);
        retried_.fetch_add(out->update.size(), std::memory_order_relaxed);
        dead_.fetch_add(out->bury.size(), std::memory_order_relaxed);
        receipts_->accept(out->accepted);
        for (auto const& b : out->bury)
            receipts_->fail(b.id, b.row.last_error);
        if (out->erase.empty() && out->update.empty() && out->bury.empty())
            return;
        store_->defer([queue = queue_, out](typename Store::transaction_type& tx) {
            tx.erase(queue, message_state::ready, out->erase);
            for (auto const& row : out->update)
                tx.update(queue, message_state::ready, row);
            for (auto const& b : out->bury)
                tx.move(queue, message_state::ready, message_state::dead, b.row);
        });
    }

    void ended(std::exception_ptr e)
    {
        --running_;
        stopped_.notify();
        if (e)
            environment_->report(
                "relay of " + queue_.topic + " to " + queue_.consumer + " ended: " + detail::describe(e));
    }

    asio::awaitable<void> do_stop()
    {
        stopping_ = true;
        watch_ = {};
        publisher_.close();
        wake_->notify();
        while (running_ > 0)
            co_await stopped_.wait();
        alarm_.cancel();
        // Behind every notice that was posted before the watch ended.
        co_await detail::resume_on(strand_);
    }

    Store* store_;
    environment* environment_;
    queue_name queue_;
    relay_options options_;
    std::shared_ptr<detail::receipt_registry> receipts_;
    asio::any_io_executor strand_;
    std::shared_ptr<detail::event> wake_;
    detail::event stopped_;
    detail::alarm alarm_;
    detail::relay_window window_;
    typename Transport::publisher_type publisher_;
    typename Store::watch_handle watch_;

    std::int64_t cursor_ = 0;  // every ready row up to here was taken
    bool caught_up_ = false;   // nothing is ready on disk beyond the cursor
    std::vector<message_row> told_; // by commits during a read, so that under steady load no second read is needed
    std::size_t told_bytes_ = 0;
    bool told_all_ = false; // a read is on its way, and `told_` has all that commits told of since
    time_point next_delayed_{};
    steady_time poll_at_{};
    int running_ = 0;
    bool stopping_ = false;
    std::atomic<std::uint64_t> sent_{0};
    std::atomic<std::uint64_t> retried_{0};
    std::atomic<std::uint64_t> dead_{0};
};

} // namespace cosaga
