// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

// What is done to a saga by who does not run it, inside a transaction of the store.
namespace cosaga::detail {

inline journal_entry make_cancel(std::string reason, time_point at)
{
    saga_note n;
    n.value = std::move(reason);
    return make_entry(saga_entry::cancel, {}, {}, n, at);
}

inline bool is_ended(saga_state s) noexcept
{
    return s == saga_state::done || s == saga_state::undone;
}

/// What makes a saga another one than that of the same id.
inline std::uint64_t identity_of(std::string_view name, std::string_view input, saga_note const& begun) noexcept
{
    return saga_digest{}.add(name).add(input).add(begun.value).value();
}

inline constexpr auto whole_journal = std::numeric_limits<std::size_t>::max();

inline void check_saga_id(std::string_view id)
{
    if (id.empty() || id.size() > max_saga_id)
        throw make_error(errc::bad_argument,
            "a saga id has 1 to " + std::to_string(max_saga_id) + " bytes, not " + std::to_string(id.size()));
}

/// Puts a saga into the store that nobody runs yet. @param begun its `value` is the saga that waits for it, in `parent_step`.
/// @throws system_error `errc::saga_conflict` if the id belongs to another saga.
/// @return the row, or nothing if the same saga was begun before.
template <class Tx>
std::optional<saga_row> insert_saga(Tx& tx, std::uint32_t version, std::string_view name, std::string id, std::string input,
    saga_note begun, std::string parent_step = {}, std::string_view owner = {}, time_point lease = {})
{
    check_saga_id(id);
    begun.digest = identity_of(name, input, begun);
    saga_row row;
    row.id = std::move(id);
    row.name = name;
    row.version = version;
    row.input = std::move(input);
    row.epoch = 1;
    row.lease_owner = owner;
    row.lease_until = lease;
    row.due_at = owner.empty() ? tx.now() : lease;
    if (tx.insert_saga(row)) {
        auto const entry = make_entry(saga_entry::begun, {}, std::move(parent_step), begun, tx.now());
        tx.append_journal(row.id, row.epoch, {&entry, 1});
        return row;
    }
    auto const first = tx.read_journal(row.id, 0, 1);
    bool const same = !first.empty() && first.front().kind == static_cast<std::uint32_t>(saga_entry::begun)
                   && binary_codec::decode<saga_note>(first.front().content).digest == begun.digest;
    if (!same)
        throw make_error(errc::saga_conflict, "the id '" + row.id + "' belongs to a saga with another name or input");
    return std::nullopt;
}

/// Adds an entry to the journal of an unfinished or paused saga, and wakes who runs it. @return false if there is none.
template <class Tx>
bool append_from_outside(Tx& tx, std::string_view id, journal_entry const& entry)
{
    auto const row = tx.find_saga(id);
    if (!row || is_ended(row->state))
        return false;
    tx.append_journal(id, row->epoch, {&entry, 1});
    tx.wake_saga(id, tx.now());
    return true;
}

/// Tells the saga that waits for a child what became of it.
/// @param begun of the child.
/// @return the id of the parent, if there is one.
template <class Tx>
std::string answer_parent(Tx& tx, saga_note const& begun, std::string const& step, bool success, std::string value)
{
    if (begun.value.empty())
        return {};
    saga_note n;
    n.code = static_cast<std::uint32_t>(success ? saga_answer::success : saga_answer::refused);
    n.value = std::move(value);
    append_from_outside(tx, begun.value, make_entry(saga_entry::answered, step, {}, n, tx.now()));
    return begun.value;
}

} // namespace cosaga::detail
