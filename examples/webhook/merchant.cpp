// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Books each payment for its orders once, whether a notice tells of it or, for those that never come, the payment service when it is
// asked. Runs until SIGTERM or SIGINT, and may be killed at any time.
#include "webhooks.hpp"

#include <cosaga/webhook/receiver.hpp>

namespace {

using namespace webhooks;
using receiver_type = cosaga::webhook_receiver<cosaga::sqlite_store, payment>;

constexpr char usage[] = "--name NAME --db FILE --port N --secret FILE --ask URL --orders N [--lossy]";

// Nothing here keeps a payment from being booked twice: only the receiver does.
constexpr char schema[] = "CREATE TABLE IF NOT EXISTS payments (order_number INTEGER NOT NULL, cents INTEGER NOT NULL, told_by TEXT NOT NULL)";

struct booking {
    char const* told_by;

    void operator()(auto& tx, payment const& p) const { tx.execute("INSERT INTO payments VALUES (?, ?, ?)", p.order, p.cents, told_by); }
};
constexpr booking by_notice{"notice"};
constexpr booking by_asking{"asking"};

/// Books what a notice tells. With `lossy`, the connection is often cut after that: the sender does not hear of it, and comes again.
asio::awaitable<cosaga::webhook_answer> take(receiver_type& receiver, cosaga::webhook_request const& request, cosaga::environment& env, bool lossy)
{
    auto answer = co_await receiver.receive(request, by_notice);
    if (lossy && env.random() % 3 == 0)
        co_await env.sleep_for(cosaga::duration{1h}); // the endpoint's limit is much shorter
    co_return answer;
}

/// Asks for orders that nobody has told of, the oldest first. While a notice is pending there is no hurry.
/// @throws system_error while the payment service cannot answer.
asio::awaitable<void> ask(cosaga::webhook_sink& sink, std::string url, receiver_type& receiver, cosaga::sqlite_store& store, std::int64_t orders)
{
    std::vector<std::int64_t> open;
    auto look = [&](auto& tx) {
        open = tx.template query<std::int64_t>("WITH RECURSIVE orders(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM orders WHERE n < ?)"
                                               " SELECT n FROM orders EXCEPT SELECT order_number FROM payments ORDER BY n LIMIT 32", orders);
    };
    co_await store.transact(look);
    for (auto const order : open) {
        cosaga::notification_query const question{.subject = std::to_string(order)};
        auto const answer = co_await cosaga::ask_notification(sink, url, question);
        if (answer.fact.empty() || answer.state == "pending")
            continue;
        auto const p = cosaga::json_codec::decode<payment>(answer.fact);
        co_await receiver.apply(answer.id, p, by_asking); // a notice that is late comes to nothing
    }
}

struct totals {
    std::int64_t count = 0;
    std::int64_t cents = 0;
    std::int64_t by_notice = 0;
};
BOOST_DESCRIBE_STRUCT(totals, (), (count, cents, by_notice))

asio::awaitable<std::string> booked(cosaga::sqlite_store& store, std::string name)
{
    totals all;
    auto look = [&](auto& tx) {
        all = tx.template query<totals>("SELECT count(*) AS count, coalesce(sum(cents), 0) AS cents,"
                                        " coalesce(sum(told_by = 'notice'), 0) AS by_notice FROM payments").front();
    };
    co_await store.transact(look);
    co_return "booked by " + padded(name) + cell(all.count, "payments") + cell(all.cents, "cents") + cell(all.by_notice, "by notice")
        + cell(all.count - all.by_notice, "by asking") + '\n';
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("webhook_merchant", usage, 1, [&] {
        arguments const given{argc, argv, {"--name", "--db", "--port", "--secret", "--ask", "--orders"}, {}, {"--lossy"}};
        auto const port = number_in<std::uint16_t>(given, "--port");
        auto const orders = number_in<std::int64_t>(given, "--orders");
        std::vector const secrets{cosaga::webhook_secret{lines_of(given["--secret"]).front()}};

        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::webhook_receiver_options from_payment_service;
        from_payment_service.name = "payment_service";
        from_payment_service.secrets = [&] { return secrets; };
        receiver_type receiver{store, from_payment_service};
        cosaga::webhook_endpoint endpoint{environment, {.port = port, .answer_limit = 200ms}};
        endpoint.serve("/hooks", [&](cosaga::webhook_request const& r) { return take(receiver, r, environment, given.has("--lossy")); });
        auto to_payment_service = sink_options();
        to_payment_service.secrets = [&](std::string const&) { return secrets; };
        cosaga::webhook_sink sink{environment, to_payment_service};

        auto const run = [&]() -> asio::awaitable<void> {
            stop_request const stop{io};
            progress shown{environment};
            auto prepare = [](auto& tx) { tx.execute(schema); };
            co_await store.transact(prepare);
            endpoint.start();
            while (!stop) {
                if (shown.is_due())
                    shown.print(co_await booked(store, given["--name"]));
                co_await environment.sleep_for(cosaga::duration{500ms});
                try {
                    co_await ask(sink, given["--ask"], receiver, store, orders);
                } catch (boost::system::system_error const& e) {
                    if (e.code() != cosaga::errc::unreachable) // it is down, or just stopping
                        std::fprintf(stderr, "%s cannot ask now: %s\n", given["--name"].c_str(), e.what());
                }
            }
            co_await endpoint.stop();
            shown.print(co_await booked(store, given["--name"]));
            co_await store.close();
        };
        auto ended = asio::co_spawn(io, run(), asio::use_future);
        io.run();
        ended.get();
        return 0;
    });
}
