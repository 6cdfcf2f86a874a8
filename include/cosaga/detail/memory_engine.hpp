// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/memory_tables.hpp>
#include <cosaga/detail/savepoint_scope.hpp>
#include <cosaga/error.hpp>
#include <cosaga/storage.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosaga::detail {
class memory_engine;
}

namespace cosaga {

/// One local transaction of a `memory_store`: the four tables, and small tables of text for the tests' own data.
class memory_transaction {
public:
    explicit memory_transaction(detail::memory_tables& tables, time_point now) : tables_{&tables}, now_{now} {}

    time_point now() const noexcept { return now_; }

    /// Runs `f` in a savepoint of its own: if it throws, its changes are undone, no other's, and the exception comes out.
    template <std::invocable F>
    std::invoke_result_t<F> nested(F&& f)
    {
        return detail::run_nested(*tables_, std::forward<F>(f));
    }

    void append(queue_name const& queue, message_state state, std::span<message_row> rows)
    {
        tables_->append(queue, state, rows);
    }
    std::vector<message_row> read(queue_name const& queue, message_state state, std::int64_t after, std::size_t most) const
    {
        return tables_->read(queue, state, after, most);
    }
    std::vector<message_row> read_due(queue_name const& queue, message_state state, time_point now, std::size_t most) const
    {
        return tables_->read_due(queue, state, now, most);
    }
    std::optional<time_point> next_due(queue_name const& queue, message_state state) const
    {
        return tables_->next_due(queue, state);
    }
    std::optional<located_row> find(message_id const& id, message_state state) const { return tables_->find(id, state); }
    std::size_t erase(queue_name const& queue, message_state state, std::span<std::int64_t const> seqs)
    {
        return tables_->erase(queue, state, seqs);
    }
    bool move(queue_name const& queue, message_state from, message_state to, message_row const& row)
    {
        return tables_->move(queue, from, to, row);
    }
    bool update(queue_name const& queue, message_state state, message_row const& row)
    {
        return tables_->update(queue, state, row);
    }
    std::size_t count(queue_name const& queue, message_state state) const { return tables_->count(queue, state); }
    std::vector<queue_name> queues() const { return tables_->queues(); }

    std::vector<std::optional<mark>> insert_marks(std::string_view scope, std::span<message_id const> ids, mark const& value)
    {
        return tables_->insert_marks(scope, ids, value, now_);
    }
    std::optional<mark> find_mark(std::string_view scope, message_id const& id) const
    {
        return tables_->find_mark(scope, id);
    }
    std::size_t purge_marks(std::string_view scope, time_point before, std::size_t most)
    {
        return tables_->purge_marks(scope, before, most);
    }

    bool insert_saga(saga_row const& row) { return tables_->insert_saga(row); }
    std::optional<saga_row> find_saga(std::string_view id) const { return tables_->find_saga(id); }
    bool update_saga(saga_row const& row) { return tables_->update_saga(row); }
    bool erase_saga(std::string_view id) { return tables_->erase_saga(id); }
    std::vector<saga_row> claim_sagas(std::string_view owner, time_point now, time_point until, std::size_t most)
    {
        return tables_->claim_sagas(owner, now, until, most);
    }
    std::vector<saga_row> list_sagas(saga_state state, std::string_view after, std::size_t most) const
    {
        return tables_->list_sagas(state, after, most);
    }
    void append_journal(std::string_view id, std::span<journal_entry const> entries)
    {
        nested([&] { tables_->append_journal(id, entries); });
    }
    std::vector<journal_entry> read_journal(std::string_view id, std::uint64_t after, std::size_t most) const
    {
        return tables_->read_journal(id, after, most);
    }

    /// Sets the value of a key in a table of the test's own; a table is there as soon as it is named.
    void put(std::string_view table, std::string_view key, std::string value) { tables_->put(table, key, std::move(value)); }
    std::optional<std::string> get(std::string_view table, std::string_view key) const { return tables_->get(table, key); }
    bool erase(std::string_view table, std::string_view key) { return tables_->erase(table, key); }
    std::map<std::string, std::string> entries(std::string_view table) const { return tables_->entries(table); }

private:
    detail::memory_tables* tables_;
    time_point now_;
};

} // namespace cosaga

namespace cosaga::detail {

/// The engine of `group_worker` over tables in memory.
class memory_engine {
public:
    using transaction_type = memory_transaction;
    /// One by one, so that a simulation explores every order of the coroutines that a commit resumes.
    static constexpr std::size_t completions_per_post = 1;

    explicit memory_engine(memory_disk* disk) : tables_{disk ? *disk : own_} {}

    void begin(time_point now)
    {
        fail_if(begin_failures_, begin_error_, "BEGIN was made to fail");
        now_ = now;
        tables_.begin();
    }
    void savepoint() noexcept { tables_.savepoint(); }
    void release() noexcept { tables_.release(); }
    void rollback_to() noexcept { tables_.rollback_to(); }
    memory_transaction handle() noexcept { return memory_transaction{tables_, now_}; }
    void check() const noexcept {}
    bool lost() const noexcept { return false; }
    bool crowded() const noexcept { return false; }
    void commit()
    {
        try {
            fail_if(commit_failures_, commit_error_, "COMMIT was made to fail");
        } catch (...) {
            rollback();
            throw;
        }
    }
    void rollback() noexcept { tables_.rollback(); }
    template <class F>
    void notices(F&& f)
    {
        tables_.notices(f);
    }
    void maintain() noexcept {}
    bool changed_elsewhere() noexcept { return false; }
    void look_elsewhere() noexcept {}
    void shut() noexcept {}

    void fail_next_commits(std::size_t n, errc e)
    {
        commit_error_ = e;
        commit_failures_ = n;
    }
    void fail_next_begins(std::size_t n, errc e)
    {
        begin_error_ = e;
        begin_failures_ = n;
    }
    void crash() { fail_next_begins(std::numeric_limits<std::size_t>::max(), errc::store_failed); }

private:
    static void fail_if(std::atomic<std::size_t>& failures, std::atomic<errc> const& error, char const* what)
    {
        if (failures == 0)
            return;
        --failures;
        throw make_error(error, what);
    }

    memory_disk own_;
    memory_tables tables_;
    time_point now_{};
    std::atomic<std::size_t> commit_failures_{0};
    std::atomic<std::size_t> begin_failures_{0};
    std::atomic<errc> commit_error_{errc::store_failed};
    std::atomic<errc> begin_error_{errc::store_busy};
};

} // namespace cosaga::detail
