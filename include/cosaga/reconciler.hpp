// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/comparison.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/mends.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/reconciliation_answerer.hpp>
#include <cosaga/reconciler_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cosaga {

/// Compares the messages that a node has sent to a participant with those that the participant has applied, again and again, and mends what
/// differs.
///
/// @code
/// cosaga::node node{store, transport, {.service = "shop", .ledgers = {{.topic = "orders"}}, .reply_topic = "replies"}};
/// cosaga::reconciler orders{node, {.topic = "orders", .participant = "warehouse", .requests = "orders.reconcile"}};
/// orders.redrive<order>([](auto& tx, cosaga::ledger_record const& r) { return find_order(tx, r.key); });
/// orders.park(cosaga::difference_kind::digest_differs);
/// node.attach(orders);
/// co_await node.start();                       // from now on every five minutes
/// auto const report = co_await orders.run();   // and once more at once
/// @endcode
/// The participant has a `reconciliation_answerer`. A run of equal ledgers is one request, whatever their size. What is younger than the grace
/// time of either side is not compared, and what is still in the outbox is pending, not different.
///
/// A mend is done in a local transaction and takes the way of any message. So it may be done twice, or beside ordinary traffic: the
/// participant drops what it has. What no policy was given for is reported only.
/// @par Thread safety
/// policies before `start`; `run` and `counters` from any number of coroutines on any threads; `start` and `stop` once each.
template <class Node>
class reconciler final : public component {
public:
    using transaction = typename Node::transaction;

    /// @param n outlives it; has a `reply_topic`, and a ledger of the topic.
    /// @throws system_error `errc::bad_configuration`
    reconciler(Node& n, reconciler_options options)
        : node_{&n},
          environment_{&n.get_store().get_environment()},
          options_{checked(std::move(options))},
          mends_{n.get_outbox().service(), options_.topic, options_.participant},
          strand_{detail::strand_of(environment_->get_executor())},
          wake_{std::make_shared<detail::event>(strand_)},
          ended_{strand_},
          alarm_{*environment_, strand_, wake_}
    {
    }

    /// Sends a message again that the participant lacks. One that is parked in the outbox is redriven as it is.
    /// @param rebuild `std::optional<Body>(transaction&, ledger_record const&)`: the body from the business tables, or nothing if it is not
    /// to be sent any more.
    template <class Body, class Rebuild>
    void redrive(Rebuild rebuild)
    {
        call(difference_kind::missing_at_participant, again<Body>(std::move(rebuild), detail::mend_missing));
    }

    /// Sends a message again of which the participant has other fields, and asks it to apply it once more over what it has: its handler
    /// must be able to.
    /// @param rebuild as for `redrive`.
    template <class Body, class Rebuild>
    void ask_to_apply(Rebuild rebuild)
    {
        call(difference_kind::digest_differs, again<Body>(std::move(rebuild), detail::mend_differs));
    }

    /// Parks differences of that kind for people: as dead letters of the topic `cosaga.reconciliation.<topic>`, one for each message,
    /// with both sides in their payload. To be purged when they are settled; nobody sends them.
    void park(difference_kind kind)
    {
        call(kind, [this](transaction& tx, ledger_difference const& d) { mends_.park(tx, d); });
    }

    /// Calls `f(transaction&, ledger_difference const&)` for each difference of that kind, in a local transaction that can send. If it throws,
    /// its changes are undone, and it is called again by the next run.
    void call(difference_kind kind, std::function<void(transaction&, ledger_difference const&)> f)
    {
        policies_[static_cast<std::size_t>(kind)] = std::move(f);
    }

    void start() override
    {
        running_ = true;
        detail::spawn_on(strand_, keep_running(), [this](std::exception_ptr) {
            running_ = false;
            ended_.notify();
        });
    }

    /// Ends after the request that is under way.
    asio::awaitable<void> stop() override { return detail::run_on(strand_, do_stop()); }

    /// Compares now, and mends what differs.
    /// @par Errors
    /// @li `errc::timed_out`, `errc::no_route` - the participant cannot be asked; the next run goes on where this one stood.
    /// @li `errc::request_refused` - it has no such ledger, or another version of the protocol.
    /// @li `errc::malformed_data`, `errc::limit_exceeded` - it does not keep to the protocol.
    /// @par Cancellation
    /// between requests; what was mended stays so.
    asio::awaitable<reconciliation_report> run()
    {
        reconciliation_report report;
        std::exception_ptr failed;
        try {
            co_await compare(report);
        } catch (...) {
            failed = std::current_exception();
        }
        count(report, failed != nullptr);
        if (failed)
            std::rethrow_exception(failed);
        co_return report;
    }

    reconciliation_counters counters() const
    {
        std::lock_guard const lock{mutex_};
        return counters_;
    }

private:
    using store_transaction = typename Node::outbox_type::store_type::transaction_type;
    using view = detail::stored_ledger_view<store_transaction>;

    static constexpr std::size_t mended_at_once = 64;

    static reconciler_options checked(reconciler_options o)
    {
        if (o.topic.empty() || o.participant.empty() || o.requests.empty() || o.every <= duration::zero() || o.most_differences == 0)
            throw make_error(errc::bad_configuration,
                "reconciler: needs a topic, a participant, a topic for requests, a time between runs and differences in a run");
        return o;
    }

    template <class Body, class Rebuild>
    auto again(Rebuild rebuild, std::string_view kind)
    {
        return [this, rebuild = std::move(rebuild), kind](transaction& tx, ledger_difference const& d) mutable {
            if (mends_.revive(tx, d))
                return;
            std::optional<Body> const body = rebuild(tx, *d.here);
            if (!body)
                return;
            using codec_type = typename Node::outbox_type::codec_type;
            auto m = mends_.message_of(*d.here, kind);
            m.type = message_type_of<Body>();
            m.content_type = codec_type::content_type;
            m.payload = codec_type::encode(*body);
            mends_.send(tx, std::move(m));
        };
    }

    asio::awaitable<void> compare(reconciliation_report& report)
    {
        auto const ledger = outbox_ledger(options_.topic);
        auto const resumed = resume_point();
        ledger_range range;
        auto find_range = [&](store_transaction& tx) {
            range.from = {std::max(tx.open_ledger(ledger), tx.now() - options_.retention), {}};
            range.to = {std::max(tx.now() - options_.grace, range.from.time), {}};
        };
        co_await node_->get_store().transact(find_range);
        if (resumed)
            range.from = std::clamp(*resumed, range.from, range.to);
        detail::comparison steps{range, environment_->random(), options_.most_differences};
        reconciliation_request request{options_.topic, options_.participant, node_->get_outbox().service(), {}};
        std::vector<ledger_difference> found;
        auto first_difference = time_point::max();
        for (std::optional<std::string> next = steps.open(); next && !stopping();) {
            request.comparison = detail::bytes_of(*next);
            auto const answer = co_await node_->template request<reconciliation_answer>(options_.requests, request, options_.timeout);
            auto step = [&](store_transaction& tx) {
                view own{tx, ledger};
                next = steps.next(own, detail::text_of(answer.comparison), found);
            };
            co_await node_->get_store().transact(step);
            for (auto const& d : found)
                first_difference = std::min(first_difference, d.position().time);
            co_await mend(found, report);
            set_resume_point(steps.finished() ? std::nullopt : std::optional{steps.reached()});
            if (next && options_.pause > duration::zero())
                co_await environment_->sleep_for(options_.pause);
        }
        auto const& progress = steps.so_far();
        report.equal = progress.equal && !resumed;
        report.complete = steps.finished() && !resumed;
        report.from = progress.compared.from.time;
        report.until = progress.compared.to.time;
        if (!resumed && progress.round_trips > 0 && steps.reached().time > report.from)
            report.equal_until = std::min(first_difference, steps.reached().time);
        report.checked = progress.records;
        report.round_trips = progress.round_trips;
        report.bytes = progress.bytes_sent + progress.bytes_received;
    }

    asio::awaitable<void> mend(std::vector<ledger_difference>& found, reconciliation_report& report)
    {
        for (std::size_t at = 0; at < found.size(); at += mended_at_once) {
            std::span<ledger_difference const> const some{&found[at], std::min(mended_at_once, found.size() - at)};
            reconciliation_report done;
            std::string problem;
            auto work = [&](transaction& tx) {
                done = {};
                auto const waiting = mends_.waiting(tx, some);
                for (std::size_t n = 0; n < some.size(); ++n)
                    mend(tx, some[n], waiting[n], done, problem);
            };
            co_await node_->transact(work);
            if (!problem.empty())
                environment_->report("reconciler of " + options_.topic + " with " + options_.participant + ": " + problem);
            add(done, report);
        }
        found.clear();
    }

    void mend(transaction& tx, ledger_difference const& d, bool waiting, reconciliation_report& done, std::string& problem)
    {
        if (waiting) {
            ++done.pending;
            return;
        }
        ++done.differing;
        if (done.listed.size() < options_.listed)
            done.listed.push_back(d);
        auto& policy = policies_[static_cast<std::size_t>(d.kind())];
        if (!policy)
            return;
        auto const failed = detail::try_nested(tx, [&] { policy(tx, d); });
        if (!failed) {
            ++done.mended;
            return;
        }
        ++done.not_mended;
        problem = "cannot mend " + d.id().to_string() + ": " + detail::describe(failed);
    }

    void add(reconciliation_report& done, reconciliation_report& to) const
    {
        to.pending += done.pending;
        to.differing += done.differing;
        to.mended += done.mended;
        to.not_mended += done.not_mended;
        for (auto& d : done.listed)
            if (to.listed.size() < options_.listed)
                to.listed.push_back(std::move(d));
    }

    void count(reconciliation_report const& report, bool failed)
    {
        std::lock_guard const lock{mutex_};
        auto& c = counters_;
        ++c.runs;
        c.failed += failed ? 1 : 0;
        c.checked += report.checked;
        c.differing += report.differing;
        c.mended += report.mended;
        c.not_mended += report.not_mended;
        if (!failed && report.complete)
            c.last_complete = environment_->now();
        if (report.equal_until)
            c.equal_until = report.equal_until;
    }

    asio::awaitable<void> keep_running()
    {
        while (!stopping()) {
            bool more = false;
            std::string problem;
            try {
                auto const report = co_await run();
                more = resume_point().has_value();
            } catch (std::exception const& e) {
                problem = e.what();
            }
            if (!problem.empty() && !stopping())
                environment_->report("reconciler of " + options_.topic + " with " + options_.participant + ": " + problem);
            auto const until = environment_->steady_now() + (more ? options_.pause : options_.every);
            while (!stopping() && environment_->steady_now() < until) {
                alarm_.set(until);
                co_await wake_->wait();
            }
        }
    }

    asio::awaitable<void> do_stop()
    {
        {
            std::lock_guard const lock{mutex_};
            stopping_ = true;
        }
        wake_->notify();
        while (running_)
            co_await ended_.wait();
        alarm_.cancel();
    }

    bool stopping() const
    {
        std::lock_guard const lock{mutex_};
        return stopping_;
    }
    std::optional<ledger_position> resume_point() const
    {
        std::lock_guard const lock{mutex_};
        return resume_;
    }
    void set_resume_point(std::optional<ledger_position> p)
    {
        std::lock_guard const lock{mutex_};
        resume_ = p;
    }

    Node* node_;
    environment* environment_;
    reconciler_options options_;
    detail::mends mends_;
    std::array<std::function<void(transaction&, ledger_difference const&)>, 3> policies_; // by kind; null: report
    asio::any_io_executor strand_;
    std::shared_ptr<detail::event> wake_;
    detail::event ended_;
    detail::alarm alarm_;
    bool running_ = false; // on the strand
    mutable std::mutex mutex_; // guards what follows
    bool stopping_ = false;
    reconciliation_counters counters_;
    std::optional<ledger_position> resume_; // where an unfinished run stood
};

} // namespace cosaga
