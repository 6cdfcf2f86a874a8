// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/detail/simulated_disk.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/testing/scenario.hpp>
#include <cosaga/testing/simulated_files.hpp>
#include <cosaga/testing/virtual_environment.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/describe/class.hpp>

#include <sqlite3.h> // lint: allow driver - checkpoints between two groups

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

struct crash_point_options {
    std::uint64_t seed = 1;
    sqlite_synchronous synchronous = sqlite_synchronous::full;
    bool ignoring_syncs = false; ///< of the disk
};

/// One `sqlite_store` that is killed, or whose machine loses power, in the middle of some disk operation, and what must hold when it
/// is opened again: the file is sound, every transaction that returned or was seen is there, every other one whole or not at all, and
/// none that threw.
///
/// The seed decides the transactions, which come several at a time, the operation, how often this happens, and whether there are
/// disk errors, too.
class crash_point {
public:
    explicit crash_point(crash_point_options options)
        : options_{options}, engine_{options.seed}, disk_{[this] { return engine_(); }}, failing_{below(4) == 0}, heavy_{below(64) == 0}
    {
        disk_.set_ignoring_syncs(options.ignoring_syncs);
    }

    void run()
    {
        for (auto rounds = 1 + below(2); rounds > 0 && findings_.empty(); --rounds) {
            use_until_cut_off();
            open_again();
            verify();
            if (below(2) == 0) // before the store has closed the file, and so synced it
                disk_.lose_power();
            switch_off();
        }
        if (open())
            verify();
        else
            findings_.push_back("the store could not be opened in the end: " + last_error_);
        switch_off();
    }

    std::vector<std::string> const& findings() const noexcept { return findings_; }
    /// Stands for all that happened: two runs with the same options have the same.
    std::uint64_t trace_hash() const noexcept { return hash_; }

private:
    enum class outcome {
        unknown,  ///< under way
        threw,    ///< by itself
        failed,   ///< because of the store: open whether it is there
        returned,
        absent,   ///< it was not there, and must not come back
    };
    struct planned_work {
        outcome is = outcome::unknown;
        bool throws = false;
        std::size_t size = 0;
        std::optional<std::size_t> removes{};
        bool claimed = false; ///< by one that removes it
        std::size_t boot = 0;
        std::uint64_t started = 0;
        std::uint64_t ended = 0;
    };
    struct refusal : std::runtime_error {
        refusal() : std::runtime_error{"no"} {}
    };
    struct stored {
        std::int64_t number = 0;
        std::string value;
        BOOST_DESCRIBE_CLASS(stored, (), (number, value), (), ())
    };
    std::uint64_t below(std::uint64_t n) { return engine_() % n; }

    // --- one boot ---------------------------------------------------------------------------------------------------------

    /// @return false if the disk would not let it.
    bool open()
    {
        ++boots_;
        environment_ = std::make_unique<virtual_environment>(engine_());
        try {
            store_ = std::make_unique<sqlite_store>(*environment_,
                sqlite_options{.path = "store.db", .synchronous = options_.synchronous, .poll_interval = {}, .vfs = disk_.vfs()});
            bool ok = false;
            auto create = [this](sqlite_transaction& tx) {
                db_ = tx.native_handle();
                tx.execute("CREATE TABLE IF NOT EXISTS entries(number INTEGER PRIMARY KEY, value TEXT NOT NULL)");
                tx.execute("CREATE TABLE IF NOT EXISTS total(number INTEGER PRIMARY KEY, works INTEGER NOT NULL)");
            };
            await([&]() -> asio::awaitable<void> {
                co_await store_->transact(create);
                ok = true;
            });
            if (ok)
                return true;
        } catch (std::exception const& e) {
            last_error_ = e.what();
        }
        switch_off();
        return false;
    }
    /// Runs a coroutine until it has ended or the disk is lost.
    template <class F>
    void await(F const& f)
    {
        bool done = false;
        asio::co_spawn(environment_->get_executor(), f(), [&](std::exception_ptr e) {
            done = true;
            if (e)
                last_error_ = describe(e);
        });
        environment_->run_until([&] { return done || lost_; });
        if (!done)
            retire();
    }
    static std::string describe(std::exception_ptr const& e)
    {
        try {
            std::rethrow_exception(e);
        } catch (std::exception const& known) {
            return known.what();
        }
    }
    // Coroutines are destroyed where they are: they refer to the store, and the store to the environment.
    void retire() { environment_->get_scheduler().retire(environment_->get_domain()); }
    void switch_off()
    {
        if (!environment_)
            return;
        retire();
        store_.reset();
        environment_.reset();
    }
    void cut_off_at(std::uint64_t n)
    {
        if (below(2) == 0)
            disk_.kill_at(n, [this] { lost_ = true; });
        else
            disk_.lose_power_at(n, [this] { lost_ = true; });
    }
    void cut_off()
    {
        if (below(2) == 0)
            disk_.kill();
        else
            disk_.lose_power();
    }

    void use_until_cut_off()
    {
        lost_ = false;
        // As often early as late.
        cut_off_at(1 + below(std::uint64_t{4} << below(heavy_ ? 10 : 8)));
        for (auto boots = 1 + below(3); boots > 0 && !lost_; --boots) {
            if (failing_)
                disk_.set_faults({.read_error = 0.002, .write_error = 0.01, .sync_error = 0.02, .full = 0.005});
            if (!open()) {
                if (!lost_ && !failing_)
                    findings_.push_back("the store could not be opened: " + last_error_);
                continue;
            }
            for (auto groups = 1 + below(6); groups > 0 && !lost_; --groups)
                run_group();
            if (!lost_ && below(2) == 0)
                await([this]() -> asio::awaitable<void> { return store_->close(); });
            switch_off();
        }
        if (!lost_)
            cut_off();
        disk_.kill_at(0, nullptr);
    }

    /// With a machine that fails again meanwhile, for a while.
    void open_again()
    {
        for (auto losses = below(3); losses > 0; --losses) {
            lost_ = false;
            cut_off_at(1 + below(24));
            if (open())
                switch_off();
            else if (!lost_ && !failing_)
                findings_.push_back("the store could not be opened again: " + last_error_);
            cut_off();
        }
        disk_.kill_at(0, nullptr);
        disk_.set_faults({});
        lost_ = false;
        if (!open())
            findings_.push_back("the store could not be opened in the end: " + last_error_);
    }

    // --- transactions -----------------------------------------------------------------------------------------------------

    void run_group()
    {
        std::size_t running = 0;
        auto const end = works_.size() + 1 + below(6);
        while (works_.size() < end) {
            plan_work();
            ++running;
            asio::co_spawn(environment_->get_executor(), transact(works_.size() - 1), [&running](std::exception_ptr) { --running; });
        }
        environment_->run_until([&] { return running == 0 || lost_; });
        if (lost_ && below(2) == 0) // or what was under way sees that the disk is gone
            environment_->run_until([&] { return running == 0; });
        if (running > 0)
            return retire();
        if (!lost_ && below(4) == 0) // as the store does when the log is long
            sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    }

    void plan_work()
    {
        planned_work w;
        w.boot = boots_;
        w.throws = below(6) == 0;
        auto const much = heavy_ ? 400'000u : 20'000u;
        w.size = static_cast<std::size_t>(below(8) == 0 ? below(much) : below(4) == 0 ? below(5000) : below(200));
        if (auto const victim = static_cast<std::size_t>(below(works_.size() + 1));
            victim < works_.size() && works_[victim].is == outcome::returned && !works_[victim].claimed) {
            w.removes = victim;
            works_[victim].claimed = true;
        }
        works_.push_back(w);
    }

    asio::awaitable<void> transact(std::size_t n)
    {
        auto work = [this, n](sqlite_transaction& tx) { write(tx, n); };
        works_[n].started = ++ticks_;
        auto is = outcome::returned;
        try {
            co_await store_->transact(work);
        } catch (refusal const&) {
            is = outcome::threw;
        } catch (std::exception const& e) {
            is = outcome::failed;
            if (!failing_ && !lost_)
                findings_.push_back(std::string{"a transaction failed: "} + e.what());
        }
        works_[n].ended = ++ticks_;
        works_[n].is = is;
        trace(n << 3 | static_cast<std::size_t>(is));
        if (is == outcome::returned) // what had failed before was written over
            for (auto& w : works_)
                if (w.is == outcome::failed && w.boot == boots_ && w.ended < works_[n].started)
                    w.is = outcome::absent;
    }

    static queue_name queue() { return {queue_side::outbox, "orders", "warehouse"}; }
    static message_id id_of(std::size_t n) { return message_id::first_of(time_point{std::chrono::milliseconds{n + 1}}); }
    static message_state state_of(std::size_t n) { return n % 3 == 0 ? message_state::dead : message_state::ready; }
    static std::string value_of(std::size_t n, std::size_t size)
    {
        return std::to_string(n) + std::string(size, static_cast<char>('a' + n % 26));
    }

    void write(sqlite_transaction& tx, std::size_t n)
    {
        auto const& w = works_[n];
        auto const value = value_of(n, w.size);
        tx.execute("INSERT INTO entries VALUES(?, ?)", static_cast<std::int64_t>(n), value);
        tx.execute("INSERT INTO total VALUES(1, 1) ON CONFLICT DO UPDATE SET works = works + 1");
        message_row row;
        row.content.id = id_of(n);
        row.content.payload.assign(value.begin(), value.end());
        tx.append(queue(), state_of(n), {&row, 1});
        tx.insert_marks("works", {&row.content.id, 1}, std::to_string(n));
        if (w.removes) {
            auto const gone = tx.execute("DELETE FROM entries WHERE number = ?", static_cast<std::int64_t>(*w.removes));
            std::size_t erased = 0;
            for (auto const& r : tx.read(queue(), state_of(*w.removes), 0, works_.size()))
                if (r.content.id == id_of(*w.removes))
                    erased = tx.erase(queue(), state_of(*w.removes), {&r.seq, 1});
            if (gone != 1 || erased != 1)
                findings_.push_back("lost: what transaction " + std::to_string(*w.removes) + " had written is not there any more");
        }
        if (w.throws)
            throw refusal{};
    }

    // --- what is there ----------------------------------------------------------------------------------------------------

    void verify()
    {
        if (!store_)
            return;
        bool verified = false;
        auto work = [this](sqlite_transaction& tx) { verify(tx); };
        await([&]() -> asio::awaitable<void> {
            co_await store_->transact(work);
            verified = true;
        });
        if (!verified)
            findings_.push_back("the store could not be read: " + last_error_);
    }

    void verify(sqlite_transaction& tx)
    {
        auto const sound = tx.query<std::string>("PRAGMA integrity_check").front();
        if (sound != "ok")
            findings_.push_back("the file is broken: " + sound);
        std::map<std::size_t, std::string> entries, messages;
        for (auto& e : tx.query<stored>("SELECT number, value FROM entries"))
            entries.emplace(static_cast<std::size_t>(e.number), std::move(e.value));
        std::map<message_id, std::size_t> numbers;
        for (std::size_t n = 0; n < works_.size(); ++n)
            numbers.emplace(id_of(n), n);
        for (auto const state : {message_state::ready, message_state::dead}) {
            auto const rows = tx.read(queue(), state, 0, works_.size() + 1);
            if (rows.size() != tx.count(queue(), state))
                findings_.push_back("there are other messages than were counted");
            for (auto const& r : rows)
                messages.emplace(numbers[r.content.id], std::string(r.content.payload.begin(), r.content.payload.end()));
        }
        std::vector<bool> there;
        for (std::size_t n = 0; n < works_.size(); ++n)
            there.push_back(find_mark(tx, "works", id_of(n)).has_value());
        auto const total = tx.query<std::int64_t>("SELECT works FROM total");
        if ((total.empty() ? 0 : total.front()) != std::count(there.begin(), there.end(), true))
            findings_.push_back("half: the total is not the number of transactions");
        compare(there, entries, messages);
    }

    using contents = std::map<std::size_t, std::string>;
    void compare(std::vector<bool> const& there, contents const& entries, contents const& messages)
    {
        std::vector<bool> removed(works_.size());
        for (std::size_t n = 0; n < works_.size(); ++n)
            if (there[n] && works_[n].removes)
                removed[*works_[n].removes] = true;
        std::uint64_t last = 0; // of this boot that is there, in the order of starting
        for (std::size_t n = 0; n < works_.size(); ++n)
            if (there[n] && works_[n].is == outcome::unknown)
                last = std::max(last, works_[n].started);
        for (std::size_t n = 0; n < works_.size(); ++n) {
            auto& w = works_[n];
            auto const number = "transaction " + std::to_string(n);
            trace(there[n] ? n : ~n);
            if (w.is == outcome::returned && !there[n])
                findings_.push_back("lost: " + number + " had returned");
            if ((w.is == outcome::threw || w.is == outcome::absent) && there[n])
                findings_.push_back("back: " + number + (w.is == outcome::threw ? " threw" : " had failed, or was gone before"));
            if (!failing_ && w.is == outcome::unknown && !w.throws && !there[n] && w.started != 0 && w.started < last)
                findings_.push_back("order: " + number + " is missing, and a later one is there");
            std::optional<std::string> expected;
            if (there[n] && !removed[n])
                expected = value_of(n, w.size);
            for (auto const* const found : {&entries, &messages}) {
                auto const at = found->find(n);
                if (expected ? at == found->end() || at->second != *expected : at != found->end())
                    findings_.push_back("half: " + number + " is not there as a whole");
            }
            w.is = there[n] ? outcome::returned : w.is == outcome::threw ? w.is : outcome::absent;
            w.claimed = w.claimed && removed[n];
        }
    }

    void trace(std::uint64_t value) noexcept { hash_ = detail::spread_bits(hash_ ^ value); }

    crash_point_options options_;
    std::mt19937_64 engine_;
    simulated_files disk_;
    bool failing_; // disk errors, too
    bool heavy_;   // long enough for checkpoints of the store's own
    bool lost_ = false; // the disk, for this boot
    std::size_t boots_ = 0;
    std::uint64_t ticks_ = 0;
    std::uint64_t hash_ = 0;
    std::vector<planned_work> works_;
    std::vector<std::string> findings_;
    std::string last_error_;
    sqlite3* db_ = nullptr;
    std::unique_ptr<virtual_environment> environment_;
    std::unique_ptr<sqlite_store> store_;
};

/// Crash points for the `runner`, one a seed: the faults of the world have nothing to do with them.
class crash_points final : public scenario {
public:
    void build(world& w) override
    {
        auto const seed = w.get_scheduler().random();
        crash_point c{{.seed = seed}};
        c.run();
        w.get_scheduler().trace(c.trace_hash());
        findings_ = c.findings();
    }
    asio::awaitable<bool> audit(host&) override { co_return true; }
    void check(world& w) override
    {
        for (auto const& f : findings_)
            w.add_finding(f);
    }

private:
    std::vector<std::string> findings_;
};

} // namespace cosaga::testing
