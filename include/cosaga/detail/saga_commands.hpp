// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_branch_base.hpp>
#include <cosaga/detail/saga_children.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_judgement.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_messages.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/outbox_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Carries out what compensates or confirms a step, until it has succeeded.
template <store Store>
class saga_commands : public saga_branch_base<Store> {
    using base = saga_branch_base<Store>;

public:
    using base::base;
    using typename base::entries;
    using typename base::more;
    using typename base::transaction_type;
    using typename base::writing;

    /// Tries until the command has succeeded or an operator skips it.
    asio::awaitable<void> carry_out(saga_duty duty, bool undo)
    {
        auto const command = duty.step + std::string{undo ? undo_suffix : confirm_suffix};
        for (auto attempt = run_->is_stuck() ? attempts_when_stuck : 1; !run_->journal.is_finished(command); ++attempt) {
            std::exception_ptr failed;
            try {
                co_await attempt_command(duty, command, undo);
            } catch (...) {
                failed = std::current_exception();
            }
            if (!failed)
                continue;
            if (judge(failed) == saga_judgement::closed) {
                run_->close(saga_stop::shut_down);
                co_await this->pause();
            }
            ++run_->host->tally.retried;
            auto const why = std::string{undo ? "compensation" : "confirmation"} + " of step " + duty.step + ", '" + duty.name + "', failed: "
                           + describe(failed);
            if (attempt >= run_->host->settings.stuck_after || run_->is_stuck())
                run_->host->mark_stuck(*run_, why);
            auto const delay = run_->host->settings.undo_retries.delay_without_end(attempt, run_->host->env->random());
            co_await wait_for_retry(run_->host->env->now() + delay, command);
        }
    }

protected:
    using base::run_;

    /// By what an outside effect, or its compensation, is recognised wherever it comes again.
    message_id key_of(std::string_view step) const { return message_id::from_foreign("saga/" + run_->row.id, step); }

    /// Sends a command to a participant.
    void stage(transaction_type& tx, std::string const& topic, std::string const& key, std::string const& step, message const& command)
    {
        auto const& host = *run_->host;
        if (host.settings.reply_topic.empty())
            throw make_error(errc::bad_configuration, "saga: calls need saga_options::reply_topic");
        send_options options;
        options.key = key;
        auto m = host.outbox->compose(tx, topic, options);
        m.type = command.type;
        m.content_type = command.content_type;
        m.payload = command.payload;
        set_header(m, saga_id_header, run_->row.id);
        set_header(m, saga_step_header, step);
        set_header(m, saga_reply_header, host.settings.reply_topic);
        host.outbox->stage(tx, std::move(m), duration::zero());
    }

    std::string child_id(std::string const& step) const { return run_->row.id + "/" + step; }

    void begin_child(transaction_type& tx, saga_operation const& op, std::string input)
    {
        saga_note begun;
        begun.value = run_->row.id;
        insert_saga(tx, run_->host->version_of(op.name), op.name, child_id(op.step), std::move(input), begun, op.step);
    }

    /// Waits until `when`, or an operator asks to go on, or a command is finished without this.
    asio::awaitable<void> wait_for_retry(time_point when, std::string command)
    {
        auto const asked = run_->journal.retries();
        while (run_->host->env->now() < when && run_->journal.retries() == asked
               && (command.empty() || !run_->journal.is_finished(command)))
            co_await this->pause_until(when);
    }

private:
    // How many attempts are assumed of a saga that was stuck before it came here: enough for the longest delay.
    static constexpr std::uint32_t attempts_when_stuck = 16;
    static constexpr duration longest_silence = std::chrono::hours{1}; // from which on it grows no more

    asio::awaitable<void> attempt_command(saga_duty const& duty, std::string const& command, bool undo)
    {
        auto const kind = undo ? saga_entry::undone : saga_entry::confirmed;
        if (undo && duty.verb == saga_verb::child && !duty.completed)
            co_await end_child(duty.step);
        auto const* const now_known = run_->journal.find(duty.step);
        bool const needless = duty.verb == saga_verb::child && now_known->state == saga_step_record::states::failed;
        if (!needless && !duty.command.topic.empty()) {
            co_await ask_participant(duty, command);
            co_return;
        }
        std::shared_ptr<saga_compensation<transaction_type>> local;
        auto const what = [&](writing& w) {
            if (local)
                local->local(w.tx, duty.command.payload);
            w.journal.push_back(run_->entry(kind, command, duty.name));
        };
        if (!needless && !duty.command.empty()) {
            auto const found = run_->host->compensations.find(duty.command.type);
            if (found == run_->host->compensations.end())
                throw make_error(errc::saga_unregistered, "the compensation '" + duty.command.type + "' is not registered here");
            auto const handler = found->second; // may be replaced meanwhile
            if (handler->outside) {
                auto const failed = co_await this->run_beside(handler->outside(duty.command.payload, key_of(command)), time_point::max());
                if (failed)
                    std::rethrow_exception(failed);
            } else {
                local = handler;
            }
        }
        co_await this->write(more::refer_to(what));
    }

    // Whether the participant has the command is up to the outbox; whether it has carried it out is in its answer.
    asio::awaitable<void> ask_participant(saga_duty const& duty, std::string const& command)
    {
        message m;
        m.type = duty.command.type;
        m.content_type = std::string{run_->host->content_type};
        m.payload = duty.command.payload;
        auto const ask = [&](writing& w) {
            stage(w.tx, duty.command.topic, {}, command, m);
            w.journal.push_back(run_->entry(saga_entry::asked, command, duty.name));
        };
        auto const answered = [&] {
            auto const* const a = run_->journal.find_answer(command);
            return a ? a->number : 0;
        };
        auto handled = answered();
        if (handled != 0 || !run_->journal.find_asked(command))
            co_await this->write(more::refer_to(ask)); // again, if the last answer was no
        auto again = time_point::max();
        while (!run_->journal.is_finished(command)) {
            auto const now = run_->host->env->now();
            auto const* const a = run_->journal.find_answer(command);
            if (a && a->number > handled) {
                handled = a->number;
                if (a->answer == saga_answer::refused)
                    throw make_error(errc::step_refused, "the participant of " + duty.command.topic + " said: " + a->value);
                again = now + duration{a->ask_again};
            }
            auto const& asked = *run_->journal.find_asked(command);
            auto const patience = asked.last + silence_after(asked.times);
            if (patience <= now)
                run_->host->mark_stuck(*run_, "no answer of the participant of " + duty.command.topic + " to " + command + ", '" + duty.name + "'");
            if (std::min(again, patience) <= now || run_->journal.asks_again(command)) { // it may be parked there
                again = time_point::max();
                co_await this->write(more::refer_to(ask));
                continue;
            }
            co_await this->pause_until(std::min(again, patience));
        }
    }

    /// How long a participant may be silent that was asked so often.
    duration silence_after(std::uint32_t times) const
    {
        auto span = std::max<duration>(run_->host->settings.stuck_answer, std::chrono::seconds{1});
        for (; times > 1 && span < longest_silence; --times)
            span *= 2;
        return span;
    }

    // A saga that this one has begun, and that may still run: it is cancelled, and its end awaited.
    asio::awaitable<void> end_child(std::string const& step)
    {
        auto const open = [&] { return run_->journal.find(step)->state == saga_step_record::states::intended; };
        if (!open())
            co_return;
        auto const child = child_id(step);
        bool there = false;
        auto const cancel = [&](writing& w) {
            there = append_from_outside(w.tx, child, make_cancel("the saga that began it is undone", w.tx.now()));
        };
        co_await this->write(more::refer_to(cancel));
        run_->host->hint(child);
        while (there && open())
            co_await this->pause();
    }
};

} // namespace cosaga::detail
