// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "transaction_services.hpp"

#include <cosaga/notification_query.hpp>
#include <cosaga/notifier.hpp>
#include <cosaga/transport_sink.hpp>

#include <deque>

namespace cosaga_tests {

using cosaga::attempt_outcome;
using cosaga::attempt_result;
using cosaga::notification_schedule;
using cosaga::notification_state;

struct paid {
    std::string id;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(paid, (), (id, cents))

inline attempt_result delivered() { return {.outcome = attempt_outcome::delivered, .status = 200}; }
inline attempt_result failed(std::uint32_t status = 503, std::string reason = "Service Unavailable")
{
    return {.outcome = attempt_outcome::failed, .status = status, .reason = std::move(reason)};
}
inline attempt_result gone() { return {.outcome = attempt_outcome::gone, .status = 410, .reason = "Gone"}; }

/// Merchants that behave as a test says; unless it does, they take everything at once.
struct scripted_sink {
    struct seen {
        std::string destination;
        cosaga::message content;
        cosaga::steady_time at;
    };
    using behaviour = std::function<asio::awaitable<attempt_result>(cosaga::message const&)>;

    asio::awaitable<attempt_result> deliver(std::string const& destination, cosaga::message const& m)
    {
        all.push_back({destination, m, env->steady_now()});
        ++now;
        most = std::max(most, now);
        auto const leave = [](int* n) { --*n; };
        std::unique_ptr<int, decltype(leave)> const inside{&now, leave};
        auto const how = behaviours.find(destination);
        if (how == behaviours.end())
            co_return delivered();
        auto result = co_await how->second(m);
        co_return result;
    }
    void check(std::string const& destination)
    {
        if (destination.starts_with("bad"))
            throw cosaga::make_error(errc::bad_argument, "no merchant: " + destination);
    }

    /// Answers the attempts at a destination one after the other; the last one stays.
    void answer(std::string const& destination, std::deque<attempt_result> results)
    {
        auto const shared = std::make_shared<std::deque<attempt_result>>(std::move(results));
        behaviours[destination] = [shared](cosaga::message const&) -> asio::awaitable<attempt_result> {
            auto result = shared->front();
            if (shared->size() > 1)
                shared->pop_front();
            co_return result;
        };
    }
    void hang(std::string const& destination)
    {
        behaviours[destination] = [this](cosaga::message const&) -> asio::awaitable<attempt_result> {
            co_await env->sleep_for(24h * 365);
            co_return delivered();
        };
    }
    /// Takes its time.
    void take(std::string const& destination, cosaga::duration span)
    {
        behaviours[destination] = [this, span](cosaga::message const&) -> asio::awaitable<attempt_result> {
            co_await env->sleep_for(span);
            co_return delivered();
        };
    }
    void throw_at(std::string const& destination)
    {
        behaviours[destination] = [](cosaga::message const&) -> asio::awaitable<attempt_result> {
            throw std::runtime_error{"no connection"};
            co_return delivered();
        };
    }
    void mend(std::string const& destination) { behaviours.erase(destination); }

    std::size_t attempts_at(std::string const& destination) const
    {
        return static_cast<std::size_t>(
            std::count_if(all.begin(), all.end(), [&](auto const& s) { return s.destination == destination; }));
    }

    cosaga::testing::virtual_environment* env;
    std::map<std::string, behaviour> behaviours{};
    std::vector<seen> all{};
    int now = 0;
    int most = 0; // at a time
};

template <class Kit>
struct notifying_process : process<Kit> {
    using process<Kit>::process;
    using notifier_type = cosaga::notifier<typename process<Kit>::node_type::outbox_type, scripted_sink>;

    void prepare() override
    {
        part = std::make_unique<notifier_type>(this->node->get_outbox(), sink, settings);
        this->node->attach(*part);
    }
    void dismiss() override { part.reset(); }

    scripted_sink sink{this->env};
    cosaga::notifier_options settings;
    std::unique_ptr<notifier_type> part;
};

/// A payment service that notifies merchants, in virtual time.
template <class Kit>
struct basic_notification_services : ::testing::Test {
    using transaction = typename Kit::transaction;

    ~basic_notification_services() override { bank.end(); }

    auto& notifier() { return *bank.part; }
    scripted_sink& sink() { return bank.sink; }

    cosaga::message_id notify(std::string const& to, cosaga::notification_options const& options = {}, std::string id = "p1")
    {
        paid const body{std::move(id), 100};
        return run(env, notifier().notify(to, body, options));
    }
    cosaga::notification find(cosaga::message_id id)
    {
        auto const found = run(env, notifier().find(id));
        if (!found)
            throw std::runtime_error{"no such notification"};
        return *found;
    }
    std::vector<cosaga::notification> list(std::string const& to, notification_state state)
    {
        return run(env, notifier().list(to, state, 0, 100'000));
    }
    /// Seconds from `since` to each attempt at a destination.
    std::vector<double> times(std::string const& to, cosaga::steady_time since) const
    {
        std::vector<double> found;
        for (auto const& s : bank.sink.all)
            if (s.destination == to)
                found.push_back(static_cast<double>((s.at - since).count()) / 1e6);
        return found;
    }
    /// The attempts came at these seconds: none earlier, and none more than a moment later.
    static void expect_times(std::vector<double> const& found, std::vector<double> const& expected)
    {
        ASSERT_EQ(found.size(), expected.size());
        for (std::size_t i = 0; i < found.size(); ++i) {
            EXPECT_GE(found[i], expected[i]) << "attempt " << i;
            EXPECT_LT(found[i], expected[i] + 0.01) << "attempt " << i;
        }
    }
    bool reported(std::string_view part) const
    {
        return std::any_of(env.reports().begin(), env.reports().end(), [&](auto const& r) { return contains(r, part); });
    }

    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport hub{env, {.service = "hub"}};
    notifying_process<Kit> bank{env, hub, {.service = "bank"}};
};

using notification_services = basic_notification_services<storage_kits::memory_kit>;

} // namespace cosaga_tests
