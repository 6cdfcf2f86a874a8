// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/schedule.hpp>

#include <boost/asio/awaitable.hpp>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace cosaga::detail {

template <class T>
using saga_value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class Command>
struct saga_reply {
    using type = void;
};
template <class Command>
    requires requires { typename Command::reply; }
struct saga_reply<Command> {
    using type = typename Command::reply;
};
/// What the participant of a command answers.
template <class Command>
using saga_reply_of = typename saga_reply<Command>::type;

/// A step that was called and not awaited yet. An `asio::awaitable<T>` itself, because Asio's coroutines can await nothing else of ours.
template <class T, class Codec, saga_verb Verb>
class [[nodiscard]] saga_step : public asio::awaitable<T> {
public:
    saga_step(asio::awaitable<T> run, saga_operation_ptr op) : asio::awaitable<T>{std::move(run)}, op_{std::move(op)} {}

    /// Stores a `Body{args...}` with the step: what undoes it.
    template <class Body, class... Args>
    saga_step&& undo(Args&&... args) &&
    {
        op_->undo = command<Body>(std::forward<Args>(args)...);
        op_->digest.add(op_->undo.type).add(op_->undo.payload);
        return std::move(*this);
    }

    /// Try, confirm, cancel: a call that only reserves. When the body has returned, all such calls are confirmed, each until it
    /// succeeds; if the saga is undone, `undo` cancels them.
    template <class Body, class... Args>
        requires(Verb == saga_verb::call)
    saga_step&& confirm(Args&&... args) &&
    {
        op_->confirm = command<Body>(std::forward<Args>(args)...);
        op_->digest.add(op_->confirm.type).add(op_->confirm.payload);
        return std::move(*this);
    }

    /// Messages of one key reach a participant in order.
    saga_step&& key(std::string_view k) &&
        requires(Verb == saga_verb::call)
    {
        op_->key = k;
        return std::move(*this);
    }

    /// When to try again, instead of `saga_options::retries`.
    saga_step&& retry(schedule const& s) &&
        requires(Verb == saga_verb::step || Verb == saga_verb::effect)
    {
        op_->retries = s;
        return std::move(*this);
    }

    /// The step fails with `errc::timed_out` if it is not over by then. It may have run all the same, and is undone with the saga.
    saga_step&& within(duration span) &&
    {
        if (span <= duration::zero())
            throw make_error(errc::bad_argument, "within: the time must be greater than 0");
        op_->within = span;
        return std::move(*this);
    }

private:
    template <class Body, class... Args>
    saga_command command(Args&&... args) const
    {
        static_assert(codec<Codec, Body>, "the codec cannot encode this compensation: describe it with BOOST_DESCRIBE_STRUCT");
        return {op_->topic, std::string{message_type_of<Body>()}, Codec::encode(Body{std::forward<Args>(args)...})};
    }

    saga_operation_ptr op_;
};

} // namespace cosaga::detail
