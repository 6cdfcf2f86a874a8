// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <cstddef>
#include <string>

namespace cosaga {

struct responder_options {
    std::string service;            ///< who answers: the `source` of replies
    std::size_t concurrency = 64;   ///< requests handled at the same time, >= 1
};

} // namespace cosaga
