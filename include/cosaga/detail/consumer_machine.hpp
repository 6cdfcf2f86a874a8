// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/applier.hpp>
#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Receives batches, and applies each in one transaction; see `consumer`.
template <store Store, transport Transport>
class consumer_machine final : public running_consumer {
    using applier_type = applier<Store>;
    using store_transaction_type = typename Store::transaction_type;
    using item = taken_message<store_transaction_type>;

public:
    consumer_machine(Store& s, Transport& t, std::string topic, std::string name,
        consumer_parts<store_transaction_type> parts, consumer_options const& options)
        : store_{&s},
          environment_{&store_->get_environment()},
          parts_{std::move(parts)},
          options_{checked(options)},
          strand_{strand_of(environment_->get_executor())},
          wake_{std::make_shared<event>(strand_)},
          taken_{strand_},
          ended_{std::make_shared<event>(strand_)},
          alarm_{*environment_, strand_, wake_},
          subscription_{t.subscribe(topic, name)},
          applier_{s, {queue_side::inbox, std::move(topic), std::move(name)}, options}
    {
    }

    queue_name const& queue() const noexcept override { return applier_.queue(); }

    consumer_counters counters() const noexcept override
    {
        return {applied_.load(std::memory_order_relaxed), duplicates_.load(std::memory_order_relaxed),
            retried_.load(std::memory_order_relaxed), dead_.load(std::memory_order_relaxed)};
    }

    void start() override
    {
        watch_ = store_->watch(queue(), [this](commit_notice const& notice) {
            if (notice.look)
                post_to(strand_, [this] {
                    look_ = true;
                    wake_->notify();
                });
        });
        receiving_ = applying_ = true;
        spawn_on(strand_, receive(), [this](std::exception_ptr e) { end_one(receiving_, e); });
        spawn_on(strand_, apply(), [this](std::exception_ptr e) { end_one(applying_, e); });
    }

    asio::awaitable<void> stop() override { return run_on(strand_, do_stop()); }

private:
    static constexpr std::size_t retried_at_once = 64;

    static consumer_options const& checked(consumer_options const& options)
    {
        auto const seconds = [](duration d) { return std::to_string(d / std::chrono::seconds{1}) + " s"; };
        if (options.batch == 0 || options.max_retrying == 0 || options.concurrency == 0)
            throw make_error(
                errc::bad_configuration, "consumer: batch, max_retrying and concurrency must be at least 1");
        if (options.retries.longest() >= options.retention)
            throw make_error(errc::bad_configuration,
                "consumer: marks are kept for " + seconds(options.retention) + ", but a message can come again for "
                    + seconds(options.retries.longest()) + ": raise the retention or shorten the retries");
        return options;
    }

    asio::awaitable<void> receive()
    {
        while (!stopping_) {
            std::vector<delivery> batch;
            try {
                batch = co_await subscription_.receive(options_.batch);
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            incoming_ = std::move(batch);
            wake_->notify();
            while (!incoming_.empty() && !stopping_)
                co_await taken_.wait();
        }
    }

    asio::awaitable<void> apply()
    {
        std::uint32_t failures = 0;
        while (!stopping_) {
            std::exception_ptr failed;
            bool worked = false;
            if (std::exchange(look_, false))
                applier_.distrust();
            try {
                worked = co_await apply_due();
                if (!current_.empty() || applier_.index().size() < options_.max_retrying)
                    worked = co_await apply_incoming() || worked;
                failures = 0;
            } catch (...) {
                failed = std::current_exception();
            }
            if (!failed && worked)
                continue;
            if (failed) {
                applier_.distrust();
                report(failed);
                auto const delay = options_.retries.delay_without_end(++failures, environment_->random());
                auto const until = environment_->steady_now() + delay;
                while (!stopping_ && environment_->steady_now() < until) {
                    alarm_.set(until);
                    co_await wake_->wait();
                }
            } else {
                arm();
                co_await wake_->wait();
            }
        }
    }

    // A batch that the store could not take stays in `current_` and is tried again: nothing behind it overtakes it.
    asio::awaitable<bool> apply_incoming()
    {
        if (current_.empty()) {
            current_.reserve(incoming_.size());
            for (auto& d : incoming_) {
                message_row row;
                row.content = std::move(d.content);
                current_.push_back(applier_.make_item(*parts_.incoming, d.tag, std::move(row)));
            }
            incoming_.clear();
            taken_.notify();
        }
        if (current_.empty())
            co_return false;
        co_await prepare_new(current_);
        if (parts_.prepares && stopping_)
            co_return false; // preparations may have been cancelled: the messages come again
        auto work = [this](store_transaction_type& tx) { return applier_.apply_batch(tx, current_); };
        auto const done = co_await store_->transact(work);
        std::vector<std::uint64_t> tags;
        tags.reserve(current_.size());
        for (auto const& i : current_)
            tags.push_back(i.tag);
        subscription_.acknowledge(std::move(tags));
        current_.clear();
        parts_.incoming->clear();
        count(done);
        co_return true;
    }

    asio::awaitable<bool> apply_due()
    {
        auto const due = applier_.index().next_due();
        if (!applier_.is_stale() && (!due || *due > environment_->steady_now()))
            co_return false;
        parts_.due->clear();
        auto read = [this](store_transaction_type& tx) { return applier_.read_due(tx, *parts_.due, retried_at_once); };
        auto items = co_await store_->transact(read);
        if (items.empty())
            co_return false;
        if (parts_.prepares) {
            std::vector<item*> all;
            for (auto& i : items)
                all.push_back(&i);
            co_await prepare_all(all);
            if (stopping_)
                co_return false;
        }
        auto work = [&](store_transaction_type& tx) { return applier_.apply_again(tx, items); };
        auto const done = co_await store_->transact(work);
        count(done);
        co_return true;
    }

    asio::awaitable<void> prepare_new(std::vector<item>& items)
    {
        if (parts_.prepares) {
            std::vector<item*> fresh;
            auto find_new = [&](store_transaction_type& tx) {
                for (auto& i : items)
                    if (applier_.is_new(tx, i))
                        fresh.push_back(&i);
            };
            co_await store_->transact(find_new);
            co_await prepare_all(fresh);
        }
        co_return;
    }

    asio::awaitable<void> prepare_all(std::vector<item*>& items)
    {
        event one_done{strand_};
        std::size_t running = 0;
        for (std::size_t next = 0; next < items.size() || running > 0;) {
            while (running < options_.concurrency && next < items.size()) {
                ++running;
                auto const& cancel = preparing_.emplace_back(std::make_shared<asio::cancellation_signal>());
                auto& next_item = *items[next++];
                auto const ended = [&](std::exception_ptr) {
                    --running;
                    one_done.notify();
                };
                spawn_on(strand_, next_item.bodies->prepare(next_item), ended, cancel);
            }
            co_await one_done.wait();
        }
        preparing_.clear();
    }

    void count(consumer_counters const& done)
    {
        applied_.fetch_add(done.applied, std::memory_order_relaxed);
        duplicates_.fetch_add(done.duplicates, std::memory_order_relaxed);
        retried_.fetch_add(done.retried, std::memory_order_relaxed);
        dead_.fetch_add(done.dead, std::memory_order_relaxed);
    }

    void arm()
    {
        auto const now = environment_->steady_now();
        if (poll_at_ <= now) {
            poll_at_ = now + options_.poll_interval;
            look_ = true;
            wake_->notify();
        }
        auto when = poll_at_;
        if (auto const due = applier_.index().next_due())
            when = std::min(when, std::max(*due, now + duration{1000}));
        alarm_.set(when);
    }

    void report(std::exception_ptr const& e)
    {
        environment_->report("consumer " + queue().consumer + " of " + queue().topic + ": " + describe(e));
    }

    void end_one(bool& running, std::exception_ptr e)
    {
        running = false;
        ended_->notify();
        if (e)
            report(e);
    }

    asio::awaitable<void> do_stop()
    {
        stopping_ = true;
        watch_ = {};
        wake_->notify();
        taken_.notify();
        if (parts_.prepares) {
            alarm grace{*environment_, strand_, ended_};
            auto const until = environment_->steady_now() + options_.grace;
            grace.set(until);
            while (applying_ && environment_->steady_now() < until)
                co_await ended_->wait();
            for (auto const& cancel : preparing_)
                cancel->emit(asio::cancellation_type::terminal);
        }
        // Closed only when the batch being applied is acknowledged.
        while (applying_)
            co_await ended_->wait();
        subscription_.close();
        while (receiving_)
            co_await ended_->wait();
        alarm_.cancel();
        co_await resume_on(strand_); // behind what the watch has posted
    }

    Store* store_;
    environment* environment_;
    consumer_parts<store_transaction_type> parts_;
    consumer_options options_;
    asio::any_io_executor strand_;
    std::shared_ptr<event> wake_;
    event taken_;
    std::shared_ptr<event> ended_;
    alarm alarm_;
    typename Transport::subscription_type subscription_;
    typename Store::watch_handle watch_;

    std::vector<delivery> incoming_; // received, not yet looked at
    std::vector<item> current_;      // being applied
    applier_type applier_;           // on the store's thread while a transaction runs, else on the strand
    std::vector<std::shared_ptr<asio::cancellation_signal>> preparing_;
    bool look_ = false; // somebody else changed the inbox queue
    steady_time poll_at_{};
    bool receiving_ = false;
    bool applying_ = false;
    bool stopping_ = false;
    std::atomic<std::uint64_t> applied_{0};
    std::atomic<std::uint64_t> duplicates_{0};
    std::atomic<std::uint64_t> retried_{0};
    std::atomic<std::uint64_t> dead_{0};
};

} // namespace cosaga::detail
