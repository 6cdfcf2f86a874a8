// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/testing/host.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/simulated_zeromq.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// A platform with stores in memory, and the ZeroMQ transport's own protocol over simulated connections.
struct zeromq_platform : memory_platform {
    using transport_type = zeromq_transport;

    static std::unique_ptr<transport_type> connect(host& h, std::string service, std::vector<simulated_route> const& routes)
    {
        zeromq_options options;
        options.service = std::move(service);
        options.listen.push_back(endpoint_of(h.name()));
        options.insecure = true; // the hosts of a world are not on loopback
        for (auto const& r : routes) {
            zeromq_route to;
            to.topic = r.topic;
            to.consumer = r.consumer;
            for (auto const& name : r.hosts)
                to.endpoints.push_back(endpoint_of(name));
            options.routes.push_back(std::move(to));
        }
        return std::make_unique<zeromq_transport>(
            h.get_environment(), std::move(options), std::make_unique<simulated_zeromq>(h));
    }

private:
    static std::string endpoint_of(std::string const& host) { return "tcp://" + host + ":7000"; }
};

} // namespace cosaga::testing
