// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/detail/sqlite_messages.hpp>

#include <string>
#include <string_view>

using cosaga::message;
using namespace cosaga::detail;

// What a row of the message table says about topic, source, content type and headers.
int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    using fuzz::require;
    cosaga::queue_name const queue{cosaga::queue_side::outbox, "orders", "stock"};
    std::string_view const stored{reinterpret_cast<char const*>(data), size};
    message first;
    fuzz::memory_watch const memory;
    bool const decoded = fuzz::decodes([&] { decode_attributes(stored, first, queue); });
    memory.require_at_most(4096, 40, size); // two bytes are a header, of 64
    if (!decoded)
        return 0;
    std::string written;
    encode_attributes(written, first, queue);
    require(written.size() <= stored.size(), "attributes are written the shortest way");
    message second;
    decode_attributes(written, second, queue);
    require(first == second, "attributes come back as they were written");
    std::string again;
    encode_attributes(again, second, queue);
    require(written == again, "attributes are always written the same way");
    // Another queue of the row changes where the topic stands, not what it is.
    cosaga::queue_name const other{cosaga::queue_side::outbox, first.topic, "stock"};
    encode_attributes(again, first, other);
    decode_attributes(again, second, other);
    require(first == second, "attributes do not depend on the queue");
    return 0;
}
