// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Places orders, tells the warehouse, and ends when each order is acknowledged and answered. It may be killed at any
// time: started again with the same input it goes on where it was, and places nothing twice.
#include "../line_reader.hpp"
#include "orders.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_future.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace {

using namespace orders;

constexpr char usage[] = "--db FILE --listen ENDPOINT --connect ENDPOINT [--input FILE|-]";

/// @throws std::exception that says what is wrong with the line.
order parse_order(std::string const& line)
{
    constexpr std::size_t longest_id = 255; // what a key of a message may have
    constexpr std::int64_t most_cents = 1'000'000'000'000;
    auto const refuse_if = [](bool wrong, char const* why) {
        if (wrong)
            throw std::runtime_error{why};
    };
    refuse_if(line.size() > line_reader::longest, "longer than 1 MiB");
    auto o = cosaga::json_codec::decode<order>(line);
    refuse_if(o.order_id.empty() || o.order_id.size() > longest_id, "order_id needs 1 to 255 bytes");
    refuse_if(o.customer_id.empty() || o.customer_id.size() > longest_id, "customer_id needs 1 to 255 bytes");
    refuse_if(o.items.empty(), "the order has no items");
    for (auto const& i : o.items)
        for (auto const cents : {i.price_cents, i.freight_cents})
            refuse_if(cents < 0 || cents > most_cents, "the price or freight of an item is out of range");
    for (auto const& p : o.payments)
        refuse_if(p.cents < -most_cents || p.cents > most_cents, "a payment is out of range");
    return o;
}

class order_service {
public:
    order_service(cosaga::environment& environment, arguments const& given)
        : environment_{environment},
          store_{environment, given["--db"]},
          transport_{environment, transport_of(given, "order_service", "orders", "warehouse")},
          node_{store_, transport_, {.service = "order_service", .ledgers = {{.topic = "orders"}}}}
    {
        node_.consume<shipped>("shipped", "orders", [](auto& tx, shipped const& s) {
            tx.execute("UPDATE orders SET answers = answers + 1 WHERE order_id = ?", s.order_id);
        });
    }

    /// @return false when a signal came before every order in the database was acknowledged and answered.
    asio::awaitable<bool> run(line_reader* input)
    {
        asio::signal_set signals{environment_.get_executor(), SIGINT, SIGTERM};
        signals.async_wait([this, input](boost::system::error_code ec, int) {
            stopping_ = !ec;
            if (stopping_ && input)
                input->stop();
        });
        auto prepare = [&](auto& tx) {
            create_tables(tx, orders_schema);
            orders_ = tx.template query<std::int64_t>("SELECT count(*) FROM orders").front();
        };
        co_await node_.transact(prepare);
        co_await node_.start();
        next_report_ = environment_.steady_now() + report_interval;
        bool finished = false;
        try {
            if (input)
                co_await place_all(*input);
            finished = co_await wait_for_answers();
        } catch (...) {
            failed_ = std::current_exception();
        }
        co_await node_.stop();
        if (failed_)
            std::rethrow_exception(failed_);
        co_return finished;
    }

private:
    static constexpr std::size_t most_at_once = 1024;
    static constexpr cosaga::duration report_interval = std::chrono::milliseconds{500};
    // As many elements as transactions run: a full channel makes the input wait.
    using slots = asio::experimental::channel<void(boost::system::error_code)>;

    struct progress {
        std::int64_t orders = 0;
        std::int64_t unacknowledged = 0;
        std::int64_t unanswered = 0;
        std::int64_t dead_letters = 0;

        friend bool operator==(progress const&, progress const&) = default;
    };

    asio::awaitable<void> place_all(line_reader& input)
    {
        slots running{environment_.get_executor(), most_at_once};
        boost::system::error_code const taken;
        while (!failed_) {
            auto line = co_await input.next();
            if (!line)
                break;
            co_await running.async_send(taken, asio::use_awaitable);
            asio::co_spawn(environment_.get_executor(), place(std::move(*line)), [&](std::exception_ptr e) {
                if (e && !failed_)
                    failed_ = e;
                running.try_receive([](boost::system::error_code) {});
            });
            co_await show_progress();
        }
        for (std::size_t i = 0; i < most_at_once; ++i)
            co_await running.async_send(taken, asio::use_awaitable);
        if (failed_)
            std::rethrow_exception(failed_);
    }

    asio::awaitable<void> place(line_reader::line line)
    {
        order o;
        try {
            o = parse_order(line.text);
        } catch (std::exception const& e) {
            std::fprintf(stderr, "order_service: line %zu skipped: %s\n", line.number, e.what());
            co_return;
        }
        auto work = [&](auto& tx) {
            auto const number = tx.template query<std::int64_t>(
                "INSERT INTO orders (order_id, customer_id, number, cents, paid_cents)"
                " SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4 FROM orders WHERE customer_id = ?2"
                " ON CONFLICT (order_id) DO NOTHING RETURNING number",
                o.order_id, o.customer_id, cents_of(o.items), cents_of(o.payments));
            if (number.empty())
                return false;
            order_placed const body{o.order_id, o.customer_id, number.front(), cents_of(o.items), o.items};
            tx.send("orders", body, {.key = o.customer_id});
            return true;
        };
        bool const is_new = co_await node_.transact(work);
        orders_ += is_new ? 1 : 0;
    }

    asio::awaitable<bool> wait_for_answers()
    {
        for (;;) {
            auto const open = co_await look();
            if (open.unacknowledged == 0 && open.unanswered == 0) {
                print(open);
                co_return true;
            }
            if (open.unacknowledged == 0 && open.dead_letters >= open.unanswered)
                throw std::runtime_error{"orders are unanswered because of dead letters"};
            if (stopping_)
                co_return false;
            co_await show_progress();
            co_await environment_.sleep_for(std::chrono::milliseconds{20});
        }
    }

    asio::awaitable<progress> look()
    {
        progress p;
        auto read = [&](auto& tx) {
            using cosaga::message_state;
            for (auto const& queue : tx.queues()) {
                auto const count = [&](message_state s) { return static_cast<std::int64_t>(tx.count(queue, s)); };
                if (queue.side == cosaga::queue_side::outbox)
                    p.unacknowledged += count(message_state::ready);
                p.dead_letters += count(message_state::dead);
            }
            p.unanswered = tx.template query<std::int64_t>("SELECT count(*) FROM orders WHERE answers = 0").front();
        };
        co_await store_.transact(read);
        p.orders = orders_;
        co_return p;
    }

    /// Now and then.
    asio::awaitable<void> show_progress()
    {
        if (environment_.steady_now() < next_report_)
            co_return;
        next_report_ = environment_.steady_now() + report_interval;
        auto const open = co_await look();
        print(open);
    }

    void print(progress const& now)
    {
        if (std::exchange(printed_, now) == now)
            return;
        std::fprintf(stderr, "order_service: %lld placed, %lld acknowledged, %lld answered, %lld dead letters\n",
            static_cast<long long>(now.orders), static_cast<long long>(now.orders - now.unacknowledged),
            static_cast<long long>(now.orders - now.unanswered), static_cast<long long>(now.dead_letters));
    }

    cosaga::environment& environment_;
    cosaga::sqlite_store store_;
    cosaga::zeromq_transport transport_;
    cosaga::node<cosaga::sqlite_store, cosaga::zeromq_transport> node_;
    std::int64_t orders_ = 0; // in the database
    cosaga::steady_time next_report_{};
    progress printed_;
    std::exception_ptr failed_;
    bool stopping_ = false;
};

} // namespace

int main(int argc, char** argv)
{
    return run_program("order_service", usage, 1, [&] {
        arguments const given{argc, argv, {"--db", "--listen", "--connect"}, {"--input"}};
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        order_service service{environment, given};
        std::optional<line_reader> input;
        if (given.has("--input"))
            input.emplace(io.get_executor(), given["--input"]);
        auto finished = asio::co_spawn(io, service.run(input ? &*input : nullptr), asio::use_future);
        io.run();
        return finished.get() ? 0 : 1;
    });
}
