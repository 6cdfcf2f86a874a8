// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/dispatch_queue.hpp>
#include <cosaga/detail/strand_timer.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/detail/zeromq_frames.hpp>
#include <cosaga/detail/zeromq_pump.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The sending half of a zeromq transport: one DEALER for each endpoint, and the publishers that use them.
/// @par Thread safety
/// under the lock of the guard.
class zeromq_sender {
    struct outlet;
    struct flow;

public:
    /// One publisher: its messages, and where they can go.
    struct publisher {
        std::shared_ptr<publisher_state> state;
        std::string topic;
        std::string consumer;

    private:
        friend zeromq_sender;
        struct destination {
            flow* by = nullptr;
            std::uint32_t instance = 0; // as the receiver numbers it
            std::string batch;
            std::size_t batched = 0;
            message const* last = nullptr;
        };
        dispatch_queue queue;
        std::vector<destination> destinations; // by instance of the queue
        std::vector<std::unique_ptr<flow>> flows;
        std::vector<settlement> settled;
        bool touched = false;
    };

    zeromq_sender(environment& env, zeromq_context& context, asio::any_io_executor strand,
        std::shared_ptr<zeromq_guard> guard, zeromq_options const& options)
        : environment_{&env},
          context_{&context},
          strand_{std::move(strand)},
          guard_{std::move(guard)},
          options_{&options},
          session_{env.random()},
          timer_{env, strand_}
    {
        limits_.message = options.limits;
    }

    void add(std::shared_ptr<publisher> p, zeromq_route const& route)
    {
        std::vector<outlet*> outlets; // all of them first: one may be refused
        for (auto const& endpoint : route.endpoints)
            outlets.push_back(&outlet_of(endpoint, route.server_key));
        for (auto* const via : outlets) {
            auto f = std::make_unique<flow>();
            f->of = p.get();
            f->via = via;
            f->number = ++flows_made_;
            via->flows.emplace(f->number, f.get());
            if (via->greeted)
                open(*f);
            p->flows.push_back(std::move(f));
        }
        publishers_.push_back(std::move(p));
        check_used();
    }

    /// Takes what was published, or that the publisher was closed.
    void serve(std::shared_ptr<publisher> const& p)
    {
        if (p->state->is_closed()) {
            remove(*p);
            std::erase(publishers_, p);
            return;
        }
        for (auto& e : p->state->take_incoming()) {
            try {
                check_limits(e.content, options_->limits);
            } catch (boost::system::system_error const& error) {
                p->settled.push_back({e.tag, verdict::rejected, error.what(), std::move(e.content)});
                continue;
            }
            p->queue.add(std::move(e));
        }
        touch(*p);
        finish_touched();
    }

    /// Lets what was written leave while the sockets close.
    void set_linger(int milliseconds)
    {
        for (auto const& o : outlets_)
            o->pump->socket().set(ZMQ_LINGER, milliseconds);
    }

    std::uint64_t refused_frames() const noexcept { return refused_frames_; }

private:
    static constexpr std::size_t most_instances = 64;         // of one consumer at one endpoint
    static constexpr std::size_t largest_answer = 1024 * 1024; // bytes of a frame from a receiver

    struct flow {
        publisher* of = nullptr;
        outlet* via = nullptr;
        std::uint32_t number = 0;
        std::map<std::uint32_t, dispatch_queue::instance_id> instances; // by the number that the receiver gave
    };

    struct outlet {
        std::string endpoint;
        std::string server_key;
        std::unique_ptr<zeromq_pump> pump;
        std::map<std::uint32_t, flow*> flows; // by number
        std::uint64_t connection = 0;
        bool connected = false;
        bool greeted = false; // frames are understood over there
        bool used = false;    // since `check`
        bool broken = false;  // a send failed

        int quiet() const noexcept { return connected ? ZMQ_POLLOUT : 0; }
    };

    outlet& outlet_of(std::string const& endpoint, std::string const& server_key)
    {
        for (auto const& o : outlets_)
            if (o->endpoint == endpoint && o->server_key == server_key)
                return *o;
        auto made = std::make_unique<outlet>();
        auto& o = *made;
        o.endpoint = endpoint;
        o.server_key = server_key;
        o.pump = std::make_unique<zeromq_pump>(*context_, ZMQ_DEALER, strand_, guard_, [this, &o] { return drain(o); });
        auto& socket = o.pump->socket();
        set_common_options(socket, *options_, endpoint, largest_answer);
        socket.set(ZMQ_PROBE_ROUTER, 1);
        socket.set(ZMQ_IMMEDIATE, 1);
        // No limit here: the windows are. So "cannot send" means exactly "not connected".
        socket.set(ZMQ_SNDHWM, 0);
        socket.set(ZMQ_RECONNECT_IVL, to_milliseconds(options_->reconnect));
        socket.set(ZMQ_RECONNECT_IVL_MAX, to_milliseconds(options_->reconnect_cap));
        socket.set(ZMQ_CONNECT_TIMEOUT, 5000);
        if (!server_key.empty()) {
            socket.set(ZMQ_CURVE_SERVERKEY, server_key);
            socket.set(ZMQ_CURVE_PUBLICKEY, options_->curve->own.public_key);
            socket.set(ZMQ_CURVE_SECRETKEY, options_->curve->own.secret_key);
        }
        socket.connect(endpoint);
        outlets_.push_back(std::move(made));
        o.pump->check(ZMQ_POLLIN | ZMQ_POLLOUT, o.quiet());
        return o;
    }

    bool drain(outlet& o)
    {
        auto& socket = o.pump->socket();
        bool more = drain_socket(socket, [&](zeromq_message& part) {
            bool const single = !skip_parts(socket, part);
            try {
                if (!single)
                    throw make_error(errc::malformed_data, "frame has several parts");
                handle(o, part.view());
            } catch (boost::system::system_error const& e) {
                refuse(o, e.what());
            }
        });
        bool const connected = (socket.events() & ZMQ_POLLOUT) != 0;
        if (std::exchange(o.connected, connected) && !connected)
            lose(o);
        finish_touched();
        if (o.connected && !o.greeted)
            knock_later();
        return more || (socket.events() & (ZMQ_POLLIN | ZMQ_POLLOUT)) != o.quiet();
    }

    // The receiver may have had no room for one more peer, or may be updated to understand us.
    void knock_later()
    {
        timer_.arm(std::chrono::seconds{1}, guarded(guard_, [this] {
            bool again = false;
            for (auto const& o : outlets_)
                if (o->connected && !o->greeted) {
                    send(*o, {});
                    again = true;
                }
            if (again)
                knock_later();
            check_used();
        }));
    }

    void handle(outlet& o, std::string_view frame)
    {
        frame_kind kind{};
        auto r = read_kind(frame, kind);
        switch (kind) {
        case frame_kind::hello:
            read_hello(r, limits_);
            greet(o);
            break;
        case frame_kind::window: on_window(o, read_window(r, limits_)); break;
        case frame_kind::settle: on_settle(o, r); break;
        case frame_kind::shut: on_shut(o, read_shut(r)); break;
        case frame_kind::ping: r.expect_end(); break;
        default: r.fail("is of a kind that only senders send");
        }
    }

    // A new connection, or the receiver could not tell us something: all flows begin anew.
    void greet(outlet& o)
    {
        lose(o);
        o.connected = true;
        o.greeted = true;
        ++o.connection;
        for (auto const& [number, f] : o.flows)
            open(*f);
    }

    void open(flow& f)
    {
        open_frame frame;
        frame.connection = f.via->connection;
        frame.session = session_;
        frame.flow = f.number;
        frame.topic = f.of->topic;
        frame.consumer = f.of->consumer;
        frame.service = options_->service;
        write_open(out_, frame);
        send(*f.via, out_);
    }

    void on_window(outlet& o, window_frame const& w)
    {
        auto const found = o.flows.find(w.flow);
        if (!o.greeted || w.connection != o.connection || found == o.flows.end())
            return;
        auto& f = *found->second;
        if (f.instances.contains(w.instance) || f.instances.size() == most_instances)
            return;
        auto& p = *f.of;
        auto const id = p.queue.add_instance({w.messages, w.bytes});
        f.instances.emplace(w.instance, id);
        p.destinations.resize(std::max<std::size_t>(p.destinations.size(), id + 1));
        auto& d = p.destinations[id];
        d.by = &f;
        d.instance = w.instance;
        d.batched = 0;
        for (auto const& h : w.held)
            p.queue.adopt(id, h.tag, h.bytes);
        touch(p);
    }

    void on_settle(outlet& o, wire_reader& r)
    {
        auto const head = read_head(r);
        auto const found = o.flows.find(head.flow);
        if (found == o.flows.end())
            return; // of a publisher that was closed
        auto const& f = *found->second;
        auto& p = *f.of;
        touch(p);
        auto const instance = f.instances.find(head.instance);
        auto const by = instance == f.instances.end() ? dispatch_queue::nowhere : instance->second;
        read_settle(r, limits_, [&p, by](std::uint64_t tag, verdict result, std::string_view reason) {
            p.queue.settle(by, tag, result, std::string{reason}, p.settled);
        });
    }

    void on_shut(outlet& o, shut_frame const& s)
    {
        // Says that what was settled before has been heard: a connection that is closed too early drops it.
        write_shut(out_, s);
        send(o, out_);
        auto const found = o.flows.find(s.flow);
        if (found == o.flows.end())
            return;
        auto& f = *found->second;
        if (auto const instance = f.instances.find(s.instance); instance != f.instances.end()) {
            f.of->queue.remove_instance(instance->second);
            f.of->destinations[instance->second].by = nullptr;
            f.instances.erase(instance);
            touch(*f.of);
        }
    }

    void refuse(outlet& o, char const* why)
    {
        ++refused_frames_;
        if (std::exchange(o.greeted, false) || refused_frames_ == 1)
            environment_->report("zeromq_transport: refused a frame from " + o.endpoint + ": " + why);
        lose(o);
    }

    // What was outstanding there waits again, here or at another instance.
    void lose(outlet& o)
    {
        o.greeted = false;
        o.broken = false;
        for (auto const& [number, f] : o.flows) {
            for (auto const& [instance, id] : f->instances) {
                f->of->queue.remove_instance(id);
                f->of->destinations[id].by = nullptr;
            }
            if (!f->instances.empty())
                touch(*f->of);
            f->instances.clear();
        }
    }

    void send(outlet& o, std::string const& frame)
    {
        o.used = true;
        if (o.pump->socket().send(frame) != zeromq_socket::sent::yes)
            o.broken = true;
    }

    void touch(publisher& p)
    {
        if (!std::exchange(p.touched, true))
            touched_.push_back(&p);
    }

    // Sends and reports what became possible. Losing an outlet may give its messages to other ones, hence the loops.
    void finish_touched()
    {
        while (!touched_.empty()) {
            auto const batch = std::exchange(touched_, {});
            for (auto* const p : batch) {
                p->touched = false;
                dispatch(*p);
                if (!p->settled.empty())
                    p->state->deliver(std::exchange(p->settled, {}));
            }
            for (auto const& o : outlets_)
                if (o->broken)
                    lose(*o);
        }
        check_used();
    }

    void check_used()
    {
        for (auto const& o : outlets_)
            if (std::exchange(o->used, false))
                o->pump->check(ZMQ_POLLIN | ZMQ_POLLOUT, o->quiet());
    }

    void dispatch(publisher& p)
    {
        p.queue.dispatch([&](dispatch_queue::instance_id id, std::uint64_t tag, message const& content) {
            auto& d = p.destinations[id];
            if (d.batched == 0) {
                begin_batch(d.batch, d.by->number, d.instance);
                d.last = nullptr;
            }
            append_message(d.batch, p.topic, tag, content, d.last);
            d.last = &content;
            if (++d.batched == options_->batch_messages || d.batch.size() >= options_->batch_bytes)
                flush(d);
        });
        for (auto& d : p.destinations)
            if (d.batched > 0)
                flush(d);
    }

    void flush(publisher::destination& d)
    {
        d.batched = 0;
        send(*d.by->via, d.batch);
    }

    void remove(publisher& p)
    {
        for (auto const& f : p.flows) {
            if (f->via->greeted) {
                write_done(out_, f->number);
                send(*f->via, out_);
            }
            f->via->flows.erase(f->number);
        }
        p.flows.clear();
        check_used();
    }

    environment* environment_;
    zeromq_context* context_;
    asio::any_io_executor strand_;
    std::shared_ptr<zeromq_guard> guard_;
    zeromq_options const* options_;
    frame_limits limits_;
    std::uint64_t session_;
    strand_timer timer_;
    std::uint32_t flows_made_ = 0;
    std::uint64_t refused_frames_ = 0;
    std::vector<std::shared_ptr<publisher>> publishers_;
    std::vector<publisher*> touched_;
    std::vector<std::unique_ptr<outlet>> outlets_;
    std::string out_; // a frame being written
};

} // namespace cosaga::detail
