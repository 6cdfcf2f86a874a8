// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/ledger_difference.hpp>
#include <cosaga/ledger_options.hpp>
#include <cosaga/message.hpp>
#include <cosaga/reconciler_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/describe/enum_to_string.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// What a reconciler does with messages in the outbox towards its participant.
class mends {
public:
    mends(std::string service, std::string const& topic, std::string const& participant)
        : service_{std::move(service)},
          queue_{queue_side::outbox, topic, participant},
          parked_{queue_side::outbox, std::string{reconciliation_topic} + "." + topic, participant}
    {
    }

    /// For each difference whether the participant lacks a message only because it is still in the outbox, to be sent.
    template <store_transaction Tx>
    std::vector<bool> waiting(Tx& tx, std::span<ledger_difference const> found) const
    {
        std::vector<message_id> lacking;
        for (auto const& d : found)
            if (d.kind() == difference_kind::missing_at_participant)
                lacking.push_back(d.id());
        std::vector<message_id> waits;
        std::optional<time_point> behind; // from which on everything waits
        if (!lacking.empty()) {
            for (auto const& row : tx.find(lacking))
                if (row.queue == queue_ && row.state != message_state::dead)
                    waits.push_back(row.row.content.id);
            add_ready(tx, waits, behind);
        }
        std::sort(waits.begin(), waits.end());
        std::vector<bool> result;
        for (auto const& d : found)
            result.push_back(d.kind() == difference_kind::missing_at_participant
                             && ((behind && d.here->time >= *behind) || std::binary_search(waits.begin(), waits.end(), d.id())));
        return result;
    }

    /// Gives a message that was parked in the outbox its whole schedule again. False if there is none.
    template <store_transaction Tx>
    bool revive(Tx& tx, ledger_difference const& d) const
    {
        for (auto& found : tx.find({&d.id(), 1}))
            if (found.queue == queue_ && found.state == message_state::dead) {
                found.row.attempts = 0;
                found.row.due_at = {};
                found.row.last_error.clear();
                return tx.move(queue_, message_state::dead, message_state::ready, found.row);
            }
        return false;
    }

    /// The message of a record, without a body.
    message message_of(ledger_record const& r, std::string_view kind) const
    {
        message m;
        m.id = r.id;
        m.time = r.time;
        m.topic = queue_.topic;
        m.key = r.key;
        m.source = service_;
        m.headers.push_back({mend_header, std::string{kind}});
        return m;
    }

    /// To the participant alone, not to the other consumers of the topic.
    template <store_transaction Tx>
    void send(Tx& tx, message m) const
    {
        append(tx, queue_, message_state::ready, std::move(m), {});
    }

    template <store_transaction Tx>
    void park(Tx& tx, ledger_difference const& d) const
    {
        for (auto const& found : tx.find({&d.id(), 1}))
            if (found.queue == parked_)
                return;
        message m;
        m.id = d.id();
        m.time = d.position().time;
        m.topic = parked_.topic;
        m.key = d.here ? d.here->key : d.there->key;
        m.type = "cosaga.difference";
        m.source = service_;
        m.content_type = "text/plain";
        m.payload = d.to_string();
        auto const kind = boost::describe::enum_to_string(d.kind(), "");
        append(tx, parked_, message_state::dead, std::move(m), kind);
    }

private:
    static constexpr std::size_t most_read = 1000;

    // All that is ready to be sent if it is not much, else only since when.
    template <class Tx>
    void add_ready(Tx& tx, std::vector<message_id>& waits, std::optional<time_point>& behind) const
    {
        auto const count = tx.count(queue_, message_state::ready);
        if (count == 0)
            return;
        auto const rows = tx.read(queue_, message_state::ready, 0, count > most_read ? 1 : most_read);
        for (auto const& row : rows)
            waits.push_back(row.content.id);
        if (count > most_read && !rows.empty())
            behind = rows.front().content.time;
    }

    template <class Tx>
    static void append(Tx& tx, queue_name const& queue, message_state state, message m, std::string error)
    {
        message_row row;
        row.content = std::move(m);
        row.last_error = std::move(error);
        tx.append(queue, state, std::span<message_row>{&row, 1});
    }

    std::string service_;
    queue_name queue_;
    queue_name parked_;
};

} // namespace cosaga::detail
