// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/message_id.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

struct sqlite3_stmt;

namespace cosaga::detail {

class sqlite_handle;
class sqlite_user_sql;

/// A value for a parameter of the user's SQL.
struct sqlite_argument {
    enum class kinds : std::uint8_t { null, integer, real, text, blob, too_large };

    kinds kind = kinds::null;
    std::int64_t number = 0;
    double fraction = 0;
    void const* data = nullptr;
    std::size_t size = 0;
};

/// One execution of the user's SQL, row by row; the statement is free again when this is destroyed.
class sqlite_rows {
public:
    /// @throws system_error `errc::sql_failed` for a wrong number of arguments, or one too large.
    sqlite_rows(sqlite_user_sql& owner, std::string_view sql, std::span<sqlite_argument const> arguments);
    sqlite_rows(sqlite_rows const&) = delete;
    sqlite_rows& operator=(sqlite_rows const&) = delete;
    ~sqlite_rows();

    /// @throws system_error `errc::sql_failed` if a row has not as many columns.
    void expect_columns(std::size_t wanted) const;
    /// True if there is a row.
    bool step();

    bool is_null(int at) const noexcept;
    std::int64_t integer(int at, char const* what) const;
    double real(int at) const;
    message_id id(int at) const;
    /// Valid until the next step.
    std::string_view bytes(int at, char const* what) const;

    /// @throws system_error that the column is not `what`.
    [[noreturn]] void fail(int at, char const* what) const;

private:
    void bind(int at, sqlite_argument const& v);

    sqlite_handle* handle_;
    sqlite3_stmt* statement_;
};

} // namespace cosaga::detail
