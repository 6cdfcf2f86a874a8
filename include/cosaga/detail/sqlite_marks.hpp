// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/sqlite_handle.hpp>
#include <cosaga/detail/sqlite_id_range.hpp>
#include <cosaga/detail/sqlite_messages.hpp>
#include <cosaga/message_id.hpp>
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
#include <vector>

namespace cosaga::detail {

/// The marks table.
///
/// A scope has two ranges of it: one for ids that hold their time, where age is a range of ids, and one for all others,
/// which have an index by the time of their insertion.
class sqlite_marks {
public:
    explicit sqlite_marks(sqlite_handle& h) : handle_{&h} {}

    std::vector<std::optional<mark>> insert_marks(
        std::string_view scope, std::span<message_id const> ids, mark const& value, time_point now)
    {
        handle_->require_transaction();
        std::vector<std::optional<mark>> before(ids.size());
        auto const number = scope_number(scope, true);
        for (std::size_t i = 0; i < ids.size();) {
            auto const some = ids.subspan(i, std::min(ids.size() - i, ids_at_once));
            if (!insert_if_all_new(*number, some, value))
                for (std::size_t n = 0; n < some.size(); ++n)
                    if (!insert(*number, some[n], value, now))
                        before[i + n] = find(*number, some[n]);
            i += some.size();
        }
        return before;
    }

    std::vector<std::optional<mark>> find_marks(std::string_view scope, std::span<message_id const> ids)
    {
        handle_->require_transaction();
        std::vector<std::optional<mark>> found(ids.size());
        auto const number = scope_number(scope, false);
        if (!number || are_all_new(*number, ids))
            return found;
        for (std::size_t i = 0; i < ids.size(); ++i)
            found[i] = find(*number, ids[i]);
        return found;
    }

    std::size_t purge_marks(std::string_view scope, time_point before, std::size_t most)
    {
        handle_->require_transaction();
        auto const number = scope_number(scope, false);
        if (!number)
            return 0;
        auto const bound = message_id::first_of(before);
        auto purged = purge_ordered_.execute(*handle_, *number * 2, bytes_as_blob(bound.bytes()), as_limit(most));
        if (purged < most && select_old_other_.run(*handle_, *number * 2 + 1, micros(before)).step())
            purged += purge_others_.execute(*handle_, *number * 2 + 1, micros(before), as_limit(most - purged));
        return purged;
    }

    /// After a rollback: a scope that was made since may not be there any more.
    void forget() noexcept { scopes_.clear(); }

private:
    static std::int64_t range_of(std::int64_t number, message_id const& id) noexcept
    {
        return number * 2 + (id.is_time_ordered() ? 0 : 1);
    }

    // With one statement, which is undone when one of them is there: duplicates are rare.
    bool insert_if_all_new(std::int64_t number, std::span<message_id const> ids, mark const& value)
    {
        auto const ordered = [](message_id const& id) { return id.is_time_ordered(); };
        if (ids.size() < ids_at_once || !std::all_of(ids.begin(), ids.end(), ordered))
            return false;
        auto scope = insert_many_.run(*handle_, number * 2, std::string_view{value});
        int code = SQLITE_OK;
        for (std::size_t i = 0; i < ids.size() && code == SQLITE_OK; ++i)
            code = bind_sqlite(scope.get(), static_cast<int>(i) + 3, bytes_as_blob(ids[i].bytes()));
        if (code == SQLITE_OK)
            code = sqlite3_step(scope.get());
        if (code != SQLITE_DONE && (code & 0xff) != SQLITE_CONSTRAINT)
            handle_->fail(code, "cannot use", errc::store_failed);
        return code == SQLITE_DONE;
    }

    // The same: mostly none of them is there.
    bool are_all_new(std::int64_t number, std::span<message_id const> ids)
    {
        sqlite_id_range const range{ids};
        if (ids.empty() || !std::all_of(ids.begin(), ids.end(), [](message_id const& id) { return id.is_time_ordered(); }))
            return ids.empty();
        bool found = false;
        auto const walked = range.walk(
            [&](auto const& first, auto const& last, std::int64_t most) { return select_range_.run(*handle_, number * 2, first, last, most); },
            [&](auto const&) { found = true; });
        return walked && !found;
    }

    bool insert(std::int64_t number, message_id const& id, mark const& value, time_point now)
    {
        auto const range = range_of(number, id);
        auto const bytes = bytes_as_blob(id.bytes());
        if (id.is_time_ordered())
            return insert_.execute(*handle_, range, bytes, std::string_view{value}, nullptr) > 0;
        return insert_.execute(*handle_, range, bytes, std::string_view{value}, micros(now)) > 0;
    }

    std::optional<mark> find(std::int64_t number, message_id const& id)
    {
        auto row = select_.run(*handle_, range_of(number, id), bytes_as_blob(id.bytes()));
        return row.step() ? std::optional{row.text(0)} : std::nullopt;
    }

    std::optional<std::int64_t> scope_number(std::string_view scope, bool make)
    {
        if (auto const known = scopes_.find(scope); known != scopes_.end())
            return known->second;
        if (make)
            insert_scope_.execute(*handle_, scope);
        auto row = select_scope_.run(*handle_, scope);
        if (!row.step())
            return std::nullopt;
        return scopes_.emplace(scope, row.integer(0)).first->second;
    }

    static std::string insert_many_sql()
    {
        std::string sql = "INSERT INTO cosaga_marks VALUES";
        for (std::size_t i = 0; i < ids_at_once; ++i)
            sql += (i ? ",(?1, ?" : "(?1, ?") + std::to_string(i + 3) + ", ?2, NULL)";
        return sql;
    }

    static constexpr std::size_t ids_at_once = 16;

    sqlite_handle* handle_;
    std::map<std::string, std::int64_t, std::less<>> scopes_;

    sqlite_query insert_many_{insert_many_sql()};
    sqlite_query insert_{"INSERT INTO cosaga_marks VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"};
    sqlite_query select_range_{"SELECT id FROM cosaga_marks WHERE scope = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id LIMIT ?4"};
    sqlite_query select_{"SELECT value FROM cosaga_marks WHERE scope = ?1 AND id = ?2"};
    // Neither makes a temporary table unless there is something to delete: mostly there is not.
    sqlite_query purge_ordered_{"DELETE FROM cosaga_marks WHERE scope = ?1 AND id < coalesce("
                                "(SELECT id FROM cosaga_marks WHERE scope = ?1 AND id < ?2 ORDER BY id LIMIT 1 OFFSET ?3), ?2)"};
    sqlite_query select_old_other_{"SELECT 1 FROM cosaga_marks WHERE scope = ?1 AND at IS NOT NULL AND at < ?2 LIMIT 1"};
    sqlite_query purge_others_{"DELETE FROM cosaga_marks WHERE scope = ?1 AND id IN "
                               "(SELECT id FROM cosaga_marks WHERE scope = ?1 AND at IS NOT NULL AND at < ?2 ORDER BY at LIMIT ?3)"};
    sqlite_query insert_scope_{"INSERT INTO cosaga_scopes(scope) VALUES(?1) ON CONFLICT DO NOTHING"};
    sqlite_query select_scope_{"SELECT number FROM cosaga_scopes WHERE scope = ?1"};
};

} // namespace cosaga::detail
