// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// What the storage suite has to know of each store. A new store adds its kit here and passes the suite, or is not done.
#pragma once

#include <cosaga/storage/memory.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/testing/simulated_files.hpp>
#include <cosaga/testing/virtual_environment.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sqlite3.h>
#include <stdlib.h>

namespace storage_kits {

/// | member          | meaning |
/// |-----------------|---------|
/// | `open(env)`     | a store on the kit's data, which outlive it |
/// | `create(tx)`    | makes the test's own table if it is missing |
/// | `put`, `get`    | its rows |
/// | `break_commits()`, `mend_commits()` | every commit that appends rows as large as `large` fails with `store_full`, until mended; while the store is idle |
struct memory_kit {
    using store = cosaga::memory_store;
    using transaction = cosaga::memory_transaction;

    std::unique_ptr<store> open(cosaga::environment& env)
    {
        auto made = std::make_unique<store>(env, disk);
        current = made.get();
        return made;
    }
    void create(transaction&) {}
    static void put(transaction& tx, std::string_view key, std::string_view value)
    {
        tx.put("entries", key, std::string{value});
    }
    static std::optional<std::string> get(transaction& tx, std::string_view key) { return tx.get("entries", key); }
    void break_commits() { current->fail_next_commits(1000, cosaga::errc::store_full); }
    void mend_commits() { current->fail_next_commits(0); }

    cosaga::memory_disk disk;
    store* current = nullptr;
};

/// A folder that is removed with what is in it.
class scratch_folder {
public:
    scratch_folder()
    {
        auto pattern = (std::filesystem::temp_directory_path() / "cosaga_storage_XXXXXX").string();
        if (!::mkdtemp(pattern.data()))
            throw std::runtime_error{"cannot make " + pattern};
        path_ = pattern;
    }
    scratch_folder(scratch_folder const&) = delete;
    scratch_folder& operator=(scratch_folder const&) = delete;
    ~scratch_folder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string file(char const* name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

struct sqlite_kit {
    using store = cosaga::sqlite_store;
    using transaction = cosaga::sqlite_transaction;

    std::unique_ptr<store> open(cosaga::environment& env)
    {
        return open_with(env, {.path = folder.file("store.db")});
    }
    static std::unique_ptr<store> open_with(cosaga::environment& env, cosaga::sqlite_options options)
    {
        options.poll_interval = {}; // a virtual clock would run for ever
        return std::make_unique<store>(env, options);
    }
    void create(transaction& tx)
    {
        db = tx.native_handle();
        sqlite3_set_authorizer(db, nullptr, nullptr);
        tx.execute("CREATE TABLE IF NOT EXISTS entries(key TEXT PRIMARY KEY, value TEXT NOT NULL)");
    }
    static void put(transaction& tx, std::string_view key, std::string_view value)
    {
        tx.execute("INSERT INTO entries VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", key, value);
    }
    static std::optional<std::string> get(transaction& tx, std::string_view key)
    {
        auto const found = tx.query<std::string>("SELECT value FROM entries WHERE key = ?", key);
        return found.empty() ? std::nullopt : std::optional{found.front()};
    }
    void break_commits() { set_max_pages(1); } // not below what there is
    void mend_commits() { set_max_pages(1'000'000); }

    void set_max_pages(int n)
    {
        auto const sql = "PRAGMA max_page_count = " + std::to_string(n);
        sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
    }

    scratch_folder folder;
    sqlite3* db = nullptr;
};

/// The same store on the simulated files of one machine.
struct simulated_sqlite_kit : sqlite_kit {
    std::unique_ptr<store> open(cosaga::environment& env) { return open_with(env, {.path = "store.db", .vfs = files.vfs()}); }

    cosaga::testing::simulated_files files{std::mt19937_64{1}};
};

using all = testing::Types<memory_kit, sqlite_kit, simulated_sqlite_kit>;

/// A row that takes pages of its own.
inline constexpr std::size_t large = 200'000;

/// A store on a deterministic executor with virtual time.
template <class Kit>
class virtual_store : public testing::Test {
protected:
    using transaction = typename Kit::transaction;

    virtual_store() { open(); }

    void open()
    {
        store_.reset();
        store_ = kit_.open(env_);
        transact([this](transaction& tx) { kit_.create(tx); });
    }

    /// Runs a work to its end; throws what its await throws.
    template <class Work>
    auto transact(Work work)
    {
        using result = std::invoke_result_t<Work&, transaction&>;
        if constexpr (std::is_void_v<result>)
            return run(work);
        else {
            result kept{};
            run([&](transaction& tx) { kept = work(tx); });
            return kept;
        }
    }

    // Not a template: compiling all of this for each work takes minutes.
    void run(std::function<void(transaction&)> const& work)
    {
        std::exception_ptr error;
        bool done = false;
        cosaga::asio::co_spawn(env_.get_executor(), store_->transact(work), [&](std::exception_ptr e) {
            error = e;
            done = true;
        });
        env_.run_until([&] { return done; });
        if (error)
            std::rethrow_exception(error);
    }

    cosaga::testing::virtual_environment env_;
    Kit kit_;
    std::unique_ptr<typename Kit::store> store_;
};

/// A store with threads: one that runs the coroutines, in the order in which they were started, and the store's own.
template <class Kit>
class threaded_store : public testing::Test {
protected:
    using store_type = typename Kit::store;
    using transaction = typename Kit::transaction;

    threaded_store()
    {
        open();
        transact([this](transaction& tx) { kit_.create(tx); });
    }
    ~threaded_store() override
    {
        store_.reset();
        guard_.reset();
        for (auto& t : threads_)
            t.join();
    }

    void open()
    {
        store_.reset();
        store_ = kit_.open(env_);
    }

    std::future<void> spawn(cosaga::asio::awaitable<void> work)
    {
        return cosaga::asio::co_spawn(io_, std::move(work), cosaga::asio::use_future);
    }
    /// The work is kept until the end of the test, since `transact` refers to a named one.
    std::future<void> start(std::function<void(transaction&)> work)
    {
        auto* kept = &work;
        {
            std::lock_guard const lock{works_mutex_};
            kept = &works_.emplace_back(std::move(work));
        }
        return spawn(store_->transact(*kept));
    }
    void transact(std::function<void(transaction&)> const& work) { start(work).get(); }

    /// Holds the store's thread inside a work until it is released.
    class plug {
    public:
        explicit plug(threaded_store& t)
            : work_{[this](transaction&) {
                  entered_.set_value();
                  released_.get_future().wait();
              }},
              done_{t.start(work_)}
        {
            entered_.get_future().wait();
        }
        void release() { released_.set_value(); }
        std::future<void>& done() { return done_; }

    private:
        std::promise<void> entered_;
        std::promise<void> released_;
        std::function<void(transaction&)> work_;
        std::future<void> done_;
    };

    /// Runs works in one group commit and returns how each of them ended.
    std::vector<std::exception_ptr> run_as_group(std::vector<std::function<void(transaction&)>> const& works)
    {
        plug first{*this};
        std::vector<std::future<void>> running;
        for (auto const& w : works)
            running.push_back(start(w));
        settle();
        first.release();
        std::vector<std::exception_ptr> errors;
        for (auto& r : running)
            try {
                r.get();
                errors.emplace_back();
            } catch (...) {
                errors.push_back(std::current_exception());
            }
        try {
            first.done().get();
        } catch (...) { // as the others of its group
        }
        return errors;
    }

    /// Waits until everything that was started so far waits for the store.
    void settle()
    {
        // What co_spawn starts takes a turn or two of the only thread.
        for (int i = 0; i < 4; ++i)
            cosaga::asio::post(io_, cosaga::asio::use_future([] {})).get();
    }

    cosaga::asio::io_context io_;
    cosaga::asio::executor_work_guard<cosaga::asio::io_context::executor_type> guard_{io_.get_executor()};
    cosaga::system_environment env_{io_.get_executor()};
    Kit kit_;
    std::mutex works_mutex_;
    std::deque<std::function<void(transaction&)>> works_;
    std::unique_ptr<store_type> store_;
    std::vector<std::thread> threads_ = run_threads();

private:
    std::vector<std::thread> run_threads()
    {
        std::vector<std::thread> made;
        made.emplace_back([this] { io_.run(); });
        return made;
    }
};

/// The library's error code of an exception; none if there is none, or not one of the library.
inline boost::system::error_code code_of(std::exception_ptr e)
{
    try {
        if (e)
            std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        return error.code();
    } catch (...) {
    }
    return {};
}

} // namespace storage_kits
