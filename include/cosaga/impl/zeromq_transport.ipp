// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/config.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/detail/zeromq_authenticator.hpp>
#include <cosaga/detail/zeromq_libzmq.hpp>
#include <cosaga/detail/zeromq_pump.hpp>
#include <cosaga/detail/zeromq_receiver.hpp>
#include <cosaga/detail/zeromq_sender.hpp>
#include <cosaga/detail/zeromq_settings.hpp>
#include <cosaga/error.hpp>
#include <cosaga/transport/zeromq.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace cosaga {

struct zeromq_transport::state {
    state(environment& e, zeromq_options o, std::unique_ptr<detail::zeromq_context> made)
        : env{&e},
          options{detail::checked(std::move(o))},
          strand{detail::strand_of(e.get_executor())},
          context{std::move(made)},
          guard{std::make_shared<detail::zeromq_guard>()},
          sender{std::make_unique<detail::zeromq_sender>(e, *context, strand, guard, options)},
          receiver{std::make_unique<detail::zeromq_receiver>(e, *context, strand, guard, options)}
    {
        if (options.curve && !options.listen.empty()) {
            receiver->require_keys(detail::zeromq_authenticator::domain);
            // Last: it waits already, and nothing may fail once something waits.
            authenticator =
                std::make_unique<detail::zeromq_authenticator>(*context, strand, guard, options.curve->allowed);
        }
    }

    zeromq_route const& find_route(std::string_view topic, std::string_view consumer) const
    {
        for (auto const& r : options.routes)
            if (r.topic == topic && r.consumer == consumer)
                return r;
        throw make_error(errc::no_route, "no route for the topic '" + std::string{topic} + "' to the consumer '"
                                             + std::string{consumer} + "': declare it in zeromq_options::routes");
    }

    // Called for a handle on any thread; the handle may outlive the transport.
    template <class Side, class Client>
    std::function<void()> waker(std::unique_ptr<Side> state::*side, std::shared_ptr<Client> const& client)
    {
        return [this, side, strand = strand, guard = guard, weak = std::weak_ptr<Client>{client}] {
            if (guard->closed)
                return;
            detail::post_to(strand, detail::guarded(guard, [this, side, weak] {
                if (auto const alive = weak.lock())
                    (this->*side)->serve(alive);
            }));
        };
    }

    // Until every sender has read the last acknowledgements: what is in its socket when the connection ends is dropped.
    asio::awaitable<void> say_farewell()
    {
        auto& heard = make_event();
        {
            std::lock_guard const lock{guard->mutex};
            if (guard->closed)
                co_return;
            receiver->say_farewell([&heard] { heard->notify(); });
        }
        timeouts.push_back(std::make_shared<detail::alarm>(*env, strand, heard));
        auto const until = env->steady_now() + options.linger;
        auto& timeout = timeouts.back();
        detail::post_to(strand, [t = timeout, until] { t->set(until); });
        co_await heard->wait();
        detail::post_to(strand, [t = timeout] { t->cancel(); });
    }

    // For a coroutine to wait for; not its own, or it would keep itself when nobody resumes it any more.
    std::shared_ptr<detail::event>& make_event()
    {
        return awaited.emplace_back(std::make_shared<detail::event>(strand));
    }

    // Closes the sockets. What is left of the context ends when the last frames have left, or after the time given.
    std::unique_ptr<detail::zeromq_context> shut(int linger_milliseconds)
    {
        std::lock_guard const lock{guard->mutex};
        if (guard->closed)
            return nullptr;
        receiver->set_linger(linger_milliseconds);
        sender->set_linger(linger_milliseconds);
        last_counters = read_counters();
        guard->closed = true;
        receiver.reset();
        sender.reset();
        authenticator.reset(); // after the receiver: without it every key would be let in
        return std::move(context);
    }

    // Blocks the worker until libzmq has sent what is left.
    static void end(
        std::unique_ptr<detail::zeromq_context> context, worker& on, std::shared_ptr<detail::event> const& done)
    {
        detail::post_to(on.get_executor(), [c = std::move(context), done]() mutable {
            c.reset();
            done->notify();
        });
    }

    zeromq_counters read_counters() const
    {
        auto c = receiver->counters();
        c.refused_frames += sender->refused_frames();
        c.refused_keys = authenticator ? authenticator->refused() : 0;
        return c;
    }

    environment* env;
    zeromq_options options;
    asio::any_io_executor strand;
    std::unique_ptr<detail::zeromq_context> context;
    std::shared_ptr<detail::zeromq_guard> guard;
    std::unique_ptr<detail::zeromq_sender> sender;
    std::unique_ptr<detail::zeromq_authenticator> authenticator;
    std::unique_ptr<detail::zeromq_receiver> receiver;
    detail::handle_registry handles;
    std::vector<std::string> bound;
    zeromq_counters last_counters;
    std::deque<std::shared_ptr<detail::event>> awaited; // by `close`
    std::deque<std::shared_ptr<detail::alarm>> timeouts;
};

COSAGA_DECL zeromq_transport::zeromq_transport(environment& env, zeromq_options options)
    : zeromq_transport{env, std::move(options), std::make_unique<detail::libzmq_context>()}
{
}

COSAGA_DECL zeromq_transport::zeromq_transport(
    environment& env, zeromq_options options, std::unique_ptr<detail::zeromq_context> context)
    : state_{std::make_unique<state>(env, std::move(options), std::move(context))}
{
}

COSAGA_DECL zeromq_transport::~zeromq_transport()
{
    state_->handles.close_all();
    state_->shut(0);
}

COSAGA_DECL std::vector<std::string> zeromq_transport::consumers_of(std::string_view topic) const
{
    std::vector<std::string> names;
    for (auto const& r : state_->options.routes)
        if (r.topic == topic)
            names.push_back(r.consumer);
    return names;
}

COSAGA_DECL publisher_handle zeromq_transport::open_publisher(std::string_view topic, std::string_view consumer)
{
    auto const& route = state_->find_route(topic, consumer);
    auto const p = std::make_shared<detail::zeromq_sender::publisher>();
    p->topic = topic;
    p->consumer = consumer;
    p->state = std::make_shared<detail::publisher_state>(state_->strand, state_->waker(&state::sender, p));
    publisher_type handle{state_->handles.add(p->state)};
    std::lock_guard const lock{state_->guard->mutex};
    if (!state_->guard->closed)
        state_->sender->add(p, route);
    return handle;
}

COSAGA_DECL subscription_handle zeromq_transport::subscribe(std::string_view topic, std::string_view consumer)
{
    if (state_->options.listen.empty())
        throw make_error(errc::bad_configuration,
            "zeromq_transport: a subscription to '" + std::string{topic} + "' needs zeromq_options::listen");
    auto const s = std::make_shared<detail::zeromq_subscriber>();
    s->topic = topic;
    s->consumer = consumer;
    s->state = std::make_shared<detail::subscription_state>(
        *state_->env, state_->strand, state_->waker(&state::receiver, s));
    subscription_type handle{state_->handles.add(s->state)};
    std::lock_guard const lock{state_->guard->mutex};
    if (!state_->guard->closed)
        state_->receiver->add(s);
    return handle;
}

COSAGA_DECL void zeromq_transport::start()
{
    std::lock_guard const lock{state_->guard->mutex};
    if (!state_->guard->closed && state_->bound.empty())
        state_->bound = state_->receiver->listen();
}

COSAGA_DECL std::vector<std::string> zeromq_transport::endpoints() const
{
    std::lock_guard const lock{state_->guard->mutex};
    return state_->bound;
}

COSAGA_DECL asio::awaitable<void> zeromq_transport::close()
{
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    state_->handles.close_all();
    co_await state_->say_farewell();
    auto context = state_->shut(detail::to_milliseconds(state_->options.linger));
    if (!context)
        co_return;
    auto const worker = state_->env->start_worker();
    auto& done = state_->make_event();
    state::end(std::move(context), *worker, done);
    co_await done->wait();
}

COSAGA_DECL message_limits const& zeromq_transport::limits() const noexcept
{
    return state_->options.limits;
}

COSAGA_DECL environment& zeromq_transport::get_environment() noexcept
{
    return *state_->env;
}

COSAGA_DECL zeromq_counters zeromq_transport::counters() const
{
    std::lock_guard const lock{state_->guard->mutex};
    return state_->guard->closed ? state_->last_counters : state_->read_counters();
}

COSAGA_DECL curve_key_pair make_curve_key_pair()
{
    char public_key[41];
    char secret_key[41];
    if (zmq_curve_keypair(public_key, secret_key) != 0)
        detail::throw_zeromq_error("zmq_curve_keypair");
    curve_key_pair pair;
    pair.public_key = public_key;
    pair.secret_key = secret_key;
    return pair;
}

} // namespace cosaga
