// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_rows.hpp>
#include <cosaga/error.hpp>

#include <sqlite3.h>

#include <cstddef>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace cosaga::detail {

/// Runs the user's SQL, and keeps the statements that were used last prepared.
class sqlite_user_sql {
public:
    explicit sqlite_user_sql(sqlite_handle& h) : handle_{&h} {}

    /// How many rows it changed itself.
    std::size_t execute(std::string_view sql, std::span<sqlite_argument const> arguments)
    {
        sqlite_rows rows{*this, sql, arguments};
        auto* const db = handle_->get();
        auto const before = sqlite3_total_changes64(db);
        while (rows.step()) {
        }
        // The count of changes stays what it was after a statement that makes none.
        return sqlite3_total_changes64(db) == before ? 0 : static_cast<std::size_t>(sqlite3_changes64(db));
    }

    /// How many statements are kept.
    static constexpr std::size_t capacity = 128;

private:
    friend class sqlite_rows;

    struct entry {
        std::string sql;
        sqlite_statement_ptr statement;
    };

    sqlite3_stmt* prepared(std::string_view sql)
    {
        handle_->require_transaction();
        if (auto const known = by_sql_.find(sql); known != by_sql_.end()) {
            entries_.splice(entries_.begin(), entries_, known->second);
            return known->second->statement.get();
        }
        auto statement = prepare(sql);
        if (entries_.size() == capacity) {
            by_sql_.erase(entries_.back().sql);
            entries_.pop_back();
        }
        entries_.push_front({std::string{sql}, std::move(statement)});
        by_sql_.emplace(entries_.front().sql, entries_.begin());
        return entries_.front().statement.get();
    }

    sqlite_statement_ptr prepare(std::string_view sql)
    {
        char const* rest = nullptr;
        auto statement = prepare_first(sql, rest);
        if (!statement)
            throw make_error(errc::sql_failed, "there is no statement in the SQL");
        auto const after = sql.substr(static_cast<std::size_t>(rest - sql.data()));
        if (after.find_first_not_of(" \t\r\n;") != sql.npos && prepare_first(after, rest))
            throw make_error(errc::sql_failed, "there are several statements in the SQL: run them one by one");
        return statement;
    }

    sqlite_statement_ptr prepare_first(std::string_view sql, char const*& rest)
    {
        if (sql.size() > static_cast<std::size_t>(sqlite3_limit(handle_->get(), SQLITE_LIMIT_SQL_LENGTH, -1)))
            throw make_error(errc::sql_failed, "the SQL is too long");
        sqlite3_stmt* s = nullptr;
        int const code = sqlite3_prepare_v3(
            handle_->get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &s, &rest);
        if (code != SQLITE_OK)
            handle_->fail(code, "SQL of the work", errc::sql_failed);
        return sqlite_statement_ptr{s};
    }

    sqlite_handle* handle_;
    std::list<entry> entries_; // used last first
    std::unordered_map<std::string_view, std::list<entry>::iterator> by_sql_;
};

} // namespace cosaga::detail
