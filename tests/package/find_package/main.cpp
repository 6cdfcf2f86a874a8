// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <everything.hpp>

#include <boost/asio/io_context.hpp>

cosaga::message_id other_unit();

#ifdef COSAGA_SEPARATE_COMPILATION
// Refers to both adapters and to the patterns: what they need must be in the library.
static void use()
{
    boost::asio::io_context io;
    cosaga::system_environment environment{io.get_executor()};
    cosaga::sqlite_store store{environment, "file.db"};
    cosaga::zeromq_transport transport{environment, {}};
    cosaga::node node{store, transport, {.service = "service", .reply_topic = "replies"}};
    node.consume<int>("topic", "name", [](auto& tx, int n) { tx.execute("INSERT INTO t VALUES (?)", n); });
    node.respond<int>("questions", "name", [](int n) -> boost::asio::awaitable<int> { co_return n; });
    cosaga::saga_engine sagas{node.get_outbox(), {.reply_topic = "answers"}};
    sagas.define<int>("saga", 1, [](auto& saga, int) { return saga.sleep_for(cosaga::duration{1}); });
    cosaga::saga_participant participant{node.get_outbox(), {.topic = "commands"}};
    participant.handle<int>([](auto& tx, int n) { tx.execute("INSERT INTO t VALUES (?)", n); });
}
#else
static void use() {}
#endif

int main(int count, char**)
{
    if (count > 1)
        use();
    return other_unit() == cosaga::message_id{} ? 0 : 1;
}
