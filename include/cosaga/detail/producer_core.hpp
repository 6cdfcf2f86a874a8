// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/detail/running_sends.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transactional_options.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <string_view>

namespace cosaga::detail {

/// A half message that a coordinator has stored.
struct prepared_half {
    message_id id;
    std::size_t coordinator = 0;
};

/// The resource of a producer, whatever its type.
class outcome_source {
public:
    outcome_source() = default;
    outcome_source(outcome_source const&) = delete;
    outcome_source& operator=(outcome_source const&) = delete;
    virtual ~outcome_source() = default;

    virtual asio::awaitable<transaction_outcome> check(message_id id) = 0;
};

/// The part of a producer that knows nothing of bodies, so that it can be compiled apart from their types.
class producer_core : public component {
public:
    /// Held by each `send` as long as it runs: `stop` waits for it. It may outlive the producer.
    virtual running_sends::one enter() = 0;
    /// A message without type and payload.
    virtual message compose(std::string_view topic, transaction_options const& options) = 0;
    /// Has it stored by a coordinator, which gives it a new id.
    virtual asio::awaitable<prepared_half> prepare(message m) = 0;
    /// What the resource says; unknown if it throws.
    virtual asio::awaitable<transaction_outcome> find_out(message_id id) = 0;
    /// Tells the coordinator, as often as it takes.
    virtual void tell(prepared_half const& half, transaction_outcome outcome) = 0;
    /// The same, and waits for the coordinator, but not for long.
    /// @throws system_error `errc::transaction_conflict`
    virtual asio::awaitable<void> resolve(prepared_half const& half, transaction_outcome outcome) = 0;
};

/// Defined in impl/transactional_producer.ipp, away from those who use it.
template <class Transport>
std::unique_ptr<producer_core> make_producer_core(Transport& t, std::unique_ptr<outcome_source> resource, producer_options options);

} // namespace cosaga::detail
