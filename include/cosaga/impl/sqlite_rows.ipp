// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_rows.hpp>
#include <cosaga/detail/sqlite_user_sql.hpp>
#include <cosaga/error.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <string>

namespace cosaga::detail {

COSAGA_DECL sqlite_rows::sqlite_rows(
    sqlite_user_sql& owner, std::string_view sql, std::span<sqlite_argument const> arguments)
    : handle_{owner.handle_}, statement_{owner.prepared(sql)}
{
    auto const wanted = static_cast<std::size_t>(sqlite3_bind_parameter_count(statement_));
    if (wanted != arguments.size())
        throw make_error(errc::sql_failed,
            "the statement has " + std::to_string(wanted) + " parameters, " + std::to_string(arguments.size())
                + " arguments were given");
    int at = 0;
    for (auto const& a : arguments)
        bind(++at, a);
}

COSAGA_DECL sqlite_rows::~sqlite_rows()
{
    sqlite3_reset(statement_);
}

COSAGA_DECL void sqlite_rows::bind(int at, sqlite_argument const& v)
{
    int code = SQLITE_OK;
    switch (v.kind) {
    case sqlite_argument::kinds::null: code = sqlite3_bind_null(statement_, at); break;
    case sqlite_argument::kinds::integer: code = sqlite3_bind_int64(statement_, at, v.number); break;
    case sqlite_argument::kinds::real: code = sqlite3_bind_double(statement_, at, v.fraction); break;
    case sqlite_argument::kinds::text:
        code = bind_sqlite(statement_, at, std::string_view{static_cast<char const*>(v.data), v.size});
        break;
    case sqlite_argument::kinds::blob: code = bind_sqlite(statement_, at, sqlite_blob{v.data, v.size}); break;
    case sqlite_argument::kinds::too_large:
        throw make_error(errc::sql_failed, "argument " + std::to_string(at) + " does not fit a 64-bit signed integer");
    }
    if (code != SQLITE_OK) [[unlikely]]
        handle_->fail(code, "argument " + std::to_string(at), errc::sql_failed);
}

COSAGA_DECL void sqlite_rows::expect_columns(std::size_t wanted) const
{
    auto const columns = static_cast<std::size_t>(sqlite3_column_count(statement_));
    if (columns != wanted)
        throw make_error(errc::sql_failed,
            "the statement gives " + std::to_string(columns) + " columns, its row has " + std::to_string(wanted)
                + " members");
}

COSAGA_DECL bool sqlite_rows::step()
{
    int const code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) [[unlikely]]
        handle_->fail(code, "SQL of the work", errc::sql_failed);
    return code == SQLITE_ROW;
}

COSAGA_DECL bool sqlite_rows::is_null(int at) const noexcept
{
    return sqlite3_column_type(statement_, at) == SQLITE_NULL;
}

COSAGA_DECL std::int64_t sqlite_rows::integer(int at, char const* what) const
{
    if (sqlite3_column_type(statement_, at) != SQLITE_INTEGER) [[unlikely]]
        fail(at, what);
    return sqlite3_column_int64(statement_, at);
}

COSAGA_DECL double sqlite_rows::real(int at) const
{
    int const type = sqlite3_column_type(statement_, at);
    if (type != SQLITE_FLOAT && type != SQLITE_INTEGER) [[unlikely]]
        fail(at, "a number");
    return sqlite3_column_double(statement_, at);
}

COSAGA_DECL message_id sqlite_rows::id(int at) const
{
    bool const is_blob = sqlite3_column_type(statement_, at) == SQLITE_BLOB;
    auto const found = column_bytes(statement_, at);
    if (!is_blob || found.size() != message_id::size) [[unlikely]]
        fail(at, "a message id");
    message_id::bytes_type id;
    std::copy(found.begin(), found.end(), id.begin());
    return message_id{id};
}

COSAGA_DECL std::string_view sqlite_rows::bytes(int at, char const* what) const
{
    int const type = sqlite3_column_type(statement_, at);
    if (type != SQLITE_TEXT && type != SQLITE_BLOB) [[unlikely]]
        fail(at, what);
    return column_bytes(statement_, at);
}

COSAGA_DECL void sqlite_rows::fail(int at, char const* what) const
{
    std::string context = "column " + std::to_string(at + 1) + " (" + sqlite3_column_name(statement_, at) + ") is ";
    if (is_null(at))
        throw make_error(errc::sql_failed, context + "NULL: make its member a std::optional");
    throw make_error(errc::sql_failed, context + "not " + what);
}

} // namespace cosaga::detail
