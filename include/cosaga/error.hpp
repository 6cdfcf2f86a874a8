// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <string>
#include <type_traits>

namespace cosaga {

/// What happened. Compare with `==`, or ask `remedy` what to do about it.
enum class errc {
    // ground and message
    bad_argument = 1,      ///< an argument or option is outside its documented range
    bad_configuration,     ///< options that contradict each other
    malformed_data,        ///< bytes that are not what their format says
    limit_exceeded,        ///< a documented size, depth or count limit
    unsupported_type,      ///< a message type or content type that nobody registered here
    // storage
    store_failed,          ///< the engine refused or failed; nothing of the group is durable
    store_busy,            ///< another process held the write lock longer than the busy timeout
    store_full,            ///< no space left for the database
    store_closed,          ///< the store was closed before the work started
    schema_too_new,        ///< the database was written by a newer version of the library
    sql_failed,            ///< one SQL statement of the user failed
    not_found,             ///< no such row, dead letter, saga or queue
    transaction_fenced,    ///< the outcome was already decided otherwise
    // transport
    no_route,              ///< no destination is declared for the topic
    unreachable,           ///< the destination did not take the message
    rejected,              ///< the destination refused the message for good
    transport_closed,      ///< the transport or its handle was closed
    transport_failed,      ///< the socket layer refused an operation
    insecure_endpoint,     ///< a bind beyond loopback without authentication
    // patterns
    timed_out,             ///< no answer within the given time
    handler_failed,        ///< a user handler threw
    dead_lettered,         ///< the message was parked as a dead letter
    request_refused,       ///< the responder answered with an error
    transaction_unknown,   ///< whether the local transaction committed cannot be said now; a check-back will find out
    transaction_conflict,  ///< committed here, but its message was dropped before: somebody had decided otherwise
    step_refused,          ///< the business said no to a step of a saga
    saga_unregistered,     ///< nobody registered here a saga of that name and version, or that compensation
    saga_conflict,         ///< the id belongs to a saga of another name or input
    saga_mismatch,         ///< the code of a saga does not do what its journal says
    saga_misused,          ///< a saga's context was used in a way that cannot be replayed
    saga_undone,           ///< the saga has no result: what it did was undone
    saga_ended,            ///< the saga ended before, and keeps its outcome
};

/// What to do about an error: `if (e.code() == remedy::retry) ...`.
///
/// Retry with back-off when the cause is outside and may pass; compensate when the business said no;
/// give up when the same call can never succeed.
enum class remedy { retry = 1, compensate, give_up };

/// The category of `errc`. Its conditions are `remedy` values.
boost::system::error_category const& error_category() noexcept;
/// The category of `remedy`.
boost::system::error_category const& remedy_category() noexcept;

inline boost::system::error_code make_error_code(errc e) noexcept
{
    return {static_cast<int>(e), error_category()};
}

inline boost::system::error_condition make_error_condition(remedy r) noexcept
{
    return {static_cast<int>(r), remedy_category()};
}

/// An exception that says what happened (`errc`) and to what (`context`).
/// `context` names the thing and the remedy; it never holds payloads, keys or secrets.
inline boost::system::system_error make_error(errc e, std::string const& context)
{
    return {make_error_code(e), context};
}

/// What a step of a saga throws, here or at a participant, when the business says no: it is not tried again, and what ran before is undone.
inline boost::system::system_error refusal(std::string const& why)
{
    return make_error(errc::step_refused, why);
}

} // namespace cosaga

template <>
struct boost::system::is_error_code_enum<cosaga::errc> : std::true_type {};
template <>
struct boost::system::is_error_condition_enum<cosaga::remedy> : std::true_type {};

namespace cosaga::detail {

inline remedy remedy_of(errc e) noexcept
{
    switch (e) {
    case errc::store_failed:
    case errc::store_busy:
    case errc::store_full:
    case errc::unreachable:
    case errc::transport_failed:
    case errc::timed_out:
    case errc::handler_failed:
        return remedy::retry;
    case errc::transaction_fenced:
    case errc::request_refused:
    case errc::rejected:
    case errc::transaction_conflict:
    case errc::step_refused:
        return remedy::compensate;
    default:
        return remedy::give_up;
    }
}

class error_category_impl final : public boost::system::error_category {
public:
    char const* name() const noexcept override { return "cosaga"; }

    std::string message(int value) const override
    {
        switch (static_cast<errc>(value)) {
        case errc::bad_argument: return "bad argument";
        case errc::bad_configuration: return "bad configuration";
        case errc::malformed_data: return "malformed data";
        case errc::limit_exceeded: return "limit exceeded";
        case errc::unsupported_type: return "unsupported type";
        case errc::store_failed: return "the store failed";
        case errc::store_busy: return "the store is busy";
        case errc::store_full: return "the store is full";
        case errc::store_closed: return "the store is closed";
        case errc::schema_too_new: return "the schema is too new";
        case errc::sql_failed: return "SQL failed";
        case errc::not_found: return "not found";
        case errc::transaction_fenced: return "the transaction is fenced";
        case errc::no_route: return "no route";
        case errc::unreachable: return "unreachable";
        case errc::rejected: return "rejected";
        case errc::transport_closed: return "the transport is closed";
        case errc::transport_failed: return "the transport failed";
        case errc::insecure_endpoint: return "insecure endpoint";
        case errc::timed_out: return "timed out";
        case errc::handler_failed: return "the handler failed";
        case errc::dead_lettered: return "dead-lettered";
        case errc::request_refused: return "the request was refused";
        case errc::transaction_unknown: return "the outcome of the local transaction is not known yet";
        case errc::transaction_conflict: return "the message of a committed transaction was dropped";
        case errc::step_refused: return "the step was refused";
        case errc::saga_unregistered: return "not registered for sagas";
        case errc::saga_conflict: return "the saga id is used by another saga";
        case errc::saga_mismatch: return "the saga's code does not match its journal";
        case errc::saga_misused: return "the saga's context was misused";
        case errc::saga_undone: return "the saga was undone";
        case errc::saga_ended: return "the saga has ended";
        }
        return "unknown cosaga error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        return make_error_condition(remedy_of(static_cast<errc>(value)));
    }
};

class remedy_category_impl final : public boost::system::error_category {
public:
    char const* name() const noexcept override { return "cosaga.remedy"; }

    std::string message(int value) const override
    {
        switch (static_cast<remedy>(value)) {
        case remedy::retry: return "retry with back-off";
        case remedy::compensate: return "compensate";
        case remedy::give_up: return "give up";
        }
        return "unknown remedy " + std::to_string(value);
    }
};

} // namespace cosaga::detail

inline boost::system::error_category const& cosaga::error_category() noexcept
{
    static detail::error_category_impl const instance;
    return instance;
}

inline boost::system::error_category const& cosaga::remedy_category() noexcept
{
    static detail::remedy_category_impl const instance;
    return instance;
}
