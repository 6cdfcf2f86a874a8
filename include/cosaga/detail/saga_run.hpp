// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/saga_birth.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_judgement.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// How the reason of a saga begins whose compensation or confirmation does not succeed.
inline constexpr std::string_view stuck_prefix = "stuck: ";

/// Why the coroutines of a saga must not go on.
enum class saga_stop {
    none,
    lost,      ///< another process has taken it
    unborn,    ///< it could not be begun
    shut_down, ///< the engine stops
    parked,    ///< it waits for long
    undo,      ///< it failed, was cancelled or ran out of time
    paused,
    continued, ///< as new
    finished,  ///< the body returned, or all is undone or confirmed
};

template <store Store>
class saga_run;
template <store Store>
class saga_live_branch;

/// `saga_counters`, which may be read from any thread.
struct saga_tally {
    std::atomic<std::uint64_t> begun{0};
    std::atomic<std::uint64_t> done{0};
    std::atomic<std::uint64_t> undone{0};
    std::atomic<std::uint64_t> paused{0};
    std::atomic<std::uint64_t> steps{0};
    std::atomic<std::uint64_t> replayed{0};
    std::atomic<std::uint64_t> retried{0};
    std::atomic<std::uint64_t> lost{0};
    std::atomic<std::size_t> active{0};
    std::atomic<std::size_t> stuck{0};
};

/// What the sagas of an engine share.
template <store Store>
class saga_host {
public:
    using transaction_type = typename Store::transaction_type;

    saga_host(Store& s, outbox_core<transaction_type>& o, saga_options options)
        : store{&s}, env{&s.get_environment()}, outbox{&o}, settings{std::move(options)}, strand{strand_of(env->get_executor())}
    {
    }
    saga_host(saga_host const&) = delete;
    saga_host& operator=(saga_host const&) = delete;

    /// The last coroutine of a run has ended or was destroyed.
    virtual void gone(std::shared_ptr<saga_run<Store>> run) = 0;
    /// The run may have to be looked at earlier than before.
    virtual void reschedule(saga_run<Store>& run) = 0;
    /// Nothing of it goes on, and it is not in the store yet.
    virtual void bring_forth(saga_run<Store>& run) = 0;
    /// Compensation or confirmation does not succeed.
    virtual void mark_stuck(saga_run<Store>& run, std::string const& reason) = 0;
    /// Somebody else's sagas have to be looked at.
    virtual void hint(std::string const& id) = 0;
    /// The version that a new saga of that name gets. @throws system_error `errc::saga_unregistered`
    virtual std::uint32_t version_of(std::string_view name) = 0;

    Store* store;
    environment* env;
    outbox_core<transaction_type>* outbox;
    saga_options settings;
    asio::any_io_executor strand;
    std::string_view content_type{}; ///< of bodies and commands
    std::map<std::string, std::shared_ptr<saga_compensation<transaction_type>>, std::less<>> compensations;
    saga_tally tally;

protected:
    ~saga_host() = default;
};

/// One saga in memory, while this process has its lease. Everything happens on the host's strand.
///
/// It is in one of two phases, each with a coroutine at its root: the body, or the carrying out of commands. A phase ends when all of its
/// coroutines have ended or were destroyed; what comes next depends on why it was stopped.
template <store Store>
class saga_run : public std::enable_shared_from_this<saga_run<Store>> {
public:
    using transaction_type = typename Store::transaction_type;
    using entries = std::vector<journal_entry>;
    using branch_type = saga_live_branch<Store>;
    using dues = std::multimap<time_point, std::weak_ptr<saga_run>>;

    saga_run(saga_host<Store>& h, saga_row r, std::shared_ptr<saga_definition<transaction_type> const> d)
        : host{&h}, strand{h.strand}, row{std::move(r)}, definition{std::move(d)}
    {
    }
    saga_run(saga_run const&) = delete;
    saga_run& operator=(saga_run const&) = delete;

    /// Begins a phase.
    std::shared_ptr<branch_type> open()
    {
        stop_ = saga_stop::none;
        stop_text_.clear();
        awake_ = 0;
        idle_since_.reset();
        auto const generation = journal.begun().code;
        root_ = std::make_shared<branch_type>(this->shared_from_this(), nullptr, generation == 0 ? std::string{} : std::to_string(generation) + ":");
        return root_;
    }

    bool is_closed() const noexcept { return stop_ != saga_stop::none; }
    saga_stop stop() const noexcept { return stop_; }
    branch_type* root() const noexcept { return root_.get(); }
    /// Of a parked one.
    time_point wakes_at() const noexcept { return wakes_at_; }
    std::string const& stop_text() const noexcept { return stop_text_; }

    /// Lets no coroutine of the phase go on: each is destroyed where it waits, what is in flight when it comes back.
    void close(saga_stop why, std::string text = {})
    {
        if (is_closed())
            return;
        wakes_at_ = next_due();
        stop_ = why;
        stop_text_ = std::move(text);
        for (auto* b : branches_)
            b->drop_later(why != saga_stop::shut_down);
    }
    void cancel_effects()
    {
        for (auto* b : branches_)
            b->drop_later(true);
    }

    /// Adds an entry that is written with the next transaction, before anything can depend on it.
    void note(journal_entry e)
    {
        journal.apply(e);
        pending_.push_back({++pended_, std::move(e)});
    }
    entries pending() const
    {
        entries all;
        for (auto const& p : pending_)
            all.push_back(p.second);
        return all;
    }
    bool has_pending() const noexcept { return !pending_.empty(); }
    std::uint64_t pended() const noexcept { return pended_; }
    /// What was pending up to `through` has been written, and `written` behind it, up to the entry of number `last`.
    /// @param recall whether what was written may be asked for in this phase again.
    void settle(std::uint64_t through, std::span<journal_entry const> written, std::uint64_t last, bool recall)
    {
        auto const pending = std::erase_if(pending_, [&](auto const& p) { return p.first <= through; });
        for (auto const& e : written)
            recall ? journal.apply(e) : journal.count(e);
        journal.extend(pending + written.size(), last);
        has_written_ = true;
        if (is_forward() && (journal.entries() > host->settings.max_entries || journal.bytes() > host->settings.max_bytes))
            close(saga_stop::paused, "limit exceeded: the journal has " + std::to_string(journal.entries()) + " entries and "
                                         + std::to_string(journal.bytes()) + " bytes: raise max_entries or max_bytes, or let the saga continue as new");
    }

    journal_entry entry(saga_entry kind, std::string step, std::string name, saga_note const& n = {}) const
    {
        return make_entry(kind, std::move(step), std::move(name), n, host->env->now());
    }

    // branches

    void add(branch_type& b)
    {
        branches_.push_back(&b);
        wake_up();
    }
    void remove(branch_type& b, bool was_awake)
    {
        std::erase(branches_, &b);
        if (was_awake)
            fall_asleep();
        if (branches_.empty() && root_) {
            root_ = nullptr;
            if (host)
                host->gone(this->shared_from_this());
        }
    }
    void wake_up() noexcept
    {
        ++awake_;
        idle_since_.reset();
    }
    /// When nothing is awake any more, the saga may be parked after a while.
    void fall_asleep()
    {
        --awake_;
        if (!host)
            return;
        if (awake_ == 0)
            idle_since_ = host->env->now();
        host->reschedule(*this);
        if (awake_ == 0 && birth && !is_closed() && !branches_.empty())
            host->bring_forth(*this);
    }

    /// Looks whether something is due.
    void tick()
    {
        if (is_closed())
            return;
        auto const now = host->env->now();
        if (is_forward() && journal.deadline() && *journal.deadline() <= now) {
            close(saga_stop::undo, "the deadline of the saga has passed");
            return;
        }
        if (idle_since_ && next_due() > now && *idle_since_ + host->settings.park_after <= now) {
            close(saga_stop::parked);
            return;
        }
        for (auto* b : branches_)
            if (b->due() <= now)
                b->ring();
        host->reschedule(*this);
    }
    /// Looks at what is new in the journal.
    void look()
    {
        if (is_closed())
            return;
        if (journal.is_ended()) {
            close(saga_stop::lost);
            return;
        }
        if (is_forward() && journal.cancel_reason()) {
            close(saga_stop::undo, "cancelled: " + *journal.cancel_reason());
            return;
        }
        for (auto* b : branches_)
            b->poke();
    }
    /// Whether this process has added anything to its journal.
    bool has_written() const noexcept { return has_written_; }
    bool is_stuck() const noexcept { return row.reason.starts_with(stuck_prefix); }
    bool is_forward() const noexcept { return row.state == saga_state::running; }

    /// When one of its coroutines has to be woken.
    time_point next_due() const
    {
        auto due = time_point::max();
        if (is_forward() && journal.deadline())
            due = *journal.deadline();
        for (auto const* b : branches_)
            due = std::min(due, b->due());
        return due;
    }
    /// When `tick` has to be called.
    time_point next_tick() const
    {
        auto const due = next_due();
        return idle_since_ ? std::min(due, *idle_since_ + host->settings.park_after) : due;
    }

    saga_host<Store>* host; ///< null when the engine is gone
    asio::any_io_executor strand;
    saga_row row;
    std::shared_ptr<saga_definition<transaction_type> const> definition;
    saga_journal journal;
    std::shared_ptr<saga_birth> birth; ///< until that is decided
    std::optional<typename dues::iterator> scheduled; ///< where the host knows when to look at it
    bool hurry = false; ///< its end is written by itself
    bool refreshing = false;
    bool refresh_again = false;

    /// Its birth is decided.
    void be_born() { std::exchange(birth, nullptr)->decide({true, nullptr}); }
    /// It has never been. @param why null if it was begun before.
    void never_be(std::exception_ptr why)
    {
        std::exchange(birth, nullptr)->decide({false, std::move(why)});
        close(saga_stop::unborn);
        stop_ = saga_stop::unborn; // also of one that has come to its end
    }

    /// Forgets what was read of the journal, to read it again.
    void forget()
    {
        journal = saga_journal{};
        pending_.clear();
    }
    /// The engine goes away: what still waits is destroyed.
    void detach()
    {
        host = nullptr;
        birth.reset();
        stop_ = saga_stop::shut_down;
        auto const all = branches_;
        for (auto* b : all)
            b->drop();
    }

private:
    saga_stop stop_ = saga_stop::none;
    std::string stop_text_;
    time_point wakes_at_ = time_point::max();
    std::vector<std::pair<std::uint64_t, journal_entry>> pending_;
    std::uint64_t pended_ = 0;
    std::shared_ptr<branch_type> root_;
    std::vector<branch_type*> branches_;
    bool has_written_ = false;
    int awake_ = 0;
    std::optional<time_point> idle_since_;
};

/// What one transaction adds to the journal of a saga, behind what is pending. Made on the host's strand.
template <store Store>
class saga_writing {
public:
    explicit saga_writing(saga_run<Store>& run) : run_{&run}, birth_{run.birth}, through_{run.pended()}, pending_{run.pending()} {}

    /// On the store's thread, before anything else.
    void open(typename Store::transaction_type& tx)
    {
        begun_ = true;
        if (!birth_)
            return;
        try {
            birth_->insert(tx);
        } catch (...) {
            refused_ = std::current_exception();
            throw;
        }
    }
    /// On the store's thread, at the end. @throws system_error `errc::transaction_fenced` if another process has taken the saga.
    void append(typename Store::transaction_type& tx, std::span<journal_entry const> added)
    {
        std::vector<journal_entry> all;
        if (!pending_.empty()) {
            all = pending_;
            all.insert(all.end(), added.begin(), added.end());
            added = all;
        }
        last_ = tx.append_journal(run_->row.id, run_->row.epoch, added);
        lost_ = !last_;
        ended_ = true;
        if (lost_)
            throw make_error(errc::transaction_fenced, "another process has taken the saga over");
    }

    /// The same for who appends by itself.
    void close() noexcept { ended_ = true; }

    /// On the host's strand.
    void decide(std::exception_ptr const& failed)
    {
        if (run_->birth)
            decide_birth(failed);
    }
    /// Tells the run what became of it, on the host's strand.
    /// @param recall whether `added` may be asked for in this phase again.
    void settle(std::exception_ptr const& failed, std::span<journal_entry const> added, bool recall)
    {
        if (!run_->host)
            return;
        decide(failed);
        if (lost_)
            run_->close(saga_stop::lost);
        else if (!failed)
            run_->settle(through_, added, *last_, recall);
    }

private:
    // What the work itself throws decides nothing: it is tried again, or the saga fails.
    void decide_birth(std::exception_ptr const& failed)
    {
        bool const work_threw = begun_ && !refused_ && !ended_;
        if (!failed)
            run_->be_born();
        else if (refused_)
            run_->never_be(code_of(refused_) == errc::transaction_fenced ? nullptr : refused_);
        else if (!work_threw)
            run_->never_be(failed);
    }

    saga_run<Store>* run_;
    std::shared_ptr<saga_birth> birth_;
    std::uint64_t through_;
    std::vector<journal_entry> pending_;
    std::exception_ptr refused_; // by what is in the store
    bool begun_ = false;
    bool ended_ = false;
    std::optional<std::uint64_t> last_;
    bool lost_ = false;
};

} // namespace cosaga::detail
