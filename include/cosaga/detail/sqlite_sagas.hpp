// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_journals.hpp>
#include <cosaga/detail/sqlite_messages.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// The table of sagas, with their journals.
class sqlite_sagas {
public:
    sqlite_sagas(sqlite_handle& h, sqlite_journals& journals) : handle_{&h}, journals_{&journals} {}

    bool insert_saga(saga_row const& row)
    {
        handle_->require_transaction();
        check_saga_id(row.id);
        if (!write(insert_, row))
            return false;
        journals_->open(row.id, sqlite3_last_insert_rowid(handle_->get()), row.epoch);
        return true;
    }

    std::optional<saga_row> find_saga(std::string_view id)
    {
        handle_->require_transaction();
        auto found = select_.run(*handle_, id);
        return found.step() ? std::optional{row_of(found)} : std::nullopt;
    }

    bool update_saga(saga_row const& row, std::int64_t epoch)
    {
        handle_->require_transaction();
        if (!write(update_, row, epoch))
            return false;
        journals_->set_epoch(row.id, row.epoch);
        return true;
    }

    bool wake_saga(std::string_view id, time_point at)
    {
        handle_->require_transaction();
        return wake_.execute(*handle_, id, micros(at)) > 0;
    }

    bool erase_saga(std::string_view id)
    {
        handle_->require_transaction();
        journals_->close(id);
        return erase_.execute(*handle_, id) > 0;
    }

    std::vector<saga_row> claim_sagas(std::string_view owner, time_point now, time_point until, std::size_t most)
    {
        handle_->require_transaction();
        auto rows = rows_of(claimable_.run(*handle_, owner, micros(now), as_limit(most)));
        for (auto& row : rows) {
            row.epoch += row.lease_owner == owner ? 0 : 1;
            row.lease_owner = owner;
            row.lease_until = until;
            row.due_at = until;
            lease_.execute(*handle_, std::string_view{row.id}, owner, micros(until), row.epoch);
            journals_->set_epoch(row.id, row.epoch);
        }
        return rows;
    }

    std::size_t renew_sagas(std::string_view owner, time_point until)
    {
        handle_->require_transaction();
        return renew_.execute(*handle_, owner, micros(until));
    }

    std::size_t release_sagas(std::string_view prefix)
    {
        handle_->require_transaction();
        return release_.execute(*handle_, prefix, micros(time_point{}));
    }

    std::optional<time_point> next_saga_due(std::string_view owner)
    {
        handle_->require_transaction();
        auto found = next_due_.run(*handle_, owner);
        return found.step() ? std::optional{from_micros(found.integer(0))} : std::nullopt;
    }

    std::vector<saga_row> list_sagas(saga_state state, std::string_view after, std::size_t most)
    {
        handle_->require_transaction();
        return rows_of(list_.run(*handle_, static_cast<std::int64_t>(state), after, as_limit(most)));
    }

    std::size_t purge_sagas(time_point before, std::size_t most)
    {
        handle_->require_transaction();
        std::vector<std::string> ids;
        {
            auto found = ended_.run(*handle_, micros(before), as_limit(most));
            while (found.step())
                ids.push_back(found.text(0));
        }
        for (auto const& id : ids)
            erase_saga(id);
        return ids.size();
    }

private:
    static void check_saga_id(std::string_view id)
    {
        if (id.empty() || id.size() > max_saga_id)
            throw make_error(errc::bad_argument,
                "a saga id has 1 to " + std::to_string(max_saga_id) + " bytes, not " + std::to_string(id.size()));
    }

    template <class... More>
    bool write(sqlite_query& query, saga_row const& row, More... more)
    {
        return query.execute(*handle_, std::string_view{row.id}, std::string_view{row.name}, std::int64_t{row.version},
                   static_cast<std::int64_t>(row.state), as_blob(row.input), as_blob(row.result), std::string_view{row.reason},
                   row.epoch, std::string_view{row.lease_owner}, micros(row.lease_until), micros(row.due_at), more...)
             > 0;
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
        row.reason = found.text(6);
        row.epoch = found.integer(7);
        row.lease_owner = found.text(8);
        row.lease_until = from_micros(found.integer(9));
        row.due_at = from_micros(found.integer(10));
        return row;
    }

    static std::vector<saga_row> rows_of(sqlite_query::run_scope found)
    {
        std::vector<saga_row> rows;
        while (found.step())
            rows.push_back(row_of(found));
        return rows;
    }

    static std::string select(char const* rest)
    {
        return std::string{"SELECT id, name, version, state, input, result, reason, epoch, lease_owner, lease_until, due_at "
                           "FROM cosaga_sagas WHERE "}
             + rest;
    }

    sqlite_handle* handle_;
    sqlite_journals* journals_;

    sqlite_query insert_{
        "INSERT INTO cosaga_sagas(id, name, version, state, input, result, reason, epoch, lease_owner, lease_until, due_at) "
        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING"};
    sqlite_query update_{"UPDATE cosaga_sagas SET name = ?2, version = ?3, state = ?4, input = ?5, result = ?6, reason = ?7, "
                         "epoch = ?8, lease_owner = ?9, lease_until = ?10, due_at = ?11 WHERE id = ?1 AND epoch = ?12"};
    sqlite_query wake_{"UPDATE cosaga_sagas SET due_at = min(due_at, ?2) WHERE id = ?1 AND state < 3"};
    sqlite_query select_{select("id = ?1")};
    sqlite_query erase_{"DELETE FROM cosaga_sagas WHERE id = ?1"};
    sqlite_query claimable_{select("state < 3 AND due_at <= ?2 AND (lease_owner = '' OR lease_owner = ?1 OR lease_until <= ?2) "
                                   "ORDER BY due_at, id LIMIT ?3")};
    sqlite_query lease_{"UPDATE cosaga_sagas SET lease_owner = ?2, lease_until = ?3, due_at = ?3, epoch = ?4 WHERE id = ?1"};
    sqlite_query renew_{"UPDATE cosaga_sagas SET due_at = CASE WHEN due_at >= lease_until THEN ?2 ELSE due_at END, "
                        "lease_until = ?2 WHERE lease_owner = ?1 AND lease_owner <> ''"};
    sqlite_query release_{"UPDATE cosaga_sagas SET lease_owner = '', lease_until = ?2, due_at = ?2 "
                          "WHERE lease_owner <> '' AND substr(lease_owner, 1, length(?1)) = ?1"};
    sqlite_query next_due_{"SELECT due_at FROM cosaga_sagas WHERE state < 3 AND lease_owner IN ('', ?1) ORDER BY due_at LIMIT 1"};
    sqlite_query list_{select("state = ?1 AND id > ?2 ORDER BY id LIMIT ?3")};
    sqlite_query ended_{"SELECT id FROM cosaga_sagas WHERE state > 3 AND due_at < ?1 ORDER BY due_at, id LIMIT ?2"};
};

} // namespace cosaga::detail
