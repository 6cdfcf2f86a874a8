// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Notifications over a transport, and receivers that ask.
#include "notification_services.hpp"

namespace {

using namespace cosaga_tests;
using strings = std::vector<std::string>;
using answers = std::optional<cosaga::notification_answer>;

static_assert(cosaga::notification_sink<cosaga::transport_sink<cosaga::memory_transport>>);

struct merchant_process : process<storage_kits::memory_kit> {
    using process::process;

    void prepare() override
    {
        node->consume<paid>(std::string{cosaga::notifications_topic}, options.service,
            [this](auto&, paid const& p, cosaga::message const& m) {
                payments.push_back(p.id);
                ids.push_back(m.id);
            });
    }

    strings payments;
    std::vector<cosaga::message_id> ids;
};

struct bank_process : process<storage_kits::memory_kit> {
    using process::process;
    using sink_type = cosaga::transport_sink<cosaga::memory_transport>;
    using notifier_type = cosaga::notifier<node_type::outbox_type, sink_type>;

    void prepare() override
    {
        sink = std::make_unique<sink_type>(*transport);
        part = std::make_unique<notifier_type>(node->get_outbox(), *sink);
        node->attach(*part);
        auto facts = [this](cosaga::notification_query const& q) -> asio::awaitable<answers> {
            answers found;
            if (auto const state = get_fact(q.subject)) {
                found.emplace();
                found->state = "delivered";
                found->fact = *state;
            }
            co_return found;
        };
        node->respond<cosaga::notification_query>("queries", options.service, cosaga::notification_answerer{*part, facts});
        node->respond<cosaga::notification_query>("states", options.service, cosaga::notification_answerer{*part});
    }
    void dismiss() override
    {
        part.reset();
        sink.reset();
    }
    std::optional<std::string> get_fact(std::string const& subject) const
    {
        auto const found = facts_by_subject.find(subject);
        return found == facts_by_subject.end() ? std::nullopt : std::optional{found->second};
    }

    std::map<std::string, std::string> facts_by_subject;
    std::unique_ptr<sink_type> sink;
    std::unique_ptr<notifier_type> part;
};

struct transport_sink : ::testing::Test {
    transport_sink()
    {
        bank.begin();
        shop.begin();
    }
    ~transport_sink() override
    {
        bank.end();
        shop.end();
        if (asking)
            run(env, asking->stop());
    }

    cosaga::message_id notify(std::string const& to, std::string id, cosaga::notification_options const& o = {})
    {
        paid const body{std::move(id), 100};
        return run(env, bank.part->notify(to, body, o));
    }
    notification_state state_of(cosaga::message_id id) { return run(env, bank.part->find(id)).value().state; }

    /// Asks as the shop does.
    cosaga::notification_answer ask(std::string const& topic, cosaga::notification_query const& q)
    {
        if (!asking) {
            asker = std::make_unique<cosaga::memory_transport>(
                hub, env, cosaga::memory_transport_options{.service = "shop", .routes = {{"queries", "bank"}, {"states", "bank"}}});
            asking = std::make_unique<cosaga::requester<cosaga::memory_transport, cosaga::json_codec>>(
                *asker, cosaga::requester_options{.service = "shop", .reply_topic = "answers", .reply_consumer = "shop"});
            asking->start();
            asker->start();
        }
        return run(env, asking->request<cosaga::notification_answer>(topic, q, 5s));
    }

    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport hub{env, {.service = "hub"}};
    bank_process bank{env, hub,
        {.service = "bank", .routes = {{std::string{cosaga::notifications_topic}, "shop"}, {std::string{cosaga::notifications_topic}, "cafe"},
                                {"answers", "shop"}}}};
    merchant_process shop{env, hub, {.service = "shop"}};
    std::unique_ptr<cosaga::memory_transport> asker;
    std::unique_ptr<cosaga::requester<cosaga::memory_transport, cosaga::json_codec>> asking;
};

TEST_F(transport_sink, delivers_to_a_consumer)
{
    auto const id = notify("shop", "p1");
    env.run_for(1s);
    EXPECT_EQ(shop.payments, strings{"p1"});
    EXPECT_EQ(shop.ids.front(), id);
    EXPECT_EQ(state_of(id), notification_state::delivered);
}

TEST_F(transport_sink, delivers_many_at_a_time)
{
    for (int i = 0; i < 100; ++i)
        notify("shop", std::to_string(i));
    env.run_for(10s);
    EXPECT_EQ(shop.payments.size(), 100u);
}

TEST_F(transport_sink, refuses_a_destination_without_a_route)
{
    auto const f = failure_of([&] { notify("nobody", "p1"); });
    EXPECT_EQ(f.code, errc::bad_argument);
    EXPECT_TRUE(contains(f.what, "no route is declared for the topic 'cosaga.notifications' to the consumer 'nobody'")) << f.what;
}

TEST_F(transport_sink, tries_again_when_the_receiver_is_away)
{
    shop.end();
    auto const id = notify("shop", "p1");
    auto const other = notify("cafe", "p2"); // nobody is ever there
    env.run_for(1min);
    EXPECT_EQ(state_of(id), notification_state::pending);
    EXPECT_EQ(run(env, bank.part->find(id)).value().reason, "no answer within 15 s");
    shop.begin();
    env.run_for(10min);
    EXPECT_EQ(state_of(id), notification_state::delivered);
    EXPECT_EQ(shop.payments, strings{"p1"}); // once, however often it was sent
    env.run_for(24h * 10);
    EXPECT_EQ(state_of(other), notification_state::given_up);
}

TEST_F(transport_sink, lets_the_receiver_ask_what_became_of_a_notification)
{
    auto const id = notify("shop", "p1");
    auto const later = notify("shop", "p2", {.delay = 1h});
    env.run_for(1s);
    EXPECT_EQ(ask("states", {.id = id.to_string()}).state, "delivered");
    EXPECT_EQ(ask("states", {.id = id.to_string()}).attempts, 1u);
    EXPECT_EQ(ask("states", {.id = later.to_string()}).state, "pending");
    EXPECT_FALSE(ask("states", {.id = later.to_string()}).next_attempt.empty());
    EXPECT_EQ(ask("states", {.id = "no id"}).state, "unknown");
    EXPECT_EQ(ask("states", {.id = cosaga::message_id{}.to_string()}).state, "unknown");
}

TEST_F(transport_sink, lets_the_receiver_ask_for_the_fact_behind_a_notification)
{
    bank.facts_by_subject["payment 1"] = R"({"id":"1","cents":100})";
    auto const id = notify("shop", "p1");
    env.run_for(1s);
    auto const a = ask("queries", {.id = id.to_string(), .subject = "payment 1"});
    EXPECT_EQ(a.fact, R"({"id":"1","cents":100})");
    EXPECT_EQ(ask("queries", {.id = id.to_string(), .subject = "payment 2"}).state, "delivered"); // by default
    EXPECT_EQ(ask("queries", {.subject = "payment 2"}).state, "unknown");
}

} // namespace
