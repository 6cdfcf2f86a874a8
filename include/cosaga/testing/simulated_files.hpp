// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/simulated_disk.hpp>
#include <cosaga/detail/sqlite_file_locks.hpp>
#include <cosaga/testing/disk_faults.hpp>

#include <sqlite3.h> // lint: allow driver - it is a disk for SQLite alone

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace cosaga::testing {

/// The disk of one machine, as SQLite sees it, in memory: with faults, killed programs, and losses of power.
///
/// What is written is volatile until the file is synced. A loss of power keeps of the rest, at random: nothing, everything, what
/// was written before some moment, or any of its sectors of 512 bytes; also of the operation that was under way. A file that
/// was made and never synced may be gone, and a removed one may be back. After a sync that failed, as on Linux, some sectors are on
/// the disk, and the others never will be unless they are written again.
///
/// @code
/// simulated_files disk{[&] { return chance(); }};
/// sqlite_store store{env, {.path = "store.db", .vfs = disk.vfs()}};
/// @endcode
/// Which changes survive depends on the random source alone. The bytes of SQLite's logs contain numbers from SQLite's own
/// generator, which is the same for the whole process: they differ from run to run, nothing else does.
/// @par Thread safety
/// one thread at a time; objects on different threads do not know each other.
class simulated_files {
public:
    /// @param random 64 random bits.
    explicit simulated_files(std::function<std::uint64_t()> random) : random_{std::move(random)}
    {
        static std::atomic<std::uint64_t> made{0};
        name_ = "cosaga_simulated_files_" + std::to_string(++made);
        vfs_.iVersion = 2;
        vfs_.szOsFile = static_cast<int>(sizeof(handle));
        vfs_.mxPathname = 512;
        vfs_.zName = name_.c_str();
        vfs_.pAppData = this;
        vfs_.xOpen = open;
        vfs_.xDelete = remove;
        vfs_.xAccess = access;
        vfs_.xFullPathname = full_name;
        vfs_.xRandomness = randomness;
        vfs_.xSleep = [](sqlite3_vfs*, int microseconds) { return microseconds; };
        vfs_.xCurrentTime = [](sqlite3_vfs*, double* days) { return *days = static_cast<double>(the_time) / 86'400'000.0, SQLITE_OK; };
        vfs_.xCurrentTimeInt64 = [](sqlite3_vfs*, sqlite3_int64* ms) { return *ms = the_time, SQLITE_OK; };
        vfs_.xGetLastError = [](sqlite3_vfs*, int, char*) { return 0; };
        if (sqlite3_vfs_register(&vfs_, 0) != SQLITE_OK)
            throw std::runtime_error{"cannot register an SQLite VFS"};
    }
    simulated_files(simulated_files const&) = delete;
    simulated_files& operator=(simulated_files const&) = delete;
    /// Every connection to it is closed.
    ~simulated_files() { sqlite3_vfs_unregister(&vfs_); }

    /// For `sqlite_options::vfs`.
    std::string const& vfs() const noexcept { return name_; }

    void set_faults(disk_faults const& f) { faults_ = f; }

    /// A disk that says so before anything is on it, as some do. For tests that must find that out.
    void set_ignoring_syncs(bool on) noexcept { ignoring_syncs_ = on; }

    /// The program dies, the machine does not: from now on every open file fails; files that are opened later have everything that
    /// was written, and what was not synced may still be lost.
    void kill()
    {
        cut_off();
        for (auto const& [name, f] : directory_.names())
            f->cut_off();
    }

    /// From now on every open file fails; files that are opened later have what is left.
    void lose_power()
    {
        cut_off();
        auto oldest = directory_.oldest_change(clock_);
        for (auto const& [name, f] : directory_.names())
            oldest = std::min(oldest, f->oldest_change(clock_));
        detail::power_loss loss{random_(), oldest, clock_};
        directory_.lose_power(loss);
        for (auto const& [name, f] : directory_.names())
            f->lose_power(loss);
    }

    /// Kills or loses power in the middle of the `n`-th write, truncation, sync or removal from now, and calls `then`. 0: no more.
    void kill_at(std::uint64_t n, std::function<void()> then) { cut_off_at(n, false, std::move(then)); }
    void lose_power_at(std::uint64_t n, std::function<void()> then) { cut_off_at(n, true, std::move(then)); }

    /// Writes, truncations, syncs and removals so far.
    std::uint64_t operations() const noexcept { return operations_; }

private:
    // 2026-01-01, in milliseconds as SQLite counts them.
    static constexpr sqlite3_int64 the_time = 212'633'985'600'000;

    struct file : detail::simulated_file {
        std::shared_ptr<detail::sqlite_file_locks> locks = std::make_shared<detail::sqlite_file_locks>();
        std::weak_ptr<detail::sqlite_shared_memory> shm;
        bool log = false; ///< a journal or a log: SQLite on Unix syncs the directory, too, when it syncs the file for the first time
        bool synced = false;

        // Who has the file open keeps what it has: it is none of the new boot's.
        void cut_off()
        {
            locks = std::make_shared<detail::sqlite_file_locks>();
            shm.reset();
        }
        void lose_power(detail::power_loss& loss)
        {
            cut_off();
            detail::simulated_file::lose_power(loss);
            synced = true;
        }
    };
    struct opened {
        opened(simulated_files& d, std::shared_ptr<file> f) : disk{&d}, what{std::move(f)}, boot{d.boots_}, lock{what->locks} {}

        bool dead() const noexcept { return boot != disk->boots_; }

        simulated_files* disk;
        std::shared_ptr<file> what;
        std::string remove_on_close;
        std::uint64_t boot;
        detail::sqlite_file_lock lock;
        std::optional<detail::sqlite_shared_memory_user> shm;
    };
    struct handle {
        sqlite3_file base;
        opened* state;
    };

    static simulated_files& self(sqlite3_vfs* v) noexcept { return *static_cast<simulated_files*>(v->pAppData); }
    static opened& state(sqlite3_file* f) noexcept { return *reinterpret_cast<handle*>(f)->state; }

    /// Nothing may be thrown through SQLite.
    template <class F>
    static int guarded(F&& f) noexcept
    {
        try {
            return f();
        } catch (std::bad_alloc const&) {
            return SQLITE_IOERR_NOMEM;
        } catch (...) {
            return SQLITE_IOERR;
        }
    }

    bool happens(double probability)
    {
        return probability > 0 && static_cast<double>(random_() >> 11) * 0x1.0p-53 < probability;
    }

    void cut_off()
    {
        cut_off_in_ = 0;
        then_ = nullptr;
        ++boots_;
    }
    void cut_off_at(std::uint64_t n, bool power, std::function<void()> then)
    {
        cut_off_in_ = n;
        power_too_ = power;
        then_ = std::move(then);
    }
    /// Counts an operation that has got as far as memory. True if it is the last.
    bool is_cut_off()
    {
        ++operations_;
        if (cut_off_in_ == 0 || --cut_off_in_ > 0)
            return false;
        auto const then = std::exchange(then_, nullptr);
        if (power_too_)
            lose_power();
        else
            kill();
        if (then)
            then();
        return true;
    }

    // --- the directory ----------------------------------------------------------------------------------------------------

    static int open(sqlite3_vfs* v, char const* name, sqlite3_file* f, int flags, int* out_flags) noexcept
    {
        f->pMethods = nullptr;
        return guarded([&] {
            auto& disk = self(v);
            auto what = name ? disk.directory_.find(name) : nullptr;
            if (what ? (flags & SQLITE_OPEN_EXCLUSIVE) != 0 : name && (flags & SQLITE_OPEN_CREATE) == 0)
                return SQLITE_CANTOPEN;
            if (!what) {
                what = std::make_shared<file>();
                what->log = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
                if (name)
                    disk.directory_.set(name, what, disk.clock_);
            }
            auto made = std::make_unique<opened>(disk, std::move(what));
            if (name && (flags & SQLITE_OPEN_DELETEONCLOSE) != 0)
                made->remove_on_close = name;
            if (out_flags)
                *out_flags = flags;
            reinterpret_cast<handle*>(f)->state = made.release();
            f->pMethods = &methods;
            return SQLITE_OK;
        });
    }

    static int remove(sqlite3_vfs* v, char const* name, int sync_directory) noexcept
    {
        return guarded([&] {
            auto& disk = self(v);
            if (!disk.directory_.find(name))
                return SQLITE_IOERR_DELETE_NOENT;
            disk.directory_.set(name, nullptr, disk.clock_);
            if (disk.is_cut_off())
                return SQLITE_IOERR_DELETE;
            if (sync_directory != 0 && !disk.ignoring_syncs_)
                disk.directory_.sync();
            return SQLITE_OK;
        });
    }

    static int access(sqlite3_vfs* v, char const* name, int, int* result) noexcept
    {
        return guarded([&] {
            auto const found = self(v).directory_.find(name);
            *result = found ? 1 : 0;
            return SQLITE_OK;
        });
    }

    static int full_name(sqlite3_vfs*, char const* name, int n, char* to) noexcept
    {
        auto const length = std::strlen(name);
        if (length >= static_cast<std::size_t>(n))
            return SQLITE_CANTOPEN;
        std::memcpy(to, name, length + 1);
        return SQLITE_OK;
    }

    static int randomness(sqlite3_vfs* v, int n, char* to) noexcept
    {
        return guarded([&] {
            for (int done = 0; done < n; done += 8) {
                auto const bits = self(v).random_();
                std::memcpy(to + done, &bits, static_cast<std::size_t>(std::min(8, n - done)));
            }
            return n;
        });
    }

    // --- bytes ------------------------------------------------------------------------------------------------------------

    static int close(sqlite3_file* f) noexcept
    {
        std::unique_ptr<opened> const o{std::exchange(reinterpret_cast<handle*>(f)->state, nullptr)};
        f->pMethods = nullptr;
        return guarded([&] {
            if (!o->dead() && !o->remove_on_close.empty())
                o->disk->directory_.set(o->remove_on_close, nullptr, o->disk->clock_);
            return SQLITE_OK;
        });
    }

    static int read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) noexcept
    {
        return guarded([&] {
            auto& o = state(f);
            if (o.dead() || o.disk->happens(o.disk->faults_.read_error))
                return SQLITE_IOERR_READ;
            auto const size = static_cast<std::size_t>(n);
            auto const there = o.what->read(static_cast<char*>(to), size, static_cast<std::size_t>(at));
            if (there == size)
                return SQLITE_OK;
            std::memset(static_cast<char*>(to) + there, 0, size - there);
            return SQLITE_IOERR_SHORT_READ;
        });
    }

    static int write(sqlite3_file* f, void const* from, int n, sqlite3_int64 at) noexcept
    {
        return guarded([&] {
            auto& o = state(f);
            if (o.dead())
                return SQLITE_IOERR_WRITE;
            auto& disk = *o.disk;
            auto const size = static_cast<std::size_t>(n);
            auto const begin = static_cast<std::size_t>(at);
            bool const full = begin + size > o.what->size() && disk.happens(disk.faults_.full);
            bool const fails = !full && disk.happens(disk.faults_.write_error);
            auto const part = full || fails ? static_cast<std::size_t>(disk.random_() % (size + 1)) : size;
            o.what->write(static_cast<char const*>(from), part, begin, disk.clock_);
            if (disk.is_cut_off())
                return SQLITE_IOERR_WRITE;
            return full ? SQLITE_FULL : fails ? SQLITE_IOERR_WRITE : SQLITE_OK;
        });
    }

    static int truncate(sqlite3_file* f, sqlite3_int64 size) noexcept
    {
        return guarded([&] {
            auto& o = state(f);
            if (o.dead() || o.disk->happens(o.disk->faults_.write_error))
                return SQLITE_IOERR_TRUNCATE;
            o.what->resize(static_cast<std::size_t>(size), o.disk->clock_);
            return o.disk->is_cut_off() ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
        });
    }

    static int sync(sqlite3_file* f, int) noexcept
    {
        return guarded([&] {
            auto& o = state(f);
            auto& disk = *o.disk;
            if (o.dead() || disk.is_cut_off())
                return SQLITE_IOERR_FSYNC;
            if (disk.ignoring_syncs_)
                return SQLITE_OK;
            if (disk.happens(disk.faults_.sync_error)) {
                o.what->fail_sync(disk.random_());
                return SQLITE_IOERR_FSYNC;
            }
            o.what->sync();
            if (o.what->log && !o.what->synced)
                disk.directory_.sync();
            else
                disk.directory_.sync(*o.what);
            o.what->synced = true;
            return SQLITE_OK;
        });
    }

    static int file_size(sqlite3_file* f, sqlite3_int64* size) noexcept
    {
        if (state(f).dead())
            return SQLITE_IOERR_FSTAT;
        *size = static_cast<sqlite3_int64>(state(f).what->size());
        return SQLITE_OK;
    }

    // --- locks ------------------------------------------------------------------------------------------------------------

    static int lock(sqlite3_file* f, int level) noexcept
    {
        return state(f).dead() ? SQLITE_IOERR_LOCK : state(f).lock.take(level);
    }
    static int unlock(sqlite3_file* f, int level) noexcept
    {
        if (!state(f).dead())
            state(f).lock.give_up(level);
        return SQLITE_OK;
    }
    static int check_reserved(sqlite3_file* f, int* result) noexcept
    {
        if (state(f).dead())
            return SQLITE_IOERR_CHECKRESERVEDLOCK;
        *result = state(f).lock.is_reserved() ? 1 : 0;
        return SQLITE_OK;
    }

    static int shm_map(sqlite3_file* f, int region, int size, int extend, void volatile** to) noexcept
    {
        *to = nullptr;
        return guarded([&] {
            auto& o = state(f);
            if (o.dead())
                return SQLITE_IOERR_SHMMAP;
            if (!o.shm)
                o.shm.emplace(o.what->shm);
            *to = o.shm->map(static_cast<std::size_t>(region), static_cast<std::size_t>(size), extend != 0);
            return SQLITE_OK;
        });
    }
    static int shm_lock(sqlite3_file* f, int offset, int n, int flags) noexcept
    {
        auto& o = state(f);
        if (o.dead() || !o.shm)
            return (flags & SQLITE_SHM_UNLOCK) != 0 ? SQLITE_OK : SQLITE_IOERR_SHMLOCK;
        return o.shm->lock(static_cast<unsigned>(offset), static_cast<unsigned>(n), flags);
    }
    static int shm_unmap(sqlite3_file* f, int) noexcept
    {
        state(f).shm.reset();
        return SQLITE_OK;
    }

    static constexpr sqlite3_io_methods make_methods()
    {
        sqlite3_io_methods m{};
        m.iVersion = 2;
        m.xClose = close;
        m.xRead = read;
        m.xWrite = write;
        m.xTruncate = truncate;
        m.xSync = sync;
        m.xFileSize = file_size;
        m.xLock = lock;
        m.xUnlock = unlock;
        m.xCheckReservedLock = check_reserved;
        m.xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; };
        m.xSectorSize = [](sqlite3_file*) { return static_cast<int>(file::sector); };
        // As SQLite's own on Unix says, and here it is true. Without it SQLite 3.40 fills the log up to the next sector, and writes the
        // rest of the last frame after the sync: a later sync that fails may lose that rest for ever, and with it what is committed afterwards.
        m.xDeviceCharacteristics = [](sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; };
        m.xShmMap = shm_map;
        m.xShmLock = shm_lock;
        m.xShmBarrier = [](sqlite3_file*) {};
        m.xShmUnmap = shm_unmap;
        return m;
    }
    static sqlite3_io_methods const methods;

    std::function<std::uint64_t()> random_;
    std::string name_;
    sqlite3_vfs vfs_{};
    detail::simulated_directory<file> directory_;
    disk_faults faults_;
    bool ignoring_syncs_ = false;
    std::uint64_t clock_ = 1;
    std::uint64_t boots_ = 0;
    std::uint64_t operations_ = 0;
    std::uint64_t cut_off_in_ = 0; // operations
    bool power_too_ = false;
    std::function<void()> then_;
};

inline sqlite3_io_methods const simulated_files::methods = simulated_files::make_methods();

} // namespace cosaga::testing
