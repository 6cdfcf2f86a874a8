// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "everything.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <chrono>
#include <string>

namespace {

cosaga::webhook_request signed_request(cosaga::webhook_secret const& secret, cosaga::time_point when)
{
    auto const seconds = std::chrono::floor<std::chrono::seconds>(when).time_since_epoch().count();
    cosaga::webhook_request r;
    r.body = "{}";
    r.headers = {{"content-type", "application/json"}, {"webhook-id", "m1"}, {"webhook-timestamp", std::to_string(seconds)},
        {"webhook-signature", cosaga::sign_webhook(secret, {"m1", seconds}, r.body)}};
    return r;
}

} // namespace

int main()
{
    boost::asio::io_context io;
    cosaga::system_environment environment{io.get_executor()};
    cosaga::memory_store store{environment};
    auto const secret = cosaga::webhook_secret::make();
    cosaga::webhook_receiver_options options;
    options.name = "bank";
    options.secrets = [&] { return std::vector<cosaga::webhook_secret>(1, secret); };
    cosaga::webhook_receiver<cosaga::memory_store> receiver{store, options};
    auto handler = [](auto&, cosaga::message const&) {};
    auto const request = signed_request(secret, environment.now());
    auto received = boost::asio::co_spawn(io, receiver.receive(request, handler), boost::asio::use_future);
    io.run();
    return received.get().status == 200 && is_refused() ? 0 : 1;
}
