// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>

#include <boost/asio/awaitable.hpp>

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// Which end of a hop a queue belongs to.
enum class queue_side : std::uint8_t {
    outbox, ///< messages that `consumer` at another place has still to take
    inbox,  ///< messages that `consumer` here has taken and still to apply
};

/// A queue of the message table: one for each topic and named consumer, on each side.
struct queue_name {
    queue_side side = queue_side::outbox;
    std::string topic;
    std::string consumer;

    friend auto operator<=>(queue_name const&, queue_name const&) = default;
};

/// What a row of the message table waits for.
enum class message_state : std::uint8_t {
    ready,    ///< to be sent (outbox) or applied (inbox), not before `due_at`
    delayed,  ///< to become ready at `due_at`
    prepared, ///< a half message: its transaction is undecided; next check-back at `due_at`
    dead,     ///< parked with `last_error` until redriven or purged
};

/// A row of the message table. Its queue and state are where it was found.
struct message_row {
    /// Given by the store: increases in the order of commits within a queue and state, and is never used twice.
    std::int64_t seq = 0;
    message content;
    std::uint32_t attempts = 0;
    time_point due_at{};
    std::string last_error;
};

/// A row, and where it is.
struct located_row {
    queue_name queue;
    message_state state = message_state::ready;
    message_row row;
};

/// What is remembered for an id within a scope; empty is a value too.
using mark = std::string;

enum class saga_state : std::uint8_t {
    running,      ///< forward
    compensating, ///< what ran is being undone; it never turns forward again
    confirming,   ///< what was tried is being confirmed; it never turns back
    paused,       ///< until an operator acts
    done,
    undone,
};

/// True for a saga for which there is something to do, now or later.
constexpr bool is_unfinished(saga_state s) noexcept
{
    return s < saga_state::paused;
}

/// A row of the saga table. `id` has at most `max_saga_id` bytes.
struct saga_row {
    std::string id;
    std::string name;
    std::uint32_t version = 0;
    saga_state state = saga_state::running;
    std::string input;
    std::string result;
    std::string reason;        ///< why it is paused, does not get on, or was undone
    std::int64_t epoch = 0;    ///< the fencing token: increases whenever another owner takes it
    std::string lease_owner;   ///< who runs it; empty when nobody does
    time_point lease_until{};  ///< when another owner may take it
    time_point due_at{};       ///< nothing to do before; while it is leased, the end of the lease; when ended, it is kept until then
};

inline constexpr std::size_t max_saga_id = 255;

/// One entry of a saga's journal. What a kind means, and what is in the content, is known to the saga engine alone.
struct journal_entry {
    std::uint64_t number = 0; ///< given by the store: 1, 2, 3 ... within a saga
    std::uint32_t kind = 0;
    std::string step;         ///< where in the saga
    std::string name;
    time_point at{};
    std::string content;
};

/// Tells a watcher what a commit did to its queue.
struct commit_notice {
    std::vector<message_row> ready;  ///< rows appended in state `ready`, by seq; still in memory, so no read is needed
    std::optional<time_point> due;   ///< the earliest `due_at` of rows appended in state `delayed`
    bool look = false;               ///< rows became ready in another way: read the queue
};

/// Rows of messages, in queues, in order.
///
/// A row that changes its state gets a new `seq`, behind all others of the new state. So who reads a queue in
/// order of `seq` never misses a row, and a half message takes its place in the order when it is committed.
///
/// | expression                             | type                         | meaning |
/// |----------------------------------------|------------------------------|---------|
/// | `tx.append(queue, state, rows)`        | `void`                       | adds the rows, moved from, in their order; the store sets `seq` |
/// | `tx.read(queue, state, after, most)`   | `std::vector<message_row>`   | at most `most` rows with `seq > after`, by `seq` |
/// | `tx.read_due(queue, state, now, most)` | `std::vector<message_row>`   | at most `most` rows with `due_at <= now`, by `due_at`, then `seq`; states `delayed` and `prepared` |
/// | `tx.next_due(queue, state)`            | `std::optional<time_point>`  | the earliest `due_at`; states `delayed` and `prepared` |
/// | `tx.find(ids)`                         | `std::vector<located_row>`   | those with one of these message ids, in no order; states `delayed`, `prepared` and `dead` |
/// | `tx.erase(queue, state, seqs)`         | `std::size_t`                | removes rows; how many there were |
/// | `tx.move(queue, from, to, row)`        | `bool`                       | moves the row with `row.seq` to another state, with `attempts`, `due_at` and `last_error` of `row`; false if there is none |
/// | `tx.update(queue, state, row)`         | `bool`                       | sets `attempts`, `due_at` and `last_error` in place |
/// | `tx.count(queue, state)`               | `std::size_t`                | in constant time: the store keeps count in the same transactions |
/// | `tx.queues()`                          | `std::vector<queue_name>`    | every queue that was ever used, sorted |
template <class Tx>
concept messages_table = requires(Tx& tx, queue_name const& queue, message_state state, std::int64_t after,
    std::size_t most, time_point now, std::span<message_id const> ids, std::vector<message_row>& rows,
    std::span<std::int64_t const> seqs, message_row const& row) {
    tx.append(queue, state, std::span<message_row>{rows});
    { tx.read(queue, state, after, most) } -> std::same_as<std::vector<message_row>>;
    { tx.read_due(queue, state, now, most) } -> std::same_as<std::vector<message_row>>;
    { tx.next_due(queue, state) } -> std::same_as<std::optional<time_point>>;
    { tx.find(ids) } -> std::same_as<std::vector<located_row>>;
    { tx.erase(queue, state, seqs) } -> std::same_as<std::size_t>;
    { tx.move(queue, state, state, row) } -> std::same_as<bool>;
    { tx.update(queue, state, row) } -> std::same_as<bool>;
    { tx.count(queue, state) } -> std::same_as<std::size_t>;
    { tx.queues() } -> std::same_as<std::vector<queue_name>>;
};

/// Remembers ids within a scope. Inserting tells what was there before.
///
/// | expression                             | type                               | meaning |
/// |----------------------------------------|------------------------------------|---------|
/// | `tx.insert_marks(scope, ids, value)`   | `std::vector<std::optional<mark>>` | for each id what was there, or nothing if it is new and now has `value`; an id given twice is new once |
/// | `tx.find_marks(scope, ids)`            | `std::vector<std::optional<mark>>` | for each id what is there |
/// | `tx.purge_marks(scope, before, most)`  | `std::size_t`                      | removes at most `most` marks of messages older than `before`; how many |
///
/// The age of a mark is that of its id when the id is time-ordered, else the time of its insertion.
template <class Tx>
concept marks_table = requires(
    Tx& tx, std::string_view scope, std::span<message_id const> ids, mark const& value, time_point before, std::size_t most) {
    { tx.insert_marks(scope, ids, value) } -> std::same_as<std::vector<std::optional<mark>>>;
    { tx.find_marks(scope, ids) } -> std::same_as<std::vector<std::optional<mark>>>;
    { tx.purge_marks(scope, before, most) } -> std::same_as<std::size_t>;
};

/// The mark of one id.
template <marks_table Tx>
std::optional<mark> find_mark(Tx& tx, std::string_view scope, message_id const& id)
{
    return std::move(tx.find_marks(scope, {&id, 1}).front());
}

/// Saga instances.
///
/// | expression                                | type                        | meaning |
/// |-------------------------------------------|-----------------------------|---------|
/// | `tx.insert_saga(row)`                     | `bool`                      | false if the id is there already |
/// | `tx.find_saga(id)`                        | `std::optional<saga_row>`   | |
/// | `tx.update_saga(row, epoch)`              | `bool`                      | false if there is none of that epoch; sets all of it, the epoch included |
/// | `tx.wake_saga(id, at)`                    | `bool`                      | makes an unfinished saga due at `at` if it is not due before; false if there is none |
/// | `tx.erase_saga(id)`                       | `bool`                      | with its journal |
/// | `tx.claim_sagas(owner, now, until, most)` | `std::vector<saga_row>`     | takes unfinished sagas that are due and whose lease is free, expired or `owner`'s: sets the lease, makes them due when it ends, and increases the epoch of those that were not `owner`'s |
/// | `tx.renew_sagas(owner, until)`            | `std::size_t`               | extends all leases of `owner`; what was woken stays due |
/// | `tx.release_sagas(prefix)`                | `std::size_t`               | ends all leases of owners whose names begin so; their sagas are due at once |
/// | `tx.next_saga_due(owner)`                 | `std::optional<time_point>` | the earliest `due_at` of unfinished sagas that are free or `owner`'s |
/// | `tx.list_sagas(state, after, most)`       | `std::vector<saga_row>`     | by id, after the id `after` |
/// | `tx.purge_sagas(before, most)`            | `std::size_t`               | removes at most `most` ended sagas with `due_at < before`, with their journals |
template <class Tx>
concept sagas_table = requires(Tx& tx, saga_row const& row, std::string_view id, time_point now, std::size_t most,
    saga_state state, std::int64_t epoch) {
    { tx.insert_saga(row) } -> std::same_as<bool>;
    { tx.find_saga(id) } -> std::same_as<std::optional<saga_row>>;
    { tx.update_saga(row, epoch) } -> std::same_as<bool>;
    { tx.wake_saga(id, now) } -> std::same_as<bool>;
    { tx.erase_saga(id) } -> std::same_as<bool>;
    { tx.claim_sagas(id, now, now, most) } -> std::same_as<std::vector<saga_row>>;
    { tx.renew_sagas(id, now) } -> std::same_as<std::size_t>;
    { tx.release_sagas(id) } -> std::same_as<std::size_t>;
    { tx.next_saga_due(id) } -> std::same_as<std::optional<time_point>>;
    { tx.list_sagas(state, id, most) } -> std::same_as<std::vector<saga_row>>;
    { tx.purge_sagas(now, most) } -> std::same_as<std::size_t>;
};

/// The journals of sagas: one log for each.
///
/// | expression                                | type                         | meaning |
/// |-------------------------------------------|------------------------------|---------|
/// | `tx.append_journal(id, epoch, entries)`   | `std::optional<std::uint64_t>` | adds the entries, with the next numbers in their order; the number of the last entry of the journal (0: it has none), or nothing, and none is added, if there is no saga of that id and epoch: another owner has taken it |
/// | `tx.read_journal(id, after, most)`        | `std::vector<journal_entry>` | with `number > after`, by number |
/// | `tx.erase_journal(id, through)`           | `std::size_t`                | removes entries with `number <= through`; numbers are not used again while one is left |
template <class Tx>
concept journal_table = requires(Tx& tx, std::string_view id, std::int64_t epoch,
    std::span<journal_entry const> entries, std::uint64_t after, std::size_t most) {
    { tx.append_journal(id, epoch, entries) } -> std::same_as<std::optional<std::uint64_t>>;
    { tx.read_journal(id, after, most) } -> std::same_as<std::vector<journal_entry>>;
    { tx.erase_journal(id, after) } -> std::same_as<std::size_t>;
};

/// One local transaction. It is used inside the function handed to `transact`, on the store's thread, and nowhere else.
///
/// It is a light handle that can be copied (a pointer or two), so that `outbox` can derive from it to add `tx.send`.
/// | expression      | type          | meaning |
/// |-----------------|---------------|---------|
/// | `tx.now()`      | `time_point`  | the time at which its group began |
/// | `tx.nested(f)`  | what `f()` returns | runs `f` in a savepoint of its own: if it throws, its changes (staged rows included) are undone, no other's, and the exception comes out |
///
/// Beside the five tables a transaction of an SQL store has `tx.execute(sql, args...)` and
/// `tx.query<Row>(sql, args...)` for the user's own tables.
template <class Tx>
concept store_transaction = std::copy_constructible<Tx> && messages_table<Tx> && marks_table<Tx> && sagas_table<Tx>
                         && journal_table<Tx> && ledger_table<Tx>
                         && requires(Tx& tx, void (*f)()) {
    { tx.now() } -> std::same_as<time_point>;
    tx.nested(f);
};

/// Something durable that runs local transactions in groups.
///
/// | expression            | type                 | meaning |
/// |-----------------------|----------------------|---------|
/// | `s.transact(work)`    | `asio::awaitable<T>` | runs `T work(transaction&)` as one local transaction and resumes when it is durable. If it throws, its own changes alone are rolled back and the exception comes out. Cancelled before it started, it never runs; after that, it runs to its end and is reported |
/// | `s.defer(work)`       | `void`               | runs bookkeeping of the library with the next group, or by itself when the store has been idle for a while; again with the next group if the commit fails. Any thread |
/// | `s.watch(queue, f)`   | `watch_handle`       | calls `f(commit_notice)` on the store's thread after each commit that made rows of the queue ready or delayed, in the order of commits, until the handle is destroyed; `f` must not block or throw |
/// | `s.close()`           | `asio::awaitable<void>` | finishes what was started, then refuses everything with `errc::store_closed` |
/// | `s.get_environment()` | `environment&`       | |
///
/// `work` is a plain function: it never suspends, so no transaction is held across a suspension.
/// The result must be default constructible, or `void`.
template <class S>
concept store = store_transaction<typename S::transaction_type>
             && requires(S& s, void (*work)(typename S::transaction_type&), queue_name const& queue,
                    std::function<void(commit_notice)> f, std::function<void(typename S::transaction_type&)> deferred) {
    { s.transact(work) } -> std::same_as<asio::awaitable<void>>;
    s.defer(std::move(deferred));
    { s.watch(queue, std::move(f)) } -> std::same_as<typename S::watch_handle>;
    { s.close() } -> std::same_as<asio::awaitable<void>>;
    { s.get_environment() } -> std::same_as<environment&>;
};

} // namespace cosaga
