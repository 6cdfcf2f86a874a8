// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/completion.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/sendings.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What a producer sends to its coordinators: half messages once each, with a time limit, and outcomes until they are taken.
///
/// Outcomes that come together travel in one message; if the coordinator refuses that, each is sent by itself to learn which it was.
/// A coordinator that does not take a half message in time is left alone for a while. What was on its way to it is forgotten,
/// so that nothing piles up for one that is away: half messages fail, outcomes are sent again.
/// @par Thread safety
/// any thread; `stop` once, on the strand.
template <transport Transport>
class coordinator_links {
public:
    coordinator_links(Transport& t, producer_options const& options, asio::any_io_executor strand, message_id_generator& ids)
        : transport_{&t},
          environment_{&t.get_environment()},
          service_{options.service},
          names_{options.coordinators},
          ids_{&ids},
          strand_{std::move(strand)},
          tick_{std::make_shared<event>(strand_)},
          ended_{strand_},
          alarm_{*environment_, strand_, tick_}
    {
        for (auto const& name : names_)
            links_.push_back({std::make_shared<publisher_type>(t.open_publisher(transactions_topic, name))});
    }
    coordinator_links(coordinator_links const&) = delete;
    coordinator_links& operator=(coordinator_links const&) = delete;
    ~coordinator_links()
    {
        // Who waits would keep this, and this who waits.
        pending_list resumed;
        give_up_all(resumed);
        try {
            completions::post(std::move(resumed));
        } catch (...) { // no memory: they wait on
        }
    }

    std::string const& name(std::size_t link) const { return names_[link]; }
    std::optional<std::size_t> find(std::string_view name) const
    {
        auto const found = std::find(names_.begin(), names_.end(), name);
        return found == names_.end() ? std::nullopt : std::optional<std::size_t>{static_cast<std::size_t>(found - names_.begin())};
    }

    void start()
    {
        std::lock_guard const lock{mutex_};
        run_in_background(keep_time());
        for (auto const& l : links_)
            run_in_background(drain(l.publisher));
        started_ = true;
    }

    /// The coordinators in the order in which they should be tried.
    std::vector<std::size_t> by_preference()
    {
        std::lock_guard const lock{mutex_};
        auto const now = environment_->steady_now();
        std::vector<std::size_t> order;
        for (std::size_t i = 0; i < links_.size(); ++i)
            order.push_back(i);
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return std::max(links_[a].avoided_until, now) < std::max(links_[b].avoided_until, now);
        });
        return order;
    }

    /// An operation that sends a half message, and completes when it was taken or refused, or not within `timeout`.
    /// @param to what became of it; must outlive the operation.
    /// @par Errors
    /// `errc::transport_closed`
    /// @par Cancellation
    /// throws `operation_aborted`; the message may be stored all the same.
    auto send_half(std::size_t link, message m, duration timeout, half_answer& to)
    {
        return asio::async_initiate<asio::deferred_t const, void(std::exception_ptr)>(
            initiate_half<coordinator_links>{this, link, std::move(m), timeout, &to}, asio::deferred);
    }

    /// Sends an outcome until the coordinator has taken or refused it, and resumes then or after `timeout`.
    /// @par Errors
    /// `errc::transaction_conflict` if it was refused.
    asio::awaitable<void> send_outcome(std::size_t link, told_outcome const& o, duration timeout)
    {
        return asio::async_initiate<asio::use_awaitable_t<> const, void(std::exception_ptr)>(
            initiate_outcome<coordinator_links>{this, link, o, timeout}, asio::use_awaitable);
    }

    /// Sends an outcome until the coordinator has taken or refused it; one that is not definite only once.
    void tell(std::size_t link, told_outcome const& o)
    {
        std::lock_guard const lock{mutex_};
        if (is_running())
            collect(link, o, duration::max());
    }

    /// @throws system_error `errc::transport_closed`
    void require_running()
    {
        std::lock_guard const lock{mutex_};
        if (!takes_halves())
            throw stopped();
    }

    /// Half messages that were not taken yet are given up, and no more are sent. Outcomes still are.
    void end_halves()
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            draining_ = true;
            sent_.give_up_halves(resumed);
        }
        completions::post(std::move(resumed));
    }

    asio::awaitable<void> stop()
    {
        close_all();
        for (;;) {
            bool const done = is_done();
            if (done)
                break;
            co_await ended_.wait();
        }
        alarm_.cancel();
    }

    // for those who initiate

    void start_half(std::size_t link, message m, duration timeout, half_answer* to, pending& waiter)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            if (takes_halves()) {
                sending s;
                s.link = link;
                s.waiter = &waiter;
                s.answer = to;
                s.deadline = environment_->steady_now() + timeout;
                plan(s.deadline);
                publish(std::move(s), std::move(m), resumed);
            } else {
                waiter.error = std::make_exception_ptr(stopped());
                resumed.push_back(waiter);
            }
        }
        completions::post(std::move(resumed));
    }

    void start_outcome(std::size_t link, told_outcome const& o, duration timeout)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            if (is_running())
                collect(link, o, timeout);
            else
                resumed.push_back(*o.waiter);
        }
        completions::post(std::move(resumed));
    }

    void cancel_half(pending& waiter)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            sent_.cancel(waiter, resumed);
        }
        completions::post(std::move(resumed));
    }

    /// Null when this is gone.
    std::weak_ptr<coordinator_links*> weak_self() const noexcept { return self_; }

private:
    using publisher_type = typename Transport::publisher_type;

    static constexpr duration avoided_for = std::chrono::seconds{5};

    struct coordinator {
        std::shared_ptr<publisher_type> publisher;
        steady_time avoided_until{};
        std::vector<told_outcome> collected{}; // to be sent together
        steady_time deadline = steady_time::max(); // of who waits for them
    };

    // The mutex is held.
    bool is_running() const noexcept { return started_ && !stopping_; }
    bool takes_halves() const noexcept { return is_running() && !draining_; }

    static boost::system::system_error stopped() { return make_error(errc::transport_closed, "the producer is not running"); }

    // The mutex is held. What comes before the strand has its turn goes together.
    void collect(std::size_t link, told_outcome const& t, duration timeout)
    {
        auto& l = links_[link];
        l.collected.push_back(t);
        if (timeout != duration::max())
            l.deadline = std::min(l.deadline, environment_->steady_now() + timeout);
        if (l.collected.size() > 1)
            return;
        ++running_;
        post_to(strand_, [this, link] {
            send_collected(link);
            end_one(nullptr);
        });
    }

    void send_collected(std::size_t link)
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            auto& l = links_[link];
            auto all = std::exchange(l.collected, {});
            auto const deadline = std::exchange(l.deadline, steady_time::max());
            for (auto const what : {transaction_outcome::commit, transaction_outcome::rollback, transaction_outcome::ongoing, transaction_outcome::unknown}) {
                auto const others = std::stable_partition(all.begin(), all.end(), [&](auto const& t) { return t.what == what; });
                for (auto at = all.begin(); at != others;) {
                    auto const end = at + std::min(others - at, static_cast<std::ptrdiff_t>(most_outcomes));
                    sending s;
                    s.link = link;
                    s.deadline = deadline;
                    s.told.assign(at, end);
                    publish(std::move(s), resumed);
                    at = end;
                }
                all.erase(all.begin(), others);
            }
            plan(deadline);
        }
        completions::post(std::move(resumed));
    }

    // The mutex is held.
    void publish(sending s, pending_list& resumed)
    {
        auto m = make_control((*ids_)(), transactions_topic, type_of(s.told.front().what), s.told.front().about, service_, environment_->now());
        for (std::size_t i = 1; i < s.told.size(); ++i)
            (m.payload += ' ') += s.told[i].about.to_string();
        publish(std::move(s), std::move(m), resumed);
    }

    // The mutex is held.
    void publish(sending s, message m, pending_list& resumed)
    {
        auto const link = s.link;
        auto const tag = sent_.add(std::move(s), resumed);
        std::vector<envelope> batch;
        batch.push_back({tag, std::move(m)});
        std::string failed;
        try {
            links_[link].publisher->publish(std::move(batch));
            return;
        } catch (...) {
            failed = describe(std::current_exception());
        }
        settlement settled;
        settled.tag = tag;
        settled.result = verdict::failed;
        settled.reason = std::move(failed);
        take(std::move(settled), resumed);
    }

    // The mutex is held.
    void plan(steady_time when)
    {
        if (when >= next_)
            return;
        next_ = when;
        tick_->notify();
    }

    // The mutex is held, so that nothing may begin at once.
    void run_in_background(asio::awaitable<void> body)
    {
        ++running_;
        post_to(strand_, [this, b = std::move(body)]() mutable {
            spawn_on(strand_, std::move(b), [this](std::exception_ptr e) { end_one(e); });
        });
    }

    asio::awaitable<void> drain(std::shared_ptr<publisher_type> from)
    {
        for (;;) {
            std::vector<settlement> settled;
            try {
                settled = co_await from->settled();
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            pending_list resumed;
            {
                std::lock_guard const lock{mutex_};
                for (auto& s : settled)
                    take(std::move(s), resumed);
            }
            completions::post(std::move(resumed));
        }
    }

    void take(settlement settled, pending_list& resumed)
    {
        auto found = sent_.take(settled.tag);
        if (!found)
            return;
        auto& s = *found;
        if (settled.result == verdict::rejected && s.told.size() > 1) {
            send_apart(s, resumed);
        } else if (settled.result != verdict::failed) {
            finish(s, settled.result, std::move(settled.reason));
            s.resume(resumed);
        } else if (s.is_repeated()) {
            s.again_at = environment_->steady_now() + schedule{}.delay_without_end(++s.failures, environment_->random());
            plan(s.again_at);
            sent_.add(std::move(s), resumed);
        } else {
            if (s.waiter)
                s.answer->why = std::move(settled.reason);
            s.resume(resumed);
        }
    }

    // Which of them was refused, and why? The others are taken once more.
    void send_apart(sending& s, pending_list& resumed)
    {
        for (auto const& t : s.told) {
            sending one;
            one.link = s.link;
            one.told = {t};
            one.deadline = s.deadline;
            publish(std::move(one), resumed);
        }
    }

    void finish(sending& s, verdict result, std::string why)
    {
        if (s.is_half()) {
            if (s.waiter)
                *s.answer = {result, std::move(why)};
        } else if (result == verdict::rejected) {
            if (auto* const waiter = s.told.front().waiter)
                waiter->error = std::make_exception_ptr(make_error(errc::transaction_conflict, why));
            else
                environment_->report("coordinator " + names_[s.link] + " refused an outcome: " + why);
        }
    }

    asio::awaitable<void> keep_time()
    {
        for (;;) {
            auto const next = look_at_clock();
            if (!next)
                co_return;
            if (*next != steady_time::max())
                alarm_.set(*next);
            co_await tick_->wait();
        }
    }

    // @return when to look again; nothing when it is over.
    std::optional<steady_time> look_at_clock()
    {
        pending_list resumed;
        auto const next = look_at_clock(resumed);
        completions::post(std::move(resumed));
        return next;
    }

    std::optional<steady_time> look_at_clock(pending_list& resumed)
    {
        std::lock_guard const lock{mutex_};
        if (stopping_)
            return std::nullopt;
        auto const now = environment_->steady_now();
        auto due = sent_.take_due(now, resumed);
        next_ = due.next;
        for (auto& s : due.again) {
            next_ = std::min(next_, s.deadline);
            publish(std::move(s), resumed);
        }
        for (auto const i : due.silent)
            avoid(i, now, resumed);
        return next_;
    }

    void avoid(std::size_t i, steady_time now, pending_list& resumed)
    {
        auto& l = links_[i];
        if (l.avoided_until > now)
            return;
        l.avoided_until = now + avoided_for;
        l.publisher->close();
        l.publisher = std::make_shared<publisher_type>(transport_->open_publisher(transactions_topic, names_[i]));
        run_in_background(drain(l.publisher));
        for (auto& s : sent_.take_sent(i))
            if (s.is_repeated())
                publish(std::move(s), resumed);
            else
                s.resume(resumed);
    }

    void close_all()
    {
        pending_list resumed;
        {
            std::lock_guard const lock{mutex_};
            stopping_ = true;
            for (auto& l : links_)
                l.publisher->close();
            give_up_all(resumed);
            tick_->notify();
        }
        completions::post(std::move(resumed));
    }

    void give_up_all(pending_list& resumed) noexcept
    {
        sent_.give_up_all(resumed);
        for (auto& l : links_)
            for (auto const& t : std::exchange(l.collected, {}))
                if (t.waiter)
                    resumed.push_back(*t.waiter);
    }

    bool is_done()
    {
        std::lock_guard const lock{mutex_};
        return running_ == 0;
    }

    void end_one(std::exception_ptr e)
    {
        {
            std::lock_guard const lock{mutex_};
            --running_;
        }
        ended_.notify();
        if (e)
            environment_->report("sending to coordinators ended: " + describe(e));
    }

    Transport* transport_;
    environment* environment_;
    std::string service_;
    std::vector<std::string> names_;
    message_id_generator* ids_;
    asio::any_io_executor strand_;
    std::shared_ptr<event> tick_;
    event ended_;
    alarm alarm_;
    std::mutex mutex_; // guards what follows
    std::vector<coordinator> links_;
    sendings sent_;
    steady_time next_ = steady_time::max();
    int running_ = 0;
    bool started_ = false;
    bool draining_ = false;
    bool stopping_ = false;
    std::shared_ptr<coordinator_links*> const self_ = std::make_shared<coordinator_links*>(this); // for late cancellations
};

} // namespace cosaga::detail
