// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What a journal says of one step.
struct saga_step_record {
    enum class states { intended, done, failed };

    saga_verb verb{};
    states state = states::intended;
    std::string name;
    std::uint64_t digest = 0;
    std::string outcome;        ///< what it returned, encoded; why it failed
    std::uint32_t code = 0;     ///< of its failure
    bool may_have_run = false;  ///< for one that failed
    std::int64_t due = 0;       ///< when a timer fires or a deadline passes
    saga_command undo;
    saga_command confirm;
    std::uint64_t position = 0; ///< where it was completed, or begun, among all that is in the journal

    /// True if its effect is there, or may be.
    bool has_effect() const noexcept { return state != states::failed || may_have_run; }
};

/// The last answer about a step.
struct saga_answer_record {
    saga_answer answer{};
    std::string value;
    std::int64_t ask_again = 0; ///< microseconds; when it is ongoing
    std::uint64_t number = 0;
};

/// A command that is still to be carried out, and for which step.
struct saga_duty {
    std::string step;
    std::string name;
    saga_command command;
    saga_verb verb{};
    bool completed = false;
};

/// What a journal says, by step: a value without I/O.
class saga_journal {
public:
    using records = std::map<std::string, saga_step_record, std::less<>>;

    /// @throws system_error `errc::saga_mismatch` for an entry of a newer version of the library.
    void apply(journal_entry const& e)
    {
        count(e);
        if (e.kind == 0 || e.kind > static_cast<std::uint32_t>(last_saga_entry))
            throw make_error(errc::saga_mismatch, "entry " + std::to_string(e.number) + " of the journal is of the unknown kind "
                                                      + std::to_string(e.kind) + ": it was written by a newer version of the library");
        apply(e, static_cast<saga_entry>(e.kind), binary_codec::decode<saga_note>(e.content));
    }

    /// Counts an entry of which nothing is asked in this phase any more.
    void count(journal_entry const& e) noexcept
    {
        last_ = std::max(last_, e.number);
        ++entries_;
        bytes_ += e.content.size() + e.name.size() + e.step.size();
    }
    /// `written` entries were added to the stored journal, up to that number. If others came in between, they are still to be read.
    void extend(std::size_t written, std::uint64_t number) noexcept
    {
        if (last_ + written == number)
            last_ = number;
    }

    /// Applies an entry if it came from outside: all others were written by who asks.
    /// @return whether it did.
    bool apply_news(journal_entry const& e)
    {
        switch (static_cast<saga_entry>(e.kind)) {
        case saga_entry::answered:
        case saga_entry::sent:
        case saga_entry::cancel:
        case saga_entry::skip:
        case saga_entry::resumed:
        case saga_entry::ended: apply(e); return true;
        default: last_ = std::max(last_, e.number); return false;
        }
    }

    saga_step_record const* find(std::string_view step) const { return find_in(steps_, step); }
    std::string const* find_note(std::string_view step) const { return find_in(notes_, step); }
    std::string const* find_note_name(std::string_view step) const { return find_in(note_names_, step); }
    bool knows(std::string_view step) const { return steps_.contains(step) || notes_.contains(step); }
    std::optional<std::uint32_t> winner(std::string_view step) const
    {
        auto const found = winners_.find(step);
        return found == winners_.end() ? std::nullopt : std::optional{found->second};
    }
    saga_answer_record const* find_answer(std::string_view step) const { return find_in(answers_, step); }

    struct event {
        std::uint64_t number = 0;
        std::string payload;
    };
    /// True for the entry of an event that no step has taken.
    bool is_unreceived(journal_entry const& e) const
    {
        return e.kind == static_cast<std::uint32_t>(saga_entry::sent) && !spent_.contains(e.number);
    }
    /// The event that a step has taken; nothing if the step is not over. Of number 0: none came in time.
    std::optional<event> taken_by(std::string_view step) const
    {
        auto const found = taken_.find(step);
        if (found == taken_.end())
            return std::nullopt;
        if (found->second != 0)
            for (auto const& [name, list] : events_)
                for (auto const& e : list)
                    if (e.number == found->second)
                        return e;
        return event{};
    }
    /// The first event of a name that no step has taken.
    event const* next_event(std::string_view name) const
    {
        auto const found = events_.find(name);
        if (found == events_.end())
            return nullptr;
        for (auto const& e : found->second)
            if (!spent_.contains(e.number))
                return &e;
        return nullptr;
    }
    /// `number` 0: the time was over.
    void take(std::string step, std::uint64_t number)
    {
        taken_[std::move(step)] = number;
        if (number != 0)
            spent_.insert(number);
    }

    saga_note const& begun() const noexcept { return begun_; }
    std::string const& begun_name() const noexcept { return begun_name_; }
    std::optional<time_point> deadline() const
    {
        return begun_.due == 0 ? std::nullopt : std::optional{from_due(begun_.due)};
    }
    bool is_compensating() const noexcept { return compensating_; }
    bool is_confirming() const noexcept { return confirming_; }
    /// Why somebody asked to undo the saga.
    std::optional<std::string> const& cancel_reason() const noexcept { return cancel_; }
    std::string const& reason() const noexcept { return reason_; }
    /// What a confirming saga returns.
    std::string const& result() const noexcept { return result_; }
    /// How often an operator asked to go on.
    std::uint32_t retries() const noexcept { return retries_; }
    bool is_ended() const noexcept { return ended_; }
    std::uint64_t last_number() const noexcept { return last_; }
    std::size_t entries() const noexcept { return entries_; }
    std::size_t bytes() const noexcept { return bytes_; }

    /// What is to be compensated: the last step first. What may still run counts as the last.
    /// @param within steps below this one only, if not empty.
    std::vector<saga_duty> to_undo(std::string_view within = {}) const
    {
        auto steps = duties(within, [this](auto const& step, auto const& r) {
            bool const child = r.verb == saga_verb::child && r.state != saga_step_record::states::done;
            return r.has_effect() && (!r.undo.empty() || child) && !finished_.contains(step + "/undo")
                && !finished_.contains(step + "/confirm");
        });
        std::reverse(steps.begin(), steps.end());
        std::vector<saga_duty> found;
        for (auto const* s : steps)
            found.push_back({s->first, s->second.name, s->second.undo, s->second.verb,
                s->second.state == saga_step_record::states::done});
        return found;
    }
    /// What is to be confirmed, the first step first.
    std::vector<saga_duty> to_confirm() const
    {
        std::vector<saga_duty> found;
        for (auto const* s : duties({}, [this](auto const& step, auto const& r) {
                 return r.state == saga_step_record::states::done && !r.confirm.empty() && !finished_.contains(step + "/confirm")
                     && !finished_.contains(step + "/undo");
             }))
            found.push_back({s->first, s->second.name, s->second.confirm, s->second.verb, true});
        return found;
    }
    /// How a command was sent to a participant.
    struct asked {
        time_point last{};
        std::uint32_t times = 0;
        std::uint64_t position = 0;
    };
    asked const* find_asked(std::string_view command) const { return find_in(asked_, command); }
    /// True if an operator asked to go on after a participant was asked last.
    bool asks_again(std::string_view command) const
    {
        auto const* const step = find(command);
        auto const* const last = find_asked(command);
        return resumed_ > std::max(step ? step->position : 0, last ? last->position : 0);
    }
    bool is_finished(std::string_view command) const { return finished_.contains(command); }
    void finish(std::string command) { finished_.insert(std::move(command)); }

    records const& steps() const noexcept { return steps_; }

private:
    using step_ptr = records::value_type const*;

    template <class Map>
    static typename Map::mapped_type const* find_in(Map const& map, std::string_view key)
    {
        auto const found = map.find(key);
        return found == map.end() ? nullptr : &found->second;
    }

    template <class Wanted>
    std::vector<step_ptr> duties(std::string_view within, Wanted wanted) const
    {
        std::string const below = std::string{within} + '.';
        std::vector<step_ptr> found;
        for (auto const& s : steps_)
            if ((within.empty() || s.first.starts_with(below)) && wanted(s.first, s.second))
                found.push_back(&s);
        auto const place = [](step_ptr s) {
            bool const open = s->second.state != saga_step_record::states::done;
            return std::pair{open, s->second.position};
        };
        std::sort(found.begin(), found.end(), [&](step_ptr a, step_ptr b) { return place(a) < place(b); });
        return found;
    }

    void apply(journal_entry const& e, saga_entry kind, saga_note note)
    {
        switch (kind) {
        case saga_entry::begun:
            begun_ = std::move(note);
            begun_name_ = e.name;
            break;
        case saga_entry::intended: record(e, std::move(note), saga_step_record::states::intended); break;
        case saga_entry::done: record(e, std::move(note), saga_step_record::states::done); break;
        case saga_entry::failed: record(e, std::move(note), saga_step_record::states::failed); break;
        case saga_entry::noted:
            notes_.try_emplace(e.step, std::move(note.value));
            note_names_.try_emplace(e.step, e.name);
            break;
        case saga_entry::answered:
            answers_[e.step] = {static_cast<saga_answer>(note.code), std::move(note.value), note.due, e.number};
            settle(e.step);
            break;
        case saga_entry::sent: add_event(e, std::move(note.value)); break;
        case saga_entry::taken: take(e.step, note.due == 0 ? 0 : static_cast<std::uint64_t>(note.due)); break;
        case saga_entry::won: winners_.try_emplace(e.step, note.code); break;
        case saga_entry::cancel:
            if (!cancel_)
                cancel_ = std::move(note.value);
            break;
        case saga_entry::skip: finish(e.step); break;
        case saga_entry::compensating:
            compensating_ = true;
            reason_ = std::move(note.value);
            break;
        case saga_entry::confirming:
            confirming_ = true;
            result_ = std::move(note.value);
            break;
        case saga_entry::asked: asked_[e.step] = {e.at, asked_[e.step].times + 1, ++order_}; break;
        case saga_entry::undone:
        case saga_entry::confirmed: finish(e.step); break;
        case saga_entry::resumed:
            ++retries_;
            resumed_ = ++order_;
            break;
        case saga_entry::ended: ended_ = true; break;
        case saga_entry::paused:
        case saga_entry::continued: break;
        }
    }

    void record(journal_entry const& e, saga_note note, saga_step_record::states state)
    {
        auto& r = steps_[e.step];
        r.state = state;
        r.position = ++order_;
        r.name = e.name;
        r.verb = static_cast<saga_verb>(note.verb);
        r.digest = note.digest;
        r.code = note.code;
        r.may_have_run = note.flag;
        r.due = note.due != 0 ? note.due : r.due;
        r.outcome = std::move(note.value);
        if (!note.undo.empty())
            r.undo = std::move(note.undo);
        if (!note.confirm.empty())
            r.confirm = std::move(note.confirm);
        settle(e.step);
    }

    // The answer to a call is its outcome, unless it is too late; that to a command of "2/undo" says that it was carried out.
    void settle(std::string const& step)
    {
        auto const answer = answers_.find(step);
        if (answer == answers_.end() || answer->second.answer == saga_answer::ongoing)
            return;
        bool const success = answer->second.answer == saga_answer::success;
        if (step.find('/') != std::string::npos) {
            if (success)
                finish(step);
            return;
        }
        auto const found = steps_.find(step);
        if (found == steps_.end() || found->second.state != saga_step_record::states::intended)
            return;
        auto& r = found->second;
        r.state = success ? saga_step_record::states::done : saga_step_record::states::failed;
        r.code = static_cast<std::uint32_t>(errc::step_refused);
        r.outcome = answer->second.value;
        r.position = ++order_;
    }

    void add_event(journal_entry const& e, std::string payload)
    {
        auto& list = events_[e.name];
        if (list.empty() || list.back().number < e.number)
            list.push_back({e.number, std::move(payload)});
    }

    records steps_;
    std::map<std::string, std::string, std::less<>> notes_;
    std::map<std::string, std::string, std::less<>> note_names_;
    std::map<std::string, std::uint32_t, std::less<>> winners_;
    std::map<std::string, saga_answer_record, std::less<>> answers_;
    std::map<std::string, std::vector<event>, std::less<>> events_; // by name, in order
    std::map<std::string, std::uint64_t, std::less<>> taken_;       // the number of the event, by step
    std::set<std::uint64_t> spent_;
    std::map<std::string, asked, std::less<>> asked_; // by command: "2/undo"
    std::set<std::string, std::less<>> finished_;
    saga_note begun_;
    std::string begun_name_;
    bool compensating_ = false;
    bool confirming_ = false;
    std::optional<std::string> cancel_;
    std::string reason_;
    std::string result_;
    std::uint32_t retries_ = 0;
    std::uint64_t resumed_ = 0; // where that was last
    bool ended_ = false;
    std::uint64_t last_ = 0;
    std::uint64_t order_ = 0;
    std::size_t entries_ = 0;
    std::size_t bytes_ = 0;
};

} // namespace cosaga::detail
