// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/dispatch_queue.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Faults for the messages of one memory transport; on the strand of its network.
struct memory_faults {
    std::size_t fail = 0;
    std::string reason;
    std::size_t duplicate = 0;
    std::size_t drop_acknowledgements = 0;
};

/// What in-process transports are connected to: every publisher and every subscription that was let in.
///
/// Each publisher keeps its messages until they are settled, and gives to each subscription what its window allows.
/// @par Thread safety
/// `add` and `open_...` from any thread; everything else happens on the strand.
class memory_network : public std::enable_shared_from_this<memory_network> {
public:
    struct subscriber;

private:
    struct sender {
        struct connection {
            std::shared_ptr<subscriber> to;
            std::uint32_t lane = 0;
            std::vector<std::pair<std::uint64_t, message>> batch; // to be pushed
        };

        std::shared_ptr<publisher_state> state;
        std::string topic;
        std::string consumer;
        std::string service;
        message_limits limits;
        std::shared_ptr<memory_faults> faults;
        dispatch_queue queue;
        std::vector<connection> connections; // by instance
        std::vector<settlement> settled;     // to be delivered
    };

public:
    struct subscriber {
        std::shared_ptr<subscription_state> state;

    private:
        friend memory_network;
        struct connection {
            std::shared_ptr<sender> from;
            dispatch_queue::instance_id instance = 0;
        };
        std::string topic;
        std::string consumer;
        flow_window window;
        std::vector<connection> connections; // by lane
    };

    explicit memory_network(asio::any_io_executor executor) : strand_{strand_of(std::move(executor))} {}
    memory_network(memory_network const&) = delete;
    memory_network& operator=(memory_network const&) = delete;
    ~memory_network()
    {
        // Connected ends keep each other; those whose closing was never served still do.
        for (auto const& s : senders_)
            s->connections.clear();
        for (auto const& s : subscribers_)
            s->connections.clear();
    }

    asio::any_io_executor get_executor() const { return strand_; }

    std::shared_ptr<publisher_state> open_publisher(std::string_view topic, std::string_view consumer,
        std::string const& service, message_limits const& limits, std::shared_ptr<memory_faults> faults)
    {
        auto const s = std::make_shared<sender>();
        s->topic = topic;
        s->consumer = consumer;
        s->service = service;
        s->limits = limits;
        s->faults = std::move(faults);
        s->state = std::make_shared<publisher_state>(strand_, waker(s));
        post_to(strand_, [self = shared_from_this(), s] {
            self->senders_.push_back(s);
            for (auto const& to : self->subscribers_)
                self->connect(s, to);
        });
        return s->state;
    }

    /// The subscription gets nothing until it is given to `let_in`.
    std::shared_ptr<subscriber> open_subscription(
        environment& env, std::string_view topic, std::string_view consumer, flow_window const& window)
    {
        auto const s = std::make_shared<subscriber>();
        s->topic = topic;
        s->consumer = consumer;
        s->window = window;
        s->state = std::make_shared<subscription_state>(env, strand_, waker(s));
        return s;
    }

    void let_in(std::shared_ptr<subscriber> s)
    {
        post_to(strand_, [self = shared_from_this(), s = std::move(s)] {
            if (s->state->is_closed())
                return;
            self->subscribers_.push_back(s);
            for (auto const& from : self->senders_) {
                self->connect(from, s);
                self->dispatch(*from);
            }
        });
    }

private:
    // Called for a handle on any thread; the handle may outlive the network.
    template <class Client>
    std::function<void()> waker(std::shared_ptr<Client> const& client)
    {
        return [network = weak_from_this(), weak = std::weak_ptr<Client>{client}] {
            auto const self = network.lock();
            if (auto const alive = weak.lock(); alive && self)
                post_to(self->strand_, [self, alive] { self->serve(alive); });
        };
    }

    void connect(std::shared_ptr<sender> const& from, std::shared_ptr<subscriber> const& to)
    {
        if (from->topic != to->topic || from->consumer != to->consumer)
            return;
        auto const lane = to->state->use([](delivery_queue& queue) { return queue.open_lane(); });
        auto const instance = from->queue.add_instance(to->window);
        from->connections.resize(std::max<std::size_t>(from->connections.size(), instance + 1));
        from->connections[instance] = {to, lane, {}};
        to->connections.resize(std::max<std::size_t>(to->connections.size(), lane + 1));
        to->connections[lane] = {from, instance};
    }

    void serve(std::shared_ptr<sender> const& s)
    {
        if (s->state->is_closed()) {
            for (auto& c : s->connections) {
                if (!c.to)
                    continue;
                c.to->state->close_lane(c.lane);
                c.to->connections[c.lane] = {};
            }
            s->connections.clear();
            std::erase(senders_, s);
            return;
        }
        std::vector<std::uint64_t> added;
        for (auto& e : s->state->take_incoming()) {
            try {
                check_limits(e.content, s->limits);
            } catch (boost::system::system_error const& error) {
                s->settled.push_back({e.tag, verdict::rejected, error.what(), std::move(e.content)});
                continue;
            }
            added.push_back(s->queue.add(std::move(e)));
        }
        for (auto tag = added.begin(); tag != added.end() && s->faults->fail > 0; ++tag)
            if (s->queue.settle(dispatch_queue::nowhere, *tag, verdict::failed, s->faults->reason, s->settled))
                --s->faults->fail;
        dispatch(*s);
    }

    void serve(std::shared_ptr<subscriber> const& s)
    {
        bool const closed = s->state->is_closed(); // asked first: nothing is settled after it
        std::vector<std::shared_ptr<sender>> touched;
        for (auto& d : s->state->take_settled()) {
            auto const& [from, instance] = s->connections[d.from.lane];
            if (touched.empty() || touched.back() != from)
                touched.push_back(from);
            auto& faults = *from->faults;
            if (d.result == verdict::accepted && faults.drop_acknowledgements > 0) {
                --faults.drop_acknowledgements;
                from->queue.send_again(d.from.tag);
            } else {
                from->queue.settle(instance, d.from.tag, d.result, std::move(d.reason), from->settled);
            }
        }
        if (closed) {
            for (auto& c : s->connections) {
                if (!c.from)
                    continue;
                c.from->queue.remove_instance(c.instance);
                c.from->connections[c.instance] = {};
                touched.push_back(std::move(c.from));
            }
            s->connections.clear();
            s->state->use([](delivery_queue& queue) { queue.clear(); });
            std::erase(subscribers_, s);
        }
        for (auto const& from : touched)
            dispatch(*from);
    }

    static void dispatch(sender& s)
    {
        auto& faults = *s.faults;
        s.queue.dispatch([&](dispatch_queue::instance_id to, std::uint64_t tag, message const& content) {
            auto& batch = s.connections[to].batch;
            batch.emplace_back(tag, content);
            if (faults.duplicate > 0) {
                --faults.duplicate;
                batch.emplace_back(tag, content);
            }
        });
        for (auto& c : s.connections) {
            if (c.batch.empty())
                continue;
            c.to->state->use([&](delivery_queue& queue) {
                for (auto& [tag, content] : c.batch)
                    queue.push({c.lane, tag}, std::move(content), s.service);
            });
            c.batch.clear();
            c.to->state->notify();
        }
        if (!s.settled.empty())
            s.state->deliver(std::exchange(s.settled, {}));
    }

    asio::any_io_executor strand_;
    std::vector<std::shared_ptr<sender>> senders_;
    std::vector<std::shared_ptr<subscriber>> subscribers_;
};

} // namespace cosaga::detail
