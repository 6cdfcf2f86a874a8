// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/group_runner.hpp>
#include <cosaga/detail/memory_engine.hpp>
#include <cosaga/detail/memory_tables.hpp>
#include <cosaga/storage/memory.hpp>

namespace cosaga {

COSAGA_DECL memory_transaction detail::memory_engine::handle() noexcept
{
    return memory_transaction{tables_, now_};
}

COSAGA_DECL void memory_transaction::savepoints::savepoint() noexcept
{
    tables->savepoint();
}

COSAGA_DECL void memory_transaction::savepoints::release() noexcept
{
    tables->release();
}

COSAGA_DECL void memory_transaction::savepoints::rollback_to() noexcept
{
    tables->rollback_to();
}

COSAGA_DECL void memory_transaction::append(queue_name const& queue, message_state state, std::span<message_row> rows)
{
    tables_->append(queue, state, rows);
}

COSAGA_DECL std::vector<message_row> memory_transaction::read(
    queue_name const& queue, message_state state, std::int64_t after, std::size_t most) const
{
    return tables_->read(queue, state, after, most);
}

COSAGA_DECL std::vector<message_row> memory_transaction::read_due(
    queue_name const& queue, message_state state, time_point now, std::size_t most) const
{
    return tables_->read_due(queue, state, now, most);
}

COSAGA_DECL std::optional<time_point> memory_transaction::next_due(queue_name const& queue, message_state state) const
{
    return tables_->next_due(queue, state);
}

COSAGA_DECL std::vector<located_row> memory_transaction::find(std::span<message_id const> ids) const
{
    return tables_->find(ids);
}

COSAGA_DECL std::size_t memory_transaction::erase(
    queue_name const& queue, message_state state, std::span<std::int64_t const> seqs)
{
    return tables_->erase(queue, state, seqs);
}

COSAGA_DECL bool memory_transaction::move(
    queue_name const& queue, message_state from, message_state to, message_row const& row)
{
    return tables_->move(queue, from, to, row);
}

COSAGA_DECL bool memory_transaction::update(queue_name const& queue, message_state state, message_row const& row)
{
    return tables_->update(queue, state, row);
}

COSAGA_DECL std::size_t memory_transaction::count(queue_name const& queue, message_state state) const
{
    return tables_->count(queue, state);
}

COSAGA_DECL std::vector<queue_name> memory_transaction::queues() const
{
    return tables_->queues();
}

COSAGA_DECL std::vector<std::optional<mark>> memory_transaction::insert_marks(
    std::string_view scope, std::span<message_id const> ids, mark const& value)
{
    return tables_->insert_marks(scope, ids, value, now_);
}

COSAGA_DECL std::vector<std::optional<mark>> memory_transaction::find_marks(std::string_view scope, std::span<message_id const> ids) const
{
    return tables_->find_marks(scope, ids);
}

COSAGA_DECL std::size_t memory_transaction::purge_marks(std::string_view scope, time_point before, std::size_t most)
{
    return tables_->purge_marks(scope, before, most);
}

COSAGA_DECL bool memory_transaction::insert_saga(saga_row const& row)
{
    return tables_->sagas().insert(row);
}

COSAGA_DECL std::optional<saga_row> memory_transaction::find_saga(std::string_view id) const
{
    return tables_->sagas().find(id);
}

COSAGA_DECL bool memory_transaction::update_saga(saga_row const& row, std::int64_t epoch)
{
    return tables_->sagas().update(row, epoch);
}

COSAGA_DECL bool memory_transaction::wake_saga(std::string_view id, time_point at)
{
    return tables_->sagas().wake(id, at);
}

COSAGA_DECL bool memory_transaction::erase_saga(std::string_view id)
{
    return tables_->sagas().erase(id);
}

COSAGA_DECL std::vector<saga_row> memory_transaction::claim_sagas(
    std::string_view owner, time_point now, time_point until, std::size_t most)
{
    return tables_->sagas().claim(owner, now, until, most);
}

COSAGA_DECL std::size_t memory_transaction::renew_sagas(std::string_view owner, time_point until)
{
    return tables_->sagas().renew(owner, until);
}

COSAGA_DECL std::size_t memory_transaction::release_sagas(std::string_view prefix)
{
    return tables_->sagas().release(prefix);
}

COSAGA_DECL std::optional<time_point> memory_transaction::next_saga_due(std::string_view owner) const
{
    return tables_->sagas().next_due(owner);
}

COSAGA_DECL std::vector<saga_row> memory_transaction::list_sagas(
    saga_state state, std::string_view after, std::size_t most) const
{
    return tables_->sagas().list(state, after, most);
}

COSAGA_DECL std::size_t memory_transaction::purge_sagas(time_point before, std::size_t most)
{
    return tables_->sagas().purge(before, most);
}

COSAGA_DECL std::optional<std::uint64_t> memory_transaction::append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries)
{
    return tables_->sagas().append_journal(id, epoch, entries);
}

COSAGA_DECL std::vector<journal_entry> memory_transaction::read_journal(
    std::string_view id, std::uint64_t after, std::size_t most) const
{
    return tables_->sagas().read_journal(id, after, most);
}

COSAGA_DECL std::size_t memory_transaction::erase_journal(std::string_view id, std::uint64_t through)
{
    return tables_->sagas().erase_journal(id, through);
}

COSAGA_DECL time_point memory_transaction::open_ledger(std::string_view name)
{
    return tables_->ledgers().open(name, now());
}

COSAGA_DECL void memory_transaction::record(std::string_view name, std::span<ledger_record const> records)
{
    tables_->ledgers().record(name, records, now());
}

COSAGA_DECL std::size_t memory_transaction::erase_records(std::string_view name, std::span<ledger_position const> positions)
{
    return tables_->ledgers().erase(name, positions);
}

COSAGA_DECL std::vector<ledger_record> memory_transaction::read_records(
    std::string_view name, ledger_range const& range, std::size_t most)
{
    return tables_->ledgers().read(name, range, most);
}

COSAGA_DECL std::vector<ledger_sum> memory_transaction::sum_records(std::string_view name, std::span<ledger_range const> ranges)
{
    return tables_->ledgers().sum(name, ranges);
}

COSAGA_DECL std::vector<ledger_position> memory_transaction::divide_records(
    std::string_view name, ledger_range const& range, std::size_t parts)
{
    return tables_->ledgers().divide(name, range, parts);
}

COSAGA_DECL std::size_t memory_transaction::purge_records(std::string_view name, time_point before)
{
    return tables_->ledgers().purge(name, before);
}

COSAGA_DECL std::vector<std::string> memory_transaction::ledgers()
{
    return tables_->ledgers().names();
}

COSAGA_DECL void memory_transaction::put(std::string_view table, std::string_view key, std::string value)
{
    tables_->put(table, key, std::move(value));
}

COSAGA_DECL std::optional<std::string> memory_transaction::get(std::string_view table, std::string_view key) const
{
    return tables_->get(table, key);
}

COSAGA_DECL bool memory_transaction::erase(std::string_view table, std::string_view key)
{
    return tables_->erase(table, key);
}

COSAGA_DECL std::map<std::string, std::string> memory_transaction::entries(std::string_view table) const
{
    return tables_->entries(table);
}

COSAGA_DECL memory_store::memory_store(
    environment& env, std::unique_ptr<detail::group_runner<detail::memory_engine>> runner)
    : group_commit{env}, engine_{&runner->engine()}
{
    set_group(std::move(runner));
}

COSAGA_DECL memory_store::memory_store(environment& env)
    : memory_store{env, std::make_unique<detail::group_runner<detail::memory_engine>>(env, duration::zero(), nullptr)}
{
}

COSAGA_DECL memory_store::memory_store(environment& env, memory_disk& disk)
    : memory_store{env, std::make_unique<detail::group_runner<detail::memory_engine>>(env, duration::zero(), &disk)}
{
}

COSAGA_DECL void memory_store::fail_next_commits(std::size_t n, errc e)
{
    engine_->fail_next_commits(n, e);
}

COSAGA_DECL void memory_store::fail_next_begins(std::size_t n, errc e)
{
    engine_->fail_next_begins(n, e);
}

} // namespace cosaga
