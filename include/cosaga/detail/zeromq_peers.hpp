// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/zeromq_frames.hpp>
#include <cosaga/detail/zeromq_socket.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

struct zeromq_flow;

/// One connection to the ROUTER.
struct zeromq_peer {
    std::string id;                              ///< routing id: of this connection, and no identity
    std::string service;                         ///< authenticated; empty without keys
    std::map<std::uint32_t, zeromq_flow*> flows; ///< by number
    bool ignored = false;                        ///< it sent garbage
    bool behind = false;                         ///< it did not read: a hello will tell it that it missed something
    bool gone = false;
};

/// The connections of a ROUTER, at most so many, and what is sent to them.
/// @par Thread safety
/// as its socket.
class zeromq_peers {
public:
    /// @param lost called for each peer that turned out to be gone, before it is forgotten.
    zeromq_peers(
        environment& env, zeromq_options const& options, zeromq_socket& socket, std::function<void(zeromq_peer&)> lost)
        : environment_{&env}, options_{&options}, socket_{&socket}, lost_{std::move(lost)}
    {
    }

    void require_keys() noexcept { keys_required_ = true; }
    std::uint64_t refused() const noexcept { return refused_; }

    /// The peer that a frame came from; null if nothing is to be had of it.
    /// @param service authenticated, or empty.
    zeromq_peer* find(std::string_view id, std::string_view service)
    {
        std::string key{id};
        if (auto const found = peers_.find(key); found != peers_.end())
            return found->second.ignored || found->second.gone ? nullptr : &found->second;
        if (peers_.size() >= options_->max_peers)
            sweep();
        if (peers_.size() >= options_->max_peers || (keys_required_ && service.empty())) {
            ++refused_;
            return nullptr;
        }
        auto& p = peers_[key];
        p.id = std::move(key);
        p.service = service;
        return &p;
    }

    void greet(zeromq_peer& p)
    {
        write_hello(out_, options_->service);
        send(p, out_);
    }

    void ping(zeromq_peer& p)
    {
        write_ping(out_);
        send(p, out_);
    }

    /// What a peer does not get because it does not read, it finds out by the hello that follows.
    /// @return false if it does not get it.
    bool send(zeromq_peer& p, std::string const& frame)
    {
        if (p.behind || p.gone)
            return false;
        switch (socket_->send_to(p.id, frame)) {
        case zeromq_socket::sent::yes: return true;
        case zeromq_socket::sent::full:
            p.behind = true;
            behind_.push_back(p.id);
            break;
        case zeromq_socket::sent::unreachable:
            p.gone = true;
            gone_.push_back(p.id);
            break;
        }
        return false;
    }

    bool any_behind() const noexcept { return !behind_.empty(); }

    /// Says hello to those that did not read, as far as they do now.
    void retry_behind()
    {
        for (auto const& id : std::exchange(behind_, {})) {
            auto const found = peers_.find(id);
            if (found == peers_.end())
                continue;
            found->second.behind = false;
            greet(found->second);
        }
    }

    /// Forgets the peers that turned out to be gone. Not while one of them is used.
    void drop_gone()
    {
        while (!gone_.empty()) {
            auto const found = peers_.find(gone_.back());
            gone_.pop_back();
            lost_(found->second);
            peers_.erase(found);
        }
    }

private:
    // Finds out which peers are gone without having been sent anything; at most once a second, since it costs.
    void sweep()
    {
        auto const now = environment_->steady_now();
        if (now < next_sweep_)
            return;
        next_sweep_ = now + std::chrono::seconds{1};
        for (auto& [id, p] : peers_)
            ping(p);
        drop_gone();
    }

    environment* environment_;
    zeromq_options const* options_;
    zeromq_socket* socket_;
    std::function<void(zeromq_peer&)> lost_;
    bool keys_required_ = false;
    std::uint64_t refused_ = 0;
    std::map<std::string, zeromq_peer> peers_; // by routing id; in an order that is the same in every run
    std::vector<std::string> behind_;
    std::vector<std::string> gone_;
    std::string out_; // a frame being written
    steady_time next_sweep_{};
};

} // namespace cosaga::detail
