// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A coordinator and nothing else: keeps half messages of the payment service, asks it back about those of which it hears
// nothing, and delivers what was committed to the bookkeeper. It may be killed at any time.
#include "payments.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>
#include <system_error>

namespace {

using namespace payments;

constexpr char usage[] = "--db FILE --listen ENDPOINT --payment-service ENDPOINT --bookkeeper ENDPOINT"
                         " [--first-check-ms N] [--check-interval-ms N]";

cosaga::duration milliseconds(arguments const& given, std::string const& name, cosaga::duration otherwise)
{
    if (!given.has(name))
        return otherwise;
    auto const& text = given[name];
    int n = 0;
    auto const read = std::from_chars(text.data(), text.data() + text.size(), n);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || n < 1)
        throw usage_error{name + " needs a number of milliseconds, at least 1"};
    return std::chrono::milliseconds{n};
}

cosaga::coordinator_options options_of(arguments const& given)
{
    cosaga::coordinator_options options{.name = coordinator_name};
    options.checks.first = milliseconds(given, "--first-check-ms", options.checks.first);
    options.checks.interval = milliseconds(given, "--check-interval-ms", options.checks.interval);
    options.checks.cap = std::max(options.checks.cap, options.checks.interval);
    options.answer_timeout = std::min(options.answer_timeout, options.checks.interval);
    return options;
}

/// Where the coordinator asks back, and where committed messages go.
cosaga::zeromq_options transport_of(arguments const& given)
{
    cosaga::zeromq_options options;
    options.service = coordinator_name;
    options.listen.push_back(given["--listen"]);
    options.routes.push_back({std::string{cosaga::checks_topic}, payment_service_name, {given["--payment-service"]}});
    options.routes.push_back({"payments", bookkeeper_name, {given["--bookkeeper"]}});
    return options;
}

} // namespace

int main(int argc, char** argv)
{
    return run_program(coordinator_name, usage, 1, [&] {
        arguments const given{argc, argv, {"--db", "--listen", "--payment-service", "--bookkeeper"},
            {"--first-check-ms", "--check-interval-ms"}};
        auto const options = options_of(given);
        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::zeromq_transport transport{environment, transport_of(given)};
        cosaga::node node{store, transport, {.service = coordinator_name}};
        cosaga::coordinator coordinator{node.get_outbox(), options};
        node.attach(coordinator);
        auto stopped = asio::co_spawn(io, node.run(), asio::use_future);
        io.run();
        stopped.get();
        return 0;
    });
}
