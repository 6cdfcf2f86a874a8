// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// What the storage suite has to know of each store. A new store adds its kit here and passes the suite, or is not done.
#pragma once

#include <cosaga/storage/memory.hpp>
#include <cosaga/storage/sqlite.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <stdlib.h>

namespace storage_kits {

/// | member          | meaning |
/// |-----------------|---------|
/// | `open(env)`     | a store on the kit's data, which outlive it |
/// | `create(tx)`    | makes the test's own table if it is missing |
/// | `put`, `get`    | its rows |
/// | `break_commits(tx)`, `mend_commits(tx)` | every later commit that appends rows as large as `large` fails with `store_full`, until mended |
struct memory_kit {
    using store = cosaga::memory_store;
    using transaction = cosaga::memory_transaction;

    std::unique_ptr<store> open(cosaga::environment& env)
    {
        auto made = std::make_unique<store>(env, disk);
        current = made.get();
        return made;
    }
    static void create(transaction&) {}
    static void put(transaction& tx, std::string_view key, std::string_view value)
    {
        tx.put("entries", key, std::string{value});
    }
    static std::optional<std::string> get(transaction& tx, std::string_view key) { return tx.get("entries", key); }
    void break_commits(transaction&) { current->fail_next_commits(1000, cosaga::errc::store_full); }
    void mend_commits() { current->fail_next_commits(0); }

    cosaga::memory_disk disk;
    store* current = nullptr;
};

/// A folder that is removed with what is in it.
class scratch_folder {
public:
    scratch_folder()
    {
        auto pattern = (std::filesystem::temp_directory_path() / "cosaga_storage_XXXXXX").string();
        if (!::mkdtemp(pattern.data()))
            throw std::runtime_error{"cannot make " + pattern};
        path_ = pattern;
    }
    scratch_folder(scratch_folder const&) = delete;
    scratch_folder& operator=(scratch_folder const&) = delete;
    ~scratch_folder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string file(char const* name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

struct sqlite_kit {
    using store = cosaga::sqlite_store;
    using transaction = cosaga::sqlite_transaction;

    std::unique_ptr<store> open(cosaga::environment& env)
    {
        cosaga::sqlite_options options;
        options.path = folder.file("store.db");
        options.poll_interval = {}; // a virtual clock would run for ever
        return std::make_unique<store>(env, options);
    }
    static void create(transaction& tx)
    {
        tx.execute("CREATE TABLE IF NOT EXISTS entries(key TEXT PRIMARY KEY, value TEXT NOT NULL)");
    }
    static void put(transaction& tx, std::string_view key, std::string_view value)
    {
        tx.execute("INSERT INTO entries VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", key, value);
    }
    static std::optional<std::string> get(transaction& tx, std::string_view key)
    {
        auto const found = tx.query<std::string>("SELECT value FROM entries WHERE key = ?", key);
        return found.empty() ? std::nullopt : std::optional{found.front()};
    }
    void break_commits(transaction& tx)
    {
        db = tx.native_handle();
        sqlite3_set_authorizer(db, nullptr, nullptr);
        sqlite3_exec(db, "PRAGMA max_page_count = 1", nullptr, nullptr, nullptr); // not below what there is
    }
    /// Only while the store is idle.
    void mend_commits() { sqlite3_exec(db, "PRAGMA max_page_count = 1000000", nullptr, nullptr, nullptr); }

    scratch_folder folder;
    sqlite3* db = nullptr;
};

/// A row that takes pages of its own.
inline constexpr std::size_t large = 200'000;

} // namespace storage_kits
