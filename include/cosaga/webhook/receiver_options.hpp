// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/webhook/signature.hpp>

#include <functional>
#include <string>
#include <vector>

namespace cosaga {

struct webhook_receiver_options {
    std::string name;               ///< of who sends: ids that are no UUID are known under it
    std::string topic = "webhooks"; ///< of the messages as the handler sees them
    /// What the sender may sign with; two while one is replaced, 8 at most. Asked for each request, on the caller's thread.
    std::function<std::vector<webhook_secret>()> secrets;
    duration tolerance = std::chrono::minutes{5}; ///< how far a timestamp may be from now, either way
    /// How long messages are remembered: longer than the sender keeps trying, since a message is as old as its id.
    duration retention = std::chrono::days{7};
    std::string plain_type{};    ///< the type of a message that comes without one, as the plain body
    message_limits limits{};
};

} // namespace cosaga
