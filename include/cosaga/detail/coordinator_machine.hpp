// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/check_back.hpp>
#include <cosaga/detail/coordinator_core.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/half_messages.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Receives half messages and outcomes in batches, each applied in one transaction, and keeps a `check_back` for each service.
template <store Store, transport Transport>
class coordinator_machine final : public coordinator_core {
    using transaction_type = typename Store::transaction_type;

public:
    coordinator_machine(Store& s, Transport& t, outbox_core<transaction_type>& outbox, coordinator_options options)
        : store_{&s},
          transport_{&t},
          environment_{&s.get_environment()},
          options_{checked(std::move(options))},
          ids_{*environment_},
          strand_{strand_of(environment_->get_executor())},
          applied_{strand_},
          ended_{strand_},
          halves_{outbox, options_},
          subscription_{t.subscribe(transactions_topic, options_.name)}
    {
        for (auto const& service : t.consumers_of(checks_topic))
            services_.emplace(service,
                std::make_unique<check_back<Store, Transport>>(s, t, halves_, service, options_, strand_, ids_));
    }

    coordinator_counters counters() const override
    {
        std::lock_guard const lock{mutex_};
        auto sum = counters_;
        for (auto const& [name, service] : services_) {
            sum.checks += service->delivered();
            sum.parked += service->parked();
        }
        return sum;
    }

    void start() override
    {
        for (auto& [name, service] : services_)
            service->start();
        running_ = true;
        spawn_on(strand_, run(), [this](std::exception_ptr e) {
            running_ = false;
            ended_.notify();
            if (e)
                environment_->report("coordinator " + options_.name + " ended: " + describe(e));
        });
    }

    asio::awaitable<void> stop() override { return run_on(strand_, do_stop()); }

private:
    static constexpr std::size_t batches_at_once = 4;

    static coordinator_options checked(coordinator_options options)
    {
        require_valid(options.checks, "coordinator");
        if (options.name.empty() || options.batch == 0 || options.checks_in_flight == 0 || options.answer_timeout <= duration::zero()
            || options.retention <= duration::zero())
            throw make_error(errc::bad_configuration,
                "coordinator: needs a name, and batch, checks_in_flight, answer_timeout and retention greater than 0");
        return options;
    }

    asio::awaitable<void> run()
    {
        co_await report_strangers();
        while (!stopping_) {
            std::vector<delivery> batch;
            try {
                batch = co_await subscription_.receive(options_.batch);
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            if (stopping_)
                co_return; // it comes again
            // The next batch is on its way to the store while this one is being synced. That outcomes of two batches change places when
            // the store fails does no harm: whose order matters waits for the first before it sends the second.
            while (applying_ >= batches_at_once && !stopping_)
                co_await applied_.wait();
            ++applying_;
            spawn_on(strand_, apply(read(std::move(batch))), [this](std::exception_ptr e) {
                --applying_;
                applied_.notify();
                ended_.notify();
                if (e)
                    environment_->report("coordinator " + options_.name + ": " + describe(e));
            });
        }
    }

    // Half messages of services that have no route any more stay where they are.
    asio::awaitable<void> report_strangers()
    {
        std::map<std::string, std::size_t> waiting;
        auto look = [&](transaction_type& tx) {
            for (auto const& queue : tx.queues())
                if (queue == halves_.queue_of(queue.consumer) && !services_.contains(queue.consumer))
                    waiting[queue.consumer] = tx.count(queue, message_state::prepared);
        };
        std::exception_ptr failed;
        try {
            co_await store_->transact(look);
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed)
            environment_->report("coordinator " + options_.name + ": " + describe(failed));
        for (auto const& [service, n] : waiting)
            if (n > 0)
                environment_->report("coordinator " + options_.name + ": " + std::to_string(n) + " half messages of " + service
                                     + " cannot be checked: there is no route to it");
    }

    std::vector<coordinator_request> read(std::vector<delivery> batch)
    {
        std::vector<coordinator_request> requests;
        requests.reserve(batch.size());
        for (auto& d : batch)
            try {
                read(std::move(d.content), d.tag, d.sender, requests);
            } catch (std::exception const& e) {
                refuse(d.tag, d.sender, e.what());
            }
        return requests;
    }

    void read(message m, std::uint64_t tag, std::string const& sender, std::vector<coordinator_request>& requests)
    {
        refuse_if(!services_.contains(sender), "no route to check back with the service '" + sender + "'");
        refuse_if(m.source != sender, "the message says that it is from '" + m.source + "'");
        coordinator_request r;
        r.tag = tag;
        r.service = sender;
        if (m.find_header(half_topic_header).empty()) {
            r.outcome = outcome_of(m);
            auto const about = parse_ids(m.payload);
            refuse_if(!r.outcome || about.empty(), "neither a half message nor outcomes");
            for (auto const& id : about) {
                r.about = id;
                requests.push_back(r);
            }
        } else {
            read_half(r, std::move(m));
            requests.push_back(std::move(r));
        }
    }

    void read_half(coordinator_request& r, message m)
    {
        std::string const topic{m.find_header(half_topic_header)};
        refuse_if(topic.starts_with(reserved_prefix), "the topic '" + topic + "' is reserved");
        refuse_if(transport_->consumers_of(topic).empty(), "no destination is declared for the topic '" + topic + "'");
        auto const now = environment_->now();
        auto const is_remembered = [&](time_point t) { return t >= now - options_.retention && t <= now + options_.retention; };
        refuse_if(!m.id.is_time_ordered() || !is_remembered(m.id.time()) || !is_remembered(m.time),
            "the half message is older than what is remembered, or from a time to come");
        auto const instructions = read_instructions(m);
        r.checks = instructions.checks.value_or(options_.checks);
        r.about = m.id;
        m.topic = topic;
        std::erase_if(m.headers, [](header const& h) { return h.name == half_topic_header; });
        check_limits(m, transport_->limits());
        r.content = std::make_shared<message>(std::move(m));
    }

    static void refuse_if(bool wrong, std::string const& why)
    {
        if (wrong)
            throw make_error(errc::rejected, why);
    }

    void refuse(std::uint64_t tag, std::string const& service, std::string const& why)
    {
        environment_->report("coordinator " + options_.name + " refused something of " + service + ": " + why);
        {
            std::lock_guard const lock{mutex_};
            ++counters_.refused;
        }
        subscription_.reject(tag, why);
    }

    // A batch that the store could not take is tried again.
    asio::awaitable<void> apply(std::vector<coordinator_request> requests)
    {
        for (auto& r : requests)
            if (r.outcome)
                r.counts = services_.at(r.service)->answered(r.about);
        std::uint32_t failures = 0;
        while (!requests.empty() && !stopping_) {
            coordinator_counters done;
            auto work = [&](transaction_type& tx) { done = halves_.apply(tx, requests); };
            std::exception_ptr failed;
            try {
                co_await store_->transact(work);
            } catch (...) {
                failed = std::current_exception();
            }
            if (!failed) {
                settle(requests, done);
                co_return;
            }
            environment_->report("coordinator " + options_.name + ": " + describe(failed));
            auto const delay = schedule{}.delay_without_end(++failures, environment_->random());
            co_await pause(delay);
        }
    }

    // Ends early when the coordinator is stopped.
    asio::awaitable<void> pause(duration span)
    {
        constexpr duration slice = std::chrono::seconds{1};
        auto const until = environment_->steady_now() + span;
        while (!stopping_ && environment_->steady_now() < until)
            co_await environment_->sleep_until(std::min(until, environment_->steady_now() + slice));
    }

    void settle(std::vector<coordinator_request> const& requests, coordinator_counters const& done)
    {
        std::vector<std::uint64_t> tags;
        tags.reserve(requests.size());
        auto const now = environment_->now();
        for (std::size_t i = 0; i < requests.size();) {
            // All that came in one message.
            auto const tag = requests[i].tag;
            std::string const* refused = nullptr;
            auto const first = i;
            for (; i < requests.size() && requests[i].tag == tag; ++i) {
                auto const& r = requests[i];
                if (!r.refused.empty())
                    refused = refused ? refused : &r.refused;
                else if (!r.outcome)
                    services_.at(r.service)->look_at(now + r.checks.first);
                else if (*r.outcome == transaction_outcome::ongoing || *r.outcome == transaction_outcome::unknown)
                    services_.at(r.service)->look_at(now); // what is due next has changed
            }
            if (refused)
                refuse(tag, requests[first].service, *refused);
            else
                tags.push_back(tag);
        }
        subscription_.acknowledge(std::move(tags));
        std::lock_guard const lock{mutex_};
        counters_.prepared += done.prepared;
        counters_.committed += done.committed;
        counters_.rolled_back += done.rolled_back;
        counters_.parked += done.parked;
    }

    asio::awaitable<void> do_stop()
    {
        stopping_ = true;
        applied_.notify();
        while (applying_ > 0)
            co_await ended_.wait();
        subscription_.close(); // when what was applied is acknowledged
        while (running_)
            co_await ended_.wait();
        for (auto& [name, service] : services_)
            co_await service->stop();
    }

    Store* store_;
    Transport* transport_;
    environment* environment_;
    coordinator_options options_;
    message_id_generator ids_;
    asio::any_io_executor strand_;
    event applied_;
    event ended_;
    half_messages<Store> halves_;
    typename Transport::subscription_type subscription_;
    std::map<std::string, std::unique_ptr<check_back<Store, Transport>>, std::less<>> services_;
    std::size_t applying_ = 0;
    bool running_ = false;
    bool stopping_ = false;
    mutable std::mutex mutex_; // guards what follows
    coordinator_counters counters_;
};

} // namespace cosaga::detail
