// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/testing/network.hpp>
#include <cosaga/testing/scheduler.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// Something listens there on every host whose kernel knows of connections: to those that it does not know, it answers so.
inline constexpr char simulated_kernel_port[] = "kernel";

/// What a socket had set when a connection was made.
struct simulated_link_options {
    std::uint64_t send_limit = 1000;    // frames; 0: none
    std::uint64_t receive_limit = 1000; // the same
    std::size_t largest = std::numeric_limits<std::size_t>::max(); // bytes of a frame
    duration heartbeat{};               // zero: none
    duration heartbeat_timeout{};
    duration heartbeat_life{};          // how long the other end waits for something after a heartbeat
    duration handshake = std::chrono::seconds{30};
    duration connect_timeout = std::chrono::seconds{75};
};

/// One connection of ZeroMQ over TCP: what the kernels and libzmq's I/O threads do at both of its ends.
///
/// Frames arrive in order and once, or the connection is dead. Loss on the way only makes them late. An end finds out that the
/// other is gone by its last word, by the answer of a kernel that does not know the connection, or by missing heartbeats:
/// each at its own time, with whatever was on the way lost.
class simulated_link : public std::enable_shared_from_this<simulated_link> {
public:
    enum class news : std::uint8_t {
        opened,   // frames can be written and read
        readable, // there is something again, after the socket found nothing
        writable, // `write` may be possible again
        lost,
    };
    struct end;
    using end_ptr = std::shared_ptr<end>; // keeps the connection

    /// The socket at an end, as the I/O thread sees it.
    class user {
    public:
        virtual void tell(end_ptr e, news n) = 0;

    protected:
        ~user() = default;
    };

private:
    enum class frame_kind : std::uint8_t { ready, data, ping, pong, last };
    struct frame {
        frame_kind kind = frame_kind::data;
        std::string content;
        steady_time arrives{};
    };

public:
    struct end {
        simulated_link* link = nullptr;
        simulated_link_options options;
        user* socket = nullptr;
        bool ready = false;

        // The socket's own.
        std::string routing_id;
        bool readable = true;
        bool gone = false;

    private:
        friend simulated_link;
        testing::host_number at = 0;
        bool alive = false;
        std::deque<std::string> in; // received, not read by the socket
        std::uint64_t received = 0;
        std::uint64_t read = 0;
        std::uint64_t known_read = 0; // by the I/O thread
        bool asleep = false;          // the socket waits to be told
        bool in_is_full = false;      // something waits on the wire for that
        std::deque<std::string> out;  // written by the socket, not sent
        std::uint64_t written = 0;
        std::uint64_t sent = 0;
        std::uint64_t announced = 0;  // of `sent`
        std::uint64_t known_sent = 0; // by the socket
        std::deque<frame> wire;       // to the other end
        std::size_t on_wire = 0;      // bytes
        std::size_t unacknowledged = 0; // bytes that arrived; the kernel here does not know
        steady_time last_arrival{};
        unsigned tries = 0;
        bool moving = false;
        std::optional<steady_time> silent_until; // an answer to the last heartbeat is expected before
        std::optional<steady_time> live_until;   // as the other end's last heartbeat said
    };

    simulated_link(testing::network& n, testing::host_number from, testing::host_number to)
        : network_{&n}, scheduler_{&n.get_scheduler()}, buffer_{std::size_t{512} << scheduler_->random_below(9)}
    {
        ends_[0].link = ends_[1].link = this;
        ends_[0].at = from;
        ends_[1].at = to;
    }

    /// Begins to connect to a port; the socket will be told `opened` or `lost`.
    end_ptr connect(std::string const& port, simulated_link_options const& options, user& socket)
    {
        auto& e = begin(ends_[0], options, socket);
        network_->send(e.at, ends_[1].at, port, shared_from_this());
        auto const self = shared_from_this();
        network_->call_after(network_->latency() + network_->latency(), [self, port] { self->check_refused(port); });
        network_->call_after(std::min(options.connect_timeout, options.handshake), [self] { self->check_ready(self->ends_[0]); });
        return pointer(e);
    }

    /// The other side of `connect`. Null when this is its packet once more.
    end_ptr accept(simulated_link_options const& options, user& socket)
    {
        if (std::exchange(accepted_, true))
            return nullptr;
        auto& e = begin(ends_[1], options, socket);
        put(e, frame_kind::ready);
        network_->call_after(options.handshake, [self = shared_from_this()] { self->check_ready(self->ends_[1]); });
        return pointer(e);
    }

    // --- for the socket at the end ----------------------------------------------------------------------------------

    static bool can_write(end const& e) noexcept
    {
        return e.options.send_limit == 0 || e.written - e.known_sent < e.options.send_limit;
    }
    /// Lost silently if the connection is, and the socket does not know yet.
    void write(end& e, std::string_view content)
    {
        ++e.written;
        if (!e.alive)
            return;
        e.out.emplace_back(content);
        fill(e);
    }
    /// Takes note of what `news::writable` told.
    static void learn_sent(end& e) noexcept { e.known_sent = e.announced; }

    /// If there is nothing, `news::readable` will tell.
    bool read(end& e, std::string& to)
    {
        if (!has_frame(e))
            return false;
        to = std::move(e.in.front());
        e.in.pop_front();
        if (++e.read % low_water(e.options.receive_limit) == 0) {
            e.known_read = e.read;
            if (std::exchange(e.in_is_full, false))
                schedule(other(e), now());
        }
        return true;
    }
    static bool has_frame(end& e) noexcept
    {
        e.asleep = e.in.empty();
        return !e.asleep;
    }
    static bool is_drained(end const& e) noexcept { return e.in.empty(); }

    /// @param linger false: what has not left yet may or may not.
    void close(end& e, bool linger)
    {
        e.socket = nullptr;
        if (!std::exchange(e.alive, false))
            return;
        if (linger)
            for (auto& content : e.out)
                put(e, frame_kind::data, std::move(content));
        else
            cut_short(e);
        e.out.clear();
        put(e, frame_kind::last);
    }

    /// The host has no power.
    void die(end& e)
    {
        e.socket = nullptr;
        e.alive = false;
        e.out.clear();
        cut_short(e);
    }

private:
    steady_time now() const noexcept { return scheduler_->now(); }
    end& other(end const& e) noexcept { return ends_[&e == &ends_[0] ? 1 : 0]; }
    end_ptr pointer(end& e) { return {shared_from_this(), &e}; }
    static std::uint64_t low_water(std::uint64_t limit) noexcept { return std::max<std::uint64_t>(1, (limit + 1) / 2); }
    bool reaches(end const& from, end const& to) const { return network_->is_open(from.at, to.at); }
    bool is_up(end const& e) const { return network_->is_listening(e.at, simulated_kernel_port); }

    end& begin(end& e, simulated_link_options const& options, user& socket)
    {
        e.options = options;
        e.socket = &socket;
        e.alive = true;
        return e;
    }

    void check_refused(std::string const& port)
    {
        auto& e = ends_[0];
        if (e.alive && !accepted_ && reaches(e, ends_[1]) && reaches(ends_[1], e) && is_up(ends_[1])
            && !network_->is_listening(ends_[1].at, port))
            fail(e, false);
    }

    void check_ready(end& e)
    {
        if (e.alive && !e.ready)
            fail(e, accepted_);
    }

    // TCP repeats what gets lost.
    duration transit()
    {
        auto span = network_->latency();
        for (duration again = first_try; again < std::chrono::seconds{5} && scheduler_->chance(network_->get_faults().loss); again *= 2)
            span += again;
        return span;
    }

    void put(end& e, frame_kind kind, std::string content = {})
    {
        e.last_arrival = std::max(e.last_arrival, now() + transit());
        e.on_wire += content.size() + overhead;
        e.wire.push_back({kind, std::move(content), e.last_arrival});
        schedule(e, e.wire.front().arrives);
        if (kind == frame_kind::data && scheduler_->chance(network_->get_faults().reset)) {
            break_later(e);
            break_later(other(e));
        }
    }

    // As much as the kernels take.
    void fill(end& e)
    {
        while (!e.out.empty() && e.on_wire + e.unacknowledged < buffer_) {
            auto content = std::move(e.out.front());
            e.out.pop_front();
            if (++e.sent % low_water(e.options.send_limit) == 0) {
                e.announced = e.sent;
                tell(e, news::writable);
            }
            put(e, frame_kind::data, std::move(content));
        }
    }

    void schedule(end& e, steady_time at)
    {
        if (!std::exchange(e.moving, true))
            network_->call_after(std::max(at - now(), duration::zero()), [self = shared_from_this(), &e] { self->move(e); });
    }

    void move(end& e)
    {
        e.moving = false;
        auto& to = other(e);
        while (!e.wire.empty()) {
            auto& next = e.wire.front();
            if (next.arrives > now())
                return schedule(e, next.arrives);
            if (!reaches(e, to) || !is_up(to))
                return try_again(e);
            e.tries = 0;
            if (!to.alive) {
                clear_wire(e);
                if (e.alive)
                    break_later(e);
                return;
            }
            auto const limit = to.options.receive_limit;
            if (next.kind == frame_kind::data && limit > 0 && to.received - to.known_read >= limit) {
                to.in_is_full = true;
                return;
            }
            auto const f = std::move(next);
            e.wire.pop_front();
            auto const size = f.content.size() + overhead;
            e.on_wire -= size;
            e.unacknowledged = reaches(to, e) ? 0 : e.unacknowledged + size;
            arrive(to, f);
        }
        fill(e);
    }

    void try_again(end& e)
    {
        if (!e.alive && e.tries >= most_tries) {
            clear_wire(e);
            return;
        }
        auto const wait = std::min<duration>(first_try * (1 << std::min(e.tries, 10u)), std::chrono::seconds{5});
        ++e.tries;
        schedule(e, now() + wait);
    }

    void arrive(end& e, frame const& f)
    {
        e.silent_until.reset();
        e.live_until.reset();
        switch (f.kind) {
        case frame_kind::ready:
            e.ready = true;
            if (&e == &ends_[0])
                put(e, frame_kind::ready);
            tell(e, news::opened);
            if (e.options.heartbeat > duration::zero())
                beat_later(e);
            break;
        case frame_kind::data:
            if (f.content.size() > e.options.largest)
                return fail(e, true);
            e.in.push_back(f.content);
            ++e.received;
            if (std::exchange(e.asleep, false))
                tell(e, news::readable);
            break;
        case frame_kind::ping:
            e.live_until = now() + other(e).options.heartbeat_life;
            put(e, frame_kind::pong);
            break;
        case frame_kind::pong: break;
        case frame_kind::last: fail(e, false); break;
        }
    }

    void beat_later(end& e)
    {
        network_->call_after(e.options.heartbeat, [self = shared_from_this(), &e] { self->beat(e); });
    }

    void beat(end& e)
    {
        if (!e.alive)
            return;
        if (now() >= e.silent_until.value_or(steady_time::max()) || now() >= e.live_until.value_or(steady_time::max()))
            return fail(e, true);
        put(e, frame_kind::ping);
        if (!e.silent_until)
            e.silent_until = now() + e.options.heartbeat_timeout;
        beat_later(e);
    }

    // This end gives the connection up.
    void fail(end& e, bool say_so)
    {
        e.alive = false;
        e.out.clear();
        if (say_so) {
            cut_short(e);
            put(e, frame_kind::last);
        } else {
            clear_wire(e);
        }
        tell(e, news::lost);
    }

    // The connection is dead; this end hears of it by and by.
    void break_later(end& e)
    {
        network_->call_after(network_->latency(), [self = shared_from_this(), &e] {
            if (e.alive)
                self->fail(e, false);
            else
                self->clear_wire(e);
        });
    }

    void cut_short(end& e)
    {
        for (auto left = scheduler_->random_below(e.wire.size() + 1); e.wire.size() > left;) {
            e.on_wire -= e.wire.back().content.size() + overhead;
            e.wire.pop_back();
        }
    }
    void clear_wire(end& e)
    {
        e.wire.clear();
        e.on_wire = 0;
    }

    void tell(end& e, news n)
    {
        if (e.socket)
            e.socket->tell(pointer(e), n);
    }

    static constexpr std::size_t overhead = 9; // bytes of a frame beside its content
    static constexpr duration first_try = std::chrono::milliseconds{200};
    static constexpr unsigned most_tries = 8; // of a kernel whose process has ended

    testing::network* network_;
    testing::scheduler* scheduler_;
    std::size_t buffer_; // bytes that the kernels hold, each way
    std::array<end, 2> ends_; // who connects, and who listens
    bool accepted_ = false;
};

} // namespace cosaga::detail
