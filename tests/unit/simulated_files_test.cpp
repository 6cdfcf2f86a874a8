// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// The disk that the simulation gives to SQLite keeps its own promises and breaks all others; a store on it survives crashes.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <cosaga/storage/sqlite.hpp>
#include <cosaga/testing/simulated_files.hpp>
#include <cosaga/testing/virtual_environment.hpp>
#include <cosaga/testing/workloads/crash_points.hpp>

#include <boost/asio/co_spawn.hpp>

namespace {

using namespace cosaga;
using cosaga::testing::crash_point;
using cosaga::testing::crash_point_options;
using cosaga::testing::simulated_files;

/// A disk with its random source.
struct machine {
    explicit machine(std::uint64_t seed) : engine{seed} {}

    std::mt19937_64 engine;
    simulated_files disk{[this] { return engine(); }};
    sqlite3_vfs* vfs = sqlite3_vfs_find(disk.vfs().c_str());
};

/// A file as SQLite uses it.
class open_file {
public:
    open_file(machine& m, char const* name, int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB)
        : memory_(static_cast<std::size_t>(m.vfs->szOsFile)), file_{reinterpret_cast<sqlite3_file*>(memory_.data())}
    {
        code = m.vfs->xOpen(m.vfs, name, file_, flags, nullptr);
    }
    open_file(open_file const&) = delete;
    open_file& operator=(open_file const&) = delete;
    ~open_file()
    {
        if (file_->pMethods)
            file_->pMethods->xClose(file_);
    }
    int write(std::string const& what, std::size_t at)
    {
        return file_->pMethods->xWrite(file_, what.data(), static_cast<int>(what.size()), static_cast<sqlite3_int64>(at));
    }
    int truncate(std::size_t size) { return file_->pMethods->xTruncate(file_, static_cast<sqlite3_int64>(size)); }
    int sync() { return file_->pMethods->xSync(file_, SQLITE_SYNC_NORMAL); }
    std::string content()
    {
        sqlite3_int64 size = 0;
        if (file_->pMethods->xFileSize(file_, &size) != SQLITE_OK)
            return "?";
        std::string all(static_cast<std::size_t>(size), '?');
        if (file_->pMethods->xRead(file_, all.data(), static_cast<int>(size), 0) != SQLITE_OK)
            return "?";
        return all;
    }
    sqlite3_io_methods const& methods() { return *file_->pMethods; }
    sqlite3_file* get() { return file_; }

    int code = SQLITE_OK;

private:
    std::vector<std::max_align_t> memory_;
    sqlite3_file* file_;
};

bool exists(machine& m, char const* name)
{
    int found = 0;
    m.vfs->xAccess(m.vfs, name, SQLITE_ACCESS_EXISTS, &found);
    return found != 0;
}

std::string content_of(machine& m, char const* name)
{
    open_file f{m, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB};
    return f.code == SQLITE_OK ? f.content() : "-";
}

std::string sectors(std::string const& letters)
{
    std::string all;
    for (auto const c : letters)
        all += std::string(512, c);
    return all;
}
/// The letter of each sector; '!' for one that is mixed.
std::string letters_of(std::string const& bytes)
{
    std::string letters;
    for (std::size_t at = 0; at < bytes.size(); at += 512) {
        auto const one = bytes.substr(at, 512);
        letters += one == std::string(one.size(), one[0]) ? one[0] == '\0' ? '0' : one[0] : '!';
    }
    return letters;
}

TEST(simulated_files, keep_what_was_synced)
{
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        machine m{seed};
        {
            open_file f{m, "a"};
            f.write(sectors("abc"), 0);
            f.write("xyz", 700);
            ASSERT_EQ(f.sync(), SQLITE_OK);
        }
        m.disk.lose_power();
        auto expected = sectors("abc");
        expected.replace(700, 3, "xyz");
        ASSERT_EQ(content_of(m, "a"), expected);
    }
}

TEST(simulated_files, keep_of_what_was_not_synced_nothing_or_all_or_any_sectors)
{
    std::set<std::string> found;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        machine m{seed};
        {
            open_file f{m, "a"};
            f.write(sectors("aaaa"), 0);
            f.sync();
            f.write(sectors("bbbb"), 0);
            f.write(sectors("c"), 1024);
        }
        EXPECT_EQ(content_of(m, "a"), sectors("bbcb")) << "a program sees its writes";
        m.disk.lose_power();
        auto const left = letters_of(content_of(m, "a"));
        ASSERT_EQ(left.size(), 4u);
        found.insert(left);
    }
    EXPECT_EQ(found.size(), 2u * 2 * 3 * 2) << "each sector is in each of its states";
    EXPECT_FALSE(std::any_of(found.begin(), found.end(), [](auto const& l) { return l.find('!') != l.npos; }));
}

TEST(simulated_files, may_lose_the_new_size_or_the_bytes_behind_the_old_one)
{
    std::set<std::string> grown, cut;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        machine m{seed};
        {
            open_file f{m, "a"};
            f.write(sectors("aa"), 0);
            f.sync();
            f.write(sectors("bb"), 1024);
            open_file g{m, "b"};
            g.write(sectors("aaa"), 0);
            g.sync();
            g.truncate(512);
            g.write(sectors("c"), 512);
        }
        m.disk.lose_power();
        grown.insert(letters_of(content_of(m, "a")));
        cut.insert(letters_of(content_of(m, "b")));
    }
    EXPECT_EQ(grown, (std::set<std::string>{"aa", "aa00", "aab0", "aa0b", "aabb"}));
    EXPECT_EQ(cut, (std::set<std::string>{"aaa", "a", "a0", "ac"}));
}

TEST(simulated_files, may_lose_a_file_that_was_never_synced_and_bring_back_one_that_was_removed)
{
    std::set<bool> made, removed, surely_removed;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        machine m{seed};
        for (auto const* const name : {"removed", "surely"}) {
            open_file f{m, name};
            f.write("a", 0);
            f.sync();
        }
        m.vfs->xDelete(m.vfs, "surely", 1);
        open_file made_file{m, "made"};
        made_file.write("a", 0);
        m.vfs->xDelete(m.vfs, "removed", 0);
        EXPECT_FALSE(exists(m, "removed"));
        m.disk.lose_power();
        made.insert(exists(m, "made"));
        removed.insert(!exists(m, "removed"));
        surely_removed.insert(!exists(m, "surely"));
    }
    EXPECT_EQ(made.size(), 2u);
    EXPECT_EQ(removed.size(), 2u);
    EXPECT_EQ(surely_removed, std::set<bool>{true});
}

TEST(simulated_files, fail_after_a_loss_of_power_until_they_are_opened_again)
{
    machine m{1};
    open_file f{m, "a"};
    f.write(sectors("a"), 0);
    f.sync();
    m.disk.lose_power();
    EXPECT_NE(f.write("x", 0), SQLITE_OK);
    EXPECT_NE(f.sync(), SQLITE_OK);
    EXPECT_EQ(f.content(), "?");
    EXPECT_NE(f.methods().xLock(f.get(), SQLITE_LOCK_SHARED), SQLITE_OK);
    open_file g{m, "a"};
    EXPECT_EQ(g.content(), sectors("a"));
    EXPECT_EQ(g.write("x", 0), SQLITE_OK);
    EXPECT_EQ(g.methods().xLock(g.get(), SQLITE_LOCK_SHARED), SQLITE_OK);
}

TEST(simulated_files, lose_power_in_the_middle_of_the_operation_that_they_were_told)
{
    std::set<std::string> found;
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        machine m{seed};
        open_file f{m, "a"};
        f.write(sectors("aaa"), 0);
        f.sync();
        int lost = 0;
        m.disk.lose_power_at(2, [&] { ++lost; });
        EXPECT_EQ(f.write(sectors("b"), 0), SQLITE_OK);
        EXPECT_EQ(lost, 0);
        EXPECT_NE(f.write(sectors("cc"), 512), SQLITE_OK);
        EXPECT_EQ(lost, 1);
        EXPECT_EQ(m.disk.operations(), 4u);
        found.insert(letters_of(content_of(m, "a")));
        m.disk.lose_power_at(1, [&] { ++lost; });
        m.disk.lose_power_at(0, nullptr);
        open_file g{m, "a"};
        EXPECT_EQ(g.write("x", 0), SQLITE_OK);
    }
    EXPECT_EQ(found.size(), 8u) << "any of the three sectors";
}

TEST(simulated_files, have_what_a_killed_program_wrote_until_the_power_is_lost)
{
    std::set<std::string> found;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        machine m{seed};
        open_file f{m, "a"};
        f.write(sectors("aa"), 0);
        f.sync();
        int killed = 0;
        m.disk.kill_at(1, [&] { ++killed; });
        EXPECT_NE(f.write(sectors("bb"), 0), SQLITE_OK);
        EXPECT_EQ(killed, 1);
        EXPECT_EQ(f.content(), "?");
        EXPECT_NE(f.sync(), SQLITE_OK);
        EXPECT_EQ(letters_of(content_of(m, "a")), "bb");
        m.disk.kill();
        EXPECT_EQ(letters_of(content_of(m, "a")), "bb");
        m.disk.lose_power();
        found.insert(letters_of(content_of(m, "a")));
    }
    EXPECT_EQ(found.size(), 4u) << "any of the two sectors";
}

TEST(simulated_files, never_write_what_a_failed_sync_has_dropped_unless_it_is_written_again)
{
    std::set<std::string> found;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        machine m{seed};
        {
            open_file f{m, "a"};
            f.write(sectors("aaaa"), 0);
            f.sync();
            f.write(sectors("bbbb"), 0);
            m.disk.set_faults({.sync_error = 1});
            EXPECT_EQ(f.sync(), SQLITE_IOERR_FSYNC);
            m.disk.set_faults({});
            f.write("b", 0); // the sector is written again
            EXPECT_EQ(f.content(), sectors("bbbb"));
            EXPECT_EQ(f.sync(), SQLITE_OK);
        }
        m.disk.lose_power();
        auto const left = letters_of(content_of(m, "a"));
        EXPECT_EQ(left[0], 'b');
        found.insert(left);
    }
    EXPECT_EQ(found.size(), 8u);
}

TEST(simulated_files, fail_as_often_as_they_are_told)
{
    machine m{1};
    open_file f{m, "a"};
    f.write(sectors("a"), 0);
    m.disk.set_faults({.write_error = 1});
    EXPECT_EQ(f.write("b", 0), SQLITE_IOERR_WRITE);
    m.disk.set_faults({.full = 1});
    EXPECT_EQ(f.write("a", 0), SQLITE_OK) << "it does not become longer";
    EXPECT_EQ(f.write("b", 512), SQLITE_FULL);
    m.disk.set_faults({.read_error = 1});
    EXPECT_EQ(f.content(), "?");
    m.disk.set_faults({.write_error = 0.25});
    int failed = 0;
    for (int i = 0; i < 1000; ++i)
        failed += f.write("b", 0) != SQLITE_OK ? 1 : 0;
    EXPECT_NEAR(failed, 250, 60);
}

TEST(simulated_files, let_several_connections_read_and_one_write)
{
    machine m{1};
    open_file a{m, "a"}, b{m, "a"};
    auto const lock = [](open_file& f, int level) { return f.methods().xLock(f.get(), level); };
    auto const unlock = [](open_file& f, int level) { return f.methods().xUnlock(f.get(), level); };
    EXPECT_EQ(lock(a, SQLITE_LOCK_SHARED), SQLITE_OK);
    EXPECT_EQ(lock(b, SQLITE_LOCK_SHARED), SQLITE_OK);
    EXPECT_EQ(lock(a, SQLITE_LOCK_RESERVED), SQLITE_OK);
    EXPECT_EQ(lock(b, SQLITE_LOCK_RESERVED), SQLITE_BUSY);
    EXPECT_EQ(lock(a, SQLITE_LOCK_EXCLUSIVE), SQLITE_BUSY) << "somebody reads";
    open_file c{m, "a"};
    EXPECT_EQ(lock(c, SQLITE_LOCK_SHARED), SQLITE_BUSY) << "somebody waits for the readers";
    EXPECT_EQ(unlock(b, SQLITE_LOCK_NONE), SQLITE_OK);
    EXPECT_EQ(lock(a, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
    EXPECT_EQ(lock(b, SQLITE_LOCK_SHARED), SQLITE_BUSY);
    EXPECT_EQ(unlock(a, SQLITE_LOCK_NONE), SQLITE_OK);
    EXPECT_EQ(lock(b, SQLITE_LOCK_SHARED), SQLITE_OK);
}

TEST(simulated_files, are_the_same_bytes_with_the_same_seed)
{
    auto const run = [](std::uint64_t seed) {
        machine m{seed};
        open_file f{m, "a"};
        m.disk.set_faults({.write_error = 0.1, .sync_error = 0.1});
        m.disk.lose_power_at(60, [] {});
        for (std::size_t i = 0; i < 100; ++i) {
            f.write(std::string(100 + i * 10, static_cast<char>('a' + i % 26)), i * 77);
            if (i % 7 == 0)
                f.sync();
        }
        return content_of(m, "a");
    };
    std::set<std::string> all;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        EXPECT_EQ(run(seed), run(seed));
        all.insert(run(seed));
    }
    EXPECT_GT(all.size(), 10u);
}

// --- a store on them ----------------------------------------------------------------------------------------------------

// SQLite names the new mode before it has written it: a store that believes that would run without a log.
TEST(sqlite_store_on_simulated_files, is_only_opened_with_its_log)
{
    int opened = 0;
    int refused = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        machine m{seed};
        cosaga::testing::virtual_environment env;
        m.disk.set_faults({.write_error = 0.02, .sync_error = 0.02, .full = 0.02});
        std::unique_ptr<sqlite_store> store;
        try {
            store = std::make_unique<sqlite_store>(env, sqlite_options{.path = "a.db", .poll_interval = {}, .vfs = m.disk.vfs()});
            ++opened;
        } catch (boost::system::system_error const&) {
            ++refused;
            continue;
        }
        m.disk.set_faults({});
        EXPECT_TRUE(exists(m, "a.db-wal")) << seed;
    }
    EXPECT_GT(opened, 10);
    EXPECT_GT(refused, 10);
}

/// A work that changes more pages than a small cache holds, some of them again and again.
auto churn(std::mt19937_64& engine, bool throws)
{
    return [&engine, throws](sqlite_transaction& tx) {
        for (auto n = engine() % 40; n > 0; --n) {
            std::string const bytes(500 + engine() % 3000, 'x');
            if (engine() % 2 == 0)
                tx.execute("INSERT INTO pages(content) VALUES(?)", bytes);
            else
                tx.execute("UPDATE pages SET content = ? WHERE id = ?", bytes, static_cast<std::int64_t>(1 + engine() % 60));
        }
        if (throws)
            throw std::runtime_error{"no"};
    };
}

// SQLite loses such a commit when it may write pages of a group to the log before: see sqlite_engine.
TEST(sqlite_store_on_simulated_files, keeps_a_group_that_is_larger_than_its_cache_and_had_a_work_that_threw)
{
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        machine m{seed};
        cosaga::testing::virtual_environment env{seed};
        std::int64_t total = 0;
        auto create = [](sqlite_transaction& tx) { tx.execute("CREATE TABLE pages(id INTEGER PRIMARY KEY, content)"); };
        auto sum = [&](sqlite_transaction& tx) {
            total = tx.query<std::int64_t>("SELECT count(*) + ifnull(sum(length(content)), 0) FROM pages").front();
        };
        sqlite_options const options{.path = "a.db", .cache_size = 1, .poll_interval = {}, .vfs = m.disk.vfs()};
        auto const run = [&](sqlite_store& store, auto& work) {
            boost::asio::co_spawn(env.get_executor(), store.transact(work), [](std::exception_ptr) {});
        };
        {
            sqlite_store store{env, options};
            run(store, create);
            env.run();
            for (int group = 0; group < 3; ++group) {
                auto good = churn(m.engine, false);
                auto bad = churn(m.engine, true);
                for (auto n = 1 + m.engine() % 5; n > 0; --n)
                    m.engine() % 3 == 0 ? run(store, bad) : run(store, good);
                env.run();
            }
            run(store, sum);
            env.run();
            m.disk.lose_power();
        }
        auto const before = std::exchange(total, -1);
        sqlite_store store{env, options};
        run(store, sum);
        env.run();
        ASSERT_EQ(total, before) << "seed " << seed;
    }
}

// Killed between writing the log and syncing it: who opens the store next sees the commit, and acts on it.
TEST(sqlite_store_on_simulated_files, keeps_what_was_seen_after_a_program_was_killed)
{
    int seen = 0;
    for (std::uint64_t n = 1; n <= 12; ++n)
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            machine m{seed};
            cosaga::testing::virtual_environment env{seed};
            sqlite_options const options{.path = "a.db", .poll_interval = {}, .vfs = m.disk.vfs()};
            std::int64_t count = -1;
            auto create = [](sqlite_transaction& tx) { tx.execute("CREATE TABLE pages(id INTEGER PRIMARY KEY)"); };
            auto insert = [](sqlite_transaction& tx) { tx.execute("INSERT INTO pages VALUES(1)"); };
            auto read = [&](sqlite_transaction& tx) { count = tx.query<std::int64_t>("SELECT count(*) FROM pages").front(); };
            auto const run = [&](sqlite_store& store, auto& work) {
                boost::asio::co_spawn(env.get_executor(), store.transact(work), [](std::exception_ptr) {});
                env.run();
            };
            {
                sqlite_store store{env, options};
                run(store, create);
                m.disk.kill_at(n, nullptr);
                run(store, insert);
                m.disk.kill();
            }
            {
                sqlite_store store{env, options};
                run(store, read);
                m.disk.lose_power();
            }
            auto const before = std::exchange(count, -1);
            sqlite_store store{env, options};
            run(store, read);
            ASSERT_EQ(count, before) << "killed at operation " << n << ", seed " << seed;
            seen += count == 1 ? 1 : 0;
        }
    EXPECT_GT(seen, 20);
}

// A disk that fails a sync forgets what it should have written, and says yes to the next sync. Whoever opens the store goes on, and the power is
// lost while the log is being moved into the database: the log must be on the disk by then, whatever was said before.
TEST(sqlite_store_on_simulated_files, is_not_broken_when_a_sync_fails_and_the_next_one_lies)
{
    int refused = 0;
    for (std::uint64_t seed = 0; seed < 600; ++seed) {
        machine m{seed};
        cosaga::testing::virtual_environment env{seed};
        sqlite_options const options{.path = "a.db", .poll_interval = {}, .vfs = m.disk.vfs()};
        auto create = [](sqlite_transaction& tx) {
            tx.execute("CREATE TABLE IF NOT EXISTS pages(id INTEGER PRIMARY KEY, content)");
            tx.execute("INSERT INTO pages(content) VALUES(zeroblob(20000))");
        };
        std::string sound;
        auto read = [&](sqlite_transaction& tx) { sound = tx.query<std::string>("PRAGMA integrity_check").front(); };
        auto const run = [&](sqlite_store& store, auto& work) {
            boost::asio::co_spawn(env.get_executor(), store.transact(work), [](std::exception_ptr) {});
            env.run();
        };
        auto const try_open = [&] {
            try {
                sqlite_store const store{env, options};
            } catch (boost::system::system_error const&) {
                ++refused;
            }
        };
        {
            sqlite_store store{env, options};
            run(store, create);
        }
        {
            sqlite_store store{env, options}; // its log is empty
            m.disk.kill_at(1 + seed % 40, nullptr);
            run(store, create);
            m.disk.kill();
        }
        m.disk.set_faults({.sync_error = seed % 3 == 0 ? 0.5 : 1.0});
        try_open();
        m.disk.set_faults({});
        m.disk.lose_power_at(1 + m.engine() % 24, nullptr);
        try_open();
        m.disk.lose_power();
        sqlite_store store{env, options};
        run(store, read);
        ASSERT_EQ(sound, "ok") << "seed " << seed;
    }
    EXPECT_GT(refused, 300);
}

std::vector<std::string> run_crash_points(crash_point_options options, std::uint64_t n)
{
    std::vector<std::string> found;
    for (options.seed = 1; options.seed <= n; ++options.seed) {
        crash_point c{options};
        c.run();
        for (auto const& f : c.findings())
            found.push_back("seed " + std::to_string(options.seed) + ": " + f);
    }
    return found;
}

TEST(crash_points, lose_nothing_that_was_committed)
{
    EXPECT_EQ(run_crash_points({}, 500), std::vector<std::string>{});
}

TEST(crash_points, are_the_same_with_the_same_seed)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        crash_point a{{.seed = seed}}, b{{.seed = seed}};
        a.run();
        b.run();
        EXPECT_EQ(a.trace_hash(), b.trace_hash());
    }
}

bool tells(std::vector<std::string> const& found, std::string const& what)
{
    return std::any_of(found.begin(), found.end(), [&](auto const& f) { return f.find(what) != f.npos; });
}

// So that the harness is known to see what it is there for.
TEST(crash_points, find_what_is_lost_when_commits_are_not_synced)
{
    EXPECT_TRUE(tells(run_crash_points({.synchronous = sqlite_synchronous::normal}, 100), "lost: "));
}

TEST(crash_points, find_what_is_lost_when_the_disk_only_says_that_it_syncs)
{
    EXPECT_TRUE(tells(run_crash_points({.ignoring_syncs = true}, 100), "lost: "));
}

} // namespace
