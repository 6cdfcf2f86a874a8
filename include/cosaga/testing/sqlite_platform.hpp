// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/testing/host.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/simulated_files.hpp>
#include <cosaga/testing/simulated_transport.hpp>

#include <boost/describe/class.hpp>

#include <sqlite3.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// As `memory_platform`, with SQLite on simulated files: `open` may throw because of their faults.
struct sqlite_platform {
    using store_type = sqlite_store;
    using transport_type = simulated_transport;

    static std::unique_ptr<store_type> open(host& h)
    {
        auto const& vfs = h.durable<simulated_files>().vfs();
        auto& made = h.durable<table>().made;
        if (!std::exchange(made, true))
            try {
                make_table(vfs);
            } catch (...) {
                made = false;
                throw;
            }
        // There is no other process whose commits one could miss: looking for them each second would be most of what happens.
        constexpr auto now_and_then = std::chrono::seconds{10};
        return std::make_unique<store_type>(
            h.get_environment(), sqlite_options{.path = "host.db", .poll_interval = now_and_then, .vfs = vfs});
    }
    static std::unique_ptr<transport_type> connect(host& h, std::string service, std::vector<simulated_route> routes)
    {
        return memory_platform::connect(h, std::move(service), std::move(routes));
    }
    static std::optional<std::string> get(sqlite_transaction& tx, std::string_view name, std::string_view key)
    {
        auto const found = tx.query<std::string>("SELECT value FROM workload_entries WHERE name = ? AND key = ?", name, key);
        return found.empty() ? std::nullopt : std::optional{found.front()};
    }
    static void put(sqlite_transaction& tx, std::string_view name, std::string_view key, std::string const& value)
    {
        tx.execute("INSERT INTO workload_entries VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3", name, key, value);
    }
    static std::map<std::string, std::string> entries(sqlite_transaction& tx, std::string_view name)
    {
        std::map<std::string, std::string> all;
        for (auto& e : tx.query<entry>("SELECT key, value FROM workload_entries WHERE name = ?", name))
            all.emplace(std::move(e.key), std::move(e.value));
        return all;
    }
    static void verify(sqlite_transaction& tx)
    {
        auto const found = tx.query<std::string>("PRAGMA integrity_check").front();
        if (found != "ok")
            throw std::runtime_error{"the file is broken: " + found};
    }

private:
    struct table {
        bool made = false;
    };
    struct entry {
        std::string key, value;
        BOOST_DESCRIBE_CLASS(entry, (), (key, value), (), ())
    };

    // Once, and not with a transaction of the store, which would have to be awaited.
    static void make_table(std::string const& vfs)
    {
        sqlite3* db = nullptr;
        int code = sqlite3_open_v2("host.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs.c_str());
        // EXTRA: otherwise a loss of power may bring the journal back, and take the table away.
        if (code == SQLITE_OK)
            code = sqlite3_exec(db,
                "PRAGMA synchronous = EXTRA;"
                "CREATE TABLE IF NOT EXISTS workload_entries(name TEXT, key TEXT, value TEXT, PRIMARY KEY(name, key)) WITHOUT ROWID",
                nullptr, nullptr, nullptr);
        sqlite3_close_v2(db);
        if (code != SQLITE_OK)
            throw make_error(errc::store_failed, std::string{"cannot make the table of the workload: "} + sqlite3_errstr(code));
    }
};

} // namespace cosaga::testing
