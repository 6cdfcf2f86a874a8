// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/saga_branch_base.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/detail/saga_steps.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The verbs of a saga that runs.
template <store Store>
class saga_live_branch final : public saga_steps<Store> {
    using base = saga_steps<Store>;
    using base::children_;
    using base::parent_;
    using base::run_;

public:
    using typename base::entries;
    using typename base::more;
    using typename base::transaction_type;
    using typename base::writing;
    using body = typename saga_branch<transaction_type>::body;

    saga_live_branch(std::shared_ptr<saga_run<Store>> run, std::shared_ptr<saga_live_branch> parent, std::string path)
        : base{std::move(run), std::move(parent), std::move(path)}
    {
        run_->add(*this);
    }

    /// The frames of its coroutines are gone.
    void gone()
    {
        auto const parent = std::static_pointer_cast<saga_live_branch>(parent_);
        if (parent)
            parent->child_gone();
        run_->remove(*this, !this->is_waiting());
    }

    asio::awaitable<std::string> local(saga_operation_ptr op, saga_work<transaction_type> work) override
    {
        if (!this->enter(*op))
            co_await this->pause();
        if (auto const* const known = this->replayed(*op))
            co_return this->outcome_of(*op, *known);
        // `persist` and `write`, without two frames that the store's thread would have to look at.
        std::string outcome;
        auto done = this->prepared(*op);
        auto const until = this->until_of(*op, nullptr);
        bool const recall = !op->undo.empty();
        for (std::uint32_t attempt = 1;; ++attempt) {
            saga_writing<Store> journal{*run_};
            std::exception_ptr failed;
            auto const write = [&](transaction_type& tx) {
                journal.open(tx);
                outcome = work(tx);
                done.set_value(outcome);
                journal.append(tx, {&done.entry, 1});
            };
            try {
                co_await run_->host->store->transact(write);
            } catch (...) {
                failed = std::current_exception();
            }
            journal.settle(failed, {&done.entry, 1}, recall);
            if (this->is_closed())
                co_await this->pause();
            if (!failed)
                co_return this->finished(*op, std::move(outcome));
            co_await this->bear(*op, failed, attempt, until, false);
        }
    }

    asio::awaitable<std::string> call(saga_operation_ptr op, message request) override
    {
        if (!this->enter(*op))
            co_await this->pause();
        bool first = !run_->journal.find(op->step);
        auto const ask = [&](writing& w) { // on the store's thread, while other branches change what is known of the journal
            this->stage(w.tx, op->topic, op->key, op->step, request);
            w.journal.push_back(first ? this->intent(*op) : run_->entry(saga_entry::asked, op->step, op->name));
        };
        if (first)
            co_await this->persist(*op, time_point::max(), false, more::refer_to(ask));
        first = false;
        std::uint64_t handled = 0;
        auto again = time_point::max();
        for (;;) {
            auto const* const known = this->replayed(*op);
            if (known)
                co_return this->outcome_of(*op, *known);
            auto const now = run_->host->env->now();
            auto const* const answer = run_->journal.find_answer(op->step);
            if (answer && answer->number > handled) { // ongoing, else it would be the outcome
                handled = answer->number;
                again = now + duration{answer->ask_again};
            }
            auto const until = from_due(run_->journal.find(op->step)->due);
            if (until != time_point{} && until <= now)
                this->fail(*op, errc::timed_out, "no answer to " + this->text_of(*op) + " in time", true);
            if (again <= now || run_->journal.asks_again(op->step)) { // it may be parked there
                again = time_point::max();
                co_await this->persist(*op, time_point::max(), true, more::refer_to(ask));
                continue;
            }
            co_await this->pause_until(until == time_point{} ? again : std::min(again, until));
        }
    }

    asio::awaitable<std::string> effect(saga_operation_ptr op, saga_effect f) override
    {
        if (!this->enter(*op))
            co_await this->pause();
        if (auto const* const known = this->replayed(*op))
            co_return this->outcome_of(*op, *known);
        auto const intend = [&](writing& w) { w.journal.push_back(this->intent(*op)); };
        if (!run_->journal.find(op->step))
            co_await this->persist(*op, time_point::max(), false, more::refer_to(intend));
        auto const until = this->until_of(*op, run_->journal.find(op->step));
        std::string outcome;
        for (std::uint32_t attempt = 1;; ++attempt) {
            auto const failed = co_await this->run_beside(one_attempt(f, this->key_of(op->step), outcome), until);
            if (!failed)
                break;
            co_await this->bear(*op, failed, attempt, until, true);
        }
        auto const done = [&](writing& w) { w.journal.push_back(this->done(*op, outcome)); };
        co_await this->persist(*op, time_point::max(), true, more::refer_to(done));
        co_return this->finished(*op, std::move(outcome));
    }

    asio::awaitable<void> sleep_for(saga_operation_ptr op, duration span) override
    {
        auto const now = run_->host->env->now();
        return sleep(std::move(op), span < time_point::max() - now ? now + span : time_point::max());
    }
    asio::awaitable<void> sleep_until(saga_operation_ptr op, time_point when) override { return sleep(std::move(op), when); }

    asio::awaitable<std::optional<std::string>> receive(saga_operation_ptr op, duration timeout) override
    {
        if (!this->enter(*op))
            co_await this->pause();
        auto& journal = run_->journal;
        auto const intend = [&](writing& w) {
            auto note = this->note_of(*op);
            if (timeout >= duration::zero())
                note.due = to_due(run_->host->env->now() + timeout);
            w.journal.push_back(run_->entry(saga_entry::intended, op->step, op->name, note));
        };
        std::optional<std::string> received;
        for (;;) {
            if (auto const taken = journal.taken_by(op->step)) {
                ++run_->host->tally.replayed;
                if (taken->number != 0)
                    received = taken->payload;
                break;
            }
            auto const* const known = journal.find(op->step);
            auto const* const next = journal.next_event(op->name);
            bool const late = known && known->due != 0 && from_due(known->due) <= run_->host->env->now();
            if (next || late) {
                if (!known)
                    run_->note(run_->entry(saga_entry::intended, op->step, op->name, this->note_of(*op)));
                saga_note note;
                note.due = next ? static_cast<std::int64_t>(next->number) : 0;
                if (next)
                    received = next->payload;
                run_->note(run_->entry(saga_entry::taken, op->step, op->name, note));
                break;
            }
            if (!known) {
                co_await this->persist(*op, time_point::max(), false, more::refer_to(intend));
                continue;
            }
            co_await this->pause_until(known->due != 0 ? from_due(known->due) : time_point::max());
        }
        op->over = true;
        co_return received;
    }

    asio::awaitable<std::string> child(saga_operation_ptr op, std::string input) override
    {
        if (!this->enter(*op))
            co_await this->pause();
        auto const begin = [&](writing& w) {
            this->begin_child(w.tx, *op, input);
            w.journal.push_back(this->intent(*op));
        };
        if (!run_->journal.find(op->step)) {
            co_await this->persist(*op, time_point::max(), false, more::refer_to(begin));
            run_->host->hint(this->child_id(op->step));
        }
        for (;;) {
            if (auto const* const known = this->replayed(*op))
                co_return this->outcome_of(*op, *known);
            auto const until = this->until_of(*op, run_->journal.find(op->step));
            if (until <= run_->host->env->now())
                this->fail(*op, errc::timed_out, this->text_of(*op) + " did not end in time", true);
            co_await this->pause_until(until);
        }
    }

    asio::awaitable<std::size_t> branches(saga_operation_ptr op, std::vector<body> bodies) override
    {
        if (!this->enter(*op))
            co_await this->pause();
        if (!run_->journal.find(op->step))
            run_->note(run_->entry(saga_entry::intended, op->step, op->name, this->note_of(*op)));
        auto const decided = co_await run_branches(*op, bodies);
        op->over = true;
        co_return decided;
    }

    /// Undoes branches at the same time, each in the reverse order of its steps.
    asio::awaitable<void> undo_together(std::vector<std::string> const& branches)
    {
        auto const self = std::static_pointer_cast<saga_live_branch>(this->shared_from_this());
        for (auto const& path : branches) {
            ++children_;
            auto branch = std::make_shared<saga_live_branch>(run_, self, path + ".");
            spawn_on(run_->strand, undo_branch(std::move(branch), path), [](std::exception_ptr) {});
        }
        while (children_ > 0)
            co_await this->pause();
    }

    asio::awaitable<void> continue_as_new(saga_operation_ptr op, std::string input) override
    {
        if (this->enter(*op)) {
            if (parent_)
                this->misuse("continue_as_new was called in a branch: let the branch end first");
            else
                run_->close(saga_stop::continued, std::move(input));
        }
        co_await this->pause();
    }

    std::string note(std::string_view name, std::function<std::string()> const& make) override
    {
        auto const op = this->create(saga_verb::step, name);
        op->over = true;
        if (auto const* const known = run_->journal.find_note(op->step)) {
            if (*run_->journal.find_note_name(op->step) != name)
                this->mismatch(*op, "'" + *run_->journal.find_note_name(op->step) + "'");
            return *known;
        }
        this->check_new(*op);
        saga_note n;
        n.value = make();
        auto value = n.value;
        if (!this->is_closed())
            run_->note(run_->entry(saga_entry::noted, op->step, op->name, n));
        return value;
    }

    bool patched(std::string_view patch) override
    {
        auto const key = "patch:" + std::string{patch};
        if (auto const* const known = run_->journal.find_note(key))
            return *known == "new";
        auto const [answer, first] = patches_.try_emplace(key, false);
        if (!first || run_->journal.knows(this->next_step()))
            return answer->second; // it passed here before the change
        saga_note n;
        n.value = "new";
        answer->second = true;
        if (!this->is_closed())
            run_->note(run_->entry(saga_entry::noted, key, key, n));
        return true;
    }

private:
    struct contest {
        struct end {
            std::size_t branch;
            std::exception_ptr failed;
        };
        std::vector<end> ended; // in time
        std::vector<std::shared_ptr<saga_live_branch>> running;
    };

    static asio::awaitable<void> one_attempt(saga_effect const& f, message_id key, std::string& outcome)
    {
        outcome = co_await f(key);
    }

    asio::awaitable<void> sleep(saga_operation_ptr op, time_point when)
    {
        if (!this->enter(*op))
            co_await this->pause();
        auto const intend = [&](writing& w) {
            auto note = this->note_of(*op);
            note.due = to_due(when);
            w.journal.push_back(run_->entry(saga_entry::intended, op->step, op->name, note));
        };
        if (!run_->journal.find(op->step))
            co_await this->persist(*op, time_point::max(), false, more::refer_to(intend));
        auto const due = from_due(run_->journal.find(op->step)->due);
        while (run_->host->env->now() < due)
            co_await this->pause_until(due);
        op->over = true;
    }

    asio::awaitable<std::size_t> run_branches(saga_operation& op, std::vector<body> const& bodies)
    {
        bool const any = op.verb == saga_verb::any;
        contest c;
        auto decided = run_->journal.winner(op.step);
        for (std::size_t i = 0; i < bodies.size(); ++i)
            if (!decided || *decided == i)
                start(c, op, bodies[i], i);
        std::size_t looked = 0;
        auto const look = [&] {
            for (; !decided && looked < c.ended.size(); ++looked)
                if (any != static_cast<bool>(c.ended[looked].failed))
                    decided = decide(op, c, c.ended[looked].branch);
        };
        while (children_ > 0) {
            look();
            co_await this->pause();
        }
        look();
        auto const failure_of = [&](std::size_t branch) {
            auto const found = std::find_if(c.ended.begin(), c.ended.end(), [&](auto const& e) { return e.branch == branch; });
            return found == c.ended.end() ? std::exception_ptr{} : found->failed;
        };
        if (any && decided)
            co_await undo_losers(op, bodies.size(), *decided);
        if (auto const failure = any ? (decided ? nullptr : failure_of(0)) : (decided ? failure_of(*decided) : nullptr)) {
            op.over = true;
            std::rethrow_exception(failure);
        }
        co_return decided.value_or(static_cast<std::uint32_t>(bodies.size()));
    }

    void start(contest& c, saga_operation const& op, body const& f, std::size_t i)
    {
        auto const self = std::static_pointer_cast<saga_live_branch>(this->shared_from_this());
        auto branch = std::make_shared<saga_live_branch>(run_, self, op.step + "." + std::to_string(i) + ".");
        ++children_;
        c.running.push_back(branch);
        spawn_on(run_->strand, run_branch(branch, f, c, i), [](std::exception_ptr) {});
    }

    static asio::awaitable<void> run_branch(std::shared_ptr<saga_live_branch> b, body const& f, contest& c, std::size_t i)
    {
        saga_branch_guard<Store> const guard{b};
        std::exception_ptr failed;
        try {
            co_await f(*b);
        } catch (...) {
            failed = std::current_exception();
        }
        if (auto const wrong = b->check_end(); !b->is_closed() && !failed && !wrong.empty())
            b->run_->close(saga_stop::paused, wrong);
        if (b->is_closed())
            co_await b->pause();
        c.ended.push_back({i, failed});
    }

    static asio::awaitable<void> undo_branch(std::shared_ptr<saga_live_branch> b, std::string path)
    {
        saga_branch_guard<Store> const guard{b};
        for (;;) {
            auto const duties = b->run_->journal.to_undo(path);
            if (duties.empty())
                break;
            co_await b->carry_out(duties.front(), true);
        }
    }

    std::uint32_t decide(saga_operation const& op, contest& c, std::size_t branch)
    {
        saga_note n;
        n.code = static_cast<std::uint32_t>(branch);
        run_->note(run_->entry(saga_entry::won, op.step, op.name, n));
        for (auto const& b : c.running)
            b->close_branch();
        return n.code;
    }

    asio::awaitable<void> undo_losers(saga_operation const& op, std::size_t count, std::size_t winner)
    {
        for (std::size_t i = count; i-- > 0;) {
            auto const within = op.step + "." + std::to_string(i);
            while (i != winner) {
                auto const duties = run_->journal.to_undo(within);
                if (duties.empty())
                    break;
                co_await this->carry_out(duties.front(), true);
            }
        }
    }

    std::map<std::string, bool> patches_;
};

} // namespace cosaga::detail
