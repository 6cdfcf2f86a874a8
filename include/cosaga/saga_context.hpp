// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/saga_core.hpp>
#include <cosaga/detail/saga_step.hpp>
#include <cosaga/detail/safe_to_await.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cosaga {

/// The verbs of a saga. A body gets one by reference, and awaits nothing else.
///
/// @code
/// using saga = cosaga::saga_context<shop_node::outbox_type>;
///
/// asio::awaitable<receipt> place_order(saga& s, order o)
/// {
///     auto held = co_await s.step("hold stock", [&](auto& tx) { return hold(tx, o); }).undo<release>(o.id);
///     auto paid = co_await s.call<charge>("payments", o.id, o.cents).undo<refund>(o.id);
///     co_await s.sleep_for(24h);                                    // over restarts, too
///     auto said = co_await s.receive<customer_reply>("reply", 48h); // an event from outside, or nothing in time
///     co_return receipt{o.id, paid.reference};
/// }
/// @endcode
/// The context is a template over the outbox, because a local step is handed the transaction of the user's own store, with its SQL and `send`.
///
/// **Replay.** Each verb takes the next number of its branch when it is *called*, and writes into the journal what became of it. After a crash the
/// body runs again from its beginning; a verb of which the journal knows the outcome returns it, or throws it, without doing anything. So a body
/// must do the same again with the same outcomes: time, chance and ids come from `now`, `random` and `uuid`, all else from verbs. Whether it
/// does is checked: the verb, its name and a digest of its arguments are compared with the journal, and a saga that differs is paused with
/// both in the reason.
///
/// **What is durable when.**
/// | verb               | before it begins               | with its effect                              |
/// |--------------------|--------------------------------|----------------------------------------------|
/// | `step`             | -                              | its result and its compensation: exactly once |
/// | `call`             | request and compensation, together | at the participant, exactly once          |
/// | `effect`           | its compensation               | - (at least once, always with the same key)  |
/// | `sleep`, `receive` | when the time is over          | -                                            |
/// A value of `now`, `random`, `uuid`, `patched`, an event that was received and the winner of `any` are durable before anything that can
/// depend on them is.
///
/// **Failure.** A verb throws a `system_error` when the business says no (`remedy::compensate`, mostly `errc::step_refused`: `throw refusal(...)`) or
/// when its deadline has passed (`errc::timed_out`). The body may catch that and go another way; when it leaves the body the saga is undone. Anything else that
/// goes wrong is tried again, here or after a restart, or pauses the saga; the body does not see it.
///
/// **The end.** When a saga is cancelled, does not match its journal, or its process stops, its coroutine is *destroyed where it waits*: no exception
/// is thrown that a `catch (...)` could swallow, and no verb ever resumes. Destructors of the body's variables run, and must do nothing else.
///
/// **Compensation.** `undo<Body>(args...)` builds a `Body` and stores it before the effect can have happened. A `step` or `effect` is undone by the handler that
/// `saga_engine::compensate<Body>` registered, a `call` by the participant that is sent the `Body`. Nothing is captured: when it runs the body's
/// variables are gone, perhaps with their process.
///
/// On g++ 12 function objects in a `co_await` expression must capture by reference, or be named first; the compiler says so.
/// @par Thread safety
/// none: one verb of a branch at a time, awaited where it is called. What is to happen at the same time is given to `all` or `any`.
template <class Outbox>
class saga_context {
    using store_transaction = typename Outbox::store_type::transaction_type;
    using branch = detail::saga_branch<store_transaction>;
    using codec = typename Outbox::codec_type;
    template <class T, detail::saga_verb Verb>
    using step_of = detail::saga_step<T, codec, Verb>;
    template <class F>
    using branch_result = typename std::invoke_result_t<F&, saga_context&>::value_type;

public:
    using transaction = typename Outbox::transaction;

    saga_context(branch& b, Outbox& o) noexcept : branch_{&b}, outbox_{&o} {}
    saga_context(saga_context const&) = delete;
    saga_context& operator=(saga_context const&) = delete;

    std::string const& id() const noexcept { return branch_->id(); }

    /// Runs `T work(transaction&)` as one local transaction in which the journal is written, too: exactly once.
    ///
    /// `work` may send. It runs on the store's thread and must not block. If it throws, it is rolled back: with `remedy::compensate` the step
    /// has failed, with `remedy::give_up` the saga is paused, else it is tried again.
    /// @par Completes with
    /// what `work` returns, as it was encoded and decoded again: a value that the codec can encode, or `void`.
    template <class Work>
    auto step(std::string_view name, Work&& work)
    {
        using result = std::remove_cvref_t<std::invoke_result_t<std::remove_reference_t<Work>&, transaction&>>;
        require_safe<Work>();
        require_encodable<result>();
        auto op = branch_->create(detail::saga_verb::step, name);
        return step_of<result, detail::saga_verb::step>{
            run_step<result, Work>(*branch_, *outbox_, op, std::forward<Work>(work)), op};
    }

    /// Sends a `Command{args...}` to the participant of a topic, and waits for its answer as long as that takes.
    /// @par Completes with
    /// a `Command::reply`, or `void` if there is no such type.
    /// @par Errors
    /// @li `errc::step_refused` - the participant said no.
    /// @li `errc::timed_out` - no answer `within` the time; the action may have run, and will be undone if the saga is.
    template <class Command, class... Args>
    auto call(std::string_view topic, Args&&... args)
    {
        using result = detail::saga_reply_of<Command>;
        static_assert(cosaga::codec<codec, Command>, "the codec cannot encode this command: describe it with BOOST_DESCRIBE_STRUCT");
        require_encodable<result>();
        message request;
        request.type = message_type_of<Command>();
        request.content_type = codec::content_type;
        request.payload = codec::encode(Command{std::forward<Args>(args)...});
        auto op = branch_->create(detail::saga_verb::call, request.type);
        op->topic = topic;
        op->digest.add(topic).add(request.payload);
        return step_of<result, detail::saga_verb::call>{run_call<result>(*branch_, op, std::move(request)), op};
    }

    /// Awaits `asio::awaitable<T> f(message_id key)`, something that happens outside of the store: at least once, always with the same key.
    ///
    /// What it throws counts as for `step`, but it may have run: it is undone if the saga is, unless it threw with `remedy::compensate`.
    template <class Effect>
    auto effect(std::string_view name, Effect&& f)
    {
        using result = typename std::invoke_result_t<std::remove_reference_t<Effect>&, message_id>::value_type;
        require_safe<Effect>();
        require_encodable<result>();
        auto op = branch_->create(detail::saga_verb::effect, name);
        return step_of<result, detail::saga_verb::effect>{run_effect<result, Effect>(*branch_, op, std::forward<Effect>(f)), op};
    }

    /// Suspends for `span`, also over restarts.
    asio::awaitable<void> sleep_for(duration span)
    {
        return branch_->sleep_for(branch_->create(detail::saga_verb::sleep, "sleep"), span);
    }
    asio::awaitable<void> sleep_until(time_point when)
    {
        return branch_->sleep_until(branch_->create(detail::saga_verb::sleep, "sleep"), when);
    }

    /// The next event of that name that `saga_engine::send` sent to this saga, also before this was called. Each is received once.
    template <class Event>
    asio::awaitable<Event> receive(std::string_view name)
    {
        return receive_always<Event>(*branch_, branch_->create(detail::saga_verb::receive, name));
    }
    /// The same, or nothing when none has come in time.
    template <class Event>
    asio::awaitable<std::optional<Event>> receive(std::string_view name, duration timeout)
    {
        if (timeout < duration::zero())
            throw make_error(errc::bad_argument, "receive: the timeout must not be negative");
        return receive_in_time<Event>(*branch_, branch_->create(detail::saga_verb::receive, name), timeout);
    }

    /// Begins another saga of this store, and waits for its result. If this saga is undone while it runs, it is cancelled.
    /// @par Errors
    /// `errc::step_refused` - it was undone.
    template <class Result, class Input>
    auto child(std::string_view name, Input const& input)
    {
        require_encodable<Result>();
        auto encoded = codec::encode(input);
        auto op = branch_->create(detail::saga_verb::child, name);
        op->digest.add(encoded);
        return step_of<Result, detail::saga_verb::child>{run_child<Result>(*branch_, op, std::move(encoded)), op};
    }

    /// Runs branches at the same time: `asio::awaitable<T> f(saga_context&)` each, with a context of its own.
    ///
    /// When one throws, the others are stopped where they are, and that comes out; what they did is undone if the saga is.
    /// @par Completes with
    /// a tuple of the results, `std::monostate` for `void`.
    template <class... Branches>
    asio::awaitable<std::tuple<detail::saga_value<branch_result<Branches>>...>> all(Branches&&... branches)
    {
        (require_safe<Branches>(), ...);
        auto op = branch_->create(detail::saga_verb::all, "all");
        op->digest.add(std::to_string(sizeof...(Branches)));
        return run_all<Branches...>(*branch_, *outbox_, op, std::forward<Branches>(branches)...);
    }

    /// The same with one branch, `asio::awaitable<T> f(saga_context&, Item const&)`, for each item. @return a vector of the results.
    template <class Item, class Branch>
    auto all_of(std::vector<Item> const& items, Branch& f)
    {
        auto op = branch_->create(detail::saga_verb::all, "all_of");
        op->digest.add(std::to_string(items.size()));
        return run_all_of<Item, Branch>(*branch_, *outbox_, op, items, f);
    }

    /// Runs branches at the same time until the first has succeeded. The others are stopped where they are and undone before this returns.
    ///
    /// When all throw, what the first of them in their order threw comes out.
    /// @par Completes with
    /// a variant whose `index()` says which branch it was.
    template <class... Branches>
    asio::awaitable<std::variant<detail::saga_value<branch_result<Branches>>...>> any(Branches&&... branches)
    {
        (require_safe<Branches>(), ...);
        auto op = branch_->create(detail::saga_verb::any, "any");
        op->digest.add(std::to_string(sizeof...(Branches)));
        return run_any<Branches...>(*branch_, *outbox_, op, std::forward<Branches>(branches)...);
    }

    /// Ends this run and begins another with this input and an empty journal, under the same id: for a saga that runs for ever. It never returns.
    /// Compensations of what was done stay, and so do events that nobody has received.
    template <class Input>
    asio::awaitable<void> continue_as_new(Input const& input)
    {
        return branch_->continue_as_new(branch_->create(detail::saga_verb::step, "continue as new"), codec::encode(input));
    }

    /// The time at which this was first called.
    time_point now()
    {
        return codec::template decode<time_point>(
            branch_->note("now", [this] { return codec::encode(branch_->get_environment().now()); }));
    }
    /// 64 random bits, the same on replay. Not for secrets.
    std::uint64_t random()
    {
        return codec::template decode<std::uint64_t>(
            branch_->note("random", [this] { return codec::encode(branch_->get_environment().random()); }));
    }
    /// A new id, the same on replay.
    message_id uuid()
    {
        return codec::template decode<message_id>(branch_->note("uuid", [this] {
            message_id_generator make{branch_->get_environment()};
            return codec::encode(make());
        }));
    }

    /// Whether a saga that comes here takes the way of a change that was made to its code within a version: false for one that passed here
    /// before the change. It is asked where the ways part, and the answer to one name is always the same.
    bool patched(std::string_view patch) { return branch_->patched(patch); }

private:
    template <class F>
    static constexpr void require_safe()
    {
        static_assert(detail::safe_to_await<F>, "name the function object first: g++ 12 destroys it twice (GCC PR 99576)");
    }
    template <class T>
    static constexpr void require_encodable()
    {
        if constexpr (!std::is_void_v<T>)
            static_assert(cosaga::codec<codec, T>, "the codec cannot encode this result: describe it with BOOST_DESCRIBE_STRUCT");
    }

    template <class T>
    static T decoded(std::string const& outcome)
    {
        if constexpr (!std::is_void_v<T>)
            return codec::template decode<T>(outcome);
    }

    template <class T, class Work>
    static asio::awaitable<T> run_step(branch& b, Outbox& o, detail::saga_operation_ptr op, Work work)
    {
        auto const body = [&](store_transaction& base) -> std::string {
            auto tx = o.adopt(base);
            if constexpr (std::is_void_v<T>) {
                work(tx);
                return {};
            } else {
                return codec::encode(work(tx));
            }
        };
        auto const outcome = co_await b.local(std::move(op), detail::saga_work<store_transaction>::refer_to(body));
        co_return decoded<T>(outcome);
    }

    template <class T>
    static asio::awaitable<T> run_call(branch& b, detail::saga_operation_ptr op, message request)
    {
        auto const outcome = co_await b.call(std::move(op), std::move(request));
        co_return decoded<T>(outcome);
    }

    template <class T, class Effect>
    static asio::awaitable<T> run_effect(branch& b, detail::saga_operation_ptr op, Effect f)
    {
        detail::saga_effect attempt = [&](message_id key) { return encoded<T>(f(key)); };
        auto const outcome = co_await b.effect(std::move(op), std::move(attempt));
        co_return decoded<T>(outcome);
    }
    template <class T>
    static asio::awaitable<std::string> encoded(asio::awaitable<T> effect)
    {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(effect);
            co_return std::string{};
        } else {
            auto const value = co_await std::move(effect);
            co_return codec::encode(value);
        }
    }

    template <class Event>
    static asio::awaitable<Event> receive_always(branch& b, detail::saga_operation_ptr op)
    {
        auto const payload = co_await b.receive(std::move(op), duration{-1});
        co_return codec::template decode<Event>(*payload);
    }
    template <class Event>
    static asio::awaitable<std::optional<Event>> receive_in_time(branch& b, detail::saga_operation_ptr op, duration timeout)
    {
        auto const payload = co_await b.receive(std::move(op), timeout);
        std::optional<Event> event;
        if (payload)
            event = codec::template decode<Event>(*payload);
        co_return event;
    }

    template <class T>
    static asio::awaitable<T> run_child(branch& b, detail::saga_operation_ptr op, std::string input)
    {
        auto const outcome = co_await b.child(std::move(op), std::move(input));
        co_return decoded<T>(outcome);
    }

    template <class F, class... Args>
    static asio::awaitable<void> run_branch(
        branch& b, Outbox& o, F& f, std::optional<detail::saga_value<typename std::invoke_result_t<F&, saga_context&, Args...>::value_type>>& result, Args... args)
    {
        saga_context context{b, o};
        if constexpr (std::is_void_v<typename std::invoke_result_t<F&, saga_context&, Args...>::value_type>) {
            co_await f(context, args...);
            result.emplace();
        } else {
            result.emplace(co_await f(context, args...));
        }
    }

    // Each branch leaves its result in the frame of this coroutine, which ends behind them all.
    template <class... Branches, std::size_t... I>
    static std::vector<typename branch::body> bodies_of(Outbox& o, std::tuple<Branches&...> functions,
        std::tuple<std::optional<detail::saga_value<branch_result<Branches>>>...>& results, std::index_sequence<I...>)
    {
        std::vector<typename branch::body> bodies;
        (bodies.push_back([&o, &f = std::get<I>(functions), &r = std::get<I>(results)](branch& b) { return run_branch(b, o, f, r); }), ...);
        return bodies;
    }

    template <class... Branches>
    static asio::awaitable<std::tuple<detail::saga_value<branch_result<Branches>>...>> run_all(
        branch& b, Outbox& o, detail::saga_operation_ptr op, Branches... branches)
    {
        std::tuple<std::optional<detail::saga_value<branch_result<Branches>>>...> results;
        auto bodies = bodies_of<std::remove_reference_t<Branches>...>(
            o, std::tie(branches...), results, std::index_sequence_for<Branches...>{});
        co_await b.branches(std::move(op), std::move(bodies));
        co_return std::apply([](auto&... r) { return std::tuple<detail::saga_value<branch_result<Branches>>...>{std::move(*r)...}; }, results);
    }

    template <class... Branches>
    static asio::awaitable<std::variant<detail::saga_value<branch_result<Branches>>...>> run_any(
        branch& b, Outbox& o, detail::saga_operation_ptr op, Branches... branches)
    {
        std::tuple<std::optional<detail::saga_value<branch_result<Branches>>>...> results;
        auto bodies = bodies_of<std::remove_reference_t<Branches>...>(
            o, std::tie(branches...), results, std::index_sequence_for<Branches...>{});
        auto const first = co_await b.branches(std::move(op), std::move(bodies));
        co_return pick<std::variant<detail::saga_value<branch_result<Branches>>...>>(first, results, std::index_sequence_for<Branches...>{});
    }
    template <class Variant, class Results, std::size_t... I>
    static Variant pick(std::size_t which, Results& results, std::index_sequence<I...>)
    {
        std::optional<Variant> picked;
        static_cast<void>(((I == which ? (picked.emplace(std::in_place_index<I>, std::move(*std::get<I>(results))), true) : false) || ...));
        return std::move(*picked);
    }

    template <class Item, class Branch>
    static asio::awaitable<std::vector<detail::saga_value<typename std::invoke_result_t<Branch&, saga_context&, Item const&>::value_type>>>
    run_all_of(branch& b, Outbox& o, detail::saga_operation_ptr op, std::vector<Item> items, Branch& f)
    {
        using value = detail::saga_value<typename std::invoke_result_t<Branch&, saga_context&, Item const&>::value_type>;
        std::vector<std::optional<value>> results(items.size());
        std::vector<typename branch::body> bodies;
        for (std::size_t i = 0; i < items.size(); ++i)
            bodies.push_back([&o, &f, &r = results[i], &item = items[i]](branch& inner) {
                return run_branch<Branch, Item const&>(inner, o, f, r, item);
            });
        co_await b.branches(std::move(op), std::move(bodies));
        std::vector<value> values;
        for (auto& r : results)
            values.push_back(std::move(*r));
        co_return values;
    }

    branch* branch_;
    Outbox* outbox_;
};

} // namespace cosaga
