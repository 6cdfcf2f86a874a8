// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// What the SQLite store does beyond the concept: the user's SQL, its file, and other processes on the same file.
#include <cosaga/storage/sqlite.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/describe/class.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace cosaga;
using namespace std::chrono_literals;

struct everything {
    std::int64_t number = 0;
    std::optional<std::string> text;
    double real = 0;
    bool yes = false;
    std::vector<std::byte> bytes;
    message_id id;
    time_point at;
    std::optional<std::int32_t> none;
    std::uint8_t small = 0;

    friend bool operator==(everything const&, everything const&) = default;
};
BOOST_DESCRIBE_STRUCT(everything, (), (number, text, real, yes, bytes, id, at, none, small))

queue_name const orders{queue_side::outbox, "orders", "warehouse"};

message_row row_of(std::string key, std::size_t size = 10)
{
    message_row row;
    row.content.key = std::move(key);
    row.content.payload.assign(size, 'x');
    return row;
}

/// A connection of somebody else.
class foreign_connection {
public:
    explicit foreign_connection(std::string const& path)
    {
        if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK)
            throw std::runtime_error{"cannot open " + path};
    }
    foreign_connection(foreign_connection const&) = delete;
    foreign_connection& operator=(foreign_connection const&) = delete;
    ~foreign_connection() { sqlite3_close(db_); }

    int run(std::string const& sql) { return sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr); }
    std::int64_t number(std::string const& sql)
    {
        sqlite3_stmt* s = nullptr;
        sqlite3_prepare_v2(db_, sql.c_str(), -1, &s, nullptr);
        std::int64_t const n = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
        sqlite3_finalize(s);
        return n;
    }

private:
    sqlite3* db_ = nullptr;
};

class sqlite_file : public ::testing::Test {
protected:
    sqlite_file()
    {
        auto pattern = (std::filesystem::temp_directory_path() / "cosaga_sqlite_XXXXXX").string();
        if (!::mkdtemp(pattern.data()))
            throw std::runtime_error{"cannot make " + pattern};
        folder_ = pattern;
        options_.path = (folder_ / "store.db").string();
    }
    ~sqlite_file() override
    {
        store_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    void open()
    {
        store_.reset();
        store_ = std::make_unique<sqlite_store>(env_, options_);
    }

    /// Runs a work to its end; throws what its await throws.
    template <class Work>
    auto transact(Work work)
    {
        using result = std::invoke_result_t<Work&, sqlite_transaction&>;
        if constexpr (std::is_void_v<result>)
            return run_one(work);
        else {
            result kept{};
            run_one([&](sqlite_transaction& tx) { kept = work(tx); });
            return kept;
        }
    }

    void run_one(std::function<void(sqlite_transaction&)> const& work) { run_on(*store_, work); }
    void run_on(sqlite_store& s, std::function<void(sqlite_transaction&)> const& work)
    {
        std::exception_ptr error;
        bool done = false;
        asio::co_spawn(io_, s.transact(work), [&](std::exception_ptr e) {
            error = e;
            done = true;
        });
        io_.restart();
        while (!done)
            io_.run_one();
        if (error)
            std::rethrow_exception(error);
    }

    template <class Work>
    void expect_error(errc e, std::string const& text, Work work)
    {
        try {
            work();
            ADD_FAILURE() << "no error, expected " << text;
        } catch (boost::system::system_error const& error) {
            EXPECT_EQ(error.code(), e) << error.what();
            EXPECT_NE(std::string{error.what()}.find(text), std::string::npos) << error.what();
        }
    }
    /// The SQL is refused with that text, in a transaction that goes on.
    void expect_refused(std::string const& sql, std::string const& text)
    {
        transact([&](sqlite_transaction& tx) {
            expect_error(errc::sql_failed, text, [&] { tx.execute(sql); });
            EXPECT_EQ(tx.query<int>("SELECT 1"), std::vector<int>{1});
        });
    }

    std::filesystem::path folder_;
    sqlite_options options_;
    asio::io_context io_;
    system_environment env_{io_.get_executor()};
    std::unique_ptr<sqlite_store> store_;
};

class sqlite_sql : public sqlite_file {
protected:
    sqlite_sql()
    {
        open();
        transact([](auto& tx) { tx.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, value)"); });
    }
};

// the user's SQL

TEST_F(sqlite_sql, binds_and_reads_every_type)
{
    message_id::bytes_type bytes{};
    bytes.fill(7);
    everything const all{std::numeric_limits<std::int64_t>::min(), std::string{"a\0b", 3}, 1.5, true,
        {std::byte{0}, std::byte{255}}, message_id{bytes}, time_point{1234567us}, std::nullopt, 200};
    auto const found = transact([&](auto& tx) {
        return tx.template query<everything>("SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?", all.number, all.text, all.real, all.yes,
            all.bytes, all.id, all.at, all.none, all.small);
    });
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0], all);
}

TEST_F(sqlite_sql, binds_text_and_bytes_of_every_kind_and_empty_ones_are_not_null)
{
    std::array<unsigned char, 2> const array{1, 2};
    char const* const pointer = "pointer";
    transact([&](auto& tx) {
        EXPECT_EQ(tx.template query<std::string>("SELECT ?", pointer), std::vector<std::string>{"pointer"});
        EXPECT_EQ(tx.template query<std::string>("SELECT ?", "literal"), std::vector<std::string>{"literal"});
        EXPECT_EQ(tx.template query<std::string>("SELECT ?", std::string_view{}), std::vector<std::string>{""});
        EXPECT_EQ(tx.template query<int>("SELECT length(?)", array), std::vector<int>{2});
        EXPECT_EQ(tx.template query<std::string>("SELECT typeof(?)", std::span<std::byte const>{}), std::vector<std::string>{"blob"});
        EXPECT_EQ(tx.template query<std::string>("SELECT typeof(?)", nullptr), std::vector<std::string>{"null"});
        EXPECT_EQ(tx.template query<std::string>("SELECT typeof(?)", std::optional<int>{}), std::vector<std::string>{"null"});
        EXPECT_EQ(tx.template query<std::int64_t>("SELECT ?", std::optional<int>{5}), std::vector<std::int64_t>{5});
        EXPECT_EQ(tx.template query<double>("SELECT 2"), std::vector<double>{2});
        EXPECT_EQ(tx.template query<std::optional<int>>("SELECT NULL"), std::vector<std::optional<int>>{std::nullopt});
        EXPECT_TRUE(tx.template query<int>("SELECT id FROM t").empty());
    });
}

TEST_F(sqlite_sql, tells_how_many_rows_were_changed)
{
    transact([](auto& tx) {
        EXPECT_EQ(tx.execute("INSERT INTO t(value) VALUES(1), (2), (3)"), 3u);
        EXPECT_EQ(tx.execute("CREATE TABLE other(x)"), 0u);
        EXPECT_EQ(tx.execute("SELECT * FROM t"), 0u);
        EXPECT_EQ(tx.execute("UPDATE t SET value = 0 WHERE value > ?", 1), 2u);
        EXPECT_EQ(tx.execute("DELETE FROM t WHERE value = 99"), 0u);
        EXPECT_EQ(tx.template query<std::int64_t>("INSERT INTO t(value) VALUES(9) RETURNING id"), std::vector<std::int64_t>{4});
    });
}

TEST_F(sqlite_sql, a_statement_that_fails_says_why_and_leaves_the_transaction_as_it_was)
{
    transact([&](auto& tx) {
        tx.execute("INSERT INTO t VALUES(1, 'one')");
        expect_error(errc::sql_failed, "UNIQUE constraint failed: t.id", [&] { tx.execute("INSERT INTO t VALUES(1, 'two')"); });
        tx.execute("INSERT INTO t VALUES(2, 'two')");
    });
    EXPECT_EQ(transact([](auto& tx) { return tx.template query<std::int64_t>("SELECT id FROM t"); }),
        (std::vector<std::int64_t>{1, 2}));
}

TEST_F(sqlite_sql, wrong_sql_is_refused_with_the_text_of_sqlite)
{
    expect_refused("SELEC 1", "near \"SELEC\": syntax error");
    expect_refused("SELECT * FROM missing", "no such table: missing");
    expect_refused("", "no statement");
    expect_refused(" -- only a comment", "no statement");
    expect_refused("SELECT 1; SELECT 2", "several statements");
    expect_refused("INSERT INTO t VALUES(1, 2); DELETE FROM t", "several statements");
    expect_refused("SELECT ?", "1 parameters, 0 arguments");
    transact([&](auto& tx) {
        tx.execute("SELECT 1 ; -- a comment");
        expect_error(errc::sql_failed, "1 parameters, 2 arguments", [&] { tx.execute("SELECT ?", 1, 2); });
        expect_error(errc::sql_failed, "does not fit", [&] { tx.execute("SELECT ?", std::numeric_limits<std::uint64_t>::max()); });
    });
}

TEST_F(sqlite_sql, a_column_that_does_not_fit_its_member_is_an_error_that_names_it)
{
    transact([&](auto& tx) {
        auto const one = [&]<class T>(T, char const* sql) { (void)tx.template query<T>(sql); };
        expect_error(errc::sql_failed, "2 columns, its row has 1 members", [&] { one(int{}, "SELECT 1, 2"); });
        expect_error(errc::sql_failed, "0 columns", [&] { one(int{}, "DELETE FROM t"); });
        expect_error(errc::sql_failed, "column 1 (x) is NULL: make its member a std::optional", [&] { one(int{}, "SELECT NULL AS x"); });
        expect_error(errc::sql_failed, "column 1 (x) is not an integer", [&] { one(int{}, "SELECT 'a' AS x"); });
        expect_error(errc::sql_failed, "not in the range", [&] { one(std::int8_t{}, "SELECT 128"); });
        expect_error(errc::sql_failed, "not in the range", [&] { one(std::uint64_t{}, "SELECT -1"); });
        expect_error(errc::sql_failed, "not a number", [&] { one(double{}, "SELECT 'a'"); });
        expect_error(errc::sql_failed, "not text", [&] { one(std::string{}, "SELECT 1"); });
        expect_error(errc::sql_failed, "not a message id", [&] { one(message_id{}, "SELECT x'00'"); });
    });
}

TEST_F(sqlite_sql, sql_that_would_end_the_groups_transaction_is_refused)
{
    for (auto const* const sql : {"BEGIN", "COMMIT", "END", "ROLLBACK"})
        expect_refused(sql, "belong to the store");
    for (auto const* const sql : {"SAVEPOINT a", "RELEASE unit", "ROLLBACK TO unit"})
        expect_refused(sql, "use tx.nested");
    expect_refused("ATTACH 'other.db' AS other", "ATTACH");
    for (auto const* const sql : {"PRAGMA journal_mode = DELETE", "PRAGMA synchronous = OFF", "PRAGMA foreign_keys = OFF",
             "PRAGMA wal_checkpoint", "PRAGMA writable_schema = ON", "PRAGMA locking_mode = EXCLUSIVE"})
        expect_refused(sql, "PRAGMA would change");
    transact([](auto& tx) {
        EXPECT_EQ(sqlite3_exec(tx.native_handle(), "COMMIT", nullptr, nullptr, nullptr), SQLITE_AUTH);
        tx.execute("PRAGMA user_version = 12");
    });
    EXPECT_EQ(transact([](auto& tx) { return tx.template query<int>("PRAGMA user_version"); }), std::vector<int>{12});
}

TEST_F(sqlite_sql, the_tables_of_the_library_can_be_read_but_not_written)
{
    for (auto const* const sql : {"DELETE FROM cosaga_messages", "UPDATE cosaga_queues SET last_seq = 0", "DROP TABLE cosaga_marks",
             "INSERT INTO cosaga_scopes VALUES(1, 'x')", "ALTER TABLE cosaga_meta ADD COLUMN x", "DROP INDEX cosaga_messages_id",
             "CREATE INDEX i ON cosaga_messages(key)", "CREATE TRIGGER x AFTER INSERT ON cosaga_messages BEGIN SELECT 1; END"})
        expect_refused(sql, "");
    transact([](auto& tx) {
        auto row = row_of("key");
        tx.append(orders, message_state::ready, {&row, 1});
    });
    EXPECT_EQ(transact([](auto& tx) { return tx.template query<std::string>("SELECT key FROM cosaga_messages"); }),
        std::vector<std::string>{"key"});
}

TEST_F(sqlite_sql, keeps_more_statements_than_it_caches)
{
    for (int round = 0; round < 3; ++round)
        transact([](auto& tx) {
            for (int i = 0; i < 300; ++i)
                EXPECT_EQ(tx.template query<int>("SELECT " + std::to_string(i)), std::vector<int>{i});
        });
}

TEST_F(sqlite_sql, a_cached_statement_follows_a_change_of_the_schema)
{
    auto const columns = [](auto& tx) { return tx.template query<std::string>("SELECT name FROM pragma_table_info('t')").size(); };
    transact([&](auto& tx) {
        tx.execute("INSERT INTO t VALUES(1, 'one')");
        EXPECT_EQ(columns(tx), 2u);
        EXPECT_EQ(tx.execute("UPDATE t SET value = 'two'"), 1u);
        tx.execute("ALTER TABLE t ADD COLUMN more");
        EXPECT_EQ(columns(tx), 3u);
        EXPECT_EQ(tx.execute("UPDATE t SET value = 'two'"), 1u);
    });
}

TEST_F(sqlite_sql, a_deferred_foreign_key_that_does_not_hold_fails_its_own_work_only)
{
    transact([](auto& tx) {
        tx.execute("CREATE TABLE child(t INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)");
    });
    expect_error(errc::sql_failed, "deferred foreign key",
        [&] { transact([](auto& tx) { tx.execute("INSERT INTO child VALUES(99)"); }); });
    transact([](auto& tx) {
        tx.execute("INSERT INTO child VALUES(5)");
        tx.execute("INSERT INTO t VALUES(5, 'five')");
    });
    EXPECT_EQ(transact([](auto& tx) { return tx.template query<int>("SELECT t FROM child"); }), std::vector<int>{5});
}

TEST_F(sqlite_sql, sql_that_rolls_back_everything_fails_the_group_and_nothing_runs_on_outside_a_transaction)
{
    transact([](auto& tx) { tx.execute("INSERT INTO t VALUES(1, 'one')"); });
    for (bool const caught : {false, true})
        EXPECT_THROW(transact([&](auto& tx) {
            tx.execute("INSERT INTO t VALUES(2, 'two')");
            auto row = row_of("key");
            tx.append(orders, message_state::ready, {&row, 1});
            try {
                tx.execute("INSERT OR ROLLBACK INTO t VALUES(1, 'again')");
            } catch (boost::system::system_error const&) {
                if (!caught)
                    throw;
            }
            expect_error(errc::store_failed, "rolled back", [&] { tx.execute("INSERT INTO t VALUES(3, 'three')"); });
            expect_error(errc::store_failed, "rolled back", [&] { tx.append(orders, message_state::ready, {&row, 1}); });
            expect_error(errc::store_failed, "rolled back", [&] { tx.nested([] {}); });
        }),
            boost::system::system_error);
    transact([](auto& tx) {
        EXPECT_EQ(tx.template query<int>("SELECT id FROM t"), std::vector<int>{1});
        EXPECT_EQ(tx.count(orders, message_state::ready), 0u);
    });
}

// the file

TEST_F(sqlite_file, a_new_file_can_be_read_by_its_owner_alone)
{
    auto const before = ::umask(0);
    open();
    transact([](auto& tx) { tx.execute("CREATE TABLE t(x)"); });
    ::umask(before);
    for (auto const* const end : {"", "-wal", "-shm"}) {
        struct stat s{};
        ASSERT_EQ(::stat((options_.path + end).c_str(), &s), 0) << end;
        EXPECT_EQ(s.st_mode & 0777, 0600u) << end;
    }
}

TEST_F(sqlite_file, the_mode_of_a_file_that_was_there_is_left_alone)
{
    std::ofstream{options_.path};
    ::chmod(options_.path.c_str(), 0640);
    open();
    struct stat s{};
    ASSERT_EQ(::stat(options_.path.c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 0777, 0640u);
}

TEST_F(sqlite_file, is_in_wal_mode_and_synced_at_every_commit)
{
    open();
    auto const pragma = [&](std::string const& name) {
        return transact([&](auto& tx) {
            sqlite3_set_authorizer(tx.native_handle(), nullptr, nullptr);
            return tx.template query<std::string>("SELECT CAST(" + name + " AS TEXT) FROM pragma_" + name).front();
        });
    };
    EXPECT_EQ(pragma("journal_mode"), "wal");
    EXPECT_EQ(pragma("synchronous"), "2");
    EXPECT_EQ(pragma("foreign_keys"), "1");
    options_.synchronous = sqlite_synchronous::normal;
    options_.foreign_keys = false;
    open();
    EXPECT_EQ(pragma("synchronous"), "1");
    EXPECT_EQ(pragma("foreign_keys"), "0");
}

TEST_F(sqlite_file, says_what_is_wrong_with_a_path)
{
    for (auto const* const path : {"", ":memory:"}) {
        options_.path = path;
        expect_error(errc::bad_argument, "memory_store", [&] { open(); });
    }
    options_.path = (folder_ / "missing" / "store.db").string();
    expect_error(errc::store_failed, options_.path, [&] { open(); });
    options_.path = folder_.string();
    expect_error(errc::store_failed, options_.path, [&] { open(); });
    options_.path = (folder_ / "text.db").string();
    std::ofstream{options_.path} << std::string(10'000, 'x');
    expect_error(errc::store_failed, "not a database", [&] { open(); });
}

TEST_F(sqlite_file, a_schema_of_a_newer_version_is_refused_with_both_versions)
{
    open();
    store_.reset();
    foreign_connection{options_.path}.run("UPDATE cosaga_meta SET value = 1000 WHERE name = 'schema_version'");
    expect_error(errc::schema_too_new, "schema version 1000, this program knows ", [&] { open(); });
}

TEST_F(sqlite_file, a_database_of_the_users_own_gets_the_tables_beside_his)
{
    foreign_connection{options_.path}.run("PRAGMA user_version = 5; CREATE TABLE mine(x); INSERT INTO mine VALUES(1)");
    open();
    transact([](auto& tx) {
        EXPECT_EQ(tx.template query<int>("SELECT x FROM mine"), std::vector<int>{1});
        EXPECT_EQ(tx.template query<int>("PRAGMA user_version"), std::vector<int>{5});
        EXPECT_TRUE(tx.queues().empty());
    });
}

TEST_F(sqlite_file, a_migration_that_fails_leaves_nothing)
{
    {
        foreign_connection other{options_.path};
        other.run("CREATE TABLE cosaga_scopes(x)"); // in the way
    }
    expect_error(errc::store_failed, "cosaga_scopes already exists", [&] { open(); });
    foreign_connection other{options_.path};
    EXPECT_EQ(other.number("SELECT count(*) FROM sqlite_schema WHERE type = 'table'"), 1);
}

TEST_F(sqlite_file, close_leaves_one_file)
{
    open();
    transact([](auto& tx) { tx.execute("CREATE TABLE t(x)"); });
    EXPECT_TRUE(std::filesystem::exists(options_.path + "-wal"));
    bool closed = false;
    asio::co_spawn(io_, store_->close(), [&](std::exception_ptr e) { closed = !e; });
    io_.restart();
    io_.run();
    EXPECT_TRUE(closed);
    EXPECT_FALSE(std::filesystem::exists(options_.path + "-wal"));
    EXPECT_FALSE(std::filesystem::exists(options_.path + "-shm"));
}

TEST_F(sqlite_file, the_log_does_not_grow_without_bound)
{
    open();
    transact([](auto& tx) { tx.execute("CREATE TABLE t(x)"); });
    for (int i = 0; i < 60; ++i)
        transact([](auto& tx) {
            tx.execute("DELETE FROM t");
            tx.execute("INSERT INTO t VALUES(zeroblob(1000000))");
        });
    EXPECT_LT(std::filesystem::file_size(options_.path + "-wal"), 30'000'000u);
}

// no space left

TEST_F(sqlite_file, a_full_disk_fails_what_does_not_fit_and_nothing_else)
{
    options_.max_size = 1'000'000;
    open();
    transact([](auto& tx) { tx.execute("CREATE TABLE t(x)"); });
    for (int round = 0; round < 3; ++round) {
        expect_error(errc::store_full, options_.path,
            [&] { transact([](auto& tx) { tx.execute("INSERT INTO t VALUES(zeroblob(2000000))"); }); });
        expect_error(errc::store_full, options_.path, [&] {
            transact([](auto& tx) {
                auto row = row_of("big", 2'000'000);
                tx.append(orders, message_state::ready, {&row, 1});
            });
        });
        // Caught or not, a transaction that SQLite has rolled back does not go on.
        expect_error(errc::store_full, options_.path, [&] {
            transact([](auto& tx) {
                auto row = row_of("big", 2'000'000);
                tx.append(orders, message_state::ready, {&row, 1});
                try {
                    (void)tx.read(orders, message_state::ready, 0, 1);
                } catch (boost::system::system_error const&) {
                }
            });
        });
        transact([](auto& tx) {
            EXPECT_TRUE(tx.template query<int>("SELECT 1 FROM t").empty());
            EXPECT_EQ(tx.count(orders, message_state::ready), 0u);
            EXPECT_TRUE(tx.read(orders, message_state::ready, 0, 1).empty());
            auto row = row_of("small");
            tx.append(orders, message_state::ready, {&row, 1});
            EXPECT_EQ(tx.erase(orders, message_state::ready, std::span{&row.seq, 1}), 1u);
        });
    }
}

// SQLITE_FULL at each possible allocation of a page in turn: either all of a work is there or nothing.
TEST_F(sqlite_file, survives_a_full_disk_at_every_page)
{
    open();
    sqlite3* db = nullptr;
    std::int64_t pages = 0;
    transact([&](auto& tx) {
        tx.execute("CREATE TABLE t(x)");
        db = tx.native_handle();
        sqlite3_set_authorizer(db, nullptr, nullptr);
        pages = tx.template query<std::int64_t>("PRAGMA page_count").front();
    });
    auto const work = [](auto& tx) {
        for (int i = 0; i < 20; ++i) {
            auto row = row_of("key", 3000);
            row.due_at = time_point{1s};
            tx.append(orders, i % 2 ? message_state::ready : message_state::delayed, {&row, 1});
            tx.execute("INSERT INTO t VALUES(zeroblob(3000))");
        }
        EXPECT_EQ(tx.read(orders, message_state::ready, 0, 100).size(), 10u);
        message_id id{};
        tx.insert_marks("scope", {&id, 1}, std::string(6000, 'm'));
    };
    bool done = false;
    int failures = 0;
    for (; !done && failures < 1000; ++failures) {
        sqlite3_exec(db, ("PRAGMA max_page_count = " + std::to_string(pages + failures)).c_str(), nullptr, nullptr, nullptr);
        try {
            transact(work);
            done = true;
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::store_full) << e.what();
            transact([](auto& tx) {
                EXPECT_EQ(tx.count(orders, message_state::ready), 0u);
                EXPECT_TRUE(tx.read(orders, message_state::delayed, 0, 100).empty());
                EXPECT_TRUE(tx.template query<int>("SELECT 1 FROM t").empty());
                EXPECT_FALSE(find_mark(tx, "scope", message_id{}));
            });
        }
    }
    EXPECT_TRUE(done);
    EXPECT_GT(failures, 10);
    transact([](auto& tx) {
        EXPECT_EQ(tx.count(orders, message_state::ready), 10u);
        EXPECT_EQ(tx.template query<std::string>("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
    });
}

// another process on the same file

TEST_F(sqlite_file, waits_for_another_writer_and_says_busy_when_that_takes_too_long)
{
    options_.busy_timeout = 1ms;
    open();
    foreign_connection other{options_.path};
    ASSERT_EQ(other.run("BEGIN IMMEDIATE"), SQLITE_OK);
    expect_error(errc::store_busy, options_.path, [&] { transact([](auto&) { ADD_FAILURE() << "ran"; }); });
    ASSERT_EQ(other.run("COMMIT"), SQLITE_OK);
    transact([](auto&) {});

    options_.busy_timeout = 20s;
    open();
    ASSERT_EQ(other.run("BEGIN IMMEDIATE"), SQLITE_OK);
    bool ran = false;
    std::thread later{[&] { other.run("COMMIT"); }};
    transact([&](auto&) { ran = true; });
    later.join();
    EXPECT_TRUE(ran);
}

TEST_F(sqlite_file, two_stores_on_one_file_give_no_seq_twice_and_keep_count)
{
    open();
    sqlite_store other{env_, options_};
    auto work = [](sqlite_transaction& tx) {
        std::vector<message_row> rows{row_of("a"), row_of("b")};
        tx.append(orders, message_state::ready, rows);
    };
    for (int i = 0; i < 10; ++i) {
        run_on(*store_, work);
        run_on(other, work);
    }
    transact([](auto& tx) {
        auto const rows = tx.read(orders, message_state::ready, 0, 1000);
        ASSERT_EQ(rows.size(), 40u);
        for (std::size_t i = 1; i < rows.size(); ++i)
            EXPECT_GT(rows[i].seq, rows[i - 1].seq);
        EXPECT_EQ(tx.count(orders, message_state::ready), 40u);
    });
}

TEST_F(sqlite_file, two_stores_on_one_file_write_one_journal)
{
    open();
    sqlite_store other{env_, options_};
    saga_row row;
    row.id = "a";
    row.name = "order";
    transact([&](auto& tx) { EXPECT_TRUE(tx.insert_saga(row)); });
    std::uint64_t last = 0;
    auto append = [&](sqlite_transaction& tx) {
        journal_entry e;
        e.kind = 1;
        e.step = std::to_string(++last);
        EXPECT_EQ(tx.append_journal("a", row.epoch, {&e, 1}), last);
    };
    for (int i = 0; i < 10; ++i) {
        run_on(*store_, append);
        run_on(*store_, append);
        run_on(other, append);
    }
    auto take_over = [&](sqlite_transaction& tx) {
        ++row.epoch;
        EXPECT_TRUE(tx.update_saga(row, row.epoch - 1));
    };
    run_on(other, take_over);
    transact([&](auto& tx) {
        EXPECT_EQ(tx.append_journal("a", row.epoch - 1, {}), std::nullopt);
        auto const entries = tx.read_journal("a", 0, 1000);
        ASSERT_EQ(entries.size(), 30u);
        for (std::size_t i = 0; i < entries.size(); ++i)
            EXPECT_EQ(entries[i].step, std::to_string(i + 1));
    });
}

TEST_F(sqlite_file, journals_are_found_again_however_much_was_written_since_their_heads_were)
{
    constexpr std::size_t sagas = 100;
    std::vector<std::uint64_t> last(sagas);
    open();
    transact([&](auto& tx) {
        for (std::size_t i = 0; i < sagas; ++i) {
            saga_row row;
            row.id = std::to_string(i);
            row.name = "order";
            EXPECT_TRUE(tx.insert_saga(row));
        }
    });
    auto const append = [&](auto& tx, std::size_t i) {
        journal_entry e;
        e.kind = 1;
        e.step = std::to_string(last[i] + 1);
        EXPECT_EQ(tx.append_journal(std::to_string(i), 0, {&e, 1}), ++last[i]);
    };
    std::mt19937 random{11};
    for (int group = 0; group < 30; ++group) {
        auto const size = group % 3 == 0 ? 3000u : 1 + random() % 100;
        transact([&](auto& tx) {
            for (std::size_t n = 0; n < size; ++n)
                append(tx, random() % sagas);
            if (auto const some = random() % sagas; group % 4 == 1 && last[some] > 1)
                tx.erase_journal(std::to_string(some), last[some] - 1); // one is left, so numbers go on
        });
        if (random() % 3 == 0)
            open();
    }
    open();
    transact([&](auto& tx) {
        for (std::size_t i = 0; i < sagas; ++i) {
            auto const entries = tx.read_journal(std::to_string(i), 0, 100'000);
            ASSERT_FALSE(entries.empty());
            EXPECT_EQ(entries.back().number, last[i]) << i;
            for (std::size_t n = 0; n < entries.size(); ++n) {
                EXPECT_EQ(entries[n].number, entries.front().number + n) << i;
                EXPECT_EQ(entries[n].step, std::to_string(entries[n].number)) << i;
            }
        }
    });
}

TEST_F(sqlite_file, journals_of_more_sagas_than_are_kept_in_mind_are_right)
{
    constexpr int sagas = 40'000;
    open();
    journal_entry e;
    e.kind = 1;
    for (int first = 0; first < sagas; first += 1000)
        transact([&](auto& tx) {
            for (int i = first; i < first + 1000; ++i) {
                saga_row row;
                row.id = std::to_string(i);
                row.name = "order";
                EXPECT_TRUE(tx.insert_saga(row));
                EXPECT_EQ(tx.append_journal(row.id, 0, {&e, 1}), 1u);
            }
        });
    transact([&](auto& tx) {
        for (int i = 0; i < sagas; i += 7)
            EXPECT_EQ(tx.append_journal(std::to_string(i), 0, {&e, 1}), 2u) << i;
    });
    open();
    transact([&](auto& tx) {
        for (int i = 0; i < sagas; ++i)
            EXPECT_EQ(tx.read_journal(std::to_string(i), 0, 10).size(), i % 7 == 0 ? 2u : 1u) << i;
    });
}

TEST_F(sqlite_file, watchers_are_told_to_look_when_another_process_has_committed)
{
    options_.poll_interval = 1ms;
    open();
    foreign_connection other{options_.path};
    other.run("CREATE TABLE theirs(x)");
    std::vector<commit_notice> notices;
    std::mutex mutex;
    auto const looks = [&] {
        std::lock_guard const lock{mutex};
        return notices.size();
    };
    auto const watch = store_->watch(orders, [&](commit_notice n) {
        std::lock_guard const lock{mutex};
        notices.push_back(std::move(n));
    });
    io_.restart();
    while (looks() == 0) // the table was made after the store was opened
        io_.run_one();
    other.run("INSERT INTO theirs VALUES(1)");
    while (looks() == 1)
        io_.run_one();
    EXPECT_TRUE(notices[1].look);
    // And with the store's own commit, without waiting for the timer: its own rows are not handed over, others may be before them.
    options_.poll_interval = 1h;
    notices.clear();
    open();
    auto const second = store_->watch(orders, [&](commit_notice n) {
        std::lock_guard const lock{mutex};
        notices.push_back(std::move(n));
    });
    other.run("INSERT INTO theirs VALUES(2)");
    transact([](auto& tx) {
        auto row = row_of("mine");
        tx.append(orders, message_state::ready, {&row, 1});
    });
    ASSERT_FALSE(notices.empty());
    EXPECT_TRUE(notices[0].look);
    EXPECT_TRUE(notices[0].ready.empty());
    notices.clear();
    transact([](auto& tx) {
        auto row = row_of("mine");
        tx.append(orders, message_state::ready, {&row, 1});
    });
    ASSERT_EQ(notices.size(), 1u);
    EXPECT_FALSE(notices[0].look);
    EXPECT_EQ(notices[0].ready.size(), 1u);
}

TEST_F(sqlite_file, opening_is_safe_while_others_open)
{
    std::vector<std::thread> threads;
    std::vector<std::string> errors(4);
    for (std::size_t i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            try {
                asio::io_context io;
                system_environment env{io.get_executor()};
                sqlite_store s{env, options_};
            } catch (std::exception const& e) {
                errors[i] = e.what();
            }
        });
    for (auto& t : threads)
        t.join();
    EXPECT_EQ(errors, std::vector<std::string>(4));
}

// A child process commits as fast as it can and tells each commit through a pipe, until it is killed.
[[noreturn]] void commit_for_ever(sqlite_options const& options, int pipe)
{
    asio::io_context io;
    system_environment env{io.get_executor()};
    sqlite_store store{env, options};
    auto const commit = [&](std::uint32_t lane) -> asio::awaitable<void> {
        for (std::uint32_t i = 1;; ++i) {
            co_await store.transact([&](sqlite_transaction& tx) {
                tx.execute("INSERT INTO t VALUES(?, ?)", lane, i);
                auto row = row_of(std::to_string(lane) + ":" + std::to_string(i), 200);
                tx.append(orders, message_state::ready, {&row, 1});
            });
            std::uint32_t const told[2] = {lane, i};
            if (::write(pipe, told, sizeof told) != sizeof told)
                ::_exit(1);
        }
    };
    for (std::uint32_t lane = 0; lane < 8; ++lane)
        asio::co_spawn(io, commit(lane), [](std::exception_ptr) { ::_exit(1); });
    io.run();
    ::_exit(1);
}

TEST_F(sqlite_file, what_was_told_is_there_after_the_process_was_killed)
{
    open();
    transact([](auto& tx) { tx.execute("CREATE TABLE t(lane INTEGER, number INTEGER)"); });
    store_.reset();
    std::array<std::uint32_t, 8> told{};
    for (int round = 0; round < 5; ++round) {
        foreign_connection{options_.path}.run("DELETE FROM t; DELETE FROM cosaga_messages; UPDATE cosaga_queues SET ready = 0");
        told = {};
        int fds[2];
        ASSERT_EQ(::pipe(fds), 0);
        auto const child = ::fork();
        if (child == 0)
            commit_for_ever(options_, fds[1]);
        ::close(fds[1]);
        std::uint32_t message[2];
        for (int commits = 0; ::read(fds[0], message, sizeof message) == sizeof message; ++commits) {
            told[message[0]] = message[1];
            if (commits == 100 + round * 37)
                ::kill(child, SIGKILL);
        }
        ::close(fds[0]);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
        open();
        transact([&](auto& tx) {
            for (std::uint32_t lane = 0; lane < 8; ++lane)
                EXPECT_GE(tx.template query<std::int64_t>("SELECT count(*) FROM t WHERE lane = ?", lane).front(), told[lane]);
            auto const rows = tx.template query<std::int64_t>("SELECT count(*) FROM t").front();
            EXPECT_EQ(tx.read(orders, message_state::ready, 0, 1'000'000).size(), static_cast<std::size_t>(rows));
            EXPECT_EQ(tx.count(orders, message_state::ready), static_cast<std::size_t>(rows));
            EXPECT_EQ(tx.template query<std::string>("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
        });
        store_.reset();
    }
}

} // namespace
