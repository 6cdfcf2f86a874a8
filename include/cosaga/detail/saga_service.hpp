// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/consumer_options.hpp>
#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_children.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/detail/saga_machine.hpp>
#include <cosaga/detail/saga_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Puts the answers of participants into the journals of sagas.
template <class Tx>
class saga_answers final : public message_bodies<Tx> {
public:
    explicit saga_answers(std::function<void(std::string const&)> hint) : hint_{std::move(hint)} {}

    void add(taken_message<Tx>& m, std::string_view) override
    {
        m.bodies = this;
        auto const& content = m.row.content;
        if (content.find_header(saga_id_header).empty() || content.find_header(saga_step_header).empty() || !answer_of(content))
            m.not_applicable = "no answer to a saga: a header is missing or wrong";
    }
    void clear() noexcept override {}

    // An answer that comes after the end is late, and no error.
    void call(Tx& tx, taken_message<Tx> const& m) override
    {
        auto const& content = m.row.content;
        if (!m.not_applicable.empty())
            throw make_error(errc::malformed_data, m.not_applicable);
        saga_note n;
        n.code = static_cast<std::uint32_t>(*answer_of(content));
        n.due = std::max<std::int64_t>(parse_number(content.find_header(saga_again_header)), 0);
        n.value = content.payload;
        std::string const id{content.find_header(saga_id_header)};
        auto const entry = make_entry(saga_entry::answered, std::string{content.find_header(saga_step_header)}, content.type, n, tx.now());
        if (append_from_outside(tx, id, entry))
            hint_(id);
    }
    asio::awaitable<void> prepare(taken_message<Tx>&) override { return {}; }

private:
    static std::optional<saga_answer> answer_of(message const& m)
    {
        auto const text = m.find_header(saga_answer_header);
        if (text == answer_success)
            return saga_answer::success;
        if (text == answer_refused)
            return saga_answer::refused;
        if (text == answer_ongoing)
            return saga_answer::ongoing;
        return std::nullopt;
    }

    std::function<void(std::string const&)> hint_;
};

/// The engine, the consumer of answers, and what is asked and ordered from outside.
template <store Store, transport Transport>
class saga_service final : public saga_core<typename Store::transaction_type> {
    using transaction_type = typename Store::transaction_type;

public:
    saga_service(Store& s, Transport& t, outbox_core<transaction_type>& o, std::string_view content_type, saga_options options)
        : store_{&s}, machine_{s, o, content_type, options}
    {
        if (!options.reply_topic.empty())
            answers_ = make_consumer(s, t, options.reply_topic, o.service(), answer_parts(), consumer_options{});
    }

    void define(saga_definition<transaction_type> d) override { machine_.define(std::move(d)); }
    void compensate(std::string type, saga_compensation<transaction_type> c) override
    {
        if (!machine_.compensations.try_emplace(type, std::make_shared<saga_compensation<transaction_type>>(std::move(c))).second)
            throw make_error(errc::bad_configuration, "saga: the compensation '" + type + "' is registered already");
    }

    void start() override
    {
        machine_.start();
        if (answers_)
            answers_->start();
    }
    asio::awaitable<void> stop() override
    {
        if (answers_)
            co_await answers_->stop();
        co_await machine_.stop();
    }

    bool begin(transaction_type& tx, std::string_view name, std::string_view id, std::string input, begin_options const& options) override
    {
        auto const row = insert_saga(tx, machine_.version_of(name), name, std::string{id}, std::move(input), begun_of(options, tx.now()));
        if (row) {
            ++machine_.tally.begun;
            machine_.hint(row->id);
        }
        return row.has_value();
    }
    asio::awaitable<bool> begin(std::string name, std::string id, std::string input, begin_options options) override
    {
        auto const begun = begun_of(options, store_->get_environment().now());
        bool const fresh = co_await machine_.begin(std::move(name), std::move(id), std::move(input), begun);
        if (fresh)
            ++machine_.tally.begun;
        co_return fresh;
    }

    asio::awaitable<std::string> result(std::string id) override
    {
        auto const changed = std::make_shared<event>(co_await asio::this_coro::executor);
        machine_.waiters().add(id, changed);
        auto const leave = [&](event*) { machine_.waiters().remove(id, changed); };
        std::unique_ptr<event, decltype(leave)> const waiting{changed.get(), leave};
        for (;;) {
            auto const row = co_await read(id);
            if (!row)
                throw make_error(errc::not_found, "there is no saga '" + id + "', or it was purged");
            if (row->state == saga_state::done)
                co_return row->result;
            if (row->state == saga_state::undone)
                throw make_error(errc::saga_undone, row->reason);
            if (machine_.waiters().is_closed())
                throw make_error(errc::store_closed, "the saga engine was stopped; the saga '" + id + "' goes on when it is started again");
            co_await changed->wait();
        }
    }

    void send(transaction_type& tx, std::string_view id, std::string_view name, std::string payload) override
    {
        saga_note n;
        n.value = std::move(payload);
        order(tx, id, make_entry(saga_entry::sent, {}, std::string{name}, n, tx.now()));
    }
    asio::awaitable<void> send(std::string id, std::string name, std::string payload) override
    {
        auto work = [&](transaction_type& tx) { send(tx, id, name, payload); };
        co_await store_->transact(work);
    }

    asio::awaitable<void> cancel(std::string id, std::string reason) override
    {
        auto work = [&](transaction_type& tx) {
            auto row = require(tx, id);
            auto const journal = read_journal(tx, id);
            if (journal.is_confirming())
                throw make_error(errc::saga_ended, "the saga '" + id + "' is being confirmed, and never turns back");
            order(tx, id, make_cancel(reason, tx.now()));
            if (row.state == saga_state::paused)
                release(tx, row, journal);
        };
        co_await store_->transact(work);
    }
    asio::awaitable<void> resume(std::string id) override
    {
        auto work = [&](transaction_type& tx) {
            auto row = require(tx, id);
            if (row.state != saga_state::paused)
                return;
            order(tx, id, make_entry(saga_entry::resumed, {}, {}, {}, tx.now()));
            release(tx, row, read_journal(tx, id));
        };
        co_await store_->transact(work);
    }
    asio::awaitable<void> retry(std::string id) override
    {
        auto work = [&](transaction_type& tx) { order(tx, id, make_entry(saga_entry::resumed, {}, {}, {}, tx.now())); };
        co_await store_->transact(work);
    }
    asio::awaitable<void> skip(std::string id, std::string step, std::string reason) override
    {
        auto work = [&](transaction_type& tx) {
            auto const row = require(tx, id);
            auto const journal = read_journal(tx, id);
            if (!journal.is_compensating() && !journal.is_confirming())
                throw make_error(errc::bad_argument, "skip: the saga '" + id + "' is neither compensating nor confirming: cancel it before");
            if (!journal.find(step))
                throw make_error(errc::not_found, "skip: the saga '" + id + "' has no step '" + step + "'");
            saga_note n;
            n.value = reason;
            order(tx, id, make_entry(saga_entry::skip, step + std::string{journal.is_compensating() ? undo_suffix : confirm_suffix}, {}, n, tx.now()));
        };
        co_await store_->transact(work);
    }
    asio::awaitable<void> finish(std::string id, saga_state state, std::string reason) override
    {
        if (!is_ended(state))
            throw make_error(errc::bad_argument, "finish: the state must be done or undone");
        std::string parent;
        auto work = [&](transaction_type& tx) {
            auto row = require(tx, id);
            auto const journal = read_journal(tx, id);
            saga_note n;
            n.value = reason;
            order(tx, id, make_entry(saga_entry::ended, {}, {}, n, tx.now()));
            auto const epoch = row.epoch++;
            row.state = state;
            row.reason = "finished by an operator: " + reason;
            row.lease_owner.clear();
            row.due_at = tx.now() + machine_.retention();
            tx.update_saga(row, epoch);
            parent = answer_parent(tx, journal.begun(), journal.begun_name(), false, row.reason);
        };
        co_await store_->transact(work);
        machine_.hint(id);
        if (!parent.empty())
            machine_.hint(parent);
        machine_.waiters().ended(id);
    }

    asio::awaitable<std::optional<saga_info>> find(std::string id) override
    {
        auto const row = co_await read(id);
        co_return row ? std::optional{info_of(*row)} : std::nullopt;
    }
    asio::awaitable<std::vector<saga_info>> list(saga_state state, std::string after, std::size_t most) override
    {
        std::vector<saga_info> found;
        auto work = [&](transaction_type& tx) {
            found.clear();
            for (auto const& row : tx.list_sagas(state, after, most))
                found.push_back(info_of(row));
        };
        co_await store_->transact(work);
        co_return found;
    }
    asio::awaitable<std::vector<saga_event>> journal(std::string id) override
    {
        std::vector<saga_event> found;
        auto work = [&](transaction_type& tx) {
            found.clear();
            for (auto const& e : tx.read_journal(id, 0, most_shown))
                found.push_back(event_of(e));
        };
        co_await store_->transact(work);
        co_return found;
    }

    saga_counters counters() const override
    {
        auto const& t = machine_.tally;
        return {t.begun, t.done, t.undone, t.paused, t.steps, t.replayed, t.retried, t.lost, t.active, t.stuck};
    }

private:
    static constexpr std::size_t most_shown = 1'000'000;

    consumer_parts<transaction_type> answer_parts()
    {
        auto const make = [this] {
            return std::make_unique<saga_answers<transaction_type>>([this](std::string const& id) { machine_.hint(id); });
        };
        consumer_parts<transaction_type> parts;
        parts.incoming = make();
        parts.due = make();
        return parts;
    }

    static saga_note begun_of(begin_options const& options, time_point now)
    {
        if (options.deadline && *options.deadline <= duration::zero())
            throw make_error(errc::bad_argument, "begin: the deadline must be greater than 0");
        saga_note n;
        if (options.deadline)
            n.due = to_due(now + *options.deadline);
        return n;
    }

    asio::awaitable<std::optional<saga_row>> read(std::string const& id)
    {
        std::optional<saga_row> row;
        auto work = [&](transaction_type& tx) { row = tx.find_saga(id); };
        co_await store_->transact(work);
        co_return row;
    }

    saga_row require(transaction_type& tx, std::string_view id)
    {
        auto row = tx.find_saga(id);
        if (!row)
            throw make_error(errc::not_found, "there is no saga '" + std::string{id} + "', or it was purged");
        if (is_ended(row->state))
            throw make_error(errc::saga_ended, "the saga '" + std::string{id} + "' is " + (row->state == saga_state::done ? "done" : "undone"));
        return std::move(*row);
    }
    void order(transaction_type& tx, std::string_view id, journal_entry const& entry)
    {
        require(tx, id);
        append_from_outside(tx, id, entry);
        machine_.hint(std::string{id});
    }
    saga_journal read_journal(transaction_type& tx, std::string const& id)
    {
        saga_journal journal;
        for (auto const& e : tx.read_journal(id, 0, most_shown))
            journal.apply(e);
        return journal;
    }
    /// Lets a paused saga go on the way it went.
    static void release(transaction_type& tx, saga_row& row, saga_journal const& journal)
    {
        row.state = journal.is_compensating() ? saga_state::compensating
                  : journal.is_confirming()   ? saga_state::confirming
                                              : saga_state::running;
        row.reason = journal.is_compensating() ? journal.reason() : std::string{};
        row.due_at = tx.now();
        tx.update_saga(row, row.epoch);
    }

    static saga_info info_of(saga_row const& row)
    {
        return {row.id, row.name, row.version, row.state, row.reason, row.lease_owner, row.due_at};
    }
    static saga_event event_of(journal_entry const& e)
    {
        auto const kind = static_cast<saga_entry>(e.kind);
        auto const note = binary_codec::decode<saga_note>(e.content);
        auto detail = note.value;
        if (!note.undo.empty())
            detail += (detail.empty() ? "" : "; ") + std::string{"undo "} + note.undo.type + " " + note.undo.payload;
        auto what = std::string{e.kind == 0 ? "unknown" : name_of(kind)};
        if (kind == saga_entry::answered)
            what += note.code == 0 ? ": success" : note.code == 1 ? ": refused" : ": ongoing";
        return {e.number, e.at, e.step, std::move(what), e.name, std::move(detail)};
    }

    Store* store_;
    saga_machine<Store> machine_;
    std::unique_ptr<running_consumer> answers_;
};

} // namespace cosaga::detail
