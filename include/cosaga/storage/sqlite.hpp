// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/group_commit.hpp>
#include <cosaga/detail/savepoint_scope.hpp>
#include <cosaga/detail/sqlite_rows.hpp>
#include <cosaga/detail/sqlite_values.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/storage/sqlite_options.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

struct sqlite3;

namespace cosaga {

namespace detail {
class sqlite_engine;
}

/// One local transaction of an `sqlite_store`: the five tables, and the user's own SQL.
///
/// The transaction belongs to the group, so SQL that would end it (BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ATTACH, most
/// PRAGMAs) is refused with `errc::sql_failed`, and so is writing to the tables `cosaga_*`. What SQLite itself rolls
/// back altogether (a full disk, `INSERT OR ROLLBACK`, `RAISE(ROLLBACK)`) fails every work of the group.
class sqlite_transaction {
public:
    explicit sqlite_transaction(detail::sqlite_engine& engine) noexcept : engine_{&engine} {}

    time_point now() const noexcept;

    /// Runs `f` in a savepoint of its own: if it throws, its changes are undone, no other's, and the exception comes out.
    template <std::invocable F>
    std::invoke_result_t<F> nested(F&& f)
    {
        savepoints levels{engine_};
        levels.require_transaction();
        return detail::run_nested(levels, std::forward<F>(f));
    }

    /// Runs one statement; its rows, if any, are ignored.
    ///
    /// Arguments stand for the parameters `?` in order: integers, floating point, bool, text, bytes, `message_id`,
    /// `time_point` (microseconds since 1970), `nullptr`, and optionals of these.
    /// @return the number of rows that it inserted, changed or deleted itself.
    /// @throws system_error `errc::sql_failed` with SQLite's text, also for a wrong number of arguments or more than
    /// one statement; the transaction goes on if that is caught. `errc::store_full` and `errc::store_failed` end the group.
    template <class... Args>
    std::size_t execute(std::string_view sql, Args const&... args)
    {
        return run(sql, detail::to_sqlite_arguments(args...));
    }

    /// Runs one statement and reads all its rows.
    ///
    /// `Row` is a struct described with BOOST_DESCRIBE_STRUCT, whose members are filled from the columns in order, or
    /// the type of a single column. A column that may be NULL is an optional.
    /// @throws as `execute`, and when the columns are not as many as the members or do not fit their types.
    template <class Row, class... Args>
    std::vector<Row> query(std::string_view sql, Args const&... args)
    {
        auto const arguments = detail::to_sqlite_arguments(args...);
        detail::sqlite_rows found{user_sql(), sql, arguments};
        found.expect_columns(detail::columns_of_row<Row>());
        std::vector<Row> rows;
        while (found.step())
            detail::read_row(found, rows.emplace_back());
        return rows;
    }

    /// The connection, for any other SQL library, on the store's thread inside the work. What it runs is in this
    /// transaction; every statement must be reset before the work returns.
    sqlite3* native_handle() const noexcept;

    void append(queue_name const& queue, message_state state, std::span<message_row> rows);
    std::vector<message_row> read(queue_name const& queue, message_state state, std::int64_t after, std::size_t most);
    std::vector<message_row> read_due(queue_name const& queue, message_state state, time_point now, std::size_t most);
    std::optional<time_point> next_due(queue_name const& queue, message_state state);
    std::vector<located_row> find(std::span<message_id const> ids);
    std::size_t erase(queue_name const& queue, message_state state, std::span<std::int64_t const> seqs);
    bool move(queue_name const& queue, message_state from, message_state to, message_row const& row);
    bool update(queue_name const& queue, message_state state, message_row const& row);
    std::size_t count(queue_name const& queue, message_state state);
    std::vector<queue_name> queues();
    std::vector<std::optional<mark>> insert_marks(
        std::string_view scope, std::span<message_id const> ids, mark const& value);
    std::vector<std::optional<mark>> find_marks(std::string_view scope, std::span<message_id const> ids);
    std::size_t purge_marks(std::string_view scope, time_point before, std::size_t most);
    bool insert_saga(saga_row const& row);
    std::optional<saga_row> find_saga(std::string_view id);
    bool update_saga(saga_row const& row, std::int64_t epoch);
    bool wake_saga(std::string_view id, time_point at);
    bool erase_saga(std::string_view id);
    std::vector<saga_row> claim_sagas(std::string_view owner, time_point now, time_point until, std::size_t most);
    std::size_t renew_sagas(std::string_view owner, time_point until);
    std::size_t release_sagas(std::string_view prefix);
    std::optional<time_point> next_saga_due(std::string_view owner);
    std::vector<saga_row> list_sagas(saga_state state, std::string_view after, std::size_t most);
    std::size_t purge_sagas(time_point before, std::size_t most);
    std::optional<std::uint64_t> append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries);
    std::vector<journal_entry> read_journal(std::string_view id, std::uint64_t after, std::size_t most);
    std::size_t erase_journal(std::string_view id, std::uint64_t through);
    time_point open_ledger(std::string_view name);
    void record(std::string_view name, std::span<ledger_record const> records);
    std::size_t erase_records(std::string_view name, std::span<ledger_position const> positions);
    std::vector<ledger_record> read_records(std::string_view name, ledger_range const& range, std::size_t most);
    std::vector<ledger_sum> sum_records(std::string_view name, std::span<ledger_range const> ranges);
    std::vector<ledger_position> divide_records(std::string_view name, ledger_range const& range, std::size_t parts);
    std::size_t purge_records(std::string_view name, time_point before);
    std::vector<std::string> ledgers();

private:
    struct savepoints {
        detail::sqlite_engine* engine;

        void require_transaction() const;
        void savepoint() noexcept;
        void release() noexcept;
        void rollback_to() noexcept;
    };

    std::size_t run(std::string_view sql, std::span<detail::sqlite_argument const> arguments);
    detail::sqlite_user_sql& user_sql() noexcept;

    detail::sqlite_engine* engine_;
};

/// A store in one SQLite file, beside the user's own tables.
///
/// One connection on the store's thread owns every write and every checkpoint. The file is in WAL mode and every group
/// commit is synced, so that what `transact` has returned survives a loss of power. Several processes can share the
/// file; each waits up to `busy_timeout` for another's group. SQLite before 3.51.3 has a rare race between two processes of
/// which one checkpoints (sqlite.org/wal.html, "WAL-reset bug"): keep a second writer to maintenance until then.
/// A group that the disk could not sync has failed, and its place in the log is written over; if the disk refuses that, too,
/// it is open until the next commit whether a crash would bring the group back.
class sqlite_store final : public detail::group_commit<sqlite_transaction> {
public:
    /// Opens the file and brings its schema to this version; blocks meanwhile.
    /// @throws system_error `errc::store_failed` if the file cannot be opened or is no database; `errc::schema_too_new` if
    /// a newer version of the library has written it; `errc::store_busy` if another process holds it.
    sqlite_store(environment& env, sqlite_options const& options);
    sqlite_store(environment& env, std::string path);
};

static_assert(store<sqlite_store>);

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/sqlite_store.ipp>
#endif
