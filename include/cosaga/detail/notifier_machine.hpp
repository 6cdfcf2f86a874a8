// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/due_hints.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/notification_checks.hpp>
#include <cosaga/detail/notification_rows.hpp>
#include <cosaga/detail/notification_text.hpp>
#include <cosaga/detail/notified_destinations.hpp>
#include <cosaga/detail/notifier_core.hpp>
#include <cosaga/detail/running_attempts.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/notification_sink.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Works in rounds: one transaction stores what became of attempts and reads what is to be tried next.
template <store Store>
class notifier_machine final : public notifier_core<typename Store::transaction_type> {
    using transaction_type = typename Store::transaction_type;

public:
    notifier_machine(Store& s, message_limits const& limits, std::string service, std::unique_ptr<erased_sink> sink, notifier_options options)
        : store_{&s},
          environment_{&s.get_environment()},
          limits_{limits},
          service_{std::move(service)},
          sink_{std::move(sink)},
          options_{checked(std::move(options))},
          rows_{options_},
          ids_{*environment_},
          strand_{strand_of(environment_->get_executor())},
          wake_{std::make_shared<event>(strand_)},
          hints_{wake_},
          ended_pump_{strand_},
          alarm_{*environment_, strand_, wake_},
          destinations_{options_},
          attempts_{*environment_, strand_, *sink_, options_.attempt_timeout,
              {.over = [this](running_attempt& a, attempt_result r) { take_result(a, std::move(r)); },
                  .ended = [this](running_attempt const& a) { release(a); }}}
    {
    }

    std::string const& topic() const noexcept override { return rows_.topic(); }

    notifier_counters counters() const override
    {
        std::lock_guard const lock{mutex_};
        return counters_;
    }

    message_id stage(transaction_type& tx, std::string_view to, message m, notification_options const& options) override
    {
        std::string const destination{to};
        complete(m, destination, options);
        m.time = tx.now();
        auto const id = m.id;
        auto const delay = options.delay + options.schedule.value_or(options_.schedule).first;
        auto const state = rows_.add(tx, destination, std::move(m), delay, options.id.has_value());
        if (state == message_state::prepared)
            hints_.add(destination, tx.now() + delay);
        return id;
    }

    asio::awaitable<message_id> store(std::string destination, message m, notification_options options) override
    {
        message_id id;
        auto work = [&](transaction_type& tx) { id = stage(tx, destination, m, options); };
        co_await store_->transact(work);
        co_return id;
    }

    asio::awaitable<std::optional<notification>> find(message_id id) override
    {
        std::optional<notification> found;
        auto work = [&](transaction_type& tx) { found = rows_.find(tx, id); };
        co_await store_->transact(work);
        co_return found;
    }

    asio::awaitable<std::vector<notification>> list(
        std::string destination, notification_state state, std::int64_t after, std::size_t most) override
    {
        if (state == notification_state::delivered)
            throw make_error(errc::bad_argument, "notifier: delivered notifications can be found by id only");
        auto const stored = state == notification_state::pending ? message_state::prepared : message_state::dead;
        std::vector<notification> found;
        auto work = [&](transaction_type& tx) { found = rows_.list(tx, destination, stored, after, most); };
        co_await store_->transact(work);
        co_return found;
    }

    asio::awaitable<std::vector<notified_destination>> destinations() override
    {
        std::vector<notified_destination> all;
        auto work = [&](transaction_type& tx) {
            all.clear();
            for (auto& q : rows_.queues(tx)) {
                bool const disabled = rows_.is_disabled(tx, q.destination);
                all.push_back({std::move(q.destination), q.pending, q.dead, disabled});
            }
        };
        co_await store_->transact(work);
        co_return all;
    }

    asio::awaitable<bool> restart(message_id id) override
    {
        std::optional<std::string> destination;
        auto work = [&](transaction_type& tx) {
            destination = rows_.restart(tx, id);
            if (destination)
                hints_.add(*destination, tx.now());
        };
        co_await store_->transact(work);
        co_return destination.has_value();
    }

    asio::awaitable<std::size_t> restart_all(std::string destination, std::string reason_contains) override
    {
        std::vector<std::string> names;
        auto look_up = [&](transaction_type& tx) {
            names.clear();
            for (auto& q : rows_.queues(tx))
                if (q.dead > 0 && (destination.empty() || q.destination == destination))
                    names.push_back(std::move(q.destination));
        };
        co_await store_->transact(look_up);
        std::size_t all = 0;
        for (auto const& name : names) {
            std::int64_t after = 0;
            std::optional<std::size_t> left; // those that were given up when this began: they may be again, at once
            do {
                std::size_t restarted = 0;
                std::size_t seen = 0;
                auto position = after;
                auto work = [&](transaction_type& tx) {
                    restarted = 0;
                    position = after;
                    if (!left)
                        left = rows_.count_given_up(tx, name);
                    seen = rows_.restart_some(tx, name, reason_contains, position, *left, restarted);
                    hints_.add(name, tx.now());
                };
                co_await store_->transact(work);
                after = position;
                all += restarted;
                *left = seen == 0 ? 0 : *left - seen;
            } while (*left > 0);
        }
        co_return all;
    }

    asio::awaitable<bool> enable(std::string destination) override
    {
        bool enabled = false;
        auto work = [&](transaction_type& tx) {
            enabled = rows_.enable(tx, destination);
            hints_.add(destination, tx.now());
        };
        co_await store_->transact(work);
        co_return enabled;
    }

    void start() override
    {
        hints_.open();
        running_ = true;
        spawn_on(strand_, pump(), [this](std::exception_ptr e) {
            running_ = false;
            ended_pump_.notify();
            if (e)
                report("ended: " + describe(e));
        });
    }

    asio::awaitable<void> stop() override { return run_on(strand_, do_stop()); }

private:
    static constexpr std::size_t most_turns = 256;                         // in one round
    static constexpr duration grace = std::chrono::seconds{5};             // for attempts when it is stopped

    struct round {
        bool scans = false;
        std::vector<ended_attempt> ended;
        std::vector<notified_destinations::turn> turns;
        std::vector<look> looks; // of the turns

        bool empty() const noexcept { return !scans && ended.empty() && turns.empty(); }
    };

    void complete(message& m, std::string const& destination, notification_options const& options)
    {
        require_valid(destination, options, options_);
        sink_->check(destination);
        m.id = options.id ? *options.id : ids_();
        m.topic = notifications_topic;
        m.key = options.key;
        m.source = service_;
        m.headers.assign(options.headers.begin(), options.headers.end());
        if (options.schedule)
            m.headers.push_back({std::string{schedule_header}, to_text(*options.schedule)});
        check_limits(m, limits_);
    }

    void report(std::string const& what) { environment_->report("notifier " + rows_.topic() + ": " + what); }

    asio::awaitable<void> pump()
    {
        std::uint32_t failures = 0;
        while (!is_done()) {
            attempts_.end_overdue();
            round r = next_round();
            if (r.empty()) {
                arm();
                co_await wake_->wait();
                continue;
            }
            std::exception_ptr failed;
            try {
                co_await run_round(r);
                failures = 0;
            } catch (...) {
                failed = std::current_exception();
            }
            if (failed) {
                report(describe(failed));
                put_off(std::move(r), schedule{}.delay_without_end(++failures, environment_->random()));
            }
        }
    }

    bool is_done()
    {
        if (!stopping_)
            return false;
        if (environment_->steady_now() >= stop_by_)
            attempts_.abandon();
        return attempts_.empty() && ended_.empty();
    }

    round next_round()
    {
        round r;
        auto const now = environment_->steady_now();
        if (now < not_before_)
            return r;
        for (auto const& [destination, due] : hints_.take())
            destinations_.note(destination, due);
        r.ended.swap(ended_);
        if (stopping_)
            return r;
        r.scans = now >= scan_at_;
        r.turns = destinations_.take_turns(environment_->now(), now, most_turns);
        for (auto const& t : r.turns)
            r.looks.push_back({.destination = t.destination->name, .busy = &t.destination->busy, .room = t.room});
        return r;
    }

    asio::awaitable<void> run_round(round& r)
    {
        notification_counts done;
        std::vector<typename notification_rows<transaction_type>::found_queue> queues;
        auto const now = environment_->now();
        auto work = [&](transaction_type& tx) {
            done = {};
            for (auto& a : r.ended)
                rows_.record(tx, a, done);
            rows_.forget(tx, done.delivered);
            for (auto& l : r.looks)
                rows_.take(tx, l, now, done);
            if (r.scans)
                queues = rows_.queues(tx);
        };
        co_await store_->transact(work);
        auto launched = finish(r);
        if (r.scans)
            compare(queues);
        count(r, done);
        for (auto& a : launched)
            attempts_.launch(std::move(a));
    }

    // The rows that are to be tried are busy from now on.
    std::vector<std::shared_ptr<running_attempt>> finish(round& r)
    {
        for (auto const& a : r.ended)
            destinations_.find(a.destination)->busy.erase(a.row.seq);
        std::vector<std::shared_ptr<running_attempt>> begun;
        for (std::size_t i = 0; i < r.turns.size(); ++i) {
            auto& d = *r.turns[i].destination;
            d.known = r.looks[i].pending;
            for (auto& row : r.looks[i].rows) {
                auto a = std::make_shared<running_attempt>();
                a->trusted = destinations_.begin(d, row.seq);
                a->destination = d.name;
                a->row = std::move(row);
                begun.push_back(std::move(a));
            }
            destinations_.end_turn(d, r.looks[i].next);
        }
        for (auto const& a : r.ended)
            destinations_.recorded(a.destination, a.due);
        return begun;
    }

    // Queues in which there is more or less than was seen there, and redriven ones.
    void compare(std::vector<typename notification_rows<transaction_type>::found_queue> const& queues)
    {
        scan_at_ = environment_->steady_now() + options_.look_interval;
        for (auto const& q : queues) {
            auto const* const d = destinations_.find(q.destination);
            bool const changed = d ? d->busy.empty() && d->known != q.pending : q.pending > 0;
            if (changed || q.redriven)
                destinations_.note(q.destination, time_point{});
        }
    }

    void count(round const& r, notification_counts const& done)
    {
        std::lock_guard const lock{mutex_};
        counters_.attempts += r.ended.size();
        for (auto const& a : r.ended)
            ++(a.what.outcome == attempt_outcome::delivered ? counters_.delivered : counters_.failed);
        counters_.given_up += done.given_up;
        counters_.disabled += done.disabled;
        counters_.in_flight = destinations_.running();
        counters_.held_back = destinations_.paused();
    }

    // What the store could not take is tried again.
    void put_off(round r, duration delay)
    {
        for (auto const& t : r.turns)
            destinations_.end_turn(*t.destination, time_point{});
        if (stopping_)
            return; // those attempts are made again
        not_before_ = environment_->steady_now() + delay;
        ended_.insert(ended_.begin(), std::make_move_iterator(r.ended.begin()), std::make_move_iterator(r.ended.end()));
    }

    void release(running_attempt const& a)
    {
        destinations_.release(a.trusted);
        wake_->notify();
    }

    void take_result(running_attempt& a, attempt_result result)
    {
        ended_attempt e;
        auto const now = environment_->steady_now();
        bool const delivered = result.outcome == attempt_outcome::delivered;
        e.destination = a.destination;
        e.row = std::move(a.row);
        e.what = {.time = a.began, .latency = now - a.since, .outcome = result.outcome, .status = result.status, .reason = std::move(result.reason)};
        e.at = environment_->now();
        e.random = environment_->random();
        if (result.outcome == attempt_outcome::failed && result.retry_after)
            e.retry_after = std::clamp(*result.retry_after, duration::zero(), options_.retry_after_cap);
        destinations_.end(*destinations_.find(a.destination), delivered, e.retry_after.value_or(duration::zero()), now);
        ended_.push_back(std::move(e));
        wake_->notify();
    }

    void arm()
    {
        auto const now = environment_->steady_now();
        auto when = stopping_ ? stop_by_ : std::min(scan_at_, destinations_.next(environment_->now(), now));
        alarm_.set(std::min(std::max(when, not_before_), attempts_.next()));
    }

    asio::awaitable<void> do_stop()
    {
        hints_.close();
        stopping_ = true;
        stop_by_ = environment_->steady_now() + grace;
        not_before_ = steady_time::min();
        wake_->notify();
        while (running_)
            co_await ended_pump_.wait();
        attempts_.abandon();
        alarm_.cancel();
    }

    Store* store_;
    environment* environment_;
    message_limits limits_;
    std::string service_;
    std::unique_ptr<erased_sink> sink_;
    notifier_options options_;
    notification_rows<transaction_type> rows_;
    message_id_generator ids_;
    asio::any_io_executor strand_;
    std::shared_ptr<event> wake_;
    due_hints hints_;
    event ended_pump_;
    alarm alarm_;
    notified_destinations destinations_;
    running_attempts attempts_;
    std::vector<ended_attempt> ended_; // and not recorded
    steady_time scan_at_ = steady_time::min();
    steady_time not_before_ = steady_time::min();
    steady_time stop_by_ = steady_time::max();
    bool running_ = false;
    bool stopping_ = false;
    mutable std::mutex mutex_; // guards what follows
    notifier_counters counters_;
};

} // namespace cosaga::detail
