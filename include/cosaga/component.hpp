// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <boost/asio/awaitable.hpp>

namespace cosaga {

/// Something that runs in the background between `start` and `stop`, once each: see `node::attach`.
class component {
public:
    component() = default;
    component(component const&) = delete;
    component& operator=(component const&) = delete;
    virtual ~component() = default;

    virtual void start() = 0;
    /// Takes nothing new, and resumes when what is running has finished.
    virtual asio::awaitable<void> stop() = 0;
};

} // namespace cosaga
