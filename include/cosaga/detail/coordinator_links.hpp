// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
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
#include <boost/asio/awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What a producer sends to its coordinators: half messages once each, with a time limit, and outcomes until they are taken.
///
/// A coordinator that does not take a half message in time is left alone for a while. What was on its way to it is forgotten,
/// so that nothing piles up for one that is away: half messages fail, outcomes are sent again.
/// @par Thread safety
/// any thread; `stop` once, on the strand.
template <transport Transport>
class coordinator_links {
public:
    struct outcome {
        message_id about;
        transaction_outcome what;
    };

    /// Something on its way, and what became of it.
    class sending {
    public:
        explicit sending(asio::any_io_executor executor) : done{std::move(executor)} {}

        event done; ///< notified once: it has a result, or there was none in time
        std::optional<verdict> result; ///< not `failed`
        std::string why;

    private:
        friend coordinator_links;
        std::size_t link = 0;
        std::optional<outcome> told; // an outcome, not a half message
        std::uint32_t failures = 0;
        steady_time deadline = steady_time::max(); // of who waits
        steady_time again_at = steady_time::max();
    };
    using sending_ptr = std::shared_ptr<sending>;

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
        try {
            for (auto const& [tag, s] : pending_)
                s->done.notify(); // who waits for it would keep it, and it who waits
        } catch (...) { // no memory: they wait on
        }
    }

    std::size_t size() const noexcept { return links_.size(); }
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

    /// Sends a half message; there is no result if it was not taken within `timeout`.
    /// @throws system_error `errc::transport_closed`
    sending_ptr send_half(std::size_t link, message m, duration timeout)
    {
        auto s = std::make_shared<sending>(environment_->get_executor());
        s->link = link;
        s->deadline = environment_->steady_now() + timeout;
        if (!add(s, std::move(m), &coordinator_links::takes_halves))
            throw_stopped();
        return s;
    }

    /// Sends an outcome until the coordinator has taken or refused it; one that is not definite only once. There is no result if it was
    /// stopped before.
    /// @param timeout after which who waits is told that there is no result yet; zero if nobody waits.
    sending_ptr send_outcome(std::size_t link, outcome const& o, duration timeout)
    {
        auto s = std::make_shared<sending>(environment_->get_executor());
        s->link = link;
        s->told = o;
        if (timeout > duration::zero())
            s->deadline = environment_->steady_now() + timeout;
        if (!add(s, compose(o), &coordinator_links::is_running))
            s->done.notify();
        return s;
    }

    /// @throws system_error `errc::transport_closed`
    void require_running()
    {
        std::lock_guard const lock{mutex_};
        if (!takes_halves())
            throw_stopped();
    }

    /// Half messages that were not taken yet are given up, and no more are sent. Outcomes still are.
    void end_halves()
    {
        std::lock_guard const lock{mutex_};
        draining_ = true;
        std::erase_if(pending_, [](auto const& p) {
            auto& s = *p.second;
            if (s.told || s.deadline == steady_time::max())
                return false;
            s.done.notify();
            return true;
        });
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

private:
    using publisher_type = typename Transport::publisher_type;

    static constexpr duration avoided_for = std::chrono::seconds{5};
    // Beyond that the oldest outcomes are forgotten: their half messages are decided by check-backs.
    static constexpr std::size_t most_pending = 65'536;

    message compose(outcome const& o)
    {
        return make_control((*ids_)(), transactions_topic, type_of(o.what), o.about, service_, environment_->now());
    }
    static bool is_repeated(sending const& s) noexcept
    {
        return s.told && (s.told->what == transaction_outcome::commit || s.told->what == transaction_outcome::rollback);
    }

    struct coordinator {
        std::shared_ptr<publisher_type> publisher;
        steady_time avoided_until{};
    };

    // The mutex is held.
    bool is_running() const noexcept { return started_ && !stopping_; }
    bool takes_halves() const noexcept { return is_running() && !draining_; }

    [[noreturn]] static void throw_stopped() { throw make_error(errc::transport_closed, "the producer is not running"); }

    // @return false if it is not allowed any more.
    bool add(sending_ptr const& s, message m, bool (coordinator_links::*allowed)() const noexcept)
    {
        std::lock_guard const lock{mutex_};
        if (!(this->*allowed)())
            return false;
        if (pending_.size() >= most_pending)
            pending_.extract(pending_.begin()).mapped()->done.notify(); // somebody may wait for it
        publish(s, std::move(m));
        plan(std::min(s->deadline, s->again_at));
        return true;
    }

    // The mutex is held.
    void publish(sending_ptr const& s, message m)
    {
        auto const tag = ++last_tag_;
        pending_.emplace(tag, s);
        std::vector<envelope> batch;
        batch.push_back({tag, std::move(m)});
        links_[s->link].publisher->publish(std::move(batch));
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
            std::lock_guard const lock{mutex_};
            for (auto& s : settled)
                take(std::move(s));
        }
    }

    void take(settlement s)
    {
        auto const found = pending_.extract(s.tag);
        if (!found)
            return;
        auto const& what = found.mapped();
        if (s.result != verdict::failed) {
            finish(*what, s.result, std::move(s.reason));
        } else if (is_repeated(*what)) {
            what->again_at = environment_->steady_now() + schedule{}.delay_without_end(++what->failures, environment_->random());
            plan(what->again_at);
            pending_.emplace(++last_tag_, what);
        } else {
            what->why = std::move(s.reason);
            what->done.notify();
        }
    }

    void finish(sending& s, verdict result, std::string why)
    {
        bool const waited_for = s.deadline != steady_time::max();
        if (!waited_for && result == verdict::rejected)
            environment_->report("coordinator " + names_[s.link] + " refused an outcome: " + why);
        s.result = result;
        s.why = std::move(why);
        s.done.notify();
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
        std::lock_guard const lock{mutex_};
        if (stopping_)
            return std::nullopt;
        auto const now = environment_->steady_now();
        next_ = steady_time::max();
        std::vector<std::size_t> silent;
        for (auto at = pending_.begin(); at != pending_.end();) {
            auto const s = at->second;
            if (s->deadline <= now) {
                s->deadline = steady_time::max();
                s->done.notify();
                if (!is_repeated(*s)) {
                    silent.push_back(s->link);
                    at = pending_.erase(at);
                    continue;
                }
            }
            if (s->again_at <= now) {
                s->again_at = steady_time::max();
                at = pending_.erase(at);
                publish(s, compose(*s->told));
                continue;
            }
            next_ = std::min({next_, s->deadline, s->again_at});
            ++at;
        }
        for (auto const i : silent)
            avoid(i, now);
        return next_;
    }

    void avoid(std::size_t i, steady_time now)
    {
        auto& l = links_[i];
        if (l.avoided_until > now)
            return;
        l.avoided_until = now + avoided_for;
        l.publisher->close();
        l.publisher = std::make_shared<publisher_type>(transport_->open_publisher(transactions_topic, names_[i]));
        run_in_background(drain(l.publisher));
        auto const before = std::exchange(pending_, {});
        for (auto const& [tag, s] : before) {
            if (s->link != i || s->again_at != steady_time::max())
                pending_.emplace(tag, s);
            else if (is_repeated(*s))
                publish(s, compose(*s->told));
            else
                s->done.notify();
        }
    }

    void close_all()
    {
        std::lock_guard const lock{mutex_};
        stopping_ = true;
        for (auto& l : links_)
            l.publisher->close();
        for (auto const& [tag, s] : pending_)
            s->done.notify();
        pending_.clear();
        tick_->notify();
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
    std::map<std::uint64_t, sending_ptr> pending_; // by tag
    std::uint64_t last_tag_ = 0;
    steady_time next_ = steady_time::max();
    int running_ = 0;
    bool started_ = false;
    bool draining_ = false;
    bool stopping_ = false;
};

} // namespace cosaga::detail
