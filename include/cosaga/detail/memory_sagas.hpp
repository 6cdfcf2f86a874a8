// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/undo_log.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

using memory_saga_map = std::map<std::string, saga_row, std::less<>>;
using memory_journal_map = std::map<std::string, std::map<std::uint64_t, journal_entry>, std::less<>>;

/// The tables of sagas and of their journals of a `memory_disk`. Whatever is asked for is looked for among all: tests have few sagas.
class memory_sagas {
public:
    memory_sagas(memory_saga_map& sagas, memory_journal_map& journals, undo_log& undo) noexcept
        : sagas_{&sagas}, journals_{&journals}, undo_{&undo}
    {
    }

    bool insert(saga_row const& row)
    {
        check_saga_id(row.id);
        if (sagas_->contains(row.id))
            return false;
        undo_->set(*sagas_, row.id, row);
        return true;
    }

    std::optional<saga_row> find(std::string_view id) const
    {
        auto const found = sagas_->find(id);
        return found == sagas_->end() ? std::nullopt : std::optional{found->second};
    }

    bool update(saga_row const& row, std::int64_t epoch)
    {
        if (!is_of_epoch(row.id, epoch))
            return false;
        undo_->set(*sagas_, row.id, row);
        return true;
    }

    bool wake(std::string_view id, time_point at)
    {
        auto const found = sagas_->find(id);
        if (found == sagas_->end() || !is_unfinished(found->second.state))
            return false;
        if (at < found->second.due_at)
            change(id, [&](saga_row& row) { row.due_at = at; });
        return true;
    }

    bool erase(std::string_view id)
    {
        if (!undo_->unset(*sagas_, id))
            return false;
        undo_->unset(*journals_, id);
        return true;
    }

    std::vector<saga_row> claim(std::string_view owner, time_point now, time_point until, std::size_t most)
    {
        std::vector<saga_row> claimed;
        for (auto const& [id, row] : *sagas_) {
            bool const free = row.lease_owner.empty() || row.lease_owner == owner || row.lease_until <= now;
            if (is_unfinished(row.state) && free && row.due_at <= now)
                claimed.push_back(row);
        }
        std::stable_sort(claimed.begin(), claimed.end(), [](auto& a, auto& b) { return a.due_at < b.due_at; });
        claimed.resize(std::min(claimed.size(), most));
        for (auto& row : claimed) {
            row.epoch += row.lease_owner == owner ? 0 : 1;
            row.lease_owner = owner;
            row.lease_until = until;
            row.due_at = until;
            undo_->set(*sagas_, row.id, row);
        }
        return claimed;
    }

    std::size_t renew(std::string_view owner, time_point until)
    {
        return change_where([&](saga_row const& row) { return !owner.empty() && row.lease_owner == owner; },
            [&](saga_row& row) {
                if (row.due_at >= row.lease_until)
                    row.due_at = until;
                row.lease_until = until;
            });
    }

    std::size_t release(std::string_view prefix)
    {
        return change_where([&](saga_row const& row) { return !row.lease_owner.empty() && row.lease_owner.starts_with(prefix); },
            [&](saga_row& row) {
                row.lease_owner.clear();
                row.lease_until = {};
                row.due_at = {};
            });
    }

    std::optional<time_point> next_due(std::string_view owner) const
    {
        std::optional<time_point> next;
        for (auto const& [id, row] : *sagas_)
            if (is_unfinished(row.state) && (row.lease_owner.empty() || row.lease_owner == owner))
                next = next ? std::min(*next, row.due_at) : row.due_at;
        return next;
    }

    std::vector<saga_row> list(saga_state state, std::string_view after, std::size_t most) const
    {
        std::vector<saga_row> found;
        for (auto at = sagas_->upper_bound(after); at != sagas_->end() && found.size() < most; ++at)
            if (at->second.state == state)
                found.push_back(at->second);
        return found;
    }

    std::size_t purge(time_point before, std::size_t most)
    {
        std::vector<std::string> ended;
        for (auto const& [id, row] : *sagas_)
            if (row.state >= saga_state::done && row.due_at < before && ended.size() < most)
                ended.push_back(id);
        for (auto const& id : ended)
            erase(id);
        return ended.size();
    }

    std::optional<std::uint64_t> append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries)
    {
        if (!is_of_epoch(id, epoch))
            return std::nullopt;
        auto& journal = undo_log::entry(*journals_, id);
        for (auto const& e : entries) {
            auto const number = journal.empty() ? 1 : journal.rbegin()->first + 1;
            auto& added = journal.try_emplace(number, e).first->second;
            added.number = number;
            undo_->add([journals = journals_, saga = std::string{id}, number] { journals->find(saga)->second.erase(number); });
        }
        return journal.empty() ? 0 : journal.rbegin()->first;
    }

    std::vector<journal_entry> read_journal(std::string_view id, std::uint64_t after, std::size_t most) const
    {
        std::vector<journal_entry> found;
        auto const journal = journals_->find(id);
        if (journal == journals_->end())
            return found;
        for (auto at = journal->second.upper_bound(after); at != journal->second.end() && found.size() < most; ++at)
            found.push_back(at->second);
        return found;
    }

    std::size_t erase_journal(std::string_view id, std::uint64_t through)
    {
        auto const journal = journals_->find(id);
        if (journal == journals_->end())
            return 0;
        auto& entries = journal->second;
        std::size_t erased = 0;
        while (!entries.empty() && entries.begin()->first <= through) {
            undo_->add([journals = journals_, saga = std::string{id}, kept = entries.begin()->second] {
                journals->find(saga)->second.emplace(kept.number, kept);
            });
            entries.erase(entries.begin());
            ++erased;
        }
        return erased;
    }

private:
    bool is_of_epoch(std::string_view id, std::int64_t epoch) const
    {
        auto const found = sagas_->find(id);
        return found != sagas_->end() && found->second.epoch == epoch;
    }

    template <class Change>
    void change(std::string_view id, Change f)
    {
        auto row = sagas_->find(id)->second;
        f(row);
        undo_->set(*sagas_, id, std::move(row));
    }

    template <class Wanted, class Change>
    std::size_t change_where(Wanted wanted, Change f)
    {
        std::size_t changed = 0;
        for (auto const& [id, row] : *sagas_) {
            if (!wanted(row))
                continue;
            change(id, f);
            ++changed;
        }
        return changed;
    }

    static void check_saga_id(std::string_view id)
    {
        if (id.empty() || id.size() > max_saga_id)
            throw make_error(errc::bad_argument,
                "a saga id has 1 to " + std::to_string(max_saga_id) + " bytes, not " + std::to_string(id.size()));
    }

    memory_saga_map* sagas_;
    memory_journal_map* journals_;
    undo_log* undo_;
};

} // namespace cosaga::detail
