// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "by_hand.hpp"
#include "support.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace by_hand;

// Large enough that frames cost little, small enough that the receiver begins before the sender has ended.
constexpr std::size_t frame_messages = 256;
constexpr std::size_t most_in_transaction = 4096;

/// Commits what may be outstanding, sends it, and begins again with what was acknowledged.
class floor_sender {
public:
    floor_sender(std::string const& path, void* context, std::string const& endpoint, std::size_t outstanding,
        bench::progress& done, bench::hop_latencies& latency)
        : side_{path}, socket_{context, ZMQ_DEALER}, ready_(outstanding, bench::clock::now()), done_{&done}, latency_{&latency}
    {
        check_zmq(zmq_connect(socket_, endpoint.c_str()));
    }

    void run()
    {
        while (!stopping.load(std::memory_order_relaxed)) {
            commit_ready();
            for (auto const& f : frames_)
                socket_.send(f);
            take_acknowledgements();
        }
        socket_.send({}); // the receiver's end
    }

    std::atomic<bool> stopping{false};

private:
    void commit_ready()
    {
        frames_.clear();
        side_.begin.run();
        if (acknowledged_ > 0)
            side_.erase(acknowledged_);
        auto const n = std::min(ready_.size(), most_in_transaction);
        for (std::size_t i = 0; i < n; ++i) {
            if (i % frame_messages == 0)
                frames_.emplace_back();
            side_.stage(frames_.back());
            sent_.push_back(ready_.front());
            ready_.pop_front();
        }
        side_.commit.run();
    }

    /// Waits for one only if there is nothing else to do.
    void take_acknowledgements()
    {
        std::size_t count = 0;
        for (bool wait = ready_.empty(); frame_.receive(socket_, wait ? 0 : ZMQ_DONTWAIT); wait = false) {
            auto const up_to = decode_acknowledgement(frame_.view());
            auto const now = bench::clock::now();
            for (; acknowledged_ < up_to; ++acknowledged_, ++count) {
                latency_->acknowledged(sent_.front(), now);
                sent_.pop_front();
                ready_.push_back(now);
            }
        }
        done_->fetch_add(count, std::memory_order_relaxed);
    }

    sending_side side_;
    socket socket_;
    std::deque<bench::clock::time_point> ready_; // when each of the messages to be sent was asked for
    std::deque<bench::clock::time_point> sent_;  // the same of those that are not acknowledged, by number
    std::vector<std::string> frames_;
    frame frame_;
    std::int64_t acknowledged_ = 0;
    bench::progress* done_;
    bench::hop_latencies* latency_;
};

/// Applies what has arrived in one commit, and acknowledges it.
class floor_receiver {
public:
    floor_receiver(std::string const& path, void* context, bench::hop_latencies& latency)
        : side_{path}, socket_{context, ZMQ_ROUTER}
    {
        latency.watch_commits(side_.db);
        endpoint = socket_.bind_loopback();
    }

    void run()
    {
        while (!stopping_) {
            peer_.receive(socket_);
            frame_.receive(socket_);
            if (frame_.view().empty())
                return;
            apply_what_is_there();
            socket_.send(peer_.view(), ZMQ_SNDMORE);
            socket_.send(encode_acknowledgement(side_.last_seq()));
        }
    }

    std::string endpoint;

private:
    void apply_what_is_there()
    {
        side_.begin.run();
        auto count = side_.apply(frame_.view());
        while (count < most_in_transaction && next_peer_.receive(socket_, ZMQ_DONTWAIT)) {
            frame_.receive(socket_);
            if (!frame_.view().empty())
                count += side_.apply(frame_.view());
            else
                stopping_ = true;
        }
        side_.commit.run();
    }

    receiving_side side_;
    socket socket_;
    frame peer_;
    frame next_peer_; // of its own: a receive that finds nothing empties it
    frame frame_;
    bool stopping_ = false;
};

void durable_hop_floor(benchmark::State& state)
{
    auto const outstanding = static_cast<std::size_t>(state.range(0));
    bench::scratch_directory const directory;
    bench::progress done{0};
    context zmq;
    bench::hop_latencies latency{outstanding};
    floor_receiver receiver{directory.file("receiver.db"), zmq, latency};
    floor_sender sender{directory.file("sender.db"), zmq, receiver.endpoint, outstanding, done, latency};
    std::thread receiving{[&] { receiver.run(); }};
    std::thread sending{[&] { sender.run(); }};
    bench::measure(state, done);
    sender.stopping = true;
    sending.join();
    receiving.join();
    latency.report(state);
}

BENCHMARK(durable_hop_floor)->Name("durable_hop/floor")->Arg(1)->Arg(64)->Arg(1024)->Arg(8192);

} // namespace
