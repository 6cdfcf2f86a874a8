// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/error.hpp>

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cosaga::detail {

/// Step `i` takes the schema from version `i` to `i + 1`. What was once released is never edited: a change is a new step.
inline constexpr std::array sqlite_schema_steps = {
    // The position of a message is (queue number * 4 + state) * 2^40 + seq: a queue is one range of the table, appended
    // to at its end, so that a backlog in one queue never slows another. `waiting` is the same without the seq for
    // states with a due time or a search by id, and null for ready rows, so that those are in no index.
    R"(
CREATE TABLE cosaga_queues(
    number INTEGER PRIMARY KEY,
    side INTEGER NOT NULL,
    topic TEXT NOT NULL,
    consumer TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    delayed INTEGER NOT NULL,
    prepared INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    UNIQUE(side, topic, consumer));
CREATE TABLE cosaga_messages(
    position INTEGER PRIMARY KEY,
    waiting INTEGER,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    last_error TEXT NOT NULL,
    id BLOB NOT NULL,
    time INTEGER NOT NULL,
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    attributes BLOB NOT NULL,
    payload BLOB NOT NULL);
CREATE INDEX cosaga_messages_due ON cosaga_messages(waiting, due_at) WHERE waiting IS NOT NULL;
CREATE INDEX cosaga_messages_id ON cosaga_messages(id) WHERE waiting IS NOT NULL;
CREATE TABLE cosaga_scopes(number INTEGER PRIMARY KEY, scope TEXT NOT NULL UNIQUE);
CREATE TABLE cosaga_marks(
    scope INTEGER NOT NULL,
    id BLOB NOT NULL,
    value TEXT NOT NULL,
    at INTEGER,
    PRIMARY KEY(scope, id)) WITHOUT ROWID;
CREATE INDEX cosaga_marks_at ON cosaga_marks(scope, at) WHERE at IS NOT NULL;
CREATE TABLE cosaga_sagas(
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    input BLOB NOT NULL,
    result BLOB NOT NULL,
    lease_owner TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    due_at INTEGER NOT NULL);
CREATE INDEX cosaga_sagas_due ON cosaga_sagas(due_at) WHERE state < 2;
CREATE INDEX cosaga_sagas_state ON cosaga_sagas(state, id);
CREATE TABLE cosaga_journal(
    saga TEXT NOT NULL,
    step INTEGER NOT NULL,
    name TEXT NOT NULL,
    outcome BLOB NOT NULL,
    PRIMARY KEY(saga, step)) WITHOUT ROWID;
)",
    // Nothing has ever been in the two tables of sagas. A journal is a chain: each entry has the position of the one before in its saga,
    // and `cosaga_journals` those of the first and the last (see sqlite_journals). So entries of all sagas are appended at one place.
    R"(
DROP TABLE cosaga_sagas;
DROP TABLE cosaga_journal;
CREATE TABLE cosaga_sagas(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    input BLOB NOT NULL,
    result BLOB NOT NULL,
    reason TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    lease_owner TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    due_at INTEGER NOT NULL);
CREATE INDEX cosaga_sagas_due ON cosaga_sagas(due_at) WHERE state < 3;
CREATE INDEX cosaga_sagas_lease ON cosaga_sagas(lease_owner) WHERE lease_owner <> '';
CREATE INDEX cosaga_sagas_state ON cosaga_sagas(state, id);
CREATE INDEX cosaga_sagas_ended ON cosaga_sagas(due_at) WHERE state > 3;
CREATE TABLE cosaga_journals(
    saga INTEGER PRIMARY KEY,
    entries INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL);
CREATE TABLE cosaga_journal_entries(
    position INTEGER PRIMARY KEY,
    previous INTEGER NOT NULL,
    saga INTEGER NOT NULL,
    entry BLOB NOT NULL);
)",
    // `cosaga_record_sums` has a row for each few hundred neighbouring records, from its position to the next one's.
    R"(
CREATE TABLE cosaga_ledgers(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, opened_at INTEGER NOT NULL);
CREATE TABLE cosaga_records(
    ledger INTEGER NOT NULL,
    time INTEGER NOT NULL,
    id BLOB NOT NULL,
    key TEXT NOT NULL,
    fields BLOB NOT NULL,
    PRIMARY KEY(ledger, time, id)) WITHOUT ROWID;
CREATE TABLE cosaga_record_sums(
    ledger INTEGER NOT NULL,
    time INTEGER NOT NULL,
    id BLOB NOT NULL,
    records INTEGER NOT NULL,
    total BLOB NOT NULL,
    PRIMARY KEY(ledger, time, id)) WITHOUT ROWID;
)",
    // Up to which position the rows of `cosaga_journals` are right.
    "INSERT INTO cosaga_meta SELECT 'journals_settled', coalesce(max(position), 0) FROM cosaga_journal_entries",
};
inline constexpr std::int64_t sqlite_schema_version = sqlite_schema_steps.size();

inline void run_sqlite(sqlite_handle& h, std::string const& sql)
{
    sqlite_handle::internal_scope const internal{h};
    int const code = sqlite3_exec(h.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK)
        h.fail(code, "cannot set up", errc::store_failed);
}

/// Creates the library's tables, or brings them to this version, in one transaction.
inline void migrate_sqlite(sqlite_handle& h)
{
    run_sqlite(h, "BEGIN IMMEDIATE");
    try {
        run_sqlite(h, "CREATE TABLE IF NOT EXISTS cosaga_meta(name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID");
        std::int64_t version = 0;
        {
            sqlite_query read{"SELECT value FROM cosaga_meta WHERE name = 'schema_version'"};
            auto row = read.run(h);
            if (row.step())
                version = row.integer(0);
        }
        if (version > sqlite_schema_version)
            throw make_error(errc::schema_too_new,
                h.path() + " has schema version " + std::to_string(version) + ", this program knows "
                    + std::to_string(sqlite_schema_version) + ": use a newer version of the library");
        for (auto step = version; step < sqlite_schema_version; ++step)
            run_sqlite(h, sqlite_schema_steps[static_cast<std::size_t>(step)]);
        sqlite_query write{"INSERT INTO cosaga_meta VALUES('schema_version', ?1) ON CONFLICT DO UPDATE SET value = ?1"};
        if (version < sqlite_schema_version)
            write.execute(h, sqlite_schema_version);
        run_sqlite(h, "COMMIT");
    } catch (...) {
        sqlite3_exec(h.get(), "ROLLBACK", nullptr, nullptr, nullptr);
        throw;
    }
}

/// Makes an empty file that its owner alone can read: SQLite gives its own files the mode of the database.
inline void create_private_file(std::string const& path)
{
    int const fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        ::close(fd);
}

/// Says no to SQL of the user that would end the group's transaction or write the library's tables.
inline int authorize_sqlite(void* context, int action, char const* first, char const* second, char const*, char const*) noexcept
{
    auto& h = *static_cast<sqlite_handle*>(context);
    if (!h.guarding())
        return SQLITE_OK;
    auto const refuse = [&](char const* why) {
        h.set_refusal(why);
        return SQLITE_DENY;
    };
    auto const ours = [](char const* name) { return name && std::string_view{name}.starts_with("cosaga_"); };
    switch (action) {
    case SQLITE_TRANSACTION:
        return refuse("BEGIN, COMMIT and ROLLBACK belong to the store: return from the work to commit, throw to roll back");
    case SQLITE_SAVEPOINT: return refuse("savepoints belong to the store: use tx.nested");
    case SQLITE_ATTACH:
    case SQLITE_DETACH: return refuse("ATTACH and DETACH are not possible inside a transaction");
    case SQLITE_PRAGMA: {
        static constexpr std::string_view allowed[] = {"application_id", "defer_foreign_keys", "foreign_key_check",
            "foreign_key_list", "freelist_count", "index_info", "index_list", "index_xinfo", "integrity_check",
            "page_count", "page_size", "quick_check", "table_info", "table_list", "table_xinfo", "user_version"};
        for (auto const name : allowed)
            if (sqlite3_stricmp(first, name.data()) == 0)
                return SQLITE_OK;
        return refuse("this PRAGMA would change the store's connection");
    }
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
    case SQLITE_DROP_TABLE:
        return ours(first) ? refuse("the tables cosaga_* belong to the store: they can only be read") : SQLITE_OK;
    case SQLITE_ALTER_TABLE:
    case SQLITE_DROP_INDEX:
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_DROP_TRIGGER:
        return ours(second) ? refuse("the tables cosaga_* belong to the store: they can only be read") : SQLITE_OK;
    default: return SQLITE_OK;
    }
}

} // namespace cosaga::detail
