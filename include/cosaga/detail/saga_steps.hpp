// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_commands.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_judgement.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// Numbers the steps of a branch, compares them with the journal, and decides what a failure means.
template <store Store>
class saga_steps : public saga_commands<Store> {
    using base = saga_commands<Store>;

public:
    using base::base;
    using typename base::entries;
    using typename base::more;
    using typename base::transaction_type;
    using typename base::writing;

    saga_operation_ptr create(saga_verb verb, std::string_view name) override
    {
        if (this->has_open_step())
            misuse("'" + std::string{name} + "' was called while " + text_of(*current_)
                   + " is not over: await each verb where it is called; what is to happen at the same time is given to all or any");
        auto op = std::make_shared<saga_operation>();
        op->verb = verb;
        op->name = name;
        op->step = path_ + std::to_string(++next_);
        op->digest.add(name_of(verb));
        current_ = op;
        return op;
    }

    /// What is wrong with a body that has returned, or nothing.
    std::string check_end() const
    {
        if (this->has_open_step())
            return "saga misused: " + text_of(*current_) + " was called and not awaited";
        if (run_->journal.knows(this->next_step()))
            return "saga mismatch: the body ended where the journal goes on with step " + this->next_step();
        return {};
    }

protected:
    using base::current_;
    using base::next_;
    using base::path_;
    using base::run_;
    using states = saga_step_record::states;

    static std::string text_of(saga_operation const& op)
    {
        return "step " + op.step + ", " + std::string{name_of(op.verb)} + " '" + op.name + "',";
    }

    void misuse(std::string const& what) { run_->close(saga_stop::paused, "saga misused: " + what); }

    void mismatch(saga_operation const& op, std::string const& expected)
    {
        run_->close(saga_stop::paused, "saga mismatch: step " + op.step + " is " + std::string{name_of(op.verb)} + " '" + op.name
                                           + "' in the code, and the journal has " + expected
                                           + ": register the changed body as a new version, or ask patched where the ways part");
    }

    void check_new(saga_operation const& op)
    {
        if (run_->journal.knows(op.step))
            mismatch(op, "something else there");
        else if (run_->journal.knows(this->next_step()))
            mismatch(op, "nothing there, and goes on with step " + this->next_step());
    }

    // False if the saga must not go on: then nothing is left but to wait for the end.
    bool enter(saga_operation& op)
    {
        if (this->is_closed())
            return false;
        if (std::exchange(op.awaited, true) || current_.get() != &op)
            misuse(text_of(op) + " was not awaited where it was called");
        else if (auto const* const known = run_->journal.find(op.step))
            compare(op, *known);
        else
            check_new(op);
        if (!op.undo.empty() && op.undo.topic.empty() && !run_->host->compensations.contains(op.undo.type))
            run_->close(saga_stop::paused, "saga unregistered: the compensation '" + op.undo.type + "' of " + text_of(op)
                                               + " is not registered here: call compensate before start");
        return !this->is_closed();
    }

    void compare(saga_operation const& op, saga_step_record const& known)
    {
        if (known.verb == op.verb && known.name == op.name && known.digest == op.digest.value())
            return;
        auto expected = std::string{name_of(known.verb)} + " '" + known.name + "'";
        if (known.verb == op.verb && known.name == op.name)
            expected += " with other arguments (digest " + std::to_string(known.digest) + ", not " + std::to_string(op.digest.value()) + ")";
        mismatch(op, expected);
    }

    static saga_note note_of(saga_operation const& op)
    {
        saga_note n;
        n.verb = static_cast<std::uint32_t>(op.verb);
        n.digest = op.digest.value();
        n.undo = op.undo;
        n.confirm = op.confirm;
        return n;
    }
    journal_entry intent(saga_operation const& op) const
    {
        auto n = note_of(op);
        if (op.within > duration::zero())
            n.due = to_due(run_->host->env->now() + op.within);
        return run_->entry(saga_entry::intended, op.step, op.name, n);
    }
    prepared_entry prepared(saga_operation const& op) const
    {
        prepared_entry p;
        auto& e = p.entry;
        e.kind = static_cast<std::uint32_t>(saga_entry::done);
        e.step = op.step;
        e.name = op.name;
        e.at = run_->host->env->now();
        e.content = encode_note(note_of(op), &p.value_at);
        return p;
    }
    journal_entry done(saga_operation const& op, std::string const& outcome) const
    {
        auto n = note_of(op);
        n.value = outcome;
        return run_->entry(saga_entry::done, op.step, op.name, n);
    }
    /// The deadline of a step; of one that has no entry it is counted from now.
    time_point until_of(saga_operation const& op, saga_step_record const* known) const
    {
        if (known && known->due != 0)
            return from_due(known->due);
        return op.within > duration::zero() ? run_->host->env->now() + op.within : time_point::max();
    }

    saga_step_record const* replayed(saga_operation const& op) const
    {
        auto const* const known = run_->journal.find(op.step);
        return known && known->state != states::intended ? known : nullptr;
    }
    std::string outcome_of(saga_operation& op, saga_step_record const& known)
    {
        ++run_->host->tally.replayed;
        op.over = true;
        if (known.state == states::failed)
            throw make_error(static_cast<errc>(known.code), known.outcome);
        return known.outcome;
    }
    std::string finished(saga_operation& op, std::string outcome)
    {
        ++run_->host->tally.steps;
        op.over = true;
        return outcome;
    }
    [[noreturn]] void fail(saga_operation& op, errc code, std::string const& why, bool may_have_run)
    {
        auto n = note_of(op);
        n.code = static_cast<std::uint32_t>(code);
        n.value = why;
        n.flag = may_have_run;
        run_->note(run_->entry(saga_entry::failed, op.step, op.name, n));
        op.over = true;
        throw make_error(code, why);
    }

    /// Writes until it succeeds. What `what` throws may be the failure of the step.
    asio::awaitable<void> persist(saga_operation& op, time_point until, bool may_have_run, more what, bool recall = true)
    {
        for (std::uint32_t attempt = 1;; ++attempt) {
            std::exception_ptr failed;
            try {
                co_await this->write(what, recall);
            } catch (...) {
                failed = std::current_exception();
            }
            if (!failed)
                co_return;
            co_await bear(op, failed, attempt, until, may_have_run);
        }
    }

    /// Decides what a failed attempt means: it returns when the next one is due, throws when the step has failed, or never comes back.
    asio::awaitable<void> bear(
        saga_operation& op, std::exception_ptr failed, std::uint32_t attempt, time_point until, bool may_have_run)
    {
        auto const kind = judge(failed);
        if (kind == saga_judgement::refused)
            fail(op, code_of(failed), said_by(failed), false);
        auto const why = describe(failed);
        auto const& schedule = op.retries ? *op.retries : run_->host->settings.retries;
        auto const delay = schedule.delay_after(attempt, run_->host->env->random());
        if (kind == saga_judgement::closed)
            run_->close(saga_stop::shut_down);
        else if (kind == saga_judgement::hopeless)
            run_->close(saga_stop::paused, text_of(op) + " cannot succeed: " + why);
        else if (!delay && until == time_point::max())
            run_->close(saga_stop::paused, text_of(op) + " has failed " + std::to_string(attempt) + " times: " + why);
        if (run_->is_closed())
            co_await this->pause();
        ++run_->host->tally.retried;
        auto const due = delay ? run_->host->env->now() + *delay : until;
        std::string const no_command;
        co_await this->wait_for_retry(std::min(due, until), no_command);
        if (run_->host->env->now() >= until)
            fail(op, errc::timed_out, text_of(op) + " did not succeed in time: " + why, may_have_run);
    }
};

} // namespace cosaga::detail
