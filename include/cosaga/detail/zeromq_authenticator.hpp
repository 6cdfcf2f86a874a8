// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/zeromq_pump.hpp>
#include <cosaga/error.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Answers libzmq's question (ZAP, RFC 27) who may connect: the clients whose CURVE key is in the list.
///
/// Without somebody who answers, libzmq lets every key in; so it has to be there before the listening socket is bound.
/// @par Thread safety
/// under the lock of the guard.
class zeromq_authenticator {
public:
    static constexpr char domain[] = "cosaga";

    zeromq_authenticator(zeromq_context& context, asio::any_io_executor strand, std::shared_ptr<zeromq_guard> guard,
        std::vector<curve_client> const& allowed)
        : pump_{context, ZMQ_REP, std::move(strand), std::move(guard), [this] { return drain(); }}
    {
        for (auto const& client : allowed) {
            std::array<std::uint8_t, 32> key{};
            if (client.public_key.size() != 40 || !zmq_z85_decode(key.data(), client.public_key.c_str()))
                throw make_error(errc::bad_configuration, "zeromq_transport: the public key of the client '"
                                                              + client.service + "' is not 40 characters of Z85");
            services_[std::string{reinterpret_cast<char const*>(key.data()), key.size()}] = client.service;
        }
        pump_.socket().set(ZMQ_LINGER, 0);
        pump_.socket().bind("inproc://zeromq.zap.01");
        pump_.check(ZMQ_POLLIN, 0);
    }

    std::uint64_t refused() const noexcept { return refused_; }

private:
    bool drain()
    {
        auto& socket = pump_.socket();
        return drain_socket(socket, [&](zeromq_message& first) {
            std::vector<std::string> parts(1, std::string{first.view()});
            for (bool more = first.more(); more;) {
                zeromq_message part;
                more = socket.receive(part) && part.more();
                parts.emplace_back(part.view());
            }
            answer(socket, parts);
        });
    }

    void answer(zeromq_socket& socket, std::vector<std::string> const& parts)
    {
        enum { version, request, zap_domain, address, identity, mechanism, key, size };
        bool const understood = parts.size() == size && parts[version] == "1.0" && parts[zap_domain] == domain
                             && parts[mechanism] == "CURVE";
        auto const found = understood ? services_.find(parts[key]) : services_.end();
        bool const allowed = found != services_.end();
        if (!allowed)
            ++refused_;
        socket.send("1.0", true);
        socket.send(parts.size() > request ? parts[request] : std::string{}, true);
        socket.send(allowed ? "200" : "400", true);
        socket.send(allowed ? "OK" : "key not allowed", true);
        socket.send(allowed ? found->second : std::string{}, true);
        socket.send(std::string_view{});
    }

    std::map<std::string, std::string> services_; // by key, 32 bytes
    std::uint64_t refused_ = 0;
    zeromq_pump pump_;
};

} // namespace cosaga::detail
