// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/check_responder.hpp>
#include <cosaga/detail/coordinator_links.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/producer_core.hpp>
#include <cosaga/detail/running_sends.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

template <transport Transport>
class producer_machine final : public producer_core {
public:
    producer_machine(Transport& t, std::unique_ptr<outcome_source> resource, producer_options options)
        : transport_{&t},
          environment_{&t.get_environment()},
          resource_{std::move(resource)},
          options_{checked(std::move(options))},
          ids_{*environment_},
          strand_{strand_of(environment_->get_executor())},
          sends_{strand_},
          links_{t, options_, strand_, ids_},
          responder_{t, *resource_, options_, strand_, [this](std::string const& name) { return links_.find(name).has_value(); },
              [this](std::string const& to, message_id const& id, transaction_outcome o) { answer(to, id, o); }}
    {
    }

    void start() override
    {
        links_.start();
        responder_.start();
    }

    asio::awaitable<void> stop() override { return run_on(strand_, do_stop()); }

    running_sends::one enter() override { return sends_.enter(); }

    message compose(std::string_view topic, transaction_options const& options) override
    {
        if (options.delay < duration::zero() || options.delay > longest_delay)
            throw make_error(errc::bad_argument, "send: the delay must be from 0 to 366 days");
        if (topic.empty() || topic.starts_with(reserved_prefix))
            throw make_error(errc::bad_argument, "send: no topic for services: '" + std::string{topic} + "'");
        for (auto const& h : options.headers)
            if (h.name.starts_with(reserved_header_prefix))
                throw make_error(errc::bad_argument, "send: the header name '" + h.name + "' is reserved");
        message m;
        m.time = environment_->now();
        m.topic = transactions_topic;
        m.key = options.key;
        m.source = options_.service;
        m.headers.assign(options.headers.begin(), options.headers.end());
        m.headers.push_back({std::string{half_topic_header}, std::string{topic}});
        if (options.delay > duration::zero())
            m.headers.push_back({std::string{half_delay_header}, std::to_string(options.delay.count())});
        if (options.checks) {
            require_valid(*options.checks, "send");
            m.headers.push_back({std::string{half_checks_header}, to_text(*options.checks)});
        }
        return m;
    }

    asio::awaitable<prepared_half> prepare(message m) override
    {
        check_limits(m, transport_->limits());
        std::string why;
        auto const order = links_.by_preference();
        for (auto const link : order) {
            // Another id each time: what was sent may be stored after all, and is then rolled back by a check-back.
            m.id = ids_();
            prepared_half const half{m.id, link};
            half_answer got;
            auto sending = links_.send_half(link, link == order.back() ? std::move(m) : m, options_.prepare_timeout, got);
            co_await std::move(sending);
            if (got.result == verdict::accepted)
                co_return half;
            if (got.result == verdict::rejected)
                throw make_error(errc::rejected, "the coordinator " + links_.name(link) + " refused the half message: " + got.why);
            why += (why.empty() ? "" : "; ") + links_.name(link) + ": " + (got.why.empty() ? "no answer in time" : got.why);
        }
        links_.require_running();
        throw make_error(errc::unreachable, "no coordinator has taken the half message, so the local transaction was not started: " + why);
    }

    asio::awaitable<transaction_outcome> find_out(message_id id) override
    {
        auto outcome = transaction_outcome::unknown;
        std::exception_ptr failed;
        try {
            outcome = co_await resource_->check(id);
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed)
            environment_->report("the outcome of " + id.to_string() + " is not known: " + describe(failed));
        co_return outcome;
    }

    void tell(prepared_half const& half, transaction_outcome outcome) override
    {
        links_.tell(half.coordinator, {half.id, outcome});
    }

    asio::awaitable<void> resolve(prepared_half const& half, transaction_outcome outcome) override
    {
        return links_.send_outcome(half.coordinator, {half.id, outcome}, options_.resolve_timeout);
    }

private:
    static producer_options checked(producer_options options)
    {
        if (options.service.empty() || options.coordinators.empty() || options.checks_at_once == 0)
            throw make_error(errc::bad_configuration, "producer: needs a service, at least one coordinator, and checks_at_once of 1 or more");
        for (auto const d : {options.prepare_timeout, options.resolve_timeout, options.check_timeout})
            if (d <= duration::zero())
                throw make_error(errc::bad_configuration, "producer: time-outs must be greater than 0");
        return options;
    }

    void answer(std::string const& coordinator, message_id const& id, transaction_outcome outcome)
    {
        if (auto const link = links_.find(coordinator)) // of others nothing is asked
            links_.tell(*link, {id, outcome});
    }

    asio::awaitable<void> do_stop()
    {
        links_.end_halves();
        co_await responder_.stop();
        co_await sends_.wait_for_all();
        co_await links_.stop();
    }

    Transport* transport_;
    environment* environment_;
    std::unique_ptr<outcome_source> resource_;
    producer_options options_;
    message_id_generator ids_;
    asio::any_io_executor strand_;
    running_sends sends_;
    coordinator_links<Transport> links_;
    check_responder<Transport> responder_;
};

} // namespace cosaga::detail
