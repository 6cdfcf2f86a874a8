// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Stores and transports with something wrong, each the way in which such programs go wrong.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/storage/memory.hpp>
#include <cosaga/testing/host.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/simulated_transport.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <algorithm>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace planted {

namespace asio = boost::asio;
using cosaga::mark;
using cosaga::message_id;
using cosaga::message_row;
using cosaga::message_state;
using cosaga::queue_name;
using cosaga::queue_side;
using cosaga::testing::host;

/// A store in memory whose transactions are `Tx`.
template <class Tx>
class store {
public:
    using transaction_type = Tx;
    using watch_handle = cosaga::memory_store::watch_handle;

    explicit store(host& h) : correct{h.get_environment(), h.durable<cosaga::memory_disk>()}, at{&h} {}

    template <class Work>
    auto transact(Work&& work)
    {
        return correct.transact(adapted<Work>{this, {std::forward<Work>(work)}});
    }
    void defer(std::function<void(Tx&)> work)
    {
        correct.defer([this, f = std::move(work)](cosaga::memory_transaction& base) {
            Tx tx{base, *this};
            f(tx);
        });
    }
    watch_handle watch(queue_name const& queue, std::function<void(cosaga::commit_notice)> f)
    {
        return correct.watch(queue, std::move(f));
    }
    asio::awaitable<void> close() { return correct.close(); }
    cosaga::environment& get_environment() noexcept { return correct.get_environment(); }

    cosaga::memory_store correct;
    host* at;
    typename Tx::in_memory memory; // gone with the process

private:
    template <class Work>
    struct adapted {
        struct holder {
            std::conditional_t<std::is_lvalue_reference_v<Work>, Work, std::remove_cvref_t<Work>> work;
        };
        store* self;
        holder held;

        decltype(auto) operator()(cosaga::memory_transaction& base)
        {
            Tx tx{base, *self};
            return held.work(tx);
        }
    };
};

/// A transaction with nothing wrong, for the others to derive from.
template <class Tx>
struct transaction : cosaga::memory_transaction {
    struct in_memory {};

    transaction(memory_transaction const& base, store<Tx>& s) : memory_transaction{base}, of{&s} {}

    store<Tx>* of;
};

/// Every message is new.
struct no_dedupe : transaction<no_dedupe> {
    using transaction::transaction;

    std::vector<std::optional<mark>> insert_marks(std::string_view, std::span<message_id const> ids, mark const&)
    {
        return std::vector<std::optional<mark>>(ids.size());
    }
};

struct known_ids {
    std::set<std::pair<std::string, message_id>> known;
};

/// What was seen is remembered until the next restart only.
struct dedupe_in_memory : transaction<dedupe_in_memory> {
    using in_memory = known_ids;
    using transaction::transaction;

    std::vector<std::optional<mark>> insert_marks(std::string_view scope, std::span<message_id const> ids, mark const&);
};

/// What was seen is forgotten after two seconds, although messages can be late by more.
struct short_memory : transaction<short_memory> {
    using transaction::transaction;

    std::size_t purge_marks(std::string_view scope, cosaga::time_point, std::size_t)
    {
        return memory_transaction::purge_marks(scope, now() - std::chrono::seconds{2}, 1'000'000);
    }
};

struct side_tables {
    std::map<std::string, std::map<std::string, std::string>, std::less<>> tables;
};

/// Business data is written elsewhere, at once.
struct effect_outside : transaction<effect_outside> {
    using transaction::transaction;

    void put(std::string_view table, std::string_view key, std::string value);
    std::optional<std::string> get(std::string_view table, std::string_view key) const;
    std::map<std::string, std::string> entries(std::string_view table) const;
};

/// Messages are stored by a transaction of their own, after the one that they belong to.
struct send_outside : transaction<send_outside> {
    using transaction::transaction;

    void append(queue_name const& queue, message_state state, std::span<message_row> rows);
};

/// Records of ledgers are stored by a transaction of their own, after the one that they belong to.
struct ledger_outside : transaction<ledger_outside> {
    using transaction::transaction;

    void record(std::string_view name, std::span<cosaga::ledger_record const> records);
};

/// A message whose handler threw is dropped.
struct failure_swallowed : transaction<failure_swallowed> {
    using transaction::transaction;

    void append(queue_name const& queue, message_state state, std::span<message_row> rows)
    {
        if (queue.side == queue_side::outbox)
            memory_transaction::append(queue, state, rows);
    }
};

/// What a handler did before it threw stays.
struct no_rollback : transaction<no_rollback> {
    using transaction::transaction;

    template <class F>
    auto nested(F&& f)
    {
        return f();
    }
};

/// A message whose schedule has ended is deleted.
struct dead_letters_deleted : transaction<dead_letters_deleted> {
    using transaction::transaction;

    bool move(queue_name const& queue, message_state from, message_state to, message_row const& row)
    {
        if (to != message_state::dead)
            return memory_transaction::move(queue, from, to, row);
        return memory_transaction::erase(queue, from, std::span<std::int64_t const>{&row.seq, 1}) == 1;
    }
    using memory_transaction::erase;
};

inline std::vector<std::optional<mark>> dedupe_in_memory::insert_marks(
    std::string_view scope, std::span<message_id const> ids, mark const&)
{
    std::vector<std::optional<mark>> seen;
    for (auto const& id : ids)
        seen.push_back(of->memory.known.emplace(scope, id).second ? std::nullopt : std::optional{mark{}});
    return seen;
}

inline void effect_outside::put(std::string_view table, std::string_view key, std::string value)
{
    of->at->durable<side_tables>().tables[std::string{table}].insert_or_assign(std::string{key}, std::move(value));
}
inline std::optional<std::string> effect_outside::get(std::string_view table, std::string_view key) const
{
    auto& t = of->at->durable<side_tables>().tables[std::string{table}];
    auto const found = t.find(std::string{key});
    return found == t.end() ? std::nullopt : std::optional{found->second};
}
inline std::map<std::string, std::string> effect_outside::entries(std::string_view table) const
{
    return of->at->durable<side_tables>().tables[std::string{table}];
}

inline asio::awaitable<void> append_later(
    cosaga::memory_store* to, queue_name queue, message_state state, std::vector<message_row> rows)
{
    auto work = [&](cosaga::memory_transaction& tx) { tx.append(queue, state, rows); };
    co_await to->transact(work);
}
inline void send_outside::append(queue_name const& queue, message_state state, std::span<message_row> rows)
{
    if (queue.side == queue_side::inbox)
        return memory_transaction::append(queue, state, rows);
    cosaga::detail::spawn_on(of->get_environment().get_executor(),
        append_later(&of->correct, queue, state, std::vector<message_row>(rows.begin(), rows.end())), [](std::exception_ptr) {});
}

inline asio::awaitable<void> record_later(cosaga::memory_store* to, std::string name, std::vector<cosaga::ledger_record> records)
{
    auto work = [&](cosaga::memory_transaction& tx) { tx.record(name, records); };
    co_await to->transact(work);
}
inline void ledger_outside::record(std::string_view name, std::span<cosaga::ledger_record const> records)
{
    cosaga::detail::spawn_on(of->get_environment().get_executor(),
        record_later(&of->correct, std::string{name}, std::vector<cosaga::ledger_record>(records.begin(), records.end())),
        [](std::exception_ptr) {});
}

/// Says that a message was accepted as soon as it is on its way.
class hasty_publisher {
public:
    hasty_publisher(cosaga::publisher_handle p, asio::any_io_executor executor)
        : inner_{std::move(p)}, state_{std::make_shared<state>(std::move(executor))}
    {
    }
    hasty_publisher(hasty_publisher&&) = default;
    hasty_publisher& operator=(hasty_publisher&&) = default;
    ~hasty_publisher()
    {
        if (state_)
            close(); // who waits keeps what it waits for
    }

    void publish(std::vector<cosaga::envelope> batch)
    {
        for (auto const& e : batch)
            state_->settled.push_back({e.tag, cosaga::verdict::accepted, {}, {}});
        inner_.publish(std::move(batch));
        state_->ready.notify();
    }
    asio::awaitable<std::vector<cosaga::settlement>> settled() { return settled(state_); }
    void close()
    {
        state_->closed = true;
        inner_.close();
        state_->ready.notify();
    }

private:
    struct state {
        explicit state(asio::any_io_executor e) : ready{std::move(e)} {}
        cosaga::detail::event ready;
        std::vector<cosaga::settlement> settled;
        bool closed = false;
    };

    static asio::awaitable<std::vector<cosaga::settlement>> settled(std::shared_ptr<state> s)
    {
        while (s->settled.empty()) {
            if (s->closed)
                throw cosaga::make_error(cosaga::errc::transport_closed, "publisher");
            co_await s->ready.wait();
        }
        co_return std::exchange(s->settled, {});
    }

    cosaga::publisher_handle inner_;
    std::shared_ptr<state> state_;
};

/// Publishes the last message first.
class disorderly_publisher : public cosaga::publisher_handle {
public:
    disorderly_publisher(cosaga::publisher_handle p, asio::any_io_executor) : publisher_handle{std::move(p)} {}

    void publish(std::vector<cosaga::envelope> batch)
    {
        std::reverse(batch.begin(), batch.end());
        publisher_handle::publish(std::move(batch));
    }
};

/// Acknowledges before the consumer's transaction has committed.
class hasty_subscription : public cosaga::subscription_handle {
public:
    explicit hasty_subscription(cosaga::subscription_handle s) : subscription_handle{std::move(s)} {}

    asio::awaitable<std::vector<cosaga::delivery>> receive(std::size_t most)
    {
        auto batch = co_await subscription_handle::receive(most);
        std::vector<std::uint64_t> tags;
        for (auto const& d : batch)
            tags.push_back(d.tag);
        subscription_handle::acknowledge(std::move(tags));
        co_return batch;
    }
    void acknowledge(std::vector<std::uint64_t>) {}
};

template <class Publisher>
class publishing_transport : public cosaga::testing::simulated_transport {
public:
    using publisher_type = Publisher;
    using simulated_transport::simulated_transport;

    publisher_type open_publisher(std::string_view topic, std::string_view consumer)
    {
        return Publisher{simulated_transport::open_publisher(topic, consumer), get_environment().get_executor()};
    }
};

class hasty_consumption : public cosaga::testing::simulated_transport {
public:
    using subscription_type = hasty_subscription;
    using simulated_transport::simulated_transport;

    subscription_type subscribe(std::string_view topic, std::string_view consumer)
    {
        return hasty_subscription{simulated_transport::subscribe(topic, consumer)};
    }
};

using accepted_when_published = publishing_transport<hasty_publisher>;
using published_in_any_order = publishing_transport<disorderly_publisher>;

template <class Tx>
struct store_platform : cosaga::testing::memory_platform {
    using store_type = store<Tx>;

    static std::unique_ptr<store_type> open(host& h) { return std::make_unique<store_type>(h); }
    template <class Some>
    static std::optional<std::string> get(Some& tx, std::string_view table, std::string_view key)
    {
        return tx.get(table, key);
    }
    template <class Some>
    static void put(Some& tx, std::string_view table, std::string_view key, std::string value)
    {
        tx.put(table, key, std::move(value));
    }
    template <class Some>
    static std::map<std::string, std::string> entries(Some& tx, std::string_view table)
    {
        return tx.entries(table);
    }
};

template <class Transport>
struct transport_platform : cosaga::testing::memory_platform {
    using transport_type = Transport;

    static std::unique_ptr<transport_type> connect(
        host& h, std::string service, std::vector<cosaga::testing::simulated_route> routes)
    {
        return std::make_unique<Transport>(
            h, cosaga::testing::simulated_transport_options{.service = std::move(service), .routes = std::move(routes)});
    }
};

/// A fence with a hole: what it finds no mark of has not committed, but nothing keeps it from doing so later.
template <class Store>
class check_without_a_fence {
public:
    explicit check_without_a_fence(Store& s) : store_{&s} {}

    template <class Local>
    asio::awaitable<void> run(message_id id, Local& local)
    {
        auto work = [&](typename Store::transaction_type& tx) {
            tx.insert_marks("done", {&id, 1}, mark{});
            local(tx);
        };
        co_await store_->transact(work);
    }
    asio::awaitable<cosaga::transaction_outcome> check(message_id id)
    {
        bool found = false;
        auto work = [&](typename Store::transaction_type& tx) { found = find_mark(tx, "done", id).has_value(); };
        co_await store_->transact(work);
        co_return found ? cosaga::transaction_outcome::commit : cosaga::transaction_outcome::rollback;
    }

private:
    Store* store_;
};

/// What was asked about and is not known here is taken for rolled back, as if only what is in memory had ever been.
template <class Store>
class outcomes_in_memory {
public:
    explicit outcomes_in_memory(Store& s) : store_{&s} {}

    template <class Local>
    asio::awaitable<void> run(message_id id, Local& local)
    {
        co_await store_->transact(local);
        committed_.insert(id);
    }
    asio::awaitable<cosaga::transaction_outcome> check(message_id id)
    {
        co_return committed_.contains(id) ? cosaga::transaction_outcome::commit : cosaga::transaction_outcome::rollback;
    }

private:
    Store* store_;
    std::set<message_id> committed_;
};

/// The mark is written after the local transaction, and in another one.
template <class Store>
class mark_outside {
public:
    explicit mark_outside(Store& s) : store_{&s}, correct_{s} {}

    template <class Local>
    asio::awaitable<void> run(message_id id, Local& local)
    {
        co_await store_->transact(local);
        auto nothing = [](typename Store::transaction_type&) {};
        co_await correct_.run(id, nothing);
    }
    asio::awaitable<cosaga::transaction_outcome> check(message_id id) { return correct_.check(id); }

private:
    Store* store_;
    cosaga::fence<Store> correct_;
};

} // namespace planted
