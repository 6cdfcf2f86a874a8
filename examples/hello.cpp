// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/describe/class.hpp>

#include <iostream>

struct greeting {
    std::string text;
};
BOOST_DESCRIBE_STRUCT(greeting, (), (text))

int main()
{
    boost::asio::io_context io;
    cosaga::system_environment environment{io.get_executor()};
    cosaga::sqlite_store store{environment, "hello.db"};
    std::string const endpoint = "tcp://127.0.0.1:5599"; // its own: usually the reader is another program
    cosaga::zeromq_transport transport{environment,
        {.service = "hello", .listen = {endpoint}, .routes = {{"greetings", "reader", {endpoint}}}}};
    cosaga::node node{store, transport, {.service = "hello"}};

    node.consume<greeting>("greetings", "reader", [](auto& tx, greeting const& g) {
        tx.execute("CREATE TABLE IF NOT EXISTS heard (text)");
        tx.execute("INSERT INTO heard VALUES (?)", g.text); // once, however often the message comes
        std::cout << g.text << '\n';
    });
    auto const run = [&]() -> boost::asio::awaitable<void> {
        co_await node.start();
        auto const greet = [](auto& tx) { return tx.send_with_receipt("greetings", greeting{"Hello, world!"}); };
        auto const sent = co_await node.transact(greet); // committed: it will arrive, whatever crashes now
        co_await sent.acknowledged();                    // the reader's transaction has committed, too
        co_await node.stop();
    };
    boost::asio::co_spawn(io, run(), [](std::exception_ptr e) { if (e) std::rethrow_exception(e); });
    io.run();
}
