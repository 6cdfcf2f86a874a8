// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The barrier of participants: commands in every order, any number of times.
#include "saga_services.hpp"

#include <cosaga/detail/saga_barrier.hpp>
#include <cosaga/detail/saga_messages.hpp>
#include <cosaga/detail/spawn.hpp>

namespace {

using namespace cosaga_tests;
using namespace cosaga::detail;
using strings = std::vector<std::string>;
using kit = storage_kits::memory_kit;

struct a_participant : ::testing::Test {
    ~a_participant() override { bank.end(); }

    /// Sends commands for step 1 of saga "o1": `do`, `undo`, `confirm`.
    void send(strings const& commands, std::string const& step = "1")
    {
        auto p = client.open_publisher("payments", "bank");
        std::vector<cosaga::envelope> batch;
        for (auto const& c : commands) {
            cosaga::message m;
            m.id = ids();
            m.time = env.now();
            m.topic = "payments";
            m.source = "shop";
            m.content_type = cosaga::json_codec::content_type;
            m.type = c == "do" ? "charge" : c == "undo" ? "pay_back" : "capture";
            m.payload = c == "do" ? R"({"id":"o1","cents":100})" : R"({"id":"o1"})";
            set_header(m, saga_id_header, "o1");
            set_header(m, saga_step_header, step + (c == "do" ? "" : "/" + c));
            set_header(m, saga_reply_header, "answers");
            batch.push_back({batch.size() + 1, std::move(m)});
        }
        p.publish(std::move(batch));
        env.run_for(1h);
        p.close();
    }
    /// The answers that have come, as `1/undo success`.
    strings answers()
    {
        strings found;
        auto receive = [&]() -> asio::awaitable<void> {
            for (;;)
                for (auto& d : co_await replies.receive(100)) {
                    auto const& m = d.content;
                    replies.acknowledge({d.tag});
                    if (!seen.insert(m.id).second)
                        continue; // it was not acknowledged before a restart
                    auto line = std::string{m.find_header(saga_step_header)} + " " + std::string{m.find_header(saga_answer_header)};
                    found.push_back(line + (m.payload.empty() ? "" : " " + m.payload));
                }
        };
        auto const stop = std::make_shared<asio::cancellation_signal>();
        cosaga::detail::spawn_on(env.get_executor(), receive(), [](std::exception_ptr) {}, stop);
        env.run_for(1s);
        stop->emit(asio::cancellation_type::terminal);
        env.run_for(1s);
        return found;
    }

    cosaga::testing::virtual_environment env{1};
    cosaga::memory_transport hub{env, {.service = "hub"}};
    cosaga::memory_transport client{hub, env, {.service = "shop", .routes = {{"payments", "bank"}}}};
    cosaga::message_id_generator ids{env};
    std::set<cosaga::message_id> seen;
    cosaga::memory_transport::subscription_type replies = client.subscribe("answers", "shop");
    bank_process<kit> bank{env, hub, {.service = "bank", .routes = {{"answers", "shop"}}}};
};

TEST_F(a_participant, answers_a_command_that_comes_again_with_the_first_answer)
{
    bank.begin();
    client.start();
    send({"do", "do"});
    bank.restart();
    send({"do"});
    EXPECT_EQ(bank.calls, (strings{"charge o1"}));
    EXPECT_EQ(answers(), (strings(3, R"(1 success {"reference":"ref-o1"})")));
}

TEST_F(a_participant, answers_a_refusal_again)
{
    bank.fails = [](std::string const&) { throw cosaga::refusal("no funds"); };
    bank.begin();
    client.start();
    send({"do", "do", "undo"});
    EXPECT_EQ(bank.calls, (strings{"charge o1"}));
    EXPECT_EQ(bank.get("o1"), std::nullopt);
    auto const a = answers();
    ASSERT_EQ(a.size(), 3u);
    EXPECT_TRUE(contains(a[0], "1 refused no funds")) << a[0];
    EXPECT_EQ(a[1], a[0]);
    EXPECT_EQ(a[2], "1/undo success");
}

TEST_F(a_participant, refuses_an_action_that_comes_after_its_compensation)
{
    bank.begin();
    client.start();
    send({"undo"});
    send({"do", "undo"});
    EXPECT_TRUE(bank.calls.empty());
    EXPECT_EQ(answers(), (strings{"1/undo success", "1 refused the action comes after its compensation", "1/undo success"}));
}

TEST_F(a_participant, keeps_steps_apart)
{
    bank.begin();
    client.start();
    send({"undo"}, "1");
    send({"do"}, "2");
    EXPECT_EQ(bank.calls, (strings{"charge o1"}));
}

TEST_F(a_participant, has_no_effect_left_after_a_compensation_in_every_order)
{
    strings order{"do", "do", "undo", "undo"};
    std::sort(order.begin(), order.end());
    int step = 0;
    bank.begin();
    client.start();
    do
        for (bool const at_once : {true, false}) {
            bank.calls.clear();
            auto const name = std::to_string(++step);
            if (at_once)
                send(order, name);
            else
                for (auto const& c : order)
                    send({c}, name);
            auto const charged = std::count(bank.calls.begin(), bank.calls.end(), "charge o1");
            auto const paid_back = std::count(bank.calls.begin(), bank.calls.end(), "pay_back o1");
            EXPECT_LE(charged, 1) << testing::PrintToString(order);
            EXPECT_EQ(charged, paid_back) << testing::PrintToString(order);
            EXPECT_EQ(answers().size(), order.size());
        }
    while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(a_participant, is_as_safe_when_handlers_fail_for_a_while)
{
    bank.begin();
    client.start();
    int step = 0;
    for (strings const& order : {strings{"do", "undo"}, strings{"undo", "do"}, strings{"do", "undo", "do"}}) {
        int times = 0;
        auto const failing = [&](std::string const&) {
            if (++times <= 3)
                throw std::runtime_error{"the ledger is locked"};
        };
        bank.fails = bank.undo_fails = failing;
        bank.calls.clear();
        send(order, std::to_string(++step));
        EXPECT_EQ(answers().size(), order.size());
        auto const state = bank.get("o1").value_or("");
        EXPECT_TRUE(state == "" || state == "paid back") << state;
    }
}

TEST_F(a_participant, confirms_once_and_only_what_is_there)
{
    bank.begin();
    client.start();
    send({"confirm"}, "1");
    send({"do", "confirm", "confirm"}, "2");
    send({"do", "undo", "confirm"}, "3");
    EXPECT_EQ(bank.calls, (strings{"charge o1", "capture o1", "charge o1", "pay_back o1"}));
    auto const a = answers();
    ASSERT_EQ(a.size(), 7u);
    EXPECT_EQ(a[0], "1/confirm refused there is nothing to confirm");
    EXPECT_EQ(a[3], "2/confirm success");
    EXPECT_EQ(a[6], "3/confirm refused there is nothing to confirm");
}

TEST_F(a_participant, parks_what_is_no_command)
{
    bank.begin();
    client.start();
    auto p = client.open_publisher("payments", "bank");
    std::vector<cosaga::envelope> batch;
    cosaga::message m;
    m.id = ids();
    m.topic = "payments";
    m.type = "charge";
    m.content_type = cosaga::json_codec::content_type;
    batch.push_back({1, m});
    m.id = ids();
    m.type = "unknown";
    set_header(m, saga_id_header, "o1");
    set_header(m, saga_step_header, "1");
    set_header(m, saga_reply_header, "answers");
    batch.push_back({2, m});
    p.publish(std::move(batch));
    env.run_for(1min);
    EXPECT_EQ(bank.part->counters().dead, 2u);
    EXPECT_TRUE(answers().empty());
}

TEST(a_barrier, decides_by_what_is_remembered)
{
    using enum saga_role;
    using enum barrier_verdict;
    auto const done = remembered_answer{answer_success, "payment", "a\nb"}.to_mark();
    auto const refused = remembered_answer{answer_refused, "", "no"}.to_mark();
    cosaga::mark const forestalled;
    EXPECT_EQ(pass_barrier(action, {}, {}, {}), barrier_verdict::run);
    EXPECT_EQ(pass_barrier(action, done, done, {}), repeat);
    EXPECT_EQ(pass_barrier(action, refused, refused, {}), repeat);
    EXPECT_EQ(pass_barrier(action, forestalled, forestalled, done), too_late);
    EXPECT_EQ(pass_barrier(undo, {}, {}, {}), forestall);
    EXPECT_EQ(pass_barrier(undo, {}, done, {}), barrier_verdict::run);
    EXPECT_EQ(pass_barrier(undo, {}, refused, {}), nothing);
    EXPECT_EQ(pass_barrier(undo, done, done, done), nothing);
    EXPECT_EQ(pass_barrier(confirm, {}, done, {}), barrier_verdict::run);
    EXPECT_EQ(pass_barrier(confirm, {}, {}, {}), too_late);
    EXPECT_EQ(pass_barrier(confirm, {}, done, done), too_late);
    EXPECT_EQ(pass_barrier(confirm, done, done, {}), nothing);
    auto const parsed = remembered_answer::parse(done);
    EXPECT_EQ(parsed.answer, answer_success);
    EXPECT_EQ(parsed.type, "payment");
    EXPECT_EQ(parsed.payload, "a\nb");
    EXPECT_THROW(remembered_answer::parse("nonsense"), boost::system::system_error);
}

TEST_F(a_participant, does_not_start_with_settings_that_cannot_work)
{
    bank.settings.consumer.ledger_retention = 24h;
    EXPECT_EQ(failure_of([&] { bank.begin(); }).code, errc::bad_configuration);
    bank.end();
    bank.settings.consumer = {};
    bank.settings.retention = bank.settings.consumer.retention;
    EXPECT_EQ(failure_of([&] { bank.begin(); }).code, errc::bad_configuration);
}

} // namespace
