// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cosaga {

/// Says that the named consumer has to get each message of the topic, and where it is.
struct zeromq_route {
    std::string topic;
    std::string consumer;
    /// Of its instances: each message goes to one of them, and a key stays with one while it is outstanding there.
    std::vector<std::string> endpoints;
    /// CURVE public key of these endpoints (Z85); needed when `zeromq_options::curve` is set.
    std::string server_key{};
};

/// A key pair in Z85 text, 40 characters each.
struct curve_key_pair {
    std::string public_key;
    std::string secret_key;
};

/// A client whose messages are let in.
struct curve_client {
    std::string public_key; ///< Z85
    std::string service;    ///< what receivers see as `delivery.sender`
};

/// Encryption and authentication of all connections.
struct zeromq_curve {
    curve_key_pair own;
    std::vector<curve_client> allowed{}; ///< who may connect to `listen`; the keys of all others are refused
};

struct zeromq_options {
    std::string service = "service";     ///< own name; without CURVE, receivers see it as `delivery.sender`
    std::vector<std::string> listen{};   ///< endpoints to bind: tcp://127.0.0.1:7000; port * is chosen by the system
    std::vector<zeromq_route> routes{};  ///< where messages from here go
    std::optional<zeromq_curve> curve{}; ///< needed for every endpoint that is not on loopback
    /// Lets everybody in who reaches such an endpoint, and sends to it in the clear.
    bool insecure = false;

    message_limits limits{};                          ///< must not be smaller than those of the senders
    std::size_t window_messages = 1024; ///< of one publisher at one subscription, not settled; 1 to 65536
    std::size_t window_bytes = std::size_t{16} << 20; ///< the same in bytes; a single message may exceed it
    std::size_t batch_messages = 512; ///< in one frame, 1 to 1024
    /// A frame is sent when it is this large. No larger than the receiver's, which cuts off who sends larger frames.
    std::size_t batch_bytes = std::size_t{256} << 10;
    std::size_t max_peers = 1024; ///< connections that are listened to
    std::size_t max_flows = 256; ///< publishers of one connection; others wait until it is made again

    duration heartbeat = std::chrono::seconds{2}; ///< a connection without any answer for three of them is given up
    duration reconnect = std::chrono::milliseconds{50}; ///< wait before the first attempt to connect again; doubles
    duration reconnect_cap = std::chrono::seconds{2}; ///< up to this
    duration linger = std::chrono::seconds{1}; ///< how long `close` waits for the last acknowledgements to leave
};

/// What a transport refused since it was made.
struct zeromq_counters {
    std::uint64_t refused_frames =
        0; ///< malformed, over a limit or beyond the window; the peer is ignored from then on
    std::uint64_t refused_peers = 0; ///< frames of connections beyond `max_peers`, or without an allowed key
    std::uint64_t refused_flows = 0; ///< beyond `max_flows`
    std::uint64_t refused_keys = 0; ///< connections with a wrong key
};

} // namespace cosaga
