// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/producer_core.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Answers the check-backs for a service: has the resource asked about each, several at a time and each with a time limit.
/// @par Thread safety
/// everything on one strand.
template <transport Transport>
class check_responder {
public:
    /// Where the answer goes: the name of the coordinator, the half message, and its outcome.
    using answer_handler = std::function<void(std::string const&, message_id const&, transaction_outcome)>;
    /// Whether a coordinator of that name may ask.
    using filter = std::function<bool(std::string const&)>;

    check_responder(Transport& t, outcome_source& resource, producer_options const& options, asio::any_io_executor strand,
        filter may_ask, answer_handler answer)
        : environment_{&t.get_environment()},
          resource_{&resource},
          options_{options},
          strand_{std::move(strand)},
          may_ask_{std::move(may_ask)},
          answer_{std::move(answer)},
          room_{std::make_shared<event>(strand_)},
          ended_{strand_},
          alarm_{*environment_, strand_, room_},
          subscription_{t.subscribe(checks_topic, options_.service)}
    {
    }
    check_responder(check_responder const&) = delete;
    check_responder& operator=(check_responder const&) = delete;

    void start()
    {
        receiving_ = true;
        spawn_on(strand_, receive(), [this](std::exception_ptr e) {
            receiving_ = false;
            ended_.notify();
            if (e)
                environment_->report("answering check-backs for " + options_.service + " ended: " + describe(e));
        });
    }

    asio::awaitable<void> stop()
    {
        stopping_ = true;
        subscription_.close();
        for (auto& [number, a] : answering_)
            a.cancel->emit(asio::cancellation_type::terminal);
        room_->notify();
        while (receiving_ || !answering_.empty())
            co_await ended_.wait();
        alarm_.cancel();
    }

private:
    // Answers that hang may take this many times the places that there are; then no more check-backs are taken.
    static constexpr std::size_t hanging_most = 16;

    struct answering {
        steady_time until;
        bool hangs = false;
        std::shared_ptr<asio::cancellation_signal> cancel = std::make_shared<asio::cancellation_signal>();
    };

    asio::awaitable<void> receive()
    {
        while (!stopping_) {
            std::vector<delivery> batch;
            try {
                batch = co_await subscription_.receive(options_.checks_at_once);
            } catch (boost::system::system_error const& e) {
                if (e.code() == errc::transport_closed)
                    co_return;
                throw;
            }
            // At once: that a check has reached the service is known even if its answer never comes.
            std::vector<std::uint64_t> tags;
            for (auto const& d : batch)
                tags.push_back(d.tag);
            subscription_.acknowledge(std::move(tags));
            for (auto const& d : batch) {
                while (!has_room() && !stopping_)
                    co_await room_->wait();
                if (stopping_)
                    co_return;
                take(d);
            }
        }
    }

    // Looks for answers that take too long: their places are free again.
    bool has_room()
    {
        auto const now = environment_->steady_now();
        std::size_t busy = 0;
        auto next = steady_time::max();
        for (auto& [number, a] : answering_) {
            if (!a.hangs && a.until <= now) {
                a.hangs = true;
                environment_->report("a check-back for " + options_.service + " was not answered in time");
                a.cancel->emit(asio::cancellation_type::terminal);
            }
            busy += a.hangs ? 0 : 1;
            next = a.hangs ? next : std::min(next, a.until);
        }
        if (busy < options_.checks_at_once && answering_.size() < hanging_most * options_.checks_at_once)
            return true;
        if (next != steady_time::max())
            alarm_.set(next);
        return false;
    }

    void take(delivery const& d)
    {
        auto const id = message_id::parse(d.content.payload);
        if (d.content.type != check_type || !id) {
            environment_->report("what is no check-back came from '" + d.sender + "' to " + options_.service);
            return;
        }
        if (!may_ask_(d.sender)) {
            environment_->report("a check-back of '" + d.sender + "' was not answered: it is no coordinator of " + options_.service);
            return;
        }
        auto const number = ++last_number_;
        auto& a = answering_.try_emplace(number, environment_->steady_now() + options_.check_timeout).first->second;
        spawn_on(strand_, answer(number, d.sender, *id), [this, number](std::exception_ptr e) {
            answering_.erase(number);
            room_->notify();
            ended_.notify();
            if (e)
                environment_->report("a check-back for " + options_.service + " was not answered: " + describe(e));
        }, a.cancel);
    }

    asio::awaitable<void> answer(std::uint64_t number, std::string coordinator, message_id id)
    {
        auto const outcome = co_await resource_->check(id);
        if (!answering_.at(number).hangs && !stopping_)
            answer_(coordinator, id, outcome);
    }

    environment* environment_;
    outcome_source* resource_;
    producer_options options_;
    asio::any_io_executor strand_;
    filter may_ask_;
    answer_handler answer_;
    std::shared_ptr<event> room_;
    event ended_;
    alarm alarm_;
    typename Transport::subscription_type subscription_;
    std::map<std::uint64_t, answering> answering_;
    std::uint64_t last_number_ = 0;
    bool receiving_ = false;
    bool stopping_ = false;
};

} // namespace cosaga::detail
