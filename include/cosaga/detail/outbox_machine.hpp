// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/ledger_keeper.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/receipt_registry.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/message.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/receipt.hpp>
#include <cosaga/relay.hpp>
#include <cosaga/storage.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// Stages messages in the message table, and keeps a relay for each destination.
template <store Store, transport Transport>
class outbox_machine final : public outbox_core<typename Store::transaction_type> {
public:
    using transaction_type = typename Store::transaction_type;

    outbox_machine(Store& s, Transport& t, outbox_options options)
        : store_{&s},
          transport_{&t},
          environment_{&s.get_environment()},
          options_{std::move(options)},
          ids_{*environment_},
          receipts_{std::make_shared<receipt_registry>()}
    {
        if (options_.service.empty() || options_.service.size() > t.limits().name)
            throw make_error(errc::bad_configuration, "outbox: the service name needs 1 to 255 bytes");
        if (options_.relay.window_messages == 0 || options_.relay.window_bytes == 0)
            throw make_error(errc::bad_configuration, "outbox: the relay's window must hold at least one message");
        for (auto const& l : options_.ledgers)
            if (l.retention <= duration::zero() || !ledgers_.try_emplace(l.topic, l).second)
                throw make_error(errc::bad_configuration,
                    "outbox: the ledger of '" + l.topic + "' needs a retention, and may be given once");
    }

    ~outbox_machine() override
    {
        try {
            receipts_->stop(); // who waits for one would keep it, and it who waits
        } catch (...) { // no memory for the error: they wait on
        }
    }

    std::string const& service() const noexcept override { return options_.service; }

    message compose(transaction_type& tx, std::string_view topic, send_options const& options) override
    {
        message m;
        m.id = ids_();
        m.time = tx.now();
        m.topic = topic;
        m.key = options.key;
        m.source = options_.service;
        m.headers.assign(options.headers.begin(), options.headers.end());
        return m;
    }

    bool keeps_ledger(std::string_view topic) const noexcept override { return !ledgers_.empty() && ledgers_.contains(topic); }

    void stage(transaction_type& tx, message m, duration delay, ledger_fields const* kept) override
    {
        if (delay < duration::zero())
            throw make_error(errc::bad_argument, "send: the delay must not be negative");
        check_limits(m, transport_->limits());
        auto const& queues = queues_of(m.topic);
        if (kept) {
            auto& l = ledgers_.find(m.topic)->second;
            l.keeper.keep(tx, l.name, ledger_record_of(m, *kept));
        }
        auto const state = delay > duration::zero() ? message_state::delayed : message_state::ready;
        for (std::size_t i = 0; i < queues.size(); ++i) {
            message_row row;
            row.due_at = delay > duration::zero() ? tx.now() + delay : time_point{};
            if (i + 1 == queues.size())
                row.content = std::move(m);
            else
                row.content = m;
            tx.append(queues[i], state, std::span<message_row>{&row, 1});
        }
    }

    receipt expect(message const& m) override
    {
        auto const& queues = queues_of(m.topic);
        return receipt{receipts_->add(m.id, queues.size())};
    }

    asio::awaitable<void> start() override
    {
        {
            // Before the queues are listed: one that is named first between the two would never be relayed.
            std::lock_guard const lock{mutex_};
            started_ = true;
        }
        std::vector<queue_name> found;
        auto list = [&](auto& tx) {
            found = tx.queues();
            for (auto const& [topic, l] : ledgers_)
                tx.open_ledger(l.name);
            for (auto const& [topic, queues] : queues_)
                found.insert(found.end(), queues.begin(), queues.end());
        };
        co_await store_->transact(list);
        for (auto const& queue : found)
            if (is_relayed(queue))
                relay_to(queue);
    }

    asio::awaitable<void> stop() override
    {
        std::vector<relay<Store, Transport>*> running;
        {
            std::lock_guard const lock{mutex_};
            started_ = false;
            for (auto& [queue, r] : relays_)
                running.push_back(r.get());
        }
        for (auto* r : running)
            co_await r->stop();
        receipts_->stop();
        std::lock_guard const lock{mutex_};
        relays_.clear();
    }

    asio::awaitable<std::vector<destination_status>> status() override
    {
        std::vector<destination_status> all;
        auto read = [&](auto& tx) {
            for (auto& queue : tx.queues()) {
                if (!is_relayed(queue))
                    continue;
                auto& s = all.emplace_back();
                s.pending = tx.count(queue, message_state::ready);
                s.delayed = tx.count(queue, message_state::delayed);
                s.dead = tx.count(queue, message_state::dead);
                for (auto const& row : tx.read(queue, message_state::ready, 0, 1))
                    s.oldest_age = tx.now() - row.content.time;
                s.queue = std::move(queue);
            }
        };
        co_await store_->transact(read);
        std::lock_guard const lock{mutex_};
        for (auto& s : all)
            if (auto const r = relays_.find(s.queue); r != relays_.end())
                s.counters = r->second->counters();
        co_return all;
    }

private:
    struct kept_ledger {
        explicit kept_ledger(ledger_options const& o) : name{outbox_ledger(o.topic)}, keeper{o.retention} {}

        std::string name;
        ledger_keeper keeper;
    };

    // Notifications have a notifier; what a reconciler has parked is for people.
    static bool is_relayed(queue_name const& queue)
    {
        return queue.side == queue_side::outbox && !queue.topic.starts_with(notifications_topic)
            && !queue.topic.starts_with(reconciliation_topic);
    }

    // Only ever called on the store's thread, one transaction at a time.
    std::vector<queue_name> const& queues_of(std::string_view topic)
    {
        auto const known = queues_.find(topic);
        if (known != queues_.end())
            return known->second;
        std::vector<queue_name> queues;
        for (auto& consumer : transport_->consumers_of(topic))
            queues.push_back({queue_side::outbox, std::string{topic}, std::move(consumer)});
        if (queues.empty())
            throw make_error(errc::no_route,
                "send: no destination is declared for the topic '" + std::string{topic} + "': add a route to the transport");
        for (auto const& queue : queues)
            relay_to(queue);
        return queues_.emplace(topic, std::move(queues)).first->second;
    }

    void relay_to(queue_name const& queue)
    {
        std::lock_guard const lock{mutex_};
        if (!started_ || relays_.contains(queue))
            return;
        std::unique_ptr<relay<Store, Transport>> made;
        try {
            made = std::make_unique<relay<Store, Transport>>(*store_, *transport_, queue, options_.relay, receipts_);
        } catch (boost::system::system_error const& e) {
            environment_->report("outbox: messages of " + queue.topic + " for " + queue.consumer
                                 + " stay in the table: " + e.what());
            return;
        }
        made->start();
        relays_.emplace(queue, std::move(made));
    }

    Store* store_;
    Transport* transport_;
    environment* environment_;
    outbox_options options_;
    message_id_generator ids_;
    std::shared_ptr<receipt_registry> receipts_;
    std::map<std::string, std::vector<queue_name>, std::less<>> queues_;
    std::map<std::string, kept_ledger, std::less<>> ledgers_; // by topic; changed on the store's thread
    std::mutex mutex_; // guards what follows
    bool started_ = false;
    std::map<queue_name, std::unique_ptr<relay<Store, Transport>>> relays_;
};

} // namespace cosaga::detail
