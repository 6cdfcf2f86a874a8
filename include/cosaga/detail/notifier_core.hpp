// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/component.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/notification_options.hpp>
#include <cosaga/notification_sink.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// A sink whose type is not known where notifications are kept.
class erased_sink {
public:
    virtual ~erased_sink() = default;
    virtual asio::awaitable<attempt_result> deliver(std::string const& destination, message const& m) = 0;
    virtual void check(std::string const& destination) = 0;
};

/// The part of a notifier that knows nothing of bodies, so that it can be compiled apart from their types.
template <class Tx>
class notifier_core : public component {
public:
    /// @param m has a type, a content type and a payload.
    virtual message_id stage(Tx& tx, std::string_view destination, message m, notification_options const& options) = 0;
    virtual asio::awaitable<message_id> store(std::string destination, message m, notification_options options) = 0;
    virtual asio::awaitable<std::optional<notification>> find(message_id id) = 0;
    virtual asio::awaitable<std::vector<notification>> list(
        std::string destination, notification_state state, std::int64_t after, std::size_t most) = 0;
    virtual asio::awaitable<std::vector<notified_destination>> destinations() = 0;
    virtual asio::awaitable<bool> restart(message_id id) = 0;
    virtual asio::awaitable<std::size_t> restart_all(std::string destination, std::string reason_contains) = 0;
    virtual asio::awaitable<bool> enable(std::string destination) = 0;
    virtual notifier_counters counters() const = 0;
    virtual std::string const& topic() const noexcept = 0;
};

/// Defined in impl/notifier.ipp, away from those who use it.
template <class Store>
std::unique_ptr<notifier_core<typename Store::transaction_type>> make_notifier_core(Store& s, message_limits const& limits,
    std::string const& service, std::unique_ptr<erased_sink> sink, notifier_options options);

} // namespace cosaga::detail
