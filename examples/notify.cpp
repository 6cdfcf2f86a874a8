// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A bank tells two merchants of payments. One takes the notices at once; the other is never there, so they are given up in
// the end, and that is on record.
#include <cosaga.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/describe/class.hpp>

#include <exception>
#include <iostream>
#include <string>

using namespace std::chrono_literals;
namespace asio = boost::asio;

struct paid {
    std::string order;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(paid, (), (order, cents))

std::string const notices{cosaga::notifications_topic};
std::string const to_bakery = "tcp://127.0.0.1:5597";
std::string const to_florist = "tcp://127.0.0.1:5598"; // nobody listens there

asio::awaitable<void> pay(auto& notifier, std::string order, std::string merchant)
{
    paid const p{order, 995};
    auto work = [&](auto& tx) {
        tx.execute("CREATE TABLE IF NOT EXISTS payments (id, cents)");
        tx.execute("INSERT INTO payments VALUES (?, ?)", p.order, p.cents);
        return tx.notify(merchant, p); // if and only if the payment is committed
    };
    auto const id = co_await notifier.transact(work);
    std::cout << "paid " << order << ", notification " << id.to_string() << " to the " << merchant << '\n';
}

asio::awaitable<void> show(auto& notifier)
{
    auto const all = co_await notifier.destinations();
    for (auto const& d : all) {
        std::cout << d.name << ": " << d.pending << " pending, " << d.given_up << " given up\n";
        auto const lost = co_await notifier.list(d.name, cosaga::notification_state::given_up);
        for (auto const& n : lost)
            std::cout << "  " << n.id.to_string() << ", " << n.attempts << " attempts, " << n.reason << '\n';
    }
}

int main()
{
    asio::io_context io;
    cosaga::system_environment environment{io.get_executor()};
    cosaga::sqlite_store store{environment, "notify.db"};
    cosaga::zeromq_transport transport{environment,
        {.service = "bank", .listen = {to_bakery}, .routes = {{notices, "bakery", {to_bakery}}, {notices, "florist", {to_florist}}}}};
    cosaga::node node{store, transport, {.service = "bank"}};
    cosaga::transport_sink sink{transport};
    cosaga::notification_schedule const soon{.retries = cosaga::schedule::list({500ms, 1s})}; // a preset lasts for a day
    cosaga::notifier notifier{node.get_outbox(), sink, {.schedule = soon, .attempt_timeout = 1s}};
    node.attach(notifier);
    node.consume<paid>(notices, "bakery", [](auto&, paid const& p) { std::cout << "the bakery packs " << p.order << '\n'; }); // usually another program

    auto const run = [&]() -> asio::awaitable<void> {
        co_await node.start();
        co_await pay(notifier, "bread", "bakery");
        co_await pay(notifier, "roses", "florist");
        co_await environment.sleep_for(cosaga::duration{6s});
        co_await show(notifier);
        co_await node.stop();
    };
    asio::co_spawn(io, run(), [](std::exception_ptr e) {
        if (e)
            std::rethrow_exception(e);
    });
    io.run();
}
