// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/detail/any_work.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/saga_entries.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/saga_options.hpp>
#include <cosaga/schedule.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The part of sagas that knows nothing of bodies, so that it can be compiled apart from their types.
namespace cosaga::detail {

/// One use of a verb, from its creation on. What is said of it afterwards (`undo`, `retry` ...) is said before it is awaited.
struct saga_operation {
    saga_verb verb{};
    std::string step;
    std::string name;
    saga_digest digest;
    saga_command undo;
    saga_command confirm;
    std::string topic; ///< of a call
    std::string key;   ///< of a call: what its message is ordered by
    std::optional<schedule> retries;
    duration within{}; ///< 0: no deadline
    bool awaited = false;
    bool over = false;
};
using saga_operation_ptr = std::shared_ptr<saga_operation>;

/// A local step: what it does in a transaction, and its encoded result.
template <class Tx>
using saga_work = any_work<Tx, std::string>;

/// An outside effect, and its encoded result. Called once for each attempt.
using saga_effect = std::function<asio::awaitable<std::string>(message_id key)>;

/// One branch of a saga that runs: the saga itself, or one of an `all` or `any`. Its awaitables never resume when the saga must not go on
/// here: the coroutines that await them are destroyed where they wait.
template <class Tx>
class saga_branch {
public:
    using body = std::function<asio::awaitable<void>(saga_branch&)>;

    saga_branch() = default;
    saga_branch(saga_branch const&) = delete;
    saga_branch& operator=(saga_branch const&) = delete;
    virtual ~saga_branch() = default;

    virtual std::string const& id() const noexcept = 0;
    /// Gives the next step of the branch to a verb.
    virtual saga_operation_ptr create(saga_verb verb, std::string_view name) = 0;

    virtual asio::awaitable<std::string> local(saga_operation_ptr op, saga_work<Tx> work) = 0;
    /// @param request has a type, a content type and a payload.
    virtual asio::awaitable<std::string> call(saga_operation_ptr op, message request) = 0;
    virtual asio::awaitable<std::string> effect(saga_operation_ptr op, saga_effect f) = 0;
    virtual asio::awaitable<void> sleep_for(saga_operation_ptr op, duration span) = 0;
    virtual asio::awaitable<void> sleep_until(saga_operation_ptr op, time_point when) = 0;
    /// Nothing when the time is over; `timeout` below 0: never.
    virtual asio::awaitable<std::optional<std::string>> receive(saga_operation_ptr op, duration timeout) = 0;
    virtual asio::awaitable<std::string> child(saga_operation_ptr op, std::string input) = 0;
    /// Runs the bodies at the same time. @return which of them decided: the first to succeed for `any`; for `all` none, which is their number.
    virtual asio::awaitable<std::size_t> branches(saga_operation_ptr op, std::vector<body> bodies) = 0;
    virtual asio::awaitable<void> continue_as_new(saga_operation_ptr op, std::string input) = 0;
    /// The value that was noted in this place, or that `make` makes now.
    virtual std::string note(std::string_view name, std::function<std::string()> const& make) = 0;
    virtual bool patched(std::string_view patch) = 0;
    virtual environment& get_environment() noexcept = 0;
};

template <class Tx>
struct saga_definition {
    std::string name;
    std::uint32_t version = 1;
    std::function<asio::awaitable<std::string>(saga_branch<Tx>&, std::string const& input)> body;
};

/// How commands of one type are carried out here: in a local transaction, or outside.
template <class Tx>
struct saga_compensation {
    std::function<void(Tx&, std::string const& payload)> local;
    std::function<asio::awaitable<void>(std::string payload, message_id key)> outside;
};

template <class Tx>
class saga_core : public component {
public:
    virtual void define(saga_definition<Tx> definition) = 0;
    virtual void compensate(std::string type, saga_compensation<Tx> compensation) = 0;
    virtual bool begin(Tx& tx, std::string_view name, std::string_view id, std::string input, begin_options const& options) = 0;
    virtual asio::awaitable<bool> begin(std::string name, std::string id, std::string input, begin_options options) = 0;
    virtual asio::awaitable<std::string> result(std::string id) = 0;
    virtual void send(Tx& tx, std::string_view id, std::string_view event, std::string payload) = 0;
    virtual asio::awaitable<void> send(std::string id, std::string event, std::string payload) = 0;
    virtual asio::awaitable<void> cancel(std::string id, std::string reason) = 0;
    virtual asio::awaitable<void> resume(std::string id) = 0;
    virtual asio::awaitable<void> retry(std::string id) = 0;
    virtual asio::awaitable<void> skip(std::string id, std::string step, std::string reason) = 0;
    virtual asio::awaitable<void> finish(std::string id, saga_state state, std::string reason) = 0;
    virtual asio::awaitable<std::optional<saga_info>> find(std::string id) = 0;
    virtual asio::awaitable<std::vector<saga_info>> list(saga_state state, std::string after, std::size_t most) = 0;
    virtual asio::awaitable<std::vector<saga_event>> journal(std::string id) = 0;
    virtual saga_counters counters() const = 0;
};

/// Defined in impl/saga.ipp, away from those who use it.
template <class Store, class Transport>
std::unique_ptr<saga_core<typename Store::transaction_type>> make_saga_core(
    Store& s, Transport& t, outbox_core<typename Store::transaction_type>& outbox, std::string_view content_type, saga_options options);

} // namespace cosaga::detail
