// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/delivery_queue.hpp>
#include <cosaga/detail/strand_timer.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/detail/zeromq_frames.hpp>
#include <cosaga/detail/zeromq_peers.hpp>
#include <cosaga/detail/zeromq_pump.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace cosaga::detail {

using zeromq_flow_id = std::tuple<std::string, std::uint64_t, std::uint32_t>; // authenticated service, session, number

struct zeromq_subscriber {
    std::shared_ptr<subscription_state> state;
    std::string topic;
    std::string consumer;
    /// Given by the receiver, and never used again: late batches must not be taken for another one's.
    std::uint32_t instance = 0;
    std::vector<zeromq_flow*> flows{}; ///< by lane of the state
};

/// The messages of one publisher. It outlives its connection for as long as something of it is here.
struct zeromq_flow {
    struct lane {
        zeromq_subscriber* to = nullptr;
        std::uint32_t number = 0;
    };

    zeromq_flow_id id;
    zeromq_peer* from = nullptr; ///< null while the sender is away
    open_frame opened;
    std::string sender;
    std::map<std::uint32_t, lane> lanes; ///< by instance number
    std::vector<settled_tag> settled; ///< to be sent
};

/// The receiving half of a zeromq transport: one ROUTER, the peers that connected to it, and the local subscriptions.
/// @par Thread safety
/// under the lock of the guard.
class zeromq_receiver {
    using flow = zeromq_flow;
    using peer = zeromq_peer;
    using subscriber = zeromq_subscriber;

public:
    zeromq_receiver(environment& env, zeromq_context& context, asio::any_io_executor strand,
        std::shared_ptr<zeromq_guard> guard, zeromq_options const& options)
        : environment_{&env},
          options_{&options},
          guard_{std::move(guard)},
          timer_{env, strand},
          pump_{context, ZMQ_ROUTER, strand, guard_, [this] { return drain(); }},
          peers_{env, options, pump_.socket(), [this](peer& p) { lose(p); }}
    {
        limits_.message = options.limits;
        std::string all;
        for (auto const& endpoint : options.listen)
            all += endpoint;
        set_common_options(pump_.socket(), options, all, largest_batch(options.limits, options.batch_bytes));
        pump_.socket().set(ZMQ_SNDHWM, 256); // frames that a peer does not read
        pump_.socket().set(ZMQ_ROUTER_MANDATORY, 1); // says when a peer is gone or does not read, instead of dropping
    }

    /// Binds all endpoints, or none; from then on messages are let in.
    std::vector<std::string> listen()
    {
        std::vector<std::string> bound;
        try {
            for (auto const& endpoint : options_->listen)
                bound.push_back(pump_.socket().bind(endpoint));
        } catch (...) {
            for (auto const& endpoint : bound)
                pump_.socket().unbind(endpoint);
            throw;
        }
        check();
        return bound;
    }

    /// @param domain in which the authenticator answers.
    void require_keys(std::string const& domain)
    {
        pump_.socket().set(ZMQ_CURVE_SERVER, 1);
        pump_.socket().set(ZMQ_CURVE_SECRETKEY, options_->curve->own.secret_key);
        pump_.socket().set(ZMQ_ZAP_DOMAIN, domain);
        peers_.require_keys();
    }

    void add(std::shared_ptr<subscriber> s)
    {
        s->instance = ++instances_;
        for (auto& [id, f] : flows_)
            if (f.from && matches(f, *s))
                attach(f, *s);
        subscribers_.push_back(std::move(s));
        check();
    }

    /// Sends what was settled; takes note that the subscription was closed.
    void serve(std::shared_ptr<subscriber> const& s)
    {
        bool const closed = s->state->is_closed(); // asked first: nothing is settled after it
        send_settled(*s, s->state->take_settled());
        if (closed)
            remove(s);
        peers_.drop_gone();
        check();
    }

    /// Sends what was settled last, and that all subscriptions are closed.
    /// @param heard called, under the lock, when all senders have heard it; maybe at once.
    void say_farewell(std::function<void()> heard)
    {
        for (auto const& s : std::vector{subscribers_}) {
            s->state->close();
            serve(s);
        }
        heard_ = std::move(heard);
        check_farewells();
    }

    void set_linger(int milliseconds) { pump_.socket().set(ZMQ_LINGER, milliseconds); }

    zeromq_counters counters() const noexcept
    {
        auto c = counters_;
        c.refused_peers = peers_.refused();
        return c;
    }

private:
    static constexpr std::size_t flows_per_peer = 8; // on average, for the limit on all of them

    bool drain()
    {
        bool const more = drain_socket(pump_.socket(), [this](zeromq_message& id) { receive(id); });
        peers_.drop_gone();
        retry_later();
        return more || (pump_.socket().events() & ZMQ_POLLIN) != 0;
    }

    void check()
    {
        retry_later();
        pump_.check(ZMQ_POLLIN, 0);
    }

    // By time, because any use of the socket may swallow the sign that a peer reads again.
    void retry_later()
    {
        if (peers_.any_behind())
            timer_.arm(std::chrono::milliseconds{50}, guarded(guard_, [this] {
                peers_.retry_behind();
                peers_.drop_gone();
                check();
            }));
    }

    void receive(zeromq_message& id)
    {
        zeromq_message part;
        if (!id.more() || !pump_.socket().receive(part))
            return;
        bool const single = !skip_parts(pump_.socket(), part);
        auto* const p = peers_.find(id.view(), part.user_id());
        if (!p)
            return;
        try {
            if (!single)
                throw make_error(errc::malformed_data, "frame has several parts");
            if (part.view().empty())
                peers_.greet(*p);
            else
                handle(*p, part.view());
        } catch (boost::system::system_error const& e) {
            ignore(*p, e.what());
        }
    }

    void handle(peer& p, std::string_view frame)
    {
        frame_kind kind{};
        auto r = read_kind(frame, kind);
        switch (kind) {
        case frame_kind::open: on_open(p, read_open(r, limits_)); break;
        case frame_kind::batch: on_batch(p, r); break;
        case frame_kind::done: on_done(p, read_done(r)); break;
        case frame_kind::shut: {
            auto const heard = read_shut(r);
            farewells_.erase({p.id, heard.flow, heard.instance});
            check_farewells();
            break;
        }
        default: r.fail("is of a kind that only receivers send");
        }
    }

    void on_open(peer& p, open_frame frame)
    {
        zeromq_flow_id id{p.service, frame.session, frame.flow};
        if (auto const same = p.flows.find(frame.flow); same != p.flows.end() && same->second->id != id)
            throw make_error(errc::malformed_data, "frame opens a flow of another session");
        auto found = flows_.find(id);
        if (found == flows_.end()) {
            auto const most = std::max(options_->max_flows, options_->max_peers * flows_per_peer);
            if (p.flows.size() >= options_->max_flows || flows_.size() >= most) {
                ++counters_.refused_flows;
                return;
            }
            found = flows_.try_emplace(id).first;
            found->second.id = std::move(id);
            found->second.sender = p.service.empty() ? frame.service : p.service;
            found->second.opened = std::move(frame);
        } else {
            auto& known = found->second.opened;
            if (known.topic != frame.topic || known.consumer != frame.consumer)
                throw make_error(errc::malformed_data, "frame opens a flow again for something else");
            if (frame.connection < known.connection)
                return; // late, by a connection that is gone
            known.connection = frame.connection;
        }
        auto& f = found->second;
        if (f.from && f.from != &p) {
            auto& before = *f.from;
            leave(f);
            if (before.flows.empty())
                peers_.ping(before); // most likely it is gone
        }
        f.from = &p;
        p.flows[f.opened.flow] = &f;
        for (auto const& s : subscribers_)
            if (matches(f, *s))
                attach(f, *s);
    }

    static bool matches(flow const& f, subscriber const& s)
    {
        return f.opened.topic == s.topic && f.opened.consumer == s.consumer && !s.state->is_closed();
    }

    void attach(flow& f, subscriber& s)
    {
        auto const [place, added] = f.lanes.try_emplace(s.instance);
        auto& to = place->second;
        if (added) {
            to.to = &s;
            to.number = s.state->use([](delivery_queue& queue) { return queue.open_lane(); });
            s.flows.resize(std::max<std::size_t>(s.flows.size(), to.number + 1));
            s.flows[to.number] = &f;
        }
        window_frame w;
        w.connection = f.opened.connection;
        w.flow = f.opened.flow;
        w.instance = s.instance;
        w.messages = options_->window_messages;
        w.bytes = options_->window_bytes;
        // Of one moment, and the settlements first: what is neither listed nor settled is sent again, and a settlement that
        // comes after it would make the sender forget that it is here once more, and go beyond the window.
        if (!added)
            send_settled(s, s.state->take_settled(to.number, w.held));
        write_window(out_, w);
        peers_.send(*f.from, out_);
    }

    void on_batch(peer& p, wire_reader& r)
    {
        auto const head = read_head(r);
        auto const found = p.flows.find(head.flow);
        if (found == p.flows.end())
            return; // the sender is connected anew, and this came by the old connection
        auto const& f = *found->second;
        auto const to = f.lanes.find(head.instance);
        if (to == f.lanes.end())
            return; // the subscription is closed; the sender has been told or will be
        read_messages(r, f.opened.topic, limits_, batch_);
        std::size_t bytes = 0;
        for (auto const& m : batch_)
            bytes += flow_cost(m.content);
        auto const number = to->second.number;
        to->second.to->state->use([&](delivery_queue& queue) {
            auto const held = queue.held(number);
            bool const alone = held.messages == 0 && batch_.size() == 1;
            if (held.messages + batch_.size() > options_->window_messages
                || (!alone && held.bytes + bytes > options_->window_bytes))
                r.fail("goes beyond the window", errc::limit_exceeded);
            for (auto& m : batch_)
                queue.push({number, m.tag}, std::move(m.content), f.sender);
        });
        to->second.to->state->notify();
    }

    void on_done(peer& p, std::uint32_t number)
    {
        auto const found = p.flows.find(number);
        if (found == p.flows.end())
            return;
        auto const id = found->second->id;
        leave(*found->second);
        forget(id);
    }

    void ignore(peer& p, char const* why)
    {
        ++counters_.refused_frames;
        p.ignored = true;
        lose(p);
        auto const now = environment_->steady_now();
        if (now < next_report_)
            return;
        next_report_ = now + std::chrono::minutes{1};
        auto const name = p.service.empty() ? std::string{} : " (" + p.service + ")";
        environment_->report("zeromq_transport: ignoring a peer" + name + ": " + why);
    }

    void leave(flow& f)
    {
        f.from->flows.erase(f.opened.flow);
        f.from = nullptr;
        f.settled.clear();
    }

    void leave_and_forget(flow& f)
    {
        auto const id = f.id;
        leave(f);
        forget_if_empty(id);
    }

    void forget_if_empty(zeromq_flow_id const& id)
    {
        auto const found = flows_.find(id);
        if (found == flows_.end() || found->second.from)
            return;
        for (auto const& [instance, l] : found->second.lanes)
            if (l.to->state->use([&](delivery_queue& queue) { return queue.held(l.number).messages; }) > 0)
                return;
        forget(id);
    }

    void forget(zeromq_flow_id const& id)
    {
        auto const found = flows_.find(id);
        for (auto const& [instance, l] : found->second.lanes) {
            l.to->state->close_lane(l.number);
            l.to->flows[l.number] = nullptr;
        }
        flows_.erase(found);
    }

    void send_settled(subscriber& s, std::vector<settled_delivery> settled)
    {
        std::vector<flow*> touched;
        for (auto& d : settled) {
            auto* const f = s.flows[d.from.lane];
            if (f->settled.empty())
                touched.push_back(f);
            f->settled.push_back({d.from.tag, d.result, std::move(d.reason)});
        }
        for (auto* const f : touched)
            send_settled(*f, s.instance);
        for (auto* const f : touched)
            if (!f->from)
                forget_if_empty(f->id);
    }

    void send_settled(flow& f, std::uint32_t instance)
    {
        std::span<settled_tag const> left{f.settled};
        while (f.from && !left.empty()) {
            left = left.subspan(write_settle(out_, {f.opened.flow, instance}, left, limits_));
            peers_.send(*f.from, out_);
        }
        f.settled.clear();
    }

    void remove(std::shared_ptr<subscriber> const& s)
    {
        for (auto* const f : s->flows) {
            if (!f)
                continue;
            f->lanes.erase(s->instance);
            if (f->from) {
                write_shut(out_, {f->opened.flow, s->instance});
                if (peers_.send(*f->from, out_))
                    farewells_.insert({f->from->id, f->opened.flow, s->instance});
            } else {
                forget_if_empty(f->id); // it was kept for what is dropped now
            }
        }
        s->flows.clear();
        s->state->use([](delivery_queue& queue) { queue.clear(); });
        std::erase(subscribers_, s);
    }

    // Nothing more comes from there. The sender finds its flows by their ids when it connects again.
    void lose(peer& p)
    {
        while (!p.flows.empty())
            leave_and_forget(*p.flows.begin()->second);
        std::erase_if(farewells_, [&](auto const& f) { return std::get<0>(f) == p.id; });
        check_farewells();
    }

    void check_farewells()
    {
        if (farewells_.empty() && heard_)
            std::exchange(heard_, nullptr)();
    }

    environment* environment_;
    zeromq_options const* options_;
    std::shared_ptr<zeromq_guard> guard_;
    strand_timer timer_;
    frame_limits limits_;
    std::uint32_t instances_ = 0;
    std::vector<std::shared_ptr<subscriber>> subscribers_;
    std::map<zeromq_flow_id, flow> flows_;
    std::function<void()> heard_;
    std::set<std::tuple<std::string, std::uint32_t, std::uint32_t>> farewells_; // not heard: peer, flow, instance
    std::vector<tagged_message> batch_; // being read
    std::string out_; // a frame being written
    steady_time next_report_{};
    zeromq_counters counters_;
    zeromq_pump pump_; // calls into the others
    zeromq_peers peers_;
};

} // namespace cosaga::detail
