// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <string>
#include <string_view>

namespace cosaga {

/// Keeps a ledger of the messages that an outbox sends to a topic.
///
/// What it keeps of a body are the members that the body names:
/// @code
/// struct order {
///     std::string id;
///     std::int64_t cents = 0;
///     std::string state;
///     static constexpr std::string_view reconciled[] = {"cents", "state"};
/// };
/// BOOST_DESCRIBE_STRUCT(order, (), (id, cents, state))
/// @endcode
/// Both ends must name the same. A record is written in the transaction that sends its message, or applies it: so the ledger is
/// right as often as the database is.
struct ledger_options {
    std::string topic;
    duration retention = std::chrono::days{30}; ///< older records are purged while new ones come
};

/// The ledger of an outbox: the messages of its own service to a topic, whatever their destinations.
inline std::string outbox_ledger(std::string_view topic)
{
    return "outbox/" + std::string{topic};
}

/// The ledger of a consumer: the messages of one service that it has applied. With an empty source: the name before it, which
/// tells since when there are such ledgers.
inline std::string inbox_ledger(std::string_view topic, std::string_view consumer, std::string_view source)
{
    std::string name = "inbox/";
    name.append(topic).append("/").append(consumer);
    return source.empty() ? name : name.append("/").append(source);
}

/// Begins the topics under which differences are parked for people, one for each reconciled topic.
inline constexpr std::string_view reconciliation_topic = "cosaga.reconciliation";

namespace detail {

/// On a message that is sent again because the ledger of its consumer lacks it: then the ledger decides whether it is new, not the mark.
inline constexpr char mend_header[] = "cosagamend";
inline constexpr std::string_view mend_missing = "missing"; ///< apply it if there is no record of it
inline constexpr std::string_view mend_differs = "differs"; ///< or if the record is of another content

} // namespace detail

} // namespace cosaga
