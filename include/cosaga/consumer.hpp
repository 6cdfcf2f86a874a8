// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/applier.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/outbox.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga {

/// A consumer as its owner sees it, whatever it handles.
class running_consumer {
public:
    virtual ~running_consumer() = default;
    virtual queue_name const& queue() const noexcept = 0;
    virtual consumer_counters counters() const noexcept = 0;
    virtual void start() = 0;
    virtual asio::awaitable<void> stop() = 0;
};

/// Receives the messages of a topic under a consumer's name and applies each exactly once.
///
/// A received batch is deduplicated, applied and acknowledged with one local transaction. The handler is called
/// as `handler(transaction&, body const&)` or `handler(transaction&, body const&, message const&)`, on the store's
/// thread; it must not block. What it sends leaves with the commit. It may be called more than once for a message, when another
/// of its batch throws or the commit fails: all that it does must be done through the transaction. If it throws, its
/// changes alone are rolled back, and the message moves to the inbox queue of the message table, from where it is tried again on the schedule and
/// parked when that ends. Until then it holds back its own key only.
///
/// With a `Prepare`, `awaitable<P> prepare(body const&)` runs before the transaction, several at a time, and the
/// handler is called as `handler(transaction&, body const&, P const&)`. It runs at least once for each message that is applied.
/// @par Thread safety
/// `counters` from any thread. `start` once; `stop` once, before destruction unless the executor no longer runs.
template <class Outbox, class Handler, class Prepare, class... Bodies>
class consumer final : public running_consumer {
    using store_type = typename Outbox::store_type;
    using applier_type = detail::applier<Outbox, Handler, Prepare, Bodies...>;
    using store_transaction_type = typename applier_type::store_transaction_type;
    using item = typename applier_type::item;

public:
    /// @throws system_error `errc::bad_configuration` when the retention is not longer than the retries take, or a limit is 0.
    consumer(Outbox& o, std::string topic, std::string name, Prepare prepare, Handler handler,
        consumer_options const& options)
        : store_{&o.get_store()},
          environment_{&store_->get_environment()},
          prepare_{std::move(prepare)},
          options_{checked(options)},
          strand_{asio::make_strand(environment_->get_executor())},
          wake_{std::make_shared<detail::event>(strand_)},
          taken_{strand_},
          ended_{std::make_shared<detail::event>(strand_)},
          alarm_{*environment_, strand_, wake_},
          subscription_{o.get_transport().subscribe(topic, name)},
          applier_{o, {queue_side::inbox, std::move(topic), std::move(name)}, std::move(handler), options}
    {
    }
    consumer(consumer const&) = delete;
    consumer& operator=(consumer const&) = delete;

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
                asio::post(strand_, [this] {
                    look_ = true;
                    wake_->notify();
                });
        });
        receiving_ = applying_ = true;
        asio::co_spawn(strand_, receive(), [this](std::exception_ptr e) { end_one(receiving_, e); });
        asio::co_spawn(strand_, apply(), [this](std::exception_ptr e) { end_one(applying_, e); });
    }

    asio::awaitable<void> stop() override { return asio::co_spawn(strand_, do_stop(), asio::use_awaitable); }

private:
    static constexpr std::size_t retried_at_once = 64;
    static constexpr bool prepares = applier_type::prepares;

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
                current_.push_back(applier_.make_item(d.tag, std::move(row)));
            }
            incoming_.clear();
            taken_.notify();
        }
        if (current_.empty())
            co_return false;
        co_await prepare_new(current_);
        if (prepares && stopping_)
            co_return false; // preparations may have been cancelled: the messages come again
        auto work = [this](store_transaction_type& tx) { return applier_.apply_batch(tx, current_); };
        auto const done = co_await store_->transact(work);
        std::vector<std::uint64_t> tags;
        tags.reserve(current_.size());
        for (auto const& i : current_)
            tags.push_back(i.tag);
        subscription_.acknowledge(std::move(tags));
        current_.clear();
        count(done);
        co_return true;
    }

    asio::awaitable<bool> apply_due()
    {
        auto const due = applier_.index().next_due();
        if (!applier_.is_stale() && (!due || *due > environment_->now()))
            co_return false;
        auto read = [this](store_transaction_type& tx) { return applier_.read_due(tx, retried_at_once); };
        auto items = co_await store_->transact(read);
        if (items.empty())
            co_return false;
        if constexpr (prepares) {
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
        if constexpr (prepares) {
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
        detail::event one_done{strand_};
        std::size_t running = 0;
        for (std::size_t next = 0; next < items.size() || running > 0;) {
            while (running < options_.concurrency && next < items.size()) {
                ++running;
                auto& signal = preparing_.emplace_back();
                asio::co_spawn(strand_, prepare_one(items[next++]),
                    asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr) {
                        --running;
                        one_done.notify();
                    }));
            }
            co_await one_done.wait();
        }
        preparing_.clear();
    }

    asio::awaitable<void> prepare_one(item* i)
    {
        auto const* const body = std::get_if<1>(&i->body);
        i->unprepared = nullptr;
        if (!body)
            co_return;
        try {
            i->outcome = co_await prepare_(*body);
        } catch (...) {
            i->unprepared = std::current_exception();
        }
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
            when = std::min(when, now + std::max(*due - environment_->now(), duration{1000}));
        alarm_.set(when);
    }

    void report(std::exception_ptr const& e)
    {
        environment_->report("consumer " + queue().consumer + " of " + queue().topic + ": " + detail::describe(e));
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
        if constexpr (prepares) {
            detail::alarm grace{*environment_, strand_, ended_};
            auto const until = environment_->steady_now() + options_.grace;
            grace.set(until);
            while (applying_ && environment_->steady_now() < until)
                co_await ended_->wait();
            for (auto& signal : preparing_)
                signal.emit(asio::cancellation_type::terminal);
        }
        // Closed only when the batch being applied is acknowledged.
        while (applying_)
            co_await ended_->wait();
        subscription_.close();
        while (receiving_)
            co_await ended_->wait();
        alarm_.cancel();
        co_await asio::post(strand_, asio::use_awaitable); // behind what the watch has posted
    }

    store_type* store_;
    environment* environment_;
    Prepare prepare_;
    consumer_options options_;
    asio::strand<asio::any_io_executor> strand_;
    std::shared_ptr<detail::event> wake_;
    detail::event taken_;
    std::shared_ptr<detail::event> ended_;
    detail::alarm alarm_;
    typename Outbox::transport_type::subscription_type subscription_;
    typename store_type::watch_handle watch_;

    std::vector<delivery> incoming_; // received, not yet looked at
    std::vector<item> current_;      // being applied
    applier_type applier_;           // on the store's thread while a transaction runs, else on the strand
    std::deque<asio::cancellation_signal> preparing_;
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

} // namespace cosaga
