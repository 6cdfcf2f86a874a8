// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/storage.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace cosaga::detail {
class memory_tables;
}

namespace cosaga {

/// What a `memory_store` has on its disk. It outlives the store that wrote it.
/// @par Thread safety
/// none: it belongs to one store at a time.
class memory_disk {
public:
    memory_disk() = default;
    memory_disk(memory_disk const&) = delete;
    memory_disk& operator=(memory_disk const&) = delete;

private:
    friend class detail::memory_tables;

    struct rows {
        std::map<std::int64_t, message_row> by_seq;
        std::set<std::pair<time_point, std::int64_t>> by_due;
    };
    struct queue {
        std::int64_t last_seq = 0;
        std::array<rows, 4> states;
    };
    struct stored_mark {
        mark value;
        time_point at;
    };

    std::map<queue_name, queue> queues_;
    std::map<std::string, std::map<message_id, stored_mark>, std::less<>> marks_;
    std::map<std::string, saga_row, std::less<>> sagas_;
    std::map<std::string, std::map<std::uint64_t, journal_entry>, std::less<>> journals_;
    std::map<std::string, std::map<std::string, std::string, std::less<>>, std::less<>> user_;
};

} // namespace cosaga
