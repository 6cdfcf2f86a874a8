// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/delivery_queue.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/testing/host.hpp>
#include <cosaga/testing/network.hpp>
#include <cosaga/transport.hpp>
#include <cosaga/transport/handles.hpp>

#include <algorithm>
#include <any>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Messages of `topic` for `consumer` go to one of these hosts at a time.
struct simulated_route {
    std::string topic;
    std::string consumer;
    std::vector<std::string> hosts;
};

struct simulated_transport_options {
    std::string service = "service"; ///< the declared name that receivers see as `delivery.sender`
    std::vector<simulated_route> routes{};
    message_limits limits{};
    std::size_t window_messages = 64; ///< of one publisher on the way, and of one subscription not settled
    duration resend_after = std::chrono::milliseconds{500}; ///< at first; then ever longer, up to 16 times as long
};

/// The weakest transport that still is one: what works over it works over every other.
///
/// Each message and each settlement is a packet of its own, and packets are lost, doubled and late. A publisher sends again
/// until it hears of the settlement, and has one message of each key on the way. So a message comes again long after
/// others of its key have been applied, while its first copy is being handled, and at another instance.
class simulated_transport {
public:
    using publisher_type = publisher_handle;
    using subscription_type = subscription_handle;

    /// The end of the host that it is made on, for as long as its program runs.
    /// @throws std::out_of_range when a route names no host; system_error `errc::bad_configuration` for an empty window.
    simulated_transport(host& h, simulated_transport_options options)
        : state_{std::make_shared<transport_state>(h, std::move(options))}
    {
    }
    simulated_transport(simulated_transport const&) = delete;
    simulated_transport& operator=(simulated_transport const&) = delete;
    ~simulated_transport() { state_->handles.close_all(); }

    std::vector<std::string> consumers_of(std::string_view topic) const
    {
        std::vector<std::string> names;
        for (auto const& r : state_->options.routes)
            if (r.topic == topic)
                names.push_back(r.consumer);
        return names;
    }

    publisher_type open_publisher(std::string_view topic, std::string_view consumer)
    {
        for (auto const& r : state_->options.routes)
            if (r.topic == topic && r.consumer == consumer)
                return publisher_type{state_->handles.add(state_->add_sender(r))};
        throw make_error(errc::no_route,
            "no route for the topic '" + std::string{topic} + "' to the consumer '" + std::string{consumer}
                + "': declare it in simulated_transport_options::routes");
    }

    subscription_type subscribe(std::string_view topic, std::string_view consumer)
    {
        return subscription_type{state_->handles.add(state_->add_receiver(port_of(topic, consumer)))};
    }

    void start() { state_->start(); }

    asio::awaitable<void> close()
    {
        state_->handles.close_all();
        state_->serve_all(); // at once: what closing the handles has posted comes too late for who destroys us now
        co_await detail::resume_on(state_->env().get_executor());
    }

    message_limits const& limits() const noexcept { return state_->options.limits; }
    environment& get_environment() noexcept { return state_->env(); }

private:
    struct message_packet {
        std::uint64_t session = 0; // of the publisher
        std::uint64_t number = 0;
        message content;
        std::string service;
    };
    struct settle_packet {
        std::uint64_t number = 0;
        verdict result = verdict::accepted;
        std::string reason;
    };

    static std::string port_of(std::string_view topic, std::string_view consumer)
    {
        return std::string{topic} + '\n' + std::string{consumer};
    }
    static std::string port_of(std::uint64_t session) { return "settled " + std::to_string(session); }

    struct sender;
    struct receiver;

    struct transport_state : std::enable_shared_from_this<transport_state> {
        transport_state(host& h, simulated_transport_options o) : at{&h}, options{std::move(o)}
        {
            if (options.window_messages == 0)
                throw make_error(errc::bad_configuration, "simulated_transport: the window must be at least 1");
            for (auto const& r : options.routes)
                for (auto const& name : r.hosts)
                    h.find(name);
        }

        virtual_environment& env() const { return at->get_environment(); }
        scheduler& chance() const { return env().get_scheduler(); }

        /// Lets `serve` of one end be called, as an operation of its own, if the end is there by then.
        template <class End>
        std::function<void()> waker(std::shared_ptr<End> const& end)
        {
            return [executor = env().get_executor(), weak = std::weak_ptr<End>{end}] {
                detail::post_to(executor, [weak] {
                    if (auto const alive = weak.lock())
                        alive->serve();
                });
            };
        }

        void listen(std::string port, std::function<void(packet const&)> f)
        {
            at->get_network().listen(at->number(), std::move(port), std::move(f));
        }

        std::shared_ptr<detail::publisher_state> add_sender(simulated_route const& r)
        {
            auto const s = std::make_shared<sender>();
            s->of = this;
            s->port = port_of(r.topic, r.consumer);
            for (auto const& name : r.hosts)
                s->hosts.push_back(at->find(name));
            s->session = env().random();
            s->state = std::make_shared<detail::publisher_state>(env().get_executor(), waker(s));
            listen(port_of(s->session), [weak = std::weak_ptr{s}](packet const& p) {
                if (auto const alive = weak.lock())
                    alive->on_settled(*std::any_cast<settle_packet>(&p.content));
            });
            senders.push_back(s);
            return s->state;
        }

        std::shared_ptr<detail::subscription_state> add_receiver(std::string const& port)
        {
            auto const r = std::make_shared<receiver>();
            r->of = this;
            r->port = port;
            r->state = std::make_shared<detail::subscription_state>(env(), env().get_executor(), waker(r));
            r->lane = r->state->use([](detail::delivery_queue& q) { return q.open_lane(); });
            receivers[port].push_back(r);
            if (started)
                let_in(port);
            return r->state;
        }

        void start()
        {
            started = true;
            for (auto const& [port, all] : receivers)
                let_in(port);
        }

        void serve_all()
        {
            for (auto const& s : std::vector{senders})
                s->serve();
            for (auto const& [port, all] : receivers)
                for (auto const& r : std::vector{all})
                    r->serve();
        }

        void let_in(std::string const& port)
        {
            listen(port, [weak = this->weak_from_this(), port](packet const& p) {
                auto const alive = weak.lock();
                if (!alive)
                    return;
                auto& all = alive->receivers[port];
                if (!all.empty())
                    all[alive->chance().random_below(all.size())]->on_message(p);
            });
        }

        host* at;
        simulated_transport_options options;
        bool started = false;
        detail::handle_registry handles;
        std::vector<std::shared_ptr<sender>> senders;
        std::map<std::string, std::vector<std::shared_ptr<receiver>>> receivers; // by port
    };

    /// One publisher.
    struct sender : std::enable_shared_from_this<sender> {
        struct outstanding {
            std::uint64_t tag = 0;
            message content;
            std::uint32_t times_sent = 0;
            steady_time again{};
        };

        void serve()
        {
            if (state->is_closed()) {
                of->at->get_network().close(of->at->number(), port_of(session));
                std::erase_if(of->senders, [this](auto const& s) { return s.get() == this; });
                return;
            }
            std::vector<std::uint64_t> added;
            for (auto& e : state->take_incoming()) {
                try {
                    check_limits(e.content, of->options.limits);
                } catch (boost::system::system_error const& error) {
                    settled.push_back({e.tag, verdict::rejected, error.what(), std::move(e.content)});
                    continue;
                }
                if (!e.content.key.empty())
                    keys[e.content.key].push_back(++numbers);
                else
                    ++numbers;
                all.emplace(numbers, outstanding{e.tag, std::move(e.content), 0, {}});
                added.push_back(numbers);
            }
            auto const refusal = of->at->get_network().get_faults().refusal;
            for (auto const number : added)
                if (of->chance().chance(refusal))
                    fail_from(number, "the transport was made to fail");
            send_what_may_go();
        }

        void on_settled(settle_packet const& p)
        {
            auto const found = all.find(p.number);
            if (found == all.end() || found->second.times_sent == 0)
                return; // settled before
            finish(found, p.result, p.reason);
            send_what_may_go();
        }

        using position = std::map<std::uint64_t, outstanding>::iterator;

        void finish(position at, verdict result, std::string const& reason)
        {
            auto& m = at->second;
            if (m.times_sent > 0)
                --on_the_way;
            if (!m.content.key.empty()) {
                auto const key = keys.find(m.content.key);
                std::erase(key->second, at->first);
                if (key->second.empty())
                    keys.erase(key);
            }
            settled.push_back({m.tag, result, reason, result == verdict::accepted ? message{} : std::move(m.content)});
            all.erase(at);
        }

        // With all later ones of its key, so that none overtakes it.
        void fail_from(std::uint64_t number, std::string const& reason)
        {
            auto const first = all.find(number);
            if (first == all.end())
                return;
            std::vector<std::uint64_t> failing{number};
            if (auto const key = keys.find(first->second.content.key); key != keys.end())
                failing.assign(std::find(key->second.begin(), key->second.end(), number), key->second.end());
            for (auto const n : failing)
                finish(all.find(n), verdict::failed, reason);
        }

        void send_what_may_go()
        {
            auto const now = of->env().steady_now();
            for (auto& [number, m] : all) {
                if (m.times_sent > 0 ? m.again > now : on_the_way >= of->options.window_messages)
                    continue;
                if (auto const key = keys.find(m.content.key); key != keys.end() && key->second.front() != number)
                    continue;
                if (m.times_sent++ == 0)
                    ++on_the_way;
                m.again = now + of->options.resend_after * (1 << std::min(m.times_sent - 1, 4u));
                auto const to = hosts[of->chance().random_below(hosts.size())];
                of->at->get_network().send(
                    of->at->number(), to, port, message_packet{session, number, m.content, of->options.service});
            }
            if (!settled.empty())
                state->deliver(std::exchange(settled, {}));
            if (on_the_way > 0 && !std::exchange(armed, true))
                of->env().wait_until(now + of->options.resend_after, [weak = this->weak_from_this()](boost::system::error_code) {
                    auto const alive = weak.lock();
                    if (!alive || alive->state->is_closed())
                        return;
                    alive->armed = false;
                    alive->send_what_may_go();
                });
        }

        transport_state* of = nullptr;
        std::string port;
        std::vector<host_number> hosts;
        std::uint64_t session = 0;
        std::shared_ptr<detail::publisher_state> state;
        std::uint64_t numbers = 0;
        std::map<std::uint64_t, outstanding> all;                 // by number, the order of publishing
        std::map<std::string, std::vector<std::uint64_t>> keys;   // numbers in order; empty keys are not here
        std::vector<settlement> settled;
        std::size_t on_the_way = 0;
        bool armed = false;
    };

    /// One subscription.
    struct receiver {
        struct origin {
            host_number host;
            std::uint64_t session;
            std::uint64_t number;
        };

        void on_message(packet const& p)
        {
            auto const& m = *std::any_cast<message_packet>(&p.content);
            if (state->is_closed())
                return;
            // What finds no room is lost, and comes again.
            state->use([&](detail::delivery_queue& q) {
                if (q.held().messages >= of->options.window_messages)
                    return;
                origins.emplace(++arrivals, origin{p.from, m.session, m.number});
                q.push({lane, arrivals}, m.content, m.service);
            });
            state->notify();
        }

        void serve()
        {
            bool const closed = state->is_closed(); // asked first: nothing is settled after it
            for (auto const& d : state->take_settled()) {
                auto const from = origins.extract(d.from.tag).mapped();
                of->at->get_network().send(of->at->number(), from.host, port_of(from.session),
                    settle_packet{from.number, d.result, d.reason});
            }
            if (closed) {
                state->use([](detail::delivery_queue& q) { q.clear(); });
                auto& all = of->receivers[port];
                std::erase_if(all, [this](auto const& r) { return r.get() == this; });
            }
        }

        transport_state* of = nullptr;
        std::string port;
        std::shared_ptr<detail::subscription_state> state;
        std::uint32_t lane = 0;
        std::uint64_t arrivals = 0;
        std::map<std::uint64_t, origin> origins; // of what is held, by arrival
    };

    std::shared_ptr<transport_state> state_;
};

static_assert(transport<simulated_transport>);

} // namespace cosaga::testing

#ifdef COSAGA_SEPARATE_COMPILATION
// lint: allow impl - the patterns over this transport are in no library
#include <cosaga/impl/patterns.ipp>
#endif
