// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "by_hand.hpp"
#include "support.hpp"

#include <benchmark/benchmark.h>

#include <atomic>
#include <string>
#include <thread>

namespace {

using namespace by_hand;

void receive_one_by_one(receiving_side& side, socket& from)
{
    frame peer;
    frame message;
    for (;;) {
        peer.receive(from);
        message.receive(from);
        if (message.view().empty())
            return;
        side.begin.run();
        side.apply(message.view());
        side.commit.run();
        from.send(peer.view(), ZMQ_SNDMORE);
        from.send(encode_acknowledgement(side.last_seq()));
    }
}

void send_one(sending_side& side, socket& to)
{
    std::string message;
    frame acknowledgement;
    side.begin.run();
    side.stage(message);
    side.commit.run();
    to.send(message);
    acknowledgement.receive(to);
    side.begin.run();
    side.erase(decode_acknowledgement(acknowledgement.view()));
    side.commit.run();
}

/// However many wait, each goes its whole way before the next: so there is no number of outstanding messages to vary.
void durable_hop_naive(benchmark::State& state)
{
    bench::scratch_directory const directory;
    context zmq;
    receiving_side receiver{directory.file("receiver.db")};
    socket from{zmq, ZMQ_ROUTER};
    auto const endpoint = from.bind_loopback();
    sending_side sender{directory.file("sender.db")};
    socket to{zmq, ZMQ_DEALER};
    check_zmq(zmq_connect(to, endpoint.c_str()));
    std::thread receiving{[&] { receive_one_by_one(receiver, from); }};
    bench::progress done{0};
    std::atomic<bool> stopping{false};
    std::thread sending{[&] {
        for (; !stopping; ++done)
            send_one(sender, to);
        to.send({});
    }};
    bench::measure(state, done);
    stopping = true;
    sending.join();
    receiving.join();
}

BENCHMARK(durable_hop_naive)->Name("durable_hop/naive");

} // namespace
