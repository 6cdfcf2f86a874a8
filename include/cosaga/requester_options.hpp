// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <cstddef>
#include <string>

namespace cosaga {

struct requester_options {
    std::string service;               ///< who asks: the `source` of requests
    std::string reply_topic;           ///< where answers arrive; responders need a route for it
    std::string reply_consumer;        ///< under which name; one for each process that asks
    std::size_t outstanding = 1024;    ///< most requests that wait at the same time
};

} // namespace cosaga
