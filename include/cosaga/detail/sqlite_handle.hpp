// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// What an SQLite result code means to a caller; `otherwise` when it is about the statement itself.
inline errc sqlite_errc(int code, errc otherwise) noexcept
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return errc::store_busy;
    case SQLITE_FULL: return errc::store_full;
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM: return errc::store_failed;
    default: return otherwise;
    }
}

/// Owns a connection, and knows whose SQL it is running.
class sqlite_handle {
public:
    explicit sqlite_handle(std::string path) : path_{std::move(path)} {}
    sqlite_handle(sqlite_handle const&) = delete;
    sqlite_handle& operator=(sqlite_handle const&) = delete;

    void open(int flags, char const* vfs = nullptr)
    {
        sqlite3* db = nullptr;
        int const code = sqlite3_open_v2(path_.c_str(), &db, flags, vfs);
        db_.reset(db);
        if (code != SQLITE_OK)
            fail(code, "cannot open", errc::store_failed);
        sqlite3_extended_result_codes(db, 1);
    }
    void close() noexcept { db_.reset(); }

    sqlite3* get() const noexcept { return db_.get(); }
    std::string const& path() const noexcept { return path_; }

    /// True while statements of the user are refused what would break the group's transaction.
    bool guarding() const noexcept { return in_group_ && internal_ == 0; }
    void set_in_group(bool on) noexcept { in_group_ = on; }
    bool in_group() const noexcept { return in_group_; }

    /// The library's own SQL, as long as it exists.
    class internal_scope {
    public:
        explicit internal_scope(sqlite_handle& h) noexcept : handle_{&h} { ++handle_->internal_; }
        internal_scope(internal_scope const&) = delete;
        internal_scope& operator=(internal_scope const&) = delete;
        ~internal_scope() { --handle_->internal_; }

    private:
        sqlite_handle* handle_;
    };

    /// SQLite ends a transaction by itself on a full disk and the like. What ran on would not be undone any more.
    bool transaction_lost() const noexcept { return in_group_ && sqlite3_get_autocommit(db_.get()) != 0; }

    void require_transaction() const
    {
        if (transaction_lost()) [[unlikely]]
            throw make_error(lost_because_.value_or(errc::store_failed),
                "the transaction on " + path_ + " was rolled back by an earlier error");
    }
    std::optional<errc> lost_because() const noexcept { return lost_because_; }
    void forget_loss() noexcept { lost_because_.reset(); }

    /// Throws what `code` means; `doing` says what was tried, without values.
    [[noreturn, gnu::cold, gnu::noinline]] void fail(int code, std::string const& doing, errc otherwise)
    {
        auto const e = sqlite_errc(code, otherwise);
        bool const told = db_ && sqlite3_errcode(db_.get()) != SQLITE_OK; // not of what went past SQLite
        auto const* const text = told ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code);
        auto context = doing;
        if (e != errc::sql_failed)
            context += " " + path_;
        context += std::string{": "} + (refusal_ ? refusal_ : text);
        refusal_ = nullptr;
        if (transaction_lost() && !lost_because_)
            lost_because_ = e == errc::sql_failed ? errc::store_failed : e;
        throw make_error(e, context);
    }

    /// Why the authorizer said no, for the next error.
    void set_refusal(char const* why) noexcept { refusal_ = why; }

private:
    struct closer {
        void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
    };

    std::string path_;
    std::unique_ptr<sqlite3, closer> db_;
    bool in_group_ = false;
    int internal_ = 0;
    char const* refusal_ = nullptr;
    std::optional<errc> lost_because_;
};

struct sqlite_finalizer {
    void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
};
using sqlite_statement_ptr = std::unique_ptr<sqlite3_stmt, sqlite_finalizer>;

inline int bind_sqlite(sqlite3_stmt* s, int at, std::int64_t v) noexcept { return sqlite3_bind_int64(s, at, v); }
inline int bind_sqlite(sqlite3_stmt* s, int at, std::nullptr_t) noexcept { return sqlite3_bind_null(s, at); }
inline int bind_sqlite(sqlite3_stmt* s, int at, std::string_view v) noexcept
{
    // A null pointer would bind NULL. The text stays where it is until the statement is reset.
    return sqlite3_bind_text64(s, at, v.data() ? v.data() : "", v.size(), SQLITE_STATIC, SQLITE_UTF8);
}

/// Bytes that are no text.
struct sqlite_blob {
    void const* data;
    std::size_t size;
};
inline sqlite_blob as_blob(std::string_view v) noexcept { return {v.data(), v.size()}; }
template <class Bytes>
sqlite_blob bytes_as_blob(Bytes const& v) noexcept
{
    return {v.data(), v.size()};
}
inline int bind_sqlite(sqlite3_stmt* s, int at, sqlite_blob v) noexcept
{
    return sqlite3_bind_blob64(s, at, v.data ? v.data : "", v.size, SQLITE_STATIC);
}

inline std::string_view column_bytes(sqlite3_stmt* s, int at) noexcept
{
    auto const* const data = static_cast<char const*>(sqlite3_column_blob(s, at));
    return {data ? data : "", static_cast<std::size_t>(sqlite3_column_bytes(s, at))};
}

/// A statement of the library's own, prepared when it is first used.
class sqlite_query {
public:
    explicit sqlite_query(std::string sql) : sql_{std::move(sql)} {}

    /// One execution; the statement is free again when it is destroyed.
    class run_scope {
    public:
        run_scope(sqlite_handle& h, sqlite3_stmt* s) noexcept : internal_{h}, handle_{&h}, statement_{s} {}
        run_scope(run_scope const&) = delete;
        run_scope& operator=(run_scope const&) = delete;
        ~run_scope() { sqlite3_reset(statement_); }

        /// True if there is a row.
        bool step()
        {
            int const code = sqlite3_step(statement_);
            if (code == SQLITE_ROW)
                return true;
            if (code != SQLITE_DONE) [[unlikely]]
                handle_->fail(code, "cannot use", errc::store_failed);
            return false;
        }

        std::int64_t integer(int at) const noexcept { return sqlite3_column_int64(statement_, at); }
        std::string text(int at) const { return std::string{column_bytes(statement_, at)}; }
        std::string_view view(int at) const noexcept { return column_bytes(statement_, at); }
        bool is_null(int at) const noexcept { return sqlite3_column_type(statement_, at) == SQLITE_NULL; }
        sqlite3_stmt* get() const noexcept { return statement_; }

    private:
        sqlite_handle::internal_scope internal_;
        sqlite_handle* handle_;
        sqlite3_stmt* statement_;
    };

    /// Binds the arguments, which must live until the scope ends.
    template <class... Args>
    run_scope run(sqlite_handle& h, Args const&... args)
    {
        auto* const s = prepared(h);
        int at = 0;
        int code = SQLITE_OK;
        (void)((code = bind_sqlite(s, ++at, args), code == SQLITE_OK) && ...);
        if (code != SQLITE_OK) [[unlikely]]
            h.fail(code, "cannot bind for", errc::store_failed);
        return run_scope{h, s};
    }

    /// Runs it to its end; how many rows it changed.
    template <class... Args>
    std::size_t execute(sqlite_handle& h, Args const&... args)
    {
        auto scope = run(h, args...);
        while (scope.step()) {
        }
        return static_cast<std::size_t>(sqlite3_changes64(h.get()));
    }

    sqlite3_stmt* prepared(sqlite_handle& h)
    {
        if (!statement_) [[unlikely]]
            prepare(h);
        return statement_.get();
    }

private:
    void prepare(sqlite_handle& h)
    {
        sqlite_handle::internal_scope const internal{h};
        sqlite3_stmt* s = nullptr;
        int const code = sqlite3_prepare_v3(
            h.get(), sql_.data(), static_cast<int>(sql_.size()), SQLITE_PREPARE_PERSISTENT, &s, nullptr);
        if (code != SQLITE_OK)
            h.fail(code, "cannot use", errc::store_failed);
        statement_.reset(s);
    }

    std::string sql_;
    sqlite_statement_ptr statement_;
};

} // namespace cosaga::detail
