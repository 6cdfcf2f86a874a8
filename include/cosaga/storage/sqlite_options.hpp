// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace cosaga {

/// When a commit counts as durable.
enum class sqlite_synchronous : std::uint8_t {
    full,   ///< when it is on the disk: it survives a loss of power
    normal, ///< when the system has it: it survives a crash of the process, but a loss of power takes the last commits back
};

/// How to open an SQLite database.
struct sqlite_options {
    /// A file; made, readable by its owner alone, if there is none. Its directory must be writable.
    std::string path;
    /// How long to wait for another process that writes the same file; the store's thread waits meanwhile.
    std::chrono::milliseconds busy_timeout{5000};
    sqlite_synchronous synchronous = sqlite_synchronous::full;
    /// Memory for pages of the database, in bytes.
    std::size_t cache_size = 16 * 1024 * 1024;
    /// The largest size of the file, in bytes; beyond it works fail with `errc::store_full`. 0: as the disk allows.
    std::size_t max_size = 0;
    /// Foreign keys of the user's tables are enforced.
    bool foreign_keys = true;
    /// How often to look for commits of other processes, while somebody watches a queue. 0: never.
    duration poll_interval = std::chrono::seconds{1};
    /// The name of a registered SQLite VFS that holds the file instead of the system, which then is not touched. Empty: SQLite's default.
    std::string vfs{};
};

} // namespace cosaga
