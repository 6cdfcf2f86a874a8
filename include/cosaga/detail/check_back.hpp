// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/half_messages.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Asks one service back about its half messages when they are due, a bounded number at a time.
///
/// A check takes a place from when it is sent until it is answered, or was delivered and not answered in time. So a service that is
/// away has its places taken until it is back, and others theirs.
/// @par Thread safety
/// everything on one strand, unless said otherwise.
template <store Store, transport Transport>
class check_back {
    using transaction_type = typename Store::transaction_type;

public:
    /// @throws system_error `errc::no_route`
    check_back(Store& s, Transport& t, half_messages<Store>& halves, std::string service, coordinator_options const& options,
        asio::any_io_executor strand, message_id_generator& ids)
        : store_{&s},
          environment_{&s.get_environment()},
          halves_{&halves},
          service_{std::move(service)},
          options_{options},
          strand_{std::move(strand)},
          ids_{&ids},
          wake_{std::make_shared<event>(strand_)},
          ended_{strand_},
          alarm_{*environment_, strand_, wake_},
          publisher_{t.open_publisher(checks_topic, service_)}
    {
    }
    check_back(check_back const&) = delete;
    check_back& operator=(check_back const&) = delete;

    void start()
    {
        watch_ = store_->watch(half_messages<Store>::queue_of(service_), [this](commit_notice const& notice) {
            if (notice.look)
                post_to(strand_, [this] { look_at(environment_->now()); });
        });
        running_ = 2;
        spawn_on(strand_, pump(), [this](std::exception_ptr e) { ended(e); });
        spawn_on(strand_, collect(), [this](std::exception_ptr e) { ended(e); });
    }

    asio::awaitable<void> stop()
    {
        stopping_ = true;
        watch_ = {};
        publisher_.close();
        wake_->notify();
        while (running_ > 0)
            co_await ended_.wait();
        alarm_.cancel();
        co_await resume_on(strand_); // behind what the watch has posted
    }

    /// A half message is to be checked at that time.
    void look_at(time_point when)
    {
        if (when >= next_)
            return;
        next_ = when;
        wake_->notify();
    }

    /// An answer has come. @return true if it is the first sign that the check has reached the service.
    bool answered(message_id const& id)
    {
        auto const found = in_flight_.find(id);
        if (found == in_flight_.end())
            return false;
        bool const first = !found->second.answer_by;
        if (first)
            delivered_.fetch_add(1, std::memory_order_relaxed);
        in_flight_.erase(found);
        wake_->notify();
        return first;
    }

    /// Checks that reached the service. Any thread.
    std::uint64_t delivered() const noexcept { return delivered_.load(std::memory_order_relaxed); }
    /// Half messages that were parked because their last check had no answer. Any thread.
    std::uint64_t parked() const noexcept { return parked_.load(std::memory_order_relaxed); }

private:
    // Between two rounds, so that a backlog of checks leaves the store to those who wait for it.
    static constexpr duration pause = std::chrono::milliseconds{50};

    struct check {
        due_check what;
        std::uint64_t tag;
        std::optional<steady_time> answer_by{}; ///< once it was delivered
    };

    asio::awaitable<void> pump()
    {
        std::uint32_t failures = 0;
        while (!stopping_) {
            drop_unanswered();
            std::exception_ptr failed;
            if (room() > 0 && next_ <= environment_->now() && not_before_ <= environment_->steady_now()) {
                not_before_ = environment_->steady_now() + pause;
                try {
                    co_await send_due(room());
                    failures = 0;
                } catch (...) {
                    failed = std::current_exception();
                }
            }
            if (stopping_)
                co_return;
            if (failed) {
                environment_->report("checking back with " + service_ + ": " + describe(failed));
                not_before_ = environment_->steady_now() + schedule{}.delay_without_end(++failures, environment_->random());
                look_at(environment_->now());
            }
            arm();
            co_await wake_->wait();
        }
    }

    std::size_t room() const noexcept { return options_.checks_in_flight - std::min(options_.checks_in_flight, in_flight_.size()); }

    void drop_unanswered()
    {
        auto const now = environment_->steady_now();
        std::erase_if(in_flight_, [&](auto const& c) { return c.second.answer_by && *c.second.answer_by <= now; });
    }

    asio::awaitable<void> send_due(std::size_t most)
    {
        // What commits tell of from now on may be newer than what this transaction sees.
        next_ = time_point::max();
        typename half_messages<Store>::due due;
        auto work = [&](transaction_type& tx) { due = halves_->take_due(tx, service_, most); };
        co_await store_->transact(work);
        parked_.fetch_add(due.parked, std::memory_order_relaxed);
        std::vector<envelope> batch;
        for (auto& c : due.checks) {
            if (in_flight_.contains(c.id))
                continue; // it has not reached the service yet
            auto const tag = ++last_tag_;
            batch.push_back({tag, make_control(ids_->operator()(), checks_topic, check_type, c.id, options_.name, environment_->now())});
            ids_by_tag_.emplace(tag, c.id);
            in_flight_.emplace(c.id, check{std::move(c), tag});
        }
        if (!batch.empty())
            publisher_.publish(std::move(batch));
        next_ = std::min(next_, due.next.value_or(time_point::max()));
    }

    void arm()
    {
        auto const now = environment_->steady_now();
        auto when = steady_time::max();
        if (next_ != time_point::max() && room() > 0)
            when = std::max(not_before_, now + std::max(next_ - environment_->now(), duration{1000}));
        for (auto const& [id, c] : in_flight_)
            if (c.answer_by)
                when = std::min(when, *c.answer_by);
        if (when != steady_time::max())
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
            std::vector<due_check> delivered;
            for (auto const& s : settled)
                take(s, delivered);
            if (!delivered.empty())
                co_await count(delivered);
            wake_->notify();
        }
    }

    void take(settlement const& s, std::vector<due_check>& delivered)
    {
        auto const of = ids_by_tag_.extract(s.tag);
        auto const found = of ? in_flight_.find(of.mapped()) : in_flight_.end();
        if (found == in_flight_.end() || found->second.tag != s.tag)
            return; // answered already
        if (s.result != verdict::accepted) {
            if (s.result == verdict::rejected)
                environment_->report("checking back with " + service_ + ": refused: " + s.reason);
            in_flight_.erase(found);
            return;
        }
        found->second.answer_by = environment_->steady_now() + options_.answer_timeout;
        delivered.push_back(found->second.what);
    }

    asio::awaitable<void> count(std::vector<due_check>& delivered)
    {
        delivered_.fetch_add(delivered.size(), std::memory_order_relaxed);
        auto work = [&](transaction_type& tx) {
            for (auto const& c : delivered)
                halves_->count(tx, service_, c);
        };
        std::exception_ptr failed;
        try {
            co_await store_->transact(work);
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed) // it is checked once more
            environment_->report("checking back with " + service_ + ": " + describe(failed));
        look_at(environment_->now()); // what is due next may have changed
    }

    void ended(std::exception_ptr e)
    {
        --running_;
        ended_.notify();
        if (e)
            environment_->report("checking back with " + service_ + " ended: " + describe(e));
    }

    Store* store_;
    environment* environment_;
    half_messages<Store>* halves_;
    std::string service_;
    coordinator_options options_;
    asio::any_io_executor strand_;
    message_id_generator* ids_;
    std::shared_ptr<event> wake_;
    event ended_;
    alarm alarm_;
    typename Transport::publisher_type publisher_;
    typename Store::watch_handle watch_;
    time_point next_{};          // when a half message is due, or earlier
    steady_time not_before_{};
    std::map<message_id, check> in_flight_;
    std::map<std::uint64_t, message_id> ids_by_tag_; // of checks that are not settled
    std::uint64_t last_tag_ = 0;
    std::atomic<std::uint64_t> delivered_{0};
    std::atomic<std::uint64_t> parked_{0};
    int running_ = 0;
    bool stopping_ = false;
};

} // namespace cosaga::detail
