// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Disks that fail, and files that are not what they should be: what was not returned is not there, what was is.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "conformance/storage_kits.hpp"

namespace {

using namespace cosaga;
using storage_kits::code_of;
using storage_kits::sqlite_kit;

enum class fault { write, full, sync };

char const* name_of(fault f)
{
    return f == fault::write ? "write" : f == fault::full ? "full" : "sync";
}

/// While it lives, every file of SQLite is the system's, but fails when it is told to. Nothing is really synced.
class failing_disk {
public:
    failing_disk()
    {
        real = sqlite3_vfs_find(nullptr);
        vfs_ = *real;
        vfs_.zName = "failing_disk";
        vfs_.szOsFile = static_cast<int>(sizeof(file)) + real->szOsFile;
        vfs_.xOpen = open_file;
        sqlite3_vfs_register(&vfs_, 1);
    }
    failing_disk(failing_disk const&) = delete;
    failing_disk& operator=(failing_disk const&) = delete;
    ~failing_disk()
    {
        mend();
        sqlite3_vfs_unregister(&vfs_);
        sqlite3_vfs_register(real, 1);
    }

    /// The `n`-th operation from now on fails, and then all others or none.
    static void break_at(fault kind, int n, bool for_good)
    {
        broken = kind;
        lasting = for_good;
        hits = 0;
        left = n;
    }
    static void mend() { left = 0; }
    static bool has_failed() { return hits > 0; }

private:
    struct file {
        sqlite3_file base;
    };
    static sqlite3_file* under(sqlite3_file* f)
    {
        return reinterpret_cast<sqlite3_file*>(reinterpret_cast<file*>(f) + 1);
    }

    static bool fails(bool syncing)
    {
        if (left == 0 || (broken == fault::sync) != syncing)
            return false;
        if (left > 1) {
            --left;
            return false;
        }
        ++hits;
        if (!lasting)
            left = 0;
        return true;
    }
    static int write_error() { return broken == fault::full ? SQLITE_FULL : SQLITE_IOERR_WRITE; }

    static int open_file(sqlite3_vfs*, char const* name, sqlite3_file* f, int flags, int* out)
    {
        int const code = real->xOpen(real, name, under(f), flags, out);
        f->pMethods = under(f)->pMethods ? &methods : nullptr;
        return code;
    }
    static int write(sqlite3_file* f, void const* data, int size, sqlite3_int64 at)
    {
        auto* const to = under(f);
        if (!fails(false))
            return to->pMethods->xWrite(to, data, size, at);
        to->pMethods->xWrite(to, data, size / 2, at); // torn
        return write_error();
    }
    static int truncate(sqlite3_file* f, sqlite3_int64 size)
    {
        return fails(false) ? write_error() : under(f)->pMethods->xTruncate(under(f), size);
    }
    static int sync(sqlite3_file*, int) { return fails(true) ? SQLITE_IOERR_FSYNC : SQLITE_OK; }

    /// The same function of the file underneath.
    template <auto Method, class... Args>
    static auto pass(sqlite3_file* f, Args... args)
    {
        return (under(f)->pMethods->*Method)(under(f), args...);
    }
    using m = sqlite3_io_methods;
    static constexpr m make_methods()
    {
        m made{};
        made.iVersion = 2;
        made.xClose = pass<&m::xClose>;
        made.xRead = pass<&m::xRead, void*, int, sqlite3_int64>;
        made.xWrite = write;
        made.xTruncate = truncate;
        made.xSync = sync;
        made.xFileSize = pass<&m::xFileSize, sqlite3_int64*>;
        made.xLock = pass<&m::xLock, int>;
        made.xUnlock = pass<&m::xUnlock, int>;
        made.xCheckReservedLock = pass<&m::xCheckReservedLock, int*>;
        made.xFileControl = pass<&m::xFileControl, int, void*>;
        made.xSectorSize = pass<&m::xSectorSize>;
        made.xDeviceCharacteristics = pass<&m::xDeviceCharacteristics>;
        made.xShmMap = pass<&m::xShmMap, int, int, int, void volatile**>;
        made.xShmLock = pass<&m::xShmLock, int, int, int>;
        made.xShmBarrier = pass<&m::xShmBarrier>;
        made.xShmUnmap = pass<&m::xShmUnmap, int>;
        return made;
    }
    static m const methods;

    static inline sqlite3_vfs* real = nullptr;
    static inline std::atomic<fault> broken = fault::write;
    static inline std::atomic<bool> lasting = false;
    static inline std::atomic<int> left = 0;
    static inline std::atomic<int> hits = 0;
    sqlite3_vfs vfs_{};
};

sqlite3_io_methods const failing_disk::methods = failing_disk::make_methods();

queue_name const orders{queue_side::outbox, "orders", "warehouse"};

class sqlite_faults : private failing_disk, public storage_kits::threaded_store<sqlite_kit> {
protected:
    using numbers = std::set<std::int64_t>;
    using failing_disk::break_at;
    using failing_disk::has_failed;
    using failing_disk::mend;

    std::string path() const { return kit_.folder.file("store.db"); }

    /// A work that writes the number into every kind of table.
    static std::function<void(sqlite_transaction&)> work(std::int64_t number)
    {
        return [number](sqlite_transaction& tx) {
            auto const text = std::to_string(number);
            sqlite_kit::put(tx, text, std::string(2000, 'v'));
            message_row row;
            row.content.id = message_id::first_of(time_point{std::chrono::milliseconds{number}});
            row.content.payload.assign(3000, 'p');
            tx.append(orders, message_state::ready, {&row, 1});
            tx.insert_marks("scope", {&row.content.id, 1}, text);
        };
    }

    /// All that is there of every work, which must be the same in every table.
    numbers found()
    {
        numbers all;
        transact([&](sqlite_transaction& tx) {
            auto const entries = tx.query<std::string>("SELECT key FROM entries");
            for (auto const& key : entries)
                all.insert(std::stoll(key));
            EXPECT_EQ(tx.count(orders, message_state::ready), all.size());
            auto const rows = tx.read(orders, message_state::ready, 0, 10'000);
            EXPECT_EQ(rows.size(), all.size());
            for (auto const& row : rows)
                EXPECT_EQ(find_mark(tx, "scope", row.content.id).has_value(), true);
            EXPECT_EQ(tx.query<std::int64_t>("SELECT count(*) FROM cosaga_marks"),
                std::vector<std::int64_t>{static_cast<std::int64_t>(all.size())});
            EXPECT_EQ(tx.query<std::string>("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
        });
        return all;
    }

    void expect_failure_of_the_disk(std::exception_ptr error, fault kind)
    {
        auto const code = code_of(error);
        EXPECT_EQ(code, kind == fault::full ? errc::store_full : errc::store_failed) << code.message();
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& e) {
            EXPECT_NE(std::string{e.what()}.find(path()), std::string::npos) << e.what();
        }
    }

    /// Three groups of three works, one after another; mends the disk when one has failed.
    void run_groups(fault kind, numbers& returned)
    {
        for (int group = 0; group < 3; ++group) {
            std::vector<std::function<void(sqlite_transaction&)>> works;
            for (int i = 0; i < 3; ++i)
                works.push_back(work(next_ + i));
            auto const errors = run_as_group(works);
            for (std::size_t i = 0; i < errors.size(); ++i) {
                EXPECT_EQ(errors[i] == nullptr, errors[0] == nullptr) << "half a group";
                if (errors[i])
                    expect_failure_of_the_disk(errors[i], kind);
                else
                    returned.insert(next_ + static_cast<std::int64_t>(i));
            }
            if (errors[0])
                mend();
            next_ += 3;
        }
    }

    /// Makes copies of these files, to be opened.
    void restore(std::vector<std::pair<std::string, std::filesystem::path>> const& files)
    {
        store_.reset();
        for (auto const* const end : {"", "-wal", "-shm"})
            std::filesystem::remove(path() + end);
        for (auto const& [end, from] : files)
            std::filesystem::copy_file(from, path() + end);
    }

    /// Opens while the disk may fail, and again when it did.
    void open_or_mend(fault kind)
    {
        try {
            open();
        } catch (...) {
            expect_failure_of_the_disk(std::current_exception(), kind);
            mend();
            open();
        }
    }

    /// Breaks the disk at each operation in turn, once and for good, until nothing is hit any more.
    void break_at_every_operation(
        std::vector<std::pair<std::string, std::filesystem::path>> const& files, int least, bool while_opening)
    {
        restore(files);
        open();
        auto const before = found();
        for (auto const kind : {fault::write, fault::full, fault::sync})
            for (bool const for_good : {false, true}) {
                int n = 1;
                for (bool failed = true; failed; ++n) {
                    SCOPED_TRACE(
                        std::string{name_of(kind)} + " " + std::to_string(n) + (for_good ? " and all after" : ""));
                    restore(files);
                    next_ = 1'000'000;
                    auto returned = before;
                    if (!while_opening)
                        open();
                    break_at(kind, n, for_good);
                    if (while_opening)
                        open_or_mend(kind);
                    run_groups(kind, returned);
                    failed = has_failed();
                    mend();
                    transact(work(next_));
                    returned.insert(next_);
                    EXPECT_EQ(found(), returned);
                    open();
                    EXPECT_EQ(found(), returned) << "opened again";
                    if (HasFailure())
                        return;
                }
                EXPECT_GT(n, kind == fault::sync ? 3 : least) << "the disk was hardly used";
            }
    }

    std::int64_t next_ = 1;
};

TEST_F(sqlite_faults, fail_the_group_that_meets_them_and_nothing_else)
{
    transact(work(0));
    store_.reset();
    std::filesystem::copy_file(path(), kit_.folder.file("template"));
    break_at_every_operation({{"", kit_.folder.file("template")}}, 40, false);
}

TEST_F(sqlite_faults, while_the_log_of_another_run_is_moved_into_the_file_lose_nothing)
{
    transact(work(0));
    for (int i = 0; i < 1200; ++i)
        transact([i](sqlite_transaction& tx) { tx.execute("UPDATE entries SET value = ? || value", i); });
    auto const log = kit_.folder.file("template-wal");
    std::filesystem::copy_file(path(), kit_.folder.file("template"));
    std::filesystem::copy_file(path() + "-wal", log);
    ASSERT_GT(std::filesystem::file_size(log), 2000u * 4096u);
    break_at_every_operation({{"", kit_.folder.file("template")}, {"-wal", log}}, 40, true);
}

// What the disk has of a group that was told to have failed must not come back after a crash.
TEST_F(sqlite_faults, leave_nothing_of_a_failed_group_behind_for_a_crash_right_after_it)
{
    transact(work(0));
    break_at(fault::sync, 1, false);
    auto const error = run_as_group({work(1)}).front();
    ASSERT_TRUE(has_failed());
    ASSERT_TRUE(error);
    auto const copy = kit_.folder.file("copy");
    std::filesystem::copy_file(path(), copy);
    std::filesystem::copy_file(path() + "-wal", copy + "-wal");
    restore({{"", copy}, {"-wal", copy + "-wal"}});
    open();
    EXPECT_EQ(found(), numbers{0});
}

TEST_F(sqlite_faults, while_opening_and_closing_are_told_and_leave_a_file_that_can_be_opened)
{
    for (auto const kind : {fault::write, fault::full, fault::sync})
        for (bool const for_good : {false, true})
            for (int n = 1, failed = 1; failed != 0; ++n) {
                SCOPED_TRACE(std::string{name_of(kind)} + " " + std::to_string(n) + (for_good ? " and all after" : ""));
                store_.reset();
                for (auto const* const end : {"", "-wal", "-shm"})
                    std::filesystem::remove(path() + end);
                break_at(kind, n, for_good);
                try {
                    open();
                } catch (...) {
                    expect_failure_of_the_disk(std::current_exception(), kind);
                }
                bool const opened = store_ != nullptr;
                store_.reset();
                failed = has_failed();
                EXPECT_TRUE(opened || failed);
                mend();
                open();
                transact([this](sqlite_transaction& tx) { kit_.create(tx); });
                transact(work(1));
                break_at(kind, n, for_good);
                store_.reset();
                failed |= has_failed();
                mend();
                open();
                EXPECT_EQ(found(), numbers{1});
            }
}

// --- files that are not what they should be -----------------------------------------------------------------------------

class sqlite_file_that_is : public storage_kits::threaded_store<sqlite_kit> {
protected:
    std::string path() const { return kit_.folder.file("store.db"); }

    void expect_not_opened(std::string const& why)
    {
        try {
            open();
            ADD_FAILURE() << "opened";
        } catch (boost::system::system_error const& e) {
            EXPECT_EQ(e.code(), errc::store_failed) << e.what();
            EXPECT_NE(std::string{e.what()}.find(path()), std::string::npos) << e.what();
            EXPECT_NE(std::string{e.what()}.find(why), std::string::npos) << e.what();
        }
    }

    void overwrite(std::size_t at, std::string const& bytes)
    {
        std::fstream file{path(), std::ios::in | std::ios::out | std::ios::binary};
        file.seekp(static_cast<std::streamoff>(at));
        file << bytes;
        ASSERT_TRUE(file.good());
    }
};

/// The rights of a user who owns nothing here.
class as_nobody {
public:
    as_nobody() : was_{::geteuid()}
    {
        if (was_ == 0)
            changed_ = ::seteuid(65534) == 0;
    }
    as_nobody(as_nobody const&) = delete;
    as_nobody& operator=(as_nobody const&) = delete;
    ~as_nobody()
    {
        if (changed_)
            static_cast<void>(::seteuid(was_) == 0);
    }
    bool restricted() const { return was_ != 0 || changed_; }

private:
    uid_t was_;
    bool changed_ = false;
};

TEST_F(sqlite_file_that_is, read_only_is_refused_by_its_name)
{
    auto const folder = std::filesystem::path{path()}.parent_path();
    store_.reset();
    for (auto const mode : {0777, 0555}) { // the folder's
        ::chmod(path().c_str(), 0444);
        ::chmod(folder.c_str(), static_cast<mode_t>(mode));
        {
            as_nobody const other;
            if (!other.restricted())
                GTEST_SKIP() << "nothing is forbidden here";
            expect_not_opened("");
        }
        ::chmod(path().c_str(), 0644);
    }
    ::chmod(folder.c_str(), 0700);
    open();
    transact([](sqlite_transaction& tx) { sqlite_kit::put(tx, "a", "b"); });
}

TEST_F(sqlite_file_that_is, in_a_folder_that_cannot_be_written_is_refused_by_its_name)
{
    auto const folder = std::filesystem::path{path()}.parent_path();
    store_.reset();
    ::chmod(path().c_str(), 0666);
    ::chmod(folder.c_str(), 0555);
    {
        as_nobody const other;
        if (!other.restricted())
            GTEST_SKIP() << "nothing is forbidden here";
        expect_not_opened(""); // its log has no place
        std::filesystem::path const missing = folder / "missing.db";
        EXPECT_FALSE(std::filesystem::exists(missing));
    }
    ::chmod(folder.c_str(), 0755);
    std::filesystem::remove(path());
    ::chmod(folder.c_str(), 0555);
    {
        as_nobody const other;
        expect_not_opened("");
    }
    ::chmod(folder.c_str(), 0700);
}

TEST_F(sqlite_file_that_is, broken_at_its_beginning_is_refused_and_left_alone)
{
    store_.reset();
    auto const size = std::filesystem::file_size(path());
    overwrite(0, std::string(100, '\x5a'));
    expect_not_opened("not a database");
    EXPECT_EQ(std::filesystem::file_size(path()), size);
    overwrite(0, std::string{"SQLite format 3\0", 16}); // the rest of the header is still wrong
    expect_not_opened("");
    EXPECT_EQ(std::filesystem::file_size(path()), size);
}

TEST_F(sqlite_file_that_is, cut_short_is_refused_or_fails_what_reads_it)
{
    transact([](sqlite_transaction& tx) { sqlite_kit::put(tx, "a", std::string(100'000, 'v')); });
    store_.reset();
    std::filesystem::resize_file(path(), 1000);
    expect_not_opened("");
}

TEST_F(sqlite_file_that_is, broken_in_the_middle_fails_what_reads_there_and_nothing_else)
{
    std::int64_t page = 0;
    transact([&](sqlite_transaction& tx) {
        tx.execute("CREATE TABLE sound(x)");
        for (int i = 0; i < 100; ++i)
            sqlite_kit::put(tx, "key" + std::to_string(i), std::string(2000, 'v'));
        page = tx.query<std::int64_t>("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'").front();
    });
    store_.reset();
    overwrite(static_cast<std::size_t>(page - 1) * 4096, std::string(4096, '\xff'));
    open();
    for (int round = 0; round < 2; ++round) {
        std::exception_ptr error;
        try {
            transact([](sqlite_transaction& tx) {
                tx.execute("INSERT INTO sound VALUES(1)");
                message_row row;
                tx.append({queue_side::outbox, "orders", "warehouse"}, message_state::ready, {&row, 1});
                sqlite_kit::put(tx, "new", "value");
            });
        } catch (...) {
            error = std::current_exception();
        }
        ASSERT_TRUE(error);
        EXPECT_EQ(code_of(error), errc::store_failed);
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& e) {
            EXPECT_NE(std::string{e.what()}.find(path()), std::string::npos) << e.what();
        }
        transact([round](sqlite_transaction& tx) {
            EXPECT_EQ(tx.query<int>("SELECT count(*) FROM sound"), std::vector<int>{round});
            EXPECT_EQ(tx.count({queue_side::outbox, "orders", "warehouse"}, message_state::ready), 0u);
            tx.execute("INSERT INTO sound VALUES(2)");
        });
    }
}

} // namespace
