// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Writes payments to a ledger, and sends a message about each: exactly those in the ledger reach the bookkeeper. The ledger is a
// text file that knows nothing of messages; there is no database here, and no table of messages to be sent.
//
// It may be killed at any time: started again with the same input it goes on where it was, and pays nothing twice. It goes on
// running after its input, until SIGTERM or SIGINT: the coordinator asks back about what it has not heard of.
#include "../line_reader.hpp"
#include "file_ledger.hpp"
#include "payments.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

namespace {

using namespace payments;

constexpr char usage[] = "--ledger FILE --listen ENDPOINT --coordinator ENDPOINT --input FILE|-";

/// Where the coordinator reaches us, and where we reach it.
cosaga::zeromq_options transport_of(arguments const& given)
{
    cosaga::zeromq_options options;
    options.service = payment_service_name;
    options.listen.push_back(given["--listen"]);
    options.routes.push_back({std::string{cosaga::transactions_topic}, coordinator_name, {given["--coordinator"]}});
    return options;
}

class payment_service {
public:
    payment_service(cosaga::environment& environment, arguments const& given)
        : environment_{environment},
          ledger_{environment, given["--ledger"]},
          transport_{environment, transport_of(given)},
          producer_{transport_, ledger_, {.service = payment_service_name, .coordinators = {coordinator_name}}},
          input_{environment.get_executor(), given["--input"]}
    {
    }

    asio::awaitable<void> run()
    {
        asio::signal_set signals{environment_.get_executor(), SIGINT, SIGTERM};
        signals.async_wait([this](boost::system::error_code ec, int) {
            stopping_ = !ec;
            input_.stop();
        });
        try {
            producer_.start(); // it answers check-backs from now on, also those about payments of earlier runs
            transport_.start();
            co_await pay_all();
            co_await print_balance();
            while (!stopping_ && !failed_)
                co_await environment_.sleep_for(pause);
        } catch (...) {
            failed_ = std::current_exception();
        }
        co_await producer_.stop();
        co_await transport_.close();
        if (failed_)
            std::rethrow_exception(failed_);
    }

private:
    static constexpr std::size_t most_at_once = 64;
    static constexpr cosaga::duration pause = std::chrono::milliseconds{100};
    // As many elements as payments run: a full channel makes the input wait.
    using slots = asio::experimental::channel<void(boost::system::error_code)>;

    asio::awaitable<void> pay_all()
    {
        slots running{environment_.get_executor(), most_at_once};
        boost::system::error_code const taken;
        while (!failed_) {
            auto line = co_await input_.next();
            if (!line)
                break;
            co_await running.async_send(taken, asio::use_awaitable);
            asio::co_spawn(environment_.get_executor(), pay(std::move(*line)), [&](std::exception_ptr e) {
                if (e && !failed_)
                    failed_ = e;
                running.try_receive([](boost::system::error_code) {});
            });
        }
        for (std::size_t i = 0; i < most_at_once; ++i)
            co_await running.async_send(taken, asio::use_awaitable);
    }

    asio::awaitable<void> pay(line_reader::line line)
    {
        payment p;
        try {
            p = parse_payment(line.text);
        } catch (std::exception const& e) {
            std::fprintf(stderr, "payment_service: line %zu skipped: %s\n", line.number, e.what());
            co_return;
        }
        for (;;) {
            bool const done = co_await try_to_pay(p);
            if (done || stopping_ || failed_)
                co_return;
            co_await environment_.sleep_for(pause);
        }
    }

    /// @return false if the payment was not made because of something that passes.
    asio::awaitable<bool> try_to_pay(payment const& p)
    {
        bool const was_paid = co_await ledger_.has(p.payment_id); // in an earlier run
        if (was_paid)
            co_return true;
        auto pay = [&](file_ledger::transaction& tx) { tx.pay(p); };
        cosaga::transaction_options const options{.key = p.account};
        try {
            co_await producer_.send("payments", p, pay, options);
            co_return true;
        } catch (already_paid const&) { // the input has it twice
            co_return true;
        } catch (boost::system::system_error const& e) {
            // No coordinator took the message, or it asked back before the transaction began. In either case there is no payment and
            // will be no message.
            if (e.code() != cosaga::errc::unreachable && e.code() != cosaga::errc::transaction_fenced)
                throw;
            co_return false;
        }
    }

    asio::awaitable<void> print_balance()
    {
        auto const total = co_await ledger_.total();
        std::printf("ledger: %s\n", total.to_string().c_str());
        std::fflush(stdout);
    }

    cosaga::environment& environment_;
    file_ledger ledger_;
    cosaga::zeromq_transport transport_;
    cosaga::transactional_producer<cosaga::zeromq_transport, file_ledger> producer_;
    line_reader input_;
    std::exception_ptr failed_;
    bool stopping_ = false;
};

} // namespace

int main(int argc, char** argv)
{
    return run_program(payment_service_name, usage, 1, [&] {
        arguments const given{argc, argv, {"--ledger", "--listen", "--coordinator", "--input"}};
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        payment_service service{environment, given};
        auto stopped = asio::co_spawn(io, service.run(), asio::use_future);
        io.run();
        stopped.get();
        return 0;
    });
}
