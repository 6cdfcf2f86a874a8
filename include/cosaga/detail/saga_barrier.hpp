// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/saga_messages.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/storage.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace cosaga::detail {

/// What a command asks of a participant.
enum class saga_role { action, undo, confirm };

/// What a participant does with a command, given what it did before for the same step.
enum class barrier_verdict {
    run,         ///< call the handler
    repeat,      ///< the first answer again
    nothing,     ///< succeed without doing anything
    forestall,   ///< the same, and let the action, should it come, be refused
    too_late,    ///< refuse
};

/// The decision of the barrier: with it commands may come in any order, any number of times.
/// @param own the mark of this command, @param action that of the action, @param undone that of its compensation.
inline barrier_verdict pass_barrier(
    saga_role role, std::optional<mark> const& own, std::optional<mark> const& action, std::optional<mark> const& undone)
{
    bool const acted = action && action->starts_with(answer_success);
    if (role == saga_role::action) {
        if (!own)
            return barrier_verdict::run;
        return own->empty() ? barrier_verdict::too_late : barrier_verdict::repeat;
    }
    if (own)
        return barrier_verdict::nothing;
    if (role == saga_role::confirm)
        return acted && !undone ? barrier_verdict::run : barrier_verdict::too_late;
    if (!action)
        return barrier_verdict::forestall;
    return acted ? barrier_verdict::run : barrier_verdict::nothing;
}

/// A command's step, taken apart.
struct saga_address {
    std::string step;
    saga_role role = saga_role::action;
};

inline saga_address parse_step(std::string_view text)
{
    if (text.ends_with(undo_suffix))
        return {std::string{text.substr(0, text.size() - undo_suffix.size())}, saga_role::undo};
    if (text.ends_with(confirm_suffix))
        return {std::string{text.substr(0, text.size() - confirm_suffix.size())}, saga_role::confirm};
    return {std::string{text}, saga_role::action};
}

/// The answer that a participant remembers for a command. That of an action which a compensation has forestalled is empty.
struct remembered_answer {
    std::string_view answer;
    std::string type;
    std::string payload;

    mark to_mark() const { return std::string{answer} + "\n" + type + "\n" + payload; }

    static remembered_answer parse(mark const& m)
    {
        auto const first = m.find('\n');
        auto const second = m.find('\n', first + 1);
        if (first == mark::npos || second == mark::npos)
            throw make_error(errc::malformed_data, "a mark of a saga's participant is no answer");
        bool const success = std::string_view{m}.substr(0, first) == answer_success;
        return {success ? answer_success : answer_refused, m.substr(first + 1, second - first - 1), m.substr(second + 1)};
    }
};

} // namespace cosaga::detail
