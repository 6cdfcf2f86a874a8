// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message_id.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

/// An attribute of a message beyond the fixed ones: a CloudEvents extension, or a header of the user's own.
/// Names are lower-case letters and digits (CloudEvents 1.0, section 3.1).
struct header {
    std::string name;
    std::string value;

    friend bool operator==(header const&, header const&) = default;
};

/// A message with the attributes of CloudEvents 1.0.
///
/// | member         | CloudEvents attribute                        |
/// |----------------|----------------------------------------------|
/// | `id`           | `id`                                         |
/// | `source`       | `source`: the service that made it           |
/// | `type`         | `type`: names the form of the payload        |
/// | `time`         | `time`                                       |
/// | `key`          | `partitionkey`: orders messages of one key   |
/// | `content_type` | `datacontenttype`                            |
/// | `headers`      | `subject`, `traceparent`, any extension      |
/// | `payload`      | `data`                                       |
///
/// `topic` is where it is sent, and no attribute of CloudEvents.
struct message {
    message_id id;
    time_point time{};
    std::string topic;
    std::string key;
    std::string type;
    std::string source;
    std::string content_type;
    std::vector<header> headers;
    std::string payload;

    /// The value of the first header of that name, or nothing (an empty view).
    std::string_view find_header(std::string_view name) const noexcept
    {
        for (auto const& h : headers)
            if (h.name == name)
                return h.value;
        return {};
    }
    std::string_view subject() const noexcept { return find_header("subject"); }
    /// The W3C Trace Context of the operation that sent the message.
    std::string_view traceparent() const noexcept { return find_header("traceparent"); }

    friend bool operator==(message const&, message const&) = default;
};

/// Limits on a message, checked when it is staged and again before anything is allocated for one from outside.
struct message_limits {
    std::size_t payload = std::size_t{1} << 20;     ///< bytes
    std::size_t name = 255;                         ///< bytes of topic, type, source, content type and header names
    std::size_t key = 255;                          ///< bytes
    std::size_t headers = 64;                       ///< count
    std::size_t header_value = 4096;                ///< bytes
};

/// What a message costs in memory, for limits on queues.
inline std::size_t memory_of(message const& m) noexcept
{
    std::size_t sum = sizeof(message) + m.topic.size() + m.key.size() + m.type.size() + m.source.size()
                    + m.content_type.size() + m.payload.size();
    for (auto const& h : m.headers)
        sum += sizeof(header) + h.name.size() + h.value.size();
    return sum;
}

/// Checks a message against limits.
/// @throws system_error `errc::limit_exceeded` that names the attribute and both figures.
inline void check_limits(message const& m, message_limits const& limits)
{
    auto const check = [](char const* what, std::size_t found, std::size_t limit) {
        if (found > limit)
            throw make_error(errc::limit_exceeded,
                "message " + std::string{what} + " of " + std::to_string(found) + " is over the limit of "
                    + std::to_string(limit));
    };
    check("payload", m.payload.size(), limits.payload);
    check("topic", m.topic.size(), limits.name);
    check("type", m.type.size(), limits.name);
    check("source", m.source.size(), limits.name);
    check("content type", m.content_type.size(), limits.name);
    check("key", m.key.size(), limits.key);
    check("header count", m.headers.size(), limits.headers);
    for (auto const& h : m.headers) {
        check("header name", h.name.size(), limits.name);
        check("header value", h.value.size(), limits.header_value);
    }
}

} // namespace cosaga
