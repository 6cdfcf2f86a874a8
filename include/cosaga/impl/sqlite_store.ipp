// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/group_runner.hpp>
#include <cosaga/detail/sqlite_engine.hpp>
#include <cosaga/impl/sqlite_rows.ipp>
#include <cosaga/storage/sqlite.hpp>

#include <memory>
#include <utility>

namespace cosaga {

COSAGA_DECL sqlite_transaction detail::sqlite_engine::handle() noexcept
{
    return sqlite_transaction{*this};
}

COSAGA_DECL time_point sqlite_transaction::now() const noexcept
{
    return engine_->now();
}

COSAGA_DECL sqlite3* sqlite_transaction::native_handle() const noexcept
{
    return engine_->connection().get();
}

COSAGA_DECL std::size_t sqlite_transaction::run(
    std::string_view sql, std::span<detail::sqlite_argument const> arguments)
{
    return engine_->user_sql().execute(sql, arguments);
}

COSAGA_DECL detail::sqlite_user_sql& sqlite_transaction::user_sql() noexcept
{
    return engine_->user_sql();
}

COSAGA_DECL void sqlite_transaction::savepoints::require_transaction() const
{
    engine->connection().require_transaction();
}

COSAGA_DECL void sqlite_transaction::savepoints::savepoint() noexcept
{
    engine->savepoint();
}

COSAGA_DECL void sqlite_transaction::savepoints::release() noexcept
{
    engine->release();
}

COSAGA_DECL void sqlite_transaction::savepoints::rollback_to() noexcept
{
    engine->rollback_to();
}

COSAGA_DECL void sqlite_transaction::append(queue_name const& queue, message_state state, std::span<message_row> rows)
{
    engine_->messages().append(queue, state, rows);
}

COSAGA_DECL std::vector<message_row> sqlite_transaction::read(
    queue_name const& queue, message_state state, std::int64_t after, std::size_t most)
{
    return engine_->messages().read(queue, state, after, most);
}

COSAGA_DECL std::vector<message_row> sqlite_transaction::read_due(
    queue_name const& queue, message_state state, time_point now, std::size_t most)
{
    return engine_->messages().read_due(queue, state, now, most);
}

COSAGA_DECL std::optional<time_point> sqlite_transaction::next_due(queue_name const& queue, message_state state)
{
    return engine_->messages().next_due(queue, state);
}

COSAGA_DECL std::vector<located_row> sqlite_transaction::find(std::span<message_id const> ids)
{
    return engine_->messages().find(ids);
}

COSAGA_DECL std::size_t sqlite_transaction::erase(
    queue_name const& queue, message_state state, std::span<std::int64_t const> seqs)
{
    return engine_->messages().erase(queue, state, seqs);
}

COSAGA_DECL bool sqlite_transaction::move(
    queue_name const& queue, message_state from, message_state to, message_row const& row)
{
    return engine_->messages().move(queue, from, to, row);
}

COSAGA_DECL bool sqlite_transaction::update(queue_name const& queue, message_state state, message_row const& row)
{
    return engine_->messages().update(queue, state, row);
}

COSAGA_DECL std::size_t sqlite_transaction::count(queue_name const& queue, message_state state)
{
    return engine_->messages().count(queue, state);
}

COSAGA_DECL std::vector<queue_name> sqlite_transaction::queues()
{
    return engine_->messages().queues();
}

COSAGA_DECL std::vector<std::optional<mark>> sqlite_transaction::insert_marks(
    std::string_view scope, std::span<message_id const> ids, mark const& value)
{
    return engine_->marks().insert_marks(scope, ids, value, now());
}

COSAGA_DECL std::vector<std::optional<mark>> sqlite_transaction::find_marks(std::string_view scope, std::span<message_id const> ids)
{
    return engine_->marks().find_marks(scope, ids);
}

COSAGA_DECL std::size_t sqlite_transaction::purge_marks(std::string_view scope, time_point before, std::size_t most)
{
    return engine_->marks().purge_marks(scope, before, most);
}

COSAGA_DECL bool sqlite_transaction::insert_saga(saga_row const& row)
{
    return engine_->sagas().insert_saga(row);
}

COSAGA_DECL std::optional<saga_row> sqlite_transaction::find_saga(std::string_view id)
{
    return engine_->sagas().find_saga(id);
}

COSAGA_DECL bool sqlite_transaction::update_saga(saga_row const& row, std::int64_t epoch)
{
    return engine_->sagas().update_saga(row, epoch);
}

COSAGA_DECL bool sqlite_transaction::wake_saga(std::string_view id, time_point at)
{
    return engine_->sagas().wake_saga(id, at);
}

COSAGA_DECL bool sqlite_transaction::erase_saga(std::string_view id)
{
    return engine_->sagas().erase_saga(id);
}

COSAGA_DECL std::vector<saga_row> sqlite_transaction::claim_sagas(
    std::string_view owner, time_point now, time_point until, std::size_t most)
{
    return engine_->sagas().claim_sagas(owner, now, until, most);
}

COSAGA_DECL std::size_t sqlite_transaction::renew_sagas(std::string_view owner, time_point until)
{
    return engine_->sagas().renew_sagas(owner, until);
}

COSAGA_DECL std::size_t sqlite_transaction::release_sagas(std::string_view prefix)
{
    return engine_->sagas().release_sagas(prefix);
}

COSAGA_DECL std::optional<time_point> sqlite_transaction::next_saga_due(std::string_view owner)
{
    return engine_->sagas().next_saga_due(owner);
}

COSAGA_DECL std::vector<saga_row> sqlite_transaction::list_sagas(
    saga_state state, std::string_view after, std::size_t most)
{
    return engine_->sagas().list_sagas(state, after, most);
}

COSAGA_DECL std::size_t sqlite_transaction::purge_sagas(time_point before, std::size_t most)
{
    return engine_->sagas().purge_sagas(before, most);
}

COSAGA_DECL std::optional<std::uint64_t> sqlite_transaction::append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries)
{
    return engine_->journals().append(id, epoch, entries);
}

COSAGA_DECL std::vector<journal_entry> sqlite_transaction::read_journal(
    std::string_view id, std::uint64_t after, std::size_t most)
{
    return engine_->journals().read(id, after, most);
}

COSAGA_DECL std::size_t sqlite_transaction::erase_journal(std::string_view id, std::uint64_t through)
{
    return engine_->journals().erase(id, through);
}

COSAGA_DECL time_point sqlite_transaction::open_ledger(std::string_view name)
{
    return engine_->ledgers().open(name, now());
}

COSAGA_DECL void sqlite_transaction::record(std::string_view name, std::span<ledger_record const> records)
{
    engine_->ledgers().record(name, records, now());
}

COSAGA_DECL std::size_t sqlite_transaction::erase_records(std::string_view name, std::span<ledger_position const> positions)
{
    return engine_->ledgers().erase(name, positions);
}

COSAGA_DECL std::vector<ledger_record> sqlite_transaction::read_records(
    std::string_view name, ledger_range const& range, std::size_t most)
{
    return engine_->ledgers().read(name, range, most);
}

COSAGA_DECL std::vector<ledger_sum> sqlite_transaction::sum_records(std::string_view name, std::span<ledger_range const> ranges)
{
    return engine_->ledgers().sum(name, ranges);
}

COSAGA_DECL std::vector<ledger_position> sqlite_transaction::divide_records(
    std::string_view name, ledger_range const& range, std::size_t parts)
{
    return engine_->ledgers().divide(name, range, parts);
}

COSAGA_DECL std::size_t sqlite_transaction::purge_records(std::string_view name, time_point before)
{
    return engine_->ledgers().purge(name, before);
}

COSAGA_DECL std::vector<std::string> sqlite_transaction::ledgers()
{
    return engine_->ledgers().names();
}

COSAGA_DECL sqlite_store::sqlite_store(environment& env, sqlite_options const& options)
    : group_commit{env}
{
    set_group(std::make_unique<detail::group_runner<detail::sqlite_engine>>(env, options.poll_interval, options));
}

COSAGA_DECL sqlite_store::sqlite_store(environment& env, std::string path)
    : sqlite_store{env, sqlite_options{.path = std::move(path)}}
{
}

} // namespace cosaga
