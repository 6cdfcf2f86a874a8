// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/group_commit.hpp>
#include <cosaga/detail/memory_disk.hpp>
#include <cosaga/detail/savepoint_scope.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga {

namespace detail {
class memory_engine;
class memory_tables;
template <class Engine>
class group_runner;
} // namespace detail

/// One local transaction of a `memory_store`: the five tables, and small tables of text for the tests' own data.
class memory_transaction {
public:
    explicit memory_transaction(detail::memory_tables& tables, time_point now) : tables_{&tables}, now_{now} {}

    time_point now() const noexcept { return now_; }

    /// Runs `f` in a savepoint of its own: if it throws, its changes are undone, no other's, and the exception comes out.
    template <std::invocable F>
    std::invoke_result_t<F> nested(F&& f)
    {
        savepoints levels{tables_};
        return detail::run_nested(levels, std::forward<F>(f));
    }

    void append(queue_name const& queue, message_state state, std::span<message_row> rows);
    std::vector<message_row> read(
        queue_name const& queue, message_state state, std::int64_t after, std::size_t most) const;
    std::vector<message_row> read_due(
        queue_name const& queue, message_state state, time_point now, std::size_t most) const;
    std::optional<time_point> next_due(queue_name const& queue, message_state state) const;
    std::vector<located_row> find(std::span<message_id const> ids) const;
    std::size_t erase(queue_name const& queue, message_state state, std::span<std::int64_t const> seqs);
    bool move(queue_name const& queue, message_state from, message_state to, message_row const& row);
    bool update(queue_name const& queue, message_state state, message_row const& row);
    std::size_t count(queue_name const& queue, message_state state) const;
    std::vector<queue_name> queues() const;
    std::vector<std::optional<mark>> insert_marks(
        std::string_view scope, std::span<message_id const> ids, mark const& value);
    std::vector<std::optional<mark>> find_marks(std::string_view scope, std::span<message_id const> ids) const;
    std::size_t purge_marks(std::string_view scope, time_point before, std::size_t most);
    bool insert_saga(saga_row const& row);
    std::optional<saga_row> find_saga(std::string_view id) const;
    bool update_saga(saga_row const& row, std::int64_t epoch);
    bool wake_saga(std::string_view id, time_point at);
    bool erase_saga(std::string_view id);
    std::vector<saga_row> claim_sagas(std::string_view owner, time_point now, time_point until, std::size_t most);
    std::size_t renew_sagas(std::string_view owner, time_point until);
    std::size_t release_sagas(std::string_view prefix);
    std::optional<time_point> next_saga_due(std::string_view owner) const;
    std::vector<saga_row> list_sagas(saga_state state, std::string_view after, std::size_t most) const;
    std::size_t purge_sagas(time_point before, std::size_t most);
    std::optional<std::uint64_t> append_journal(std::string_view id, std::int64_t epoch, std::span<journal_entry const> entries);
    std::vector<journal_entry> read_journal(std::string_view id, std::uint64_t after, std::size_t most) const;
    std::size_t erase_journal(std::string_view id, std::uint64_t through);
    time_point open_ledger(std::string_view name);
    void record(std::string_view name, std::span<ledger_record const> records);
    std::size_t erase_records(std::string_view name, std::span<ledger_position const> positions);
    std::vector<ledger_record> read_records(std::string_view name, ledger_range const& range, std::size_t most);
    std::vector<ledger_sum> sum_records(std::string_view name, std::span<ledger_range const> ranges);
    std::vector<ledger_position> divide_records(std::string_view name, ledger_range const& range, std::size_t parts);
    std::size_t purge_records(std::string_view name, time_point before);
    std::vector<std::string> ledgers();
    /// Sets the value of a key in a table of the test's own; a table is there as soon as it is named.
    void put(std::string_view table, std::string_view key, std::string value);
    std::optional<std::string> get(std::string_view table, std::string_view key) const;
    bool erase(std::string_view table, std::string_view key);
    std::map<std::string, std::string> entries(std::string_view table) const;

private:
    struct savepoints {
        detail::memory_tables* tables;

        void savepoint() noexcept;
        void release() noexcept;
        void rollback_to() noexcept;
    };

    detail::memory_tables* tables_;
    time_point now_;
};

/// A store without a file, for tests and the simulation.
///
/// It keeps every promise of a store except that of outliving the process. Its data may outlive the store: a
/// `memory_disk` that is handed to the next store plays a machine that was started again.
class memory_store final : public detail::group_commit<memory_transaction> {
public:
    /// A store with a disk of its own.
    explicit memory_store(environment& env);

    /// @param disk outlives the store; one store uses it at a time.
    memory_store(environment& env, memory_disk& disk);

    /// Lets the next `n` commits fail with `e`, so that nothing of their groups is kept. Any thread.
    void fail_next_commits(std::size_t n, errc e = errc::store_failed);

    /// Lets the next `n` groups fail to begin with `e`. Any thread.
    void fail_next_begins(std::size_t n, errc e = errc::store_busy);

private:
    memory_store(environment& env, std::unique_ptr<detail::group_runner<detail::memory_engine>> runner);

    detail::memory_engine* engine_;
};

static_assert(store<memory_store>);

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/memory_store.ipp>
#endif
