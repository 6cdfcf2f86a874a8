// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_messages.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// The tables of sagas and of their journals.
class sqlite_sagas {
public:
    explicit sqlite_sagas(sqlite_handle& h) : handle_{&h} {}

    bool insert_saga(saga_row const& row)
    {
        handle_->require_transaction();
        check_saga_id(row.id);
        return write(insert_, row);
    }

    std::optional<saga_row> find_saga(std::string_view id)
    {
        handle_->require_transaction();
        auto found = select_.run(*handle_, id);
        return found.step() ? std::optional{row_of(found)} : std::nullopt;
    }

    bool update_saga(saga_row const& row)
    {
        handle_->require_transaction();
        return write(update_, row);
    }

    bool erase_saga(std::string_view id)
    {
        handle_->require_transaction();
        if (erase_.execute(*handle_, id) == 0)
            return false;
        erase_journal_.execute(*handle_, id);
        return true;
    }

    std::vector<saga_row> claim_sagas(std::string_view owner, time_point now, time_point until, std::size_t most)
    {
        handle_->require_transaction();
        std::vector<saga_row> rows;
        {
            auto found = claimable_.run(*handle_, owner, micros(now), as_limit(most));
            while (found.step())
                rows.push_back(row_of(found));
        }
        for (auto& row : rows) {
            row.lease_owner = owner;
            row.lease_until = until;
            lease_.execute(*handle_, std::string_view{row.id}, owner, micros(until));
        }
        return rows;
    }

    std::vector<saga_row> list_sagas(saga_state state, std::string_view after, std::size_t most)
    {
        handle_->require_transaction();
        std::vector<saga_row> rows;
        auto found = list_.run(*handle_, static_cast<std::int64_t>(state), after, as_limit(most));
        while (found.step())
            rows.push_back(row_of(found));
        return rows;
    }

    /// In a savepoint of the caller's: it may have added some entries when it throws.
    void append_journal(std::string_view id, std::span<journal_entry const> entries)
    {
        handle_->require_transaction();
        check_saga_id(id);
        for (auto const& e : entries)
            if (append_.execute(*handle_, id, step_of(e.step), std::string_view{e.name}, as_blob(e.outcome)) == 0)
                fenced(e.step);
    }

    std::vector<journal_entry> read_journal(std::string_view id, std::uint64_t after, std::size_t most)
    {
        handle_->require_transaction();
        std::vector<journal_entry> entries;
        if (after > max_step)
            return entries;
        auto found = read_.run(*handle_, id, step_of(after), as_limit(most));
        while (found.step())
            entries.push_back({static_cast<std::uint64_t>(found.integer(0)), found.text(1), found.text(2)});
        return entries;
    }

private:
    static constexpr std::uint64_t max_step = std::numeric_limits<std::int64_t>::max();

    static std::int64_t step_of(std::uint64_t step)
    {
        if (step > max_step)
            throw make_error(errc::bad_argument, "a journal step is at most 2^63 - 1");
        return static_cast<std::int64_t>(step);
    }

    static void check_saga_id(std::string_view id)
    {
        if (id.empty() || id.size() > max_saga_id)
            throw make_error(errc::bad_argument,
                "a saga id has 1 to " + std::to_string(max_saga_id) + " bytes, not " + std::to_string(id.size()));
    }

    [[noreturn]] static void fenced(std::uint64_t step)
    {
        throw make_error(errc::transaction_fenced,
            "step " + std::to_string(step) + " is in the journal already: another owner was first");
    }

    bool write(sqlite_query& query, saga_row const& row)
    {
        return query.execute(*handle_, std::string_view{row.id}, std::string_view{row.name}, std::int64_t{row.version},
                   static_cast<std::int64_t>(row.state), as_blob(row.input), as_blob(row.result),
                   std::string_view{row.lease_owner}, micros(row.lease_until), micros(row.due_at)) > 0;
    }

    static saga_row row_of(sqlite_query::run_scope const& found)
    {
        saga_row row;
        row.id = found.text(0);
        row.name = found.text(1);
        row.version = static_cast<std::uint32_t>(found.integer(2));
        row.state = static_cast<saga_state>(found.integer(3));
        row.input = found.text(4);
        row.result = found.text(5);
        row.lease_owner = found.text(6);
        row.lease_until = from_micros(found.integer(7));
        row.due_at = from_micros(found.integer(8));
        return row;
    }

    static std::string select(char const* rest)
    {
        return std::string{"SELECT id, name, version, state, input, result, lease_owner, lease_until, due_at "
                           "FROM cosaga_sagas WHERE "}
             + rest;
    }

    sqlite_handle* handle_;

    sqlite_query insert_{"INSERT INTO cosaga_sagas VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING"};
    sqlite_query update_{"UPDATE cosaga_sagas SET name = ?2, version = ?3, state = ?4, input = ?5, result = ?6, "
                         "lease_owner = ?7, lease_until = ?8, due_at = ?9 WHERE id = ?1"};
    sqlite_query select_{select("id = ?1")};
    sqlite_query erase_{"DELETE FROM cosaga_sagas WHERE id = ?1"};
    sqlite_query erase_journal_{"DELETE FROM cosaga_journal WHERE saga = ?1"};
    sqlite_query claimable_{select("state < 2 AND due_at <= ?2 AND (lease_owner = '' OR lease_owner = ?1 OR lease_until <= ?2) "
                                   "ORDER BY due_at, id LIMIT ?3")};
    sqlite_query lease_{"UPDATE cosaga_sagas SET lease_owner = ?2, lease_until = ?3 WHERE id = ?1"};
    sqlite_query list_{select("state = ?1 AND id > ?2 ORDER BY id LIMIT ?3")};
    sqlite_query append_{"INSERT INTO cosaga_journal VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"};
    sqlite_query read_{"SELECT step, name, outcome FROM cosaga_journal WHERE saga = ?1 AND step > ?2 ORDER BY step LIMIT ?3"};
};

} // namespace cosaga::detail
