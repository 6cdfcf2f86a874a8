// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// What those get wrong who write sagas by hand.
#pragma once

#include "planted_bugs.hpp"

#include <cosaga/codec/binary.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/storage.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace planted {

using cosaga::binary_codec;
using cosaga::journal_entry;
using cosaga::saga_row;
using cosaga::saga_state;
using cosaga::detail::saga_entry;
using cosaga::detail::saga_note;

inline bool is(journal_entry const& e, saga_entry kind) { return e.kind == static_cast<std::uint32_t>(kind); }

struct held_intents {
    std::map<std::pair<std::string, std::string>, journal_entry> by_step;
};

/// What undoes a call is written when its answer is there, not before it is sent.
struct compensation_afterwards : transaction<compensation_afterwards> {
    using in_memory = held_intents;
    using transaction::transaction;

    std::optional<std::uint64_t> append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries);
};

/// That a saga is being undone, and the refusal that led to it, is known to the process alone.
struct decision_in_memory : transaction<decision_in_memory> {
    using transaction::transaction;

    std::optional<std::uint64_t> append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries)
    {
        std::vector<journal_entry> kept;
        for (auto const& e : entries)
            if (!is(e, saga_entry::compensating) && !is(e, saga_entry::failed))
                kept.push_back(e);
        return memory_transaction::append_journal(id, epoch, kept);
    }
    bool update_saga(saga_row row, std::int64_t epoch)
    {
        if (row.state == saga_state::compensating)
            row.state = saga_state::running;
        return memory_transaction::update_saga(row, epoch);
    }
};

/// A compensation that comes before its action leaves nothing that would keep the action out.
struct no_null_compensation : transaction<no_null_compensation> {
    using transaction::transaction;

    std::vector<std::optional<mark>> insert_marks(std::string_view scope, std::span<message_id const> ids, mark const& value)
    {
        if (scope.starts_with("saga/") && value.empty())
            return std::vector<std::optional<mark>>(ids.size());
        return memory_transaction::insert_marks(scope, ids, value);
    }
};

struct known_answers {
    std::map<std::pair<std::string, message_id>, mark> known;
};

/// A participant remembers until its next restart what it has done.
struct barrier_in_memory : transaction<barrier_in_memory> {
    using in_memory = known_answers;
    using transaction::transaction;

    std::vector<std::optional<mark>> insert_marks(std::string_view scope, std::span<message_id const> ids, mark const& value);
    std::vector<std::optional<mark>> find_marks(std::string_view scope, std::span<message_id const> ids);
};

inline std::optional<std::uint64_t> compensation_afterwards::append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries)
{
    auto& held = of->memory.by_step;
    std::vector<journal_entry> written;
    for (auto e : entries) {
        std::pair const key{std::string{id}, e.step};
        if (is(e, saga_entry::intended)) {
            held.insert_or_assign(key, e);
            auto note = binary_codec::decode<saga_note>(e.content);
            note.undo = {};
            e.content = binary_codec::encode(note);
        } else if (is(e, saga_entry::answered)) {
            if (auto const found = held.find(key); found != held.end())
                written.push_back(found->second);
        }
        written.push_back(std::move(e));
    }
    return memory_transaction::append_journal(id, epoch, written);
}

inline std::vector<std::optional<mark>> barrier_in_memory::insert_marks(std::string_view scope, std::span<message_id const> ids, mark const& value)
{
    if (!scope.starts_with("saga/"))
        return memory_transaction::insert_marks(scope, ids, value);
    auto const before = find_marks(scope, ids);
    for (auto const& id : ids)
        of->memory.known.try_emplace(std::pair{std::string{scope}, id}, value);
    return before;
}
inline std::vector<std::optional<mark>> barrier_in_memory::find_marks(std::string_view scope, std::span<message_id const> ids)
{
    if (!scope.starts_with("saga/"))
        return memory_transaction::find_marks(scope, ids);
    std::vector<std::optional<mark>> found;
    for (auto const& id : ids) {
        auto const at = of->memory.known.find(std::pair{std::string{scope}, id});
        found.push_back(at == of->memory.known.end() ? std::nullopt : std::optional{at->second});
    }
    return found;
}

} // namespace planted
