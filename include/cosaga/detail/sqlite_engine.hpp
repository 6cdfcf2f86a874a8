// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_journals.hpp>
#include <cosaga/detail/sqlite_ledgers.hpp>
#include <cosaga/detail/sqlite_marks.hpp>
#include <cosaga/detail/sqlite_messages.hpp>
#include <cosaga/detail/sqlite_sagas.hpp>
#include <cosaga/detail/sqlite_schema.hpp>
#include <cosaga/detail/sqlite_user_sql.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/storage/sqlite_options.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace cosaga {
class sqlite_transaction;
}

namespace cosaga::detail {

/// The engine of `group_worker` over one connection, which owns every write and every checkpoint.
class sqlite_engine {
public:
    using transaction_type = sqlite_transaction;
    static constexpr std::size_t completions_per_post = 64;

    explicit sqlite_engine(sqlite_options const& options) : handle_{options.path}
    {
        if (options.path.empty() || options.path == ":memory:")
            throw make_error(errc::bad_argument, "sqlite_store needs the path of a file; for no file use memory_store");
        if (options.vfs.empty()) {
            create_private_file(options.path);
            handle_.open(SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
        } else
            handle_.open(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, options.vfs.c_str());
        if (sqlite3_db_readonly(handle_.get(), "main") == 1) // SQLite would say so at the first write
            throw make_error(errc::store_failed, "cannot write " + options.path + ": it is read-only for this user");
        configure(options);
        sync_log();
        migrate_sqlite(handle_);
        tables_.emplace(handle_);
        data_version_ = read_data_version();
    }
    sqlite_engine(sqlite_engine const&) = delete;
    sqlite_engine& operator=(sqlite_engine const&) = delete;

    sqlite_handle& connection() noexcept { return handle_; }
    sqlite_messages& messages() noexcept { return tables_->messages; }
    sqlite_marks& marks() noexcept { return tables_->marks; }
    sqlite_sagas& sagas() noexcept { return tables_->sagas; }
    sqlite_journals& journals() noexcept { return tables_->journals; }
    sqlite_ledgers& ledgers() noexcept { return tables_->ledgers; }
    sqlite_user_sql& user_sql() noexcept { return tables_->user_sql; }
    time_point now() const noexcept { return now_; }

    void begin(time_point now)
    {
        if (!handle_.get())
            throw make_error(errc::store_closed, handle_.path());
        tables_->begin.execute(handle_);
        now_ = now;
        handle_.forget_loss();
        broken_ = false;
        handle_.set_in_group(true);
        try {
            note_foreign();
            if (std::exchange(stale_, false))
                forget();
            tables_->journals.load();
        } catch (...) {
            rollback();
            throw;
        }
    }

    void savepoint() noexcept
    {
        tables_->messages.savepoint();
        tables_->ledgers.savepoint();
        tables_->journals.savepoint();
        run(tables_->savepoint);
    }
    void release() noexcept
    {
        tables_->messages.release();
        tables_->ledgers.release();
        tables_->journals.release();
        run(tables_->release);
    }
    void rollback_to() noexcept
    {
        tables_->messages.rollback_to();
        tables_->ledgers.rollback_to();
        tables_->journals.rollback_to();
        tables_->marks.forget();
        run(tables_->rollback_to);
        run(tables_->release);
    }

    transaction_type handle() noexcept;

    void check()
    {
        handle_.require_transaction();
        int violations = 0;
        int highest = 0;
        sqlite3_db_status(handle_.get(), SQLITE_DBSTATUS_DEFERRED_FKS, &violations, &highest, 0);
        if (violations > 0)
            throw make_error(errc::sql_failed, "a deferred foreign key does not hold at the end of the work");
    }

    bool lost() const noexcept { return broken_ || handle_.transaction_lost(); }
    bool crowded() const noexcept { return tables_->messages.crowded() || tables_->journals.crowded(); }

    void commit()
    {
        bool written = false;
        try {
            if (lost())
                throw make_error(handle_.lost_because().value_or(errc::store_failed),
                    "the transaction on " + handle_.path() + " was rolled back by an error of one of its works");
            tables_->messages.finish();
            tables_->ledgers.flush();
            tables_->journals.finish();
            handle_.require_transaction();
            written = true;
            tables_->commit.execute(handle_);
        } catch (...) {
            rollback();
            if (written)
                overwrite_log();
            throw;
        }
        handle_.set_in_group(false);
    }

    void rollback() noexcept
    {
        handle_.set_in_group(false);
        broken_ = false;
        if (!sqlite3_get_autocommit(handle_.get()))
            run(tables_->rollback);
        forget();
    }

    template <class F>
    void notices(F&& f)
    {
        tables_->messages.notices(f);
        tables_->messages.end_group(false);
        tables_->ledgers.end_group(false);
        tables_->journals.end_group(false);
    }

    /// Moves the log into the database, a bounded part of it at a time, and not before all were told.
    void maintain() noexcept
    {
        if (wal_pages_ < next_checkpoint_)
            return;
        int logged = 0;
        int moved = 0;
        int const code = move_log(&logged, &moved);
        // A reader elsewhere may keep the log from starting over: try again when as much has come again.
        next_checkpoint_ = code == SQLITE_OK && logged == moved ? checkpoint_pages : wal_pages_ + checkpoint_pages;
    }

    bool changed_elsewhere() noexcept { return std::exchange(foreign_, false); }
    void look_elsewhere() noexcept
    {
        try {
            note_foreign();
        } catch (...) { // seen again at the next group, or that fails with the reason
        }
    }

    void shut() noexcept
    {
        tables_.reset();
        handle_.close();
    }

private:
    // 8 MB: long enough that pages written again and again are moved once, short enough that no group waits long.
    static constexpr int checkpoint_pages = 2000;

    void configure(sqlite_options const& o)
    {
        auto* const db = handle_.get();
        auto const ms = std::clamp<std::int64_t>(o.busy_timeout.count(), 0, 3'600'000);
        sqlite3_busy_timeout(db, static_cast<int>(ms));
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
        run_sqlite(handle_, "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY");
        run_sqlite(handle_, "PRAGMA cache_size = -" + std::to_string(std::max<std::size_t>(o.cache_size / 1024, 64)));
        // SQLite (3.40 at least) that writes pages to the log before the commit, because they do not fit the cache, loses the commit at
        // the next recovery when a savepoint was rolled back in between: checksums of the log are wrong from there on.
        run_sqlite(handle_, "PRAGMA cache_spill = OFF");
        run_sqlite(handle_, o.foreign_keys ? "PRAGMA foreign_keys = ON" : "PRAGMA foreign_keys = OFF");
        // The journal of the change to a log must be gone for good: one that a loss of power brings back undoes what the log has.
        run_sqlite(handle_, "PRAGMA synchronous = EXTRA");
        {
            sqlite_query wal{"PRAGMA journal_mode = WAL"};
            auto row = wal.run(handle_);
            if (!row.step() || row.text(0) != "wal")
                throw make_error(errc::store_failed, handle_.path() + " cannot have a write-ahead log: is it on a network file system?");
            row.step(); // commits, or says that the disk has refused it: then there is no log, whatever the row says
        }
        run_sqlite(handle_, o.synchronous == sqlite_synchronous::full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
        run_sqlite(handle_, "PRAGMA journal_size_limit = 67108864"); // what a log that had grown is cut to
        limit_size(o.max_size);
        sqlite3_set_authorizer(db, authorize_sqlite, &handle_);
        sqlite3_wal_hook(db, [](void* pages, sqlite3*, char const*, int n) { return *static_cast<int*>(pages) = n, SQLITE_OK; }, &wal_pages_);
    }

    // A program that was killed may have left commits in the log that no sync has taken to the disk. From now on they are seen and
    // acted on, so a loss of power must not take them back.
    void sync_log()
    {
        int const code = move_log(nullptr, nullptr);
        if (code != SQLITE_OK && code != SQLITE_BUSY) // busy: another program is at it
            handle_.fail(code, "cannot sync what another run has left in the log of", errc::store_failed);
    }

    // A log that is moved while it is not on the disk leaves half a database behind if the power is lost meanwhile, and SQLite believes
    // a sync that says yes. But a failed sync, of this program or another, drops what it should have written, and the next one has
    // nothing to write any more (Linux; Rebello et al., "Can Applications Recover from fsync Failures?", 2020). So a log of which that is
    // possible is written once more before, and not moved by closing.
    int move_log(int* logged, int* moved) noexcept
    {
        sqlite_handle::internal_scope const internal{handle_};
        auto* const db = handle_.get();
        int code = log_is_doubtful_ ? write_log_again() : SQLITE_OK;
        if (code == SQLITE_OK) {
            code = sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_PASSIVE, logged, moved);
            log_is_doubtful_ = code != SQLITE_OK && code != SQLITE_BUSY;
        }
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log_is_doubtful_ ? 1 : 0, nullptr);
        return code;
    }

    // While nobody else may write it.
    int write_log_again() noexcept
    {
        auto* const db = handle_.get();
        sqlite3_file* log = nullptr;
        int code = sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
        if (code != SQLITE_OK)
            return code;
        code = sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
        sqlite3_int64 size = 0;
        if (code == SQLITE_OK && log && log->pMethods)
            code = log->pMethods->xFileSize(log, &size);
        std::array<char, 65'536> part;
        for (sqlite3_int64 at = 0; at < size && code == SQLITE_OK;) {
            auto const n = static_cast<int>(std::min<sqlite3_int64>(size - at, part.size()));
            code = log->pMethods->xRead(log, part.data(), n, at);
            if (code == SQLITE_OK)
                code = log->pMethods->xWrite(log, part.data(), n, at);
            at += n;
        }
        int const ended = sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
        return code == SQLITE_OK ? ended : code;
    }

    void limit_size(std::size_t bytes)
    {
        if (bytes == 0)
            return;
        sqlite_query page_size{"PRAGMA page_size"};
        auto row = page_size.run(handle_);
        row.step();
        auto const pages = std::max<std::int64_t>(static_cast<std::int64_t>(bytes) / row.integer(0), 1);
        run_sqlite(handle_, "PRAGMA max_page_count = " + std::to_string(pages));
    }

    // A commit whose sync failed is in the log all the same, and a crash would bring it back: so another one is written over it
    // before anybody is told. If that fails, too, the next group does it.
    void overwrite_log() noexcept
    {
        try {
            tables_->begin.execute(handle_);
            tables_->count_failure.execute(handle_);
            tables_->commit.execute(handle_);
        } catch (...) {
            rollback();
        }
    }

    std::int64_t read_data_version()
    {
        auto row = tables_->data_version.run(handle_);
        return row.step() ? row.integer(0) : 0;
    }

    void note_foreign()
    {
        auto const version = read_data_version();
        if (std::exchange(data_version_, version) != version)
            foreign_ = stale_ = true;
    }

    void forget() noexcept
    {
        tables_->messages.end_group(true);
        tables_->ledgers.end_group(true);
        tables_->journals.end_group(true);
        tables_->marks.forget();
    }

    /// Once a transaction is lost, SAVEPOINT would begin another: then nothing is run.
    void run(sqlite_query& query) noexcept
    {
        if (lost())
            return;
        try {
            query.execute(handle_);
        } catch (...) {
            broken_ = true;
        }
    }

    // What has prepared statements: gone before the connection is closed.
    struct tables {
        explicit tables(sqlite_handle& h) : messages{h}, marks{h}, journals{h}, sagas{h, journals}, ledgers{h}, user_sql{h} {}

        sqlite_messages messages;
        sqlite_marks marks;
        sqlite_journals journals;
        sqlite_sagas sagas;
        sqlite_ledgers ledgers;
        sqlite_user_sql user_sql;
        sqlite_query begin{"BEGIN IMMEDIATE"};
        sqlite_query savepoint{"SAVEPOINT unit"};
        sqlite_query release{"RELEASE unit"};
        sqlite_query rollback_to{"ROLLBACK TO unit"};
        sqlite_query commit{"COMMIT"};
        sqlite_query rollback{"ROLLBACK"};
        sqlite_query data_version{"PRAGMA data_version"};
        sqlite_query count_failure{"INSERT INTO cosaga_meta VALUES('failed_commits', 1) ON CONFLICT DO UPDATE SET value = value + 1"};
    };

    sqlite_handle handle_;
    std::optional<tables> tables_;
    time_point now_{};
    std::int64_t data_version_ = 0;
    bool foreign_ = false; // another connection has committed: watchers do not know yet
    bool stale_ = false;   // and neither do the caches
    bool broken_ = false;
    bool log_is_doubtful_ = true; // parts of it may be in memory only, whatever a sync says
    int wal_pages_ = 0;
    int next_checkpoint_ = checkpoint_pages;
};

} // namespace cosaga::detail
