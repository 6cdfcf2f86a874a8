// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Books each payment of the payment service's ledger once, and says what they come to, until SIGTERM or SIGINT. It may be
// killed at any time.
#include "payments.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_future.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>

namespace {

using namespace payments;

constexpr char usage[] = "--db FILE --listen ENDPOINT";

// Nothing here keeps a payment from being booked twice: only the consumer does.
constexpr char schema[] = "CREATE TABLE IF NOT EXISTS payments (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
                          " payment_id TEXT NOT NULL, account TEXT NOT NULL, cents INTEGER NOT NULL)";

template <class Node>
class bookkeeper {
public:
    explicit bookkeeper(Node& n) : node_{n}
    {
        node_.template consume<payment>("payments", bookkeeper_name, [](auto& tx, payment const& p) {
            tx.execute("INSERT INTO payments (payment_id, account, cents) VALUES (?, ?, ?)", p.payment_id, p.account, p.cents);
        });
    }

    asio::awaitable<void> run()
    {
        auto prepare = [](auto& tx) { tx.execute(schema); };
        co_await node_.transact(prepare);
        co_await node_.run(print_balances());
    }

private:
    static constexpr cosaga::duration pause = std::chrono::milliseconds{100};

    asio::awaitable<void> print_balances()
    {
        auto& environment = node_.get_store().get_environment();
        asio::signal_set signals{environment.get_executor(), SIGINT, SIGTERM};
        signals.async_wait([this](boost::system::error_code ec, int) { stopping_ = !ec; });
        while (!stopping_) {
            co_await print_balance();
            co_await environment.sleep_for(pause);
        }
    }

    /// If it has changed.
    asio::awaitable<void> print_balance()
    {
        balance now;
        auto read = [&](auto& tx) {
            now = tx.template query<balance>("SELECT count(*) AS count, coalesce(sum(cents), 0) AS cents FROM payments").front();
        };
        co_await node_.transact(read);
        if (std::exchange(printed_, now) != now)
            std::printf("booked: %s\n", now.to_string().c_str());
        std::fflush(stdout);
    }

    Node& node_;
    balance printed_;
    bool stopping_ = false;
};

} // namespace

int main(int argc, char** argv)
{
    return run_program(bookkeeper_name, usage, 1, [&] {
        arguments const given{argc, argv, {"--db", "--listen"}};
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::zeromq_transport transport{environment, {.service = bookkeeper_name, .listen = {given["--listen"]}}};
        cosaga::node node{store, transport, {.service = bookkeeper_name}};
        bookkeeper program{node};
        auto stopped = asio::co_spawn(io, program.run(), asio::use_future);
        io.run();
        stopped.get();
        return 0;
    });
}
