// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "two_services.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace {

using namespace cosaga_tests;
using cosaga::errc;

struct question {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(question, (), (id))

struct answer {
    std::string id;
    std::string state;
};
BOOST_DESCRIBE_STRUCT(answer, (), (id, state))

struct request : two_services {
    request()
    {
        shop.options.reply_topic = "replies";
        shop.boot();
    }

    // The warehouse answers after `takes`, and refuses the order "none".
    void answer_questions(cosaga::duration takes = {})
    {
        warehouse.node->respond<question>("orders", "warehouse",
            [this, takes](question const& q) -> asio::awaitable<answer> {
                ++asked;
                co_await env.sleep_for(takes);
                if (q.id == "none")
                    throw std::runtime_error{"no such order"};
                answer a{q.id, "shipped"};
                co_return a;
            });
    }

    void start()
    {
        run(env, shop.node->start());
        run(env, warehouse.node->start());
    }

    answer ask(std::string id, cosaga::duration timeout = 1min)
    {
        question const q{std::move(id)};
        return run(env, shop.node->request<answer>("orders", q, timeout));
    }

    errc failure_of(std::string id, cosaga::duration timeout = 1min)
    {
        try {
            ask(std::move(id), timeout);
        } catch (boost::system::system_error const& e) {
            said = e.what();
            return static_cast<errc>(e.code().value());
        }
        return errc{};
    }

    int asked = 0;
    std::string said;
};

TEST_F(request, is_answered)
{
    answer_questions(1s);
    start();
    EXPECT_EQ(ask("a").state, "shipped");
}

TEST_F(request, each_gets_its_own_answer_when_many_wait)
{
    answer_questions(1s);
    start();
    std::map<std::string, std::string> answers;
    for (int i = 0; i < 200; ++i) {
        auto const one = [](request& self, std::string id, auto& all) -> asio::awaitable<void> {
            question const q{id};
            auto const a = co_await self.shop.node->request<answer>("orders", q, 1min);
            all[id] = a.id;
        };
        asio::co_spawn(env.get_executor(), one(*this, std::to_string(i), answers), [](std::exception_ptr e) {
            EXPECT_FALSE(e);
        });
    }
    env.run_for(1min);
    ASSERT_EQ(answers.size(), 200u);
    for (auto const& [asked_for, got] : answers)
        EXPECT_EQ(asked_for, got);
}

TEST_F(request, that_is_refused_says_why)
{
    answer_questions();
    start();
    EXPECT_EQ(failure_of("none"), errc::request_refused);
    EXPECT_NE(said.find("no such order"), std::string::npos);
}

TEST_F(request, times_out_exactly_when_it_should_and_a_late_answer_is_dropped)
{
    answer_questions(1h);
    start();
    auto const before = env.steady_now();
    EXPECT_EQ(failure_of("a", 90s), errc::timed_out);
    EXPECT_EQ(env.steady_now() - before, 90s);
    env.run_for(2h);
    EXPECT_EQ(asked, 1);
}

TEST_F(request, that_arrives_after_its_deadline_is_not_handled)
{
    start(); // nobody answers
    EXPECT_EQ(failure_of("a", 10s), errc::timed_out);
    env.run_for(1s);
    warehouse.restart();
    answer_questions();
    run(env, warehouse.node->start());
    env.run_for(1min);
    EXPECT_EQ(asked, 0);
    EXPECT_EQ(ask("b").id, "b");
}

TEST_F(request, needs_exactly_one_consumer_and_a_reply_topic)
{
    start();
    question const q{"a"};
    auto const code_of = [&](memory_node& n, std::string_view topic) {
        try {
            run(env, n.request<answer>(topic, q, 1s));
        } catch (boost::system::system_error const& e) {
            return static_cast<errc>(e.code().value());
        }
        return errc{};
    };
    EXPECT_EQ(code_of(*shop.node, "news"), errc::no_route);
    EXPECT_EQ(code_of(*shop.node, "nowhere"), errc::no_route);
    EXPECT_EQ(code_of(*warehouse.node, "orders"), errc::bad_configuration);
}

TEST_F(request, can_be_cancelled)
{
    using namespace asio::experimental::awaitable_operators;
    answer_questions(1h);
    start();
    auto const race = [this]() -> asio::awaitable<std::size_t> {
        question const q{"a"};
        auto either = shop.node->request<answer>("orders", q, 2h) || env.sleep_for(1s);
        auto const result = co_await std::move(either);
        co_return result.index();
    };
    EXPECT_EQ(run(env, race()), 1u);
}

TEST_F(request, that_waits_when_the_node_stops_is_told)
{
    answer_questions(1h);
    start();
    std::exception_ptr failed;
    question const q{"a"};
    asio::co_spawn(env.get_executor(), shop.node->request<answer>("orders", q, 2h),
        [&](std::exception_ptr e, answer) { failed = e; });
    env.run_for(1s);
    run(env, shop.node->stop());
    env.run_for(1s);
    ASSERT_TRUE(failed);
    try {
        std::rethrow_exception(failed);
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::transport_closed);
    }
}

TEST(a_request, that_waits_when_its_process_dies_is_gone_with_it)
{
    struct process : request {
        void TestBody() override {}
    };
    auto dying = std::make_unique<process>();
    dying->answer_questions(1h);
    dying->start();
    auto kept = std::make_shared<int>();
    std::weak_ptr<int> const held = kept;
    question const q{"a"};
    asio::co_spawn(
        dying->env.get_executor(), dying->shop.node->request<answer>("orders", q, 2h), [kept](std::exception_ptr, answer) { ADD_FAILURE(); });
    kept.reset();
    dying->env.run_for(1s);
    EXPECT_FALSE(held.expired());
    dying.reset();
    EXPECT_TRUE(held.expired());
}

TEST_F(request, whose_reply_address_is_not_declared_is_reported_and_harms_nobody)
{
    answer_questions();
    start();
    cosaga::message_id_generator ids{env};
    cosaga::message m;
    m.id = ids();
    m.topic = "orders";
    m.type = "question";
    m.source = "stranger";
    m.content_type = "application/json";
    m.payload = R"({"id":"a"})";
    m.headers = {{"replytopic", "elsewhere"}, {"replyconsumer", "me"}};
    auto publisher = network.open_publisher("orders", "warehouse");
    std::vector<cosaga::envelope> batch;
    batch.push_back({1, m});
    publisher.publish(std::move(batch));
    run(env, publisher.settled());
    EXPECT_EQ(env.reports().size(), 1u);
    EXPECT_EQ(ask("b").id, "b");
}

} // namespace
