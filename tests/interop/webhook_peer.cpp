// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/webhook/endpoint.hpp>
#include <cosaga/webhook/receiver.hpp>
#include <cosaga/webhook/sink.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

// The library's end of the interoperability test; run.py starts it.
//   webhook_peer send URL SECRET...    delivers messages of every format, signed with all of the secrets; fails unless all are delivered
//   webhook_peer receive SECRET...     prints its port, then answers and applies until its input ends
namespace {

namespace asio = boost::asio;
using cosaga::attempt_outcome;
using cosaga::message;
using cosaga::webhook_format;
using cosaga::webhook_secret;

constexpr std::string_view payloads[] = {
    R"({"id":"a","cents":5})", "{}", R"({"text":"Gr\u00fc\u00dfe, \"quoted\"","umlaut":"ü €","n":[1,2.50,-3e7,null,true]})"};

asio::awaitable<int> send(cosaga::environment& env, std::string url, std::vector<webhook_secret> secrets)
{
    int failed = 0;
    cosaga::message_id_generator ids{env};
    for (auto const format : {webhook_format::structured, webhook_format::binary, webhook_format::plain}) {
        cosaga::webhook_sink_options options;
        options.secrets = [&](std::string const&) { return secrets; };
        options.allow_http = true;
        options.allowed_networks = {"127.0.0.0/8"};
        options.format = format;
        cosaga::webhook_sink sink{env, options};
        for (auto const payload : payloads) {
            message m;
            m.id = ids();
            m.time = env.now();
            m.type = "order";
            m.source = "cosaga";
            m.content_type = "application/json";
            m.payload = payload;
            auto const result = co_await sink.deliver(url, m);
            if (result.outcome == attempt_outcome::delivered)
                continue;
            ++failed;
            std::fprintf(stderr, "webhook_peer: not delivered: %s\n", result.reason.c_str());
        }
    }
    co_return failed;
}

// Ends with the standard input, so that it never outlives who started it.
asio::awaitable<int> receive(cosaga::environment& env, std::vector<webhook_secret> secrets)
{
    cosaga::memory_store store{env};
    cosaga::webhook_receiver_options options;
    options.name = "peer";
    options.secrets = [&] { return secrets; };
    cosaga::webhook_receiver<cosaga::memory_store> receiver{store, options};
    auto apply = [](auto&, message const& m) { std::fprintf(stderr, "applied %s\n", m.payload.c_str()); };
    cosaga::webhook_endpoint_options at;
    cosaga::webhook_endpoint endpoint{env, at};
    endpoint.serve("/hooks", [&](cosaga::webhook_request const& r) { return receiver.receive(r, apply); });
    endpoint.start();
    std::printf("%u\n", static_cast<unsigned>(endpoint.port()));
    std::fflush(stdout);
    auto const waiting = env.start_worker();
    cosaga::detail::event closed{env.get_executor()};
    cosaga::detail::post_to(waiting->get_executor(), [&] {
        while (std::getchar() != EOF) {
        }
        closed.notify();
    });
    co_await closed.wait();
    co_await endpoint.stop();
    co_await store.close();
    co_return 0;
}

} // namespace

int main(int argc, char** argv)
{
    std::vector<std::string> const arguments(argv + 1, argv + argc);
    bool const sends = arguments.size() > 2 && arguments[0] == "send";
    if (!sends && (arguments.size() < 2 || arguments[0] != "receive"))
        return 2;
    std::vector<webhook_secret> secrets;
    for (std::size_t i = sends ? 2 : 1; i < arguments.size(); ++i)
        secrets.emplace_back(arguments[i]);
    asio::io_context io;
    cosaga::system_environment env{io.get_executor()};
    int result = 1;
    auto work = sends ? send(env, arguments[1], secrets) : receive(env, secrets);
    asio::co_spawn(io, std::move(work), [&](std::exception_ptr e, int r) {
        if (e)
            std::rethrow_exception(e);
        result = r;
    });
    io.run();
    return result;
}
