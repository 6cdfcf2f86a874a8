// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <string>

namespace cosaga {

struct responder_options {
    std::string service;            ///< who answers: the `source` of replies
    std::size_t concurrency = 64;   ///< requests handled at the same time, >= 1
};

/// A responder as its owner sees it, whatever it answers.
class running_responder {
public:
    virtual ~running_responder() = default;
    virtual void start() = 0;
    virtual asio::awaitable<void> stop() = 0;
};

} // namespace cosaga
