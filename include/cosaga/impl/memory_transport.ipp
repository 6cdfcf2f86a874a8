// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/memory_network.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/error.hpp>
#include <cosaga/transport/memory.hpp>

#include <algorithm>
#include <mutex>
#include <utility>

namespace cosaga {

struct memory_transport::state {
    state(std::shared_ptr<detail::memory_network> n, environment& e, memory_transport_options o)
        : env{&e}, network{std::move(n)}, options{std::move(o)}
    {
        if (options.window_messages == 0 || options.window_bytes == 0)
            throw make_error(errc::bad_configuration, "memory_transport: the window must be at least 1");
    }

    environment* env;
    std::shared_ptr<detail::memory_network> network;
    memory_transport_options options;
    std::shared_ptr<detail::memory_faults> faults = std::make_shared<detail::memory_faults>();
    detail::handle_registry handles;
    std::mutex mutex;
    bool started = false;
    std::vector<std::shared_ptr<detail::memory_network::subscriber>> waiting; // for `start`
};

COSAGA_DECL memory_transport::memory_transport(environment& env, memory_transport_options options)
    : state_{std::make_unique<state>(
          std::make_shared<detail::memory_network>(env.get_executor()), env, std::move(options))}
{
}

COSAGA_DECL memory_transport::memory_transport(
    memory_transport& other, environment& env, memory_transport_options options)
    : state_{std::make_unique<state>(other.state_->network, env, std::move(options))}
{
}

COSAGA_DECL memory_transport::~memory_transport()
{
    state_->handles.close_all();
}

COSAGA_DECL std::vector<std::string> memory_transport::consumers_of(std::string_view topic) const
{
    std::vector<std::string> names;
    for (auto const& r : state_->options.routes)
        if (r.topic == topic)
            names.push_back(r.consumer);
    return names;
}

COSAGA_DECL publisher_handle memory_transport::open_publisher(std::string_view topic, std::string_view consumer)
{
    auto const& options = state_->options;
    auto const is_it = [&](memory_route const& r) { return r.topic == topic && r.consumer == consumer; };
    if (std::none_of(options.routes.begin(), options.routes.end(), is_it))
        throw make_error(errc::no_route, "no route for the topic '" + std::string{topic} + "' to the consumer '"
                                             + std::string{consumer}
                                             + "': declare it in memory_transport_options::routes");
    return publisher_type{state_->handles.add(
        state_->network->open_publisher(topic, consumer, options.service, options.limits, state_->faults))};
}

COSAGA_DECL subscription_handle memory_transport::subscribe(std::string_view topic, std::string_view consumer)
{
    auto subscriber = state_->network->open_subscription(
        *state_->env, topic, consumer, {state_->options.window_messages, state_->options.window_bytes});
    subscription_type handle{state_->handles.add(subscriber->state)};
    std::lock_guard const lock{state_->mutex};
    if (state_->started)
        state_->network->let_in(std::move(subscriber));
    else
        state_->waiting.push_back(std::move(subscriber));
    return handle;
}

COSAGA_DECL void memory_transport::start()
{
    std::lock_guard const lock{state_->mutex};
    state_->started = true;
    for (auto& s : std::exchange(state_->waiting, {}))
        state_->network->let_in(std::move(s));
}

COSAGA_DECL asio::awaitable<void> memory_transport::close()
{
    state_->handles.close_all();
    co_await detail::resume_on(state_->network->get_executor()); // behind what closing the handles has posted
}

COSAGA_DECL message_limits const& memory_transport::limits() const noexcept
{
    return state_->options.limits;
}

COSAGA_DECL environment& memory_transport::get_environment() noexcept
{
    return *state_->env;
}

COSAGA_DECL void memory_transport::fail_next(std::size_t n, std::string reason)
{
    detail::post_to(state_->network->get_executor(), [f = state_->faults, n, r = std::move(reason)] {
        f->fail = n;
        f->reason = r;
    });
}

COSAGA_DECL void memory_transport::duplicate_next(std::size_t n)
{
    detail::post_to(state_->network->get_executor(), [f = state_->faults, n] { f->duplicate = n; });
}

COSAGA_DECL void memory_transport::drop_acknowledgements_next(std::size_t n)
{
    detail::post_to(
        state_->network->get_executor(), [f = state_->faults, n] { f->drop_acknowledgements = n; });
}

} // namespace cosaga
