// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/simulated_zeromq_link.hpp>
#include <cosaga/detail/zeromq_socket.hpp>
#include <cosaga/error.hpp>
#include <cosaga/testing/host.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <any>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// A DEALER that connects, or a ROUTER that is bound, on a simulated host.
///
/// As in libzmq, what happens is not seen before the socket looks into its mailbox, which only some calls do, and only the
/// first thing that comes into an empty mailbox is a change to wait for.
class simulated_zeromq_socket final : public zeromq_socket, simulated_link::user {
    using link = simulated_link;
    using end_ptr = link::end_ptr;

public:
    simulated_zeromq_socket(testing::host& h, int type, asio::any_io_executor executor, std::function<void()> on_change)
        : host_{&h},
          network_{&h.get_network()},
          scheduler_{&network_->get_scheduler()},
          at_{h.number()},
          is_router_{type == ZMQ_ROUTER},
          executor_{std::move(executor)},
          on_change_{std::make_shared<std::function<void()>>(std::move(on_change))},
          next_id_{static_cast<std::uint32_t>(scheduler_->random())}
    {
    }
    ~simulated_zeromq_socket() override
    {
        for (auto const& port : ports_)
            network_->close(at_, port);
        // A host without power has no kernel.
        bool const up = network_->is_listening(at_, simulated_kernel_port);
        for (auto const& e : ends_)
            if (up)
                e->link->close(*e, linger_ != 0);
            else
                e->link->die(*e);
    }

    void set(int option, int value) override
    {
        auto const span = std::chrono::milliseconds{value};
        switch (option) {
        case ZMQ_SNDHWM: options_.send_limit = static_cast<std::uint64_t>(value); break;
        case ZMQ_RCVHWM: options_.receive_limit = static_cast<std::uint64_t>(value); break;
        case ZMQ_HEARTBEAT_IVL: options_.heartbeat = span; break;
        case ZMQ_HEARTBEAT_TIMEOUT: options_.heartbeat_timeout = span; break;
        case ZMQ_HEARTBEAT_TTL: options_.heartbeat_life = span; break;
        case ZMQ_HANDSHAKE_IVL: options_.handshake = span; break;
        case ZMQ_CONNECT_TIMEOUT: options_.connect_timeout = span; break;
        case ZMQ_RECONNECT_IVL: reconnect_ = reconnect_next_ = span; break;
        case ZMQ_RECONNECT_IVL_MAX: reconnect_most_ = span; break;
        case ZMQ_LINGER: linger_ = value; break;
        case ZMQ_IMMEDIATE: immediate_ = value != 0; break;
        case ZMQ_PROBE_ROUTER: probes_ = value != 0; break;
        case ZMQ_ROUTER_MANDATORY: mandatory_ = value != 0; break;
        case ZMQ_IPV6: break;
        default: fail_option(option);
        }
    }
    void set(int option, std::int64_t value) override
    {
        if (option != ZMQ_MAXMSGSIZE)
            fail_option(option);
        options_.largest = static_cast<std::size_t>(value);
    }
    void set(int option, std::string const&) override { fail_option(option); }

    std::string bind(std::string const& endpoint) override
    {
        auto [name, port] = parse(endpoint, "cannot listen on ");
        if (name != host_->name() && name != "*")
            throw make_error(errc::transport_failed, "cannot listen on " + endpoint + ": this host is " + host_->name());
        for (int any = 49152; port == "*" || port.empty(); ++any)
            if (!network_->is_listening(at_, port_of(std::to_string(any))))
                port = std::to_string(any);
        if (network_->is_listening(at_, port_of(port)))
            throw make_error(errc::transport_failed, "cannot listen on " + endpoint + ": the address is in use");
        network_->listen(at_, port_of(port), [this](testing::packet const& p) {
            auto const& caller = *std::any_cast<std::shared_ptr<link>>(&p.content);
            if (auto e = caller->accept(options_, *this))
                ends_.push_back(std::move(e));
        });
        ports_.push_back(port_of(port));
        return "tcp://" + host_->name() + ":" + port;
    }

    void unbind(std::string const& endpoint) noexcept override
    {
        auto const port = port_of(endpoint.substr(endpoint.rfind(':') + 1));
        network_->close(at_, port);
        std::erase(ports_, port);
    }

    void connect(std::string const& endpoint) override
    {
        if (!immediate_)
            throw make_error(errc::bad_configuration, "simulated_zeromq: without ZMQ_IMMEDIATE is not simulated");
        auto const [name, port] = parse(endpoint, "cannot connect to ");
        to_ = host_->find(name);
        to_port_ = port_of(port);
        connect();
    }

    int events() override
    {
        look();
        bool const readable = second_part_ || has_frame();
        bool const writable =
            std::any_of(pipes_.begin(), pipes_.end(), [](auto const& e) { return !e->gone && link::can_write(*e); });
        return (readable ? ZMQ_POLLIN : 0) | (writable ? ZMQ_POLLOUT : 0);
    }

    bool receive(zeromq_message& to) override
    {
        to.set_more(false);
        if (second_part_) {
            to.assign(*std::exchange(second_part_, std::nullopt));
            return true;
        }
        constexpr int often = 100;
        if (++received_ % often == 0)
            look();
        std::string frame;
        auto from = next_frame(frame);
        if (!from) {
            look();
            from = next_frame(frame);
        }
        if (!from)
            return false;
        if (is_router_) {
            to.assign(from->routing_id);
            to.set_more(true);
            second_part_ = std::move(frame);
        } else {
            to.assign(frame);
        }
        return true;
    }

    sent send(std::string_view part, bool more) override
    {
        if (auto const to = std::exchange(addressed_, nullptr)) {
            to->link->write(*to, part);
            return sent::yes;
        }
        if (std::exchange(dropping_, false))
            return sent::yes;
        if (scheduler_->chance(0.5)) // libzmq does so when a millisecond has passed
            look();
        if (is_router_ && more)
            return address(part);
        for (auto const& e : pipes_)
            if (link::can_write(*e)) {
                e->link->write(*e, part);
                return sent::yes;
            }
        return sent::full;
    }

    void wait() override
    {
        waiting_ = true;
        if (!mail_.empty())
            complete();
    }

private:
    struct letter {
        end_ptr from;
        link::news what;
    };

    [[noreturn]] static void fail_option(int option)
    {
        throw make_error(errc::bad_configuration,
            "simulated_zeromq: option " + std::to_string(option) + " is not simulated; CURVE is not");
    }

    static std::pair<std::string, std::string> parse(std::string const& endpoint, std::string const& failed)
    {
        constexpr std::string_view tcp = "tcp://";
        auto const colon = endpoint.rfind(':');
        if (!endpoint.starts_with(tcp) || colon < tcp.size() || colon + 1 == endpoint.size())
            throw make_error(errc::transport_failed, failed + endpoint + ": it must be tcp://HOST:PORT");
        return {endpoint.substr(tcp.size(), colon - tcp.size()), endpoint.substr(colon + 1)};
    }
    static std::string port_of(std::string const& port) { return "tcp " + port; }

    // --- what the I/O thread does -------------------------------------------------------------------------------------

    void connect()
    {
        auto const made = std::make_shared<link>(*network_, at_, to_);
        ends_.push_back(made->connect(to_port_, options_, *this));
    }

    void tell(end_ptr e, link::news n) override
    {
        if (n == link::news::lost) {
            std::erase(ends_, e);
            e->socket = nullptr;
            if (!is_router_)
                connect_later(e->ready);
            if (!e->ready)
                return; // the socket never knew of it
        }
        mail_.push_back({std::move(e), n});
        if (waiting_)
            complete();
    }

    void connect_later(bool was_connected)
    {
        if (was_connected)
            reconnect_next_ = reconnect_;
        auto const wait = scheduler_->random_between(reconnect_next_, reconnect_next_ + reconnect_);
        if (reconnect_most_ > reconnect_)
            reconnect_next_ = std::min(reconnect_next_ * 2, reconnect_most_);
        network_->call_after(wait, [this, alive = std::weak_ptr{alive_}] {
            if (!alive.expired())
                connect();
        });
    }

    void complete()
    {
        waiting_ = false;
        asio::post(executor_, [f = on_change_] { (*f)(); });
    }

    // --- what the socket does -----------------------------------------------------------------------------------------

    void look()
    {
        for (auto const& l : std::exchange(mail_, {})) {
            auto& e = *l.from;
            switch (l.what) {
            case link::news::opened: attach(l.from); break;
            case link::news::readable: e.readable = true; break;
            case link::news::writable: link::learn_sent(e); break;
            case link::news::lost:
                e.gone = true;
                // A DEALER with ZMQ_IMMEDIATE forgets what it has not read.
                if (!is_router_ || link::is_drained(e))
                    detach(l.from);
                break;
            }
        }
    }

    void attach(end_ptr const& e)
    {
        pipes_.push_back(e);
        if (is_router_) {
            auto const n = next_id_++;
            e->routing_id.assign(1, '\0');
            for (int shift = 24; shift >= 0; shift -= 8)
                e->routing_id.push_back(static_cast<char>(n >> shift & 0xff));
            by_id_[e->routing_id] = e;
        } else if (probes_) {
            e->link->write(*e, {});
        }
    }

    void detach(end_ptr const& e)
    {
        by_id_.erase(e->routing_id);
        std::erase(pipes_, e);
    }

    sent address(std::string_view routing_id)
    {
        auto const found = by_id_.find(std::string{routing_id});
        bool const there = found != by_id_.end() && !found->second->gone;
        if (there && link::can_write(*found->second)) {
            addressed_ = found->second;
            return sent::yes;
        }
        dropping_ = !mandatory_;
        return dropping_ ? sent::yes : there ? sent::full : sent::unreachable;
    }

    // From each connection in turn.
    end_ptr next_frame(std::string& to)
    {
        return for_each_readable([&](link::end& e) { return e.link->read(e, to); });
    }
    bool has_frame()
    {
        return for_each_readable([](link::end& e) { return link::has_frame(e); }, 0) != nullptr;
    }

    template <class F>
    end_ptr for_each_readable(F const& f, std::size_t step = 1)
    {
        for (auto left = pipes_.size(); left > 0; --left) {
            turn_ %= pipes_.size();
            auto const e = pipes_[turn_];
            if (e->readable && f(*e)) {
                turn_ += step;
                return e;
            }
            e->readable = false;
            if (e->gone)
                detach(e);
            else
                ++turn_;
        }
        return nullptr;
    }

    testing::host* host_;
    testing::network* network_;
    testing::scheduler* scheduler_;
    testing::host_number at_;
    bool is_router_;
    asio::any_io_executor executor_;
    std::shared_ptr<std::function<void()>> on_change_;
    std::shared_ptr<char> alive_ = std::make_shared<char>(); // for timers that outlast the socket
    std::uint32_t next_id_; // as libzmq makes routing ids

    simulated_link_options options_;
    duration reconnect_ = std::chrono::milliseconds{100};
    duration reconnect_next_ = reconnect_;
    duration reconnect_most_{};
    int linger_ = -1;
    bool immediate_ = false;
    bool probes_ = false;
    bool mandatory_ = false;

    std::vector<std::string> ports_; // bound
    testing::host_number to_ = 0;
    std::string to_port_;
    std::vector<end_ptr> ends_; // alive
    std::vector<letter> mail_;
    bool waiting_ = false;

    std::vector<end_ptr> pipes_; // that the socket knows of; some of them are dead
    std::map<std::string, end_ptr> by_id_;
    std::size_t turn_ = 0;
    std::uint64_t received_ = 0;
    std::optional<std::string> second_part_; // of what is being received
    end_ptr addressed_;                      // where the next part goes
    bool dropping_ = false;
};

} // namespace cosaga::detail
