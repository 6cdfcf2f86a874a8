// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/alarm.hpp>
#include <cosaga/detail/event.hpp>
#include <cosaga/detail/transport_handles.hpp>
#include <cosaga/detail/zeromq_authenticator.hpp>
#include <cosaga/detail/zeromq_pump.hpp>
#include <cosaga/detail/zeromq_receiver.hpp>
#include <cosaga/detail/zeromq_sender.hpp>
#include <cosaga/detail/zeromq_settings.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>
#include <cosaga/transport/zeromq_options.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// Carries messages over ZeroMQ, without a broker: senders connect to the services that consume.
///
/// A message is settled when the consumer has acknowledged it; until then the sender keeps it, and sends it again after
/// a lost connection unless the receiver says that it still holds it. What is outstanding is bounded by a window for
/// each publisher and subscription.
///
/// @code
/// system_environment env{io.get_executor()};
/// zeromq_options options;
/// options.service = "shop";
/// options.listen = {"tcp://127.0.0.1:7000"};
/// options.routes = {{"orders", "warehouse", {"tcp://127.0.0.1:7001"}}};
/// zeromq_transport transport{env, options};
/// @endcode
/// The environment's executor must belong to an `asio::io_context`. ZeroMQ's own I/O runs on one thread of the transport.
/// @par Thread safety
/// every member may be called from any thread.
class zeromq_transport {
public:
    using publisher_type = publisher_handle;
    using subscription_type = subscription_handle;

    /// @throws system_error `errc::bad_configuration` for options outside their ranges or that contradict each other,
    /// `errc::insecure_endpoint` for an endpoint beyond loopback with neither `curve` nor `insecure`.
    zeromq_transport(environment& env, zeromq_options options)
        : environment_{&env},
          options_{detail::checked(std::move(options))},
          strand_{asio::make_strand(env.get_executor())},
          context_{std::make_unique<detail::zeromq_context>()},
          guard_{std::make_shared<detail::zeromq_guard>()},
          sender_{std::make_unique<detail::zeromq_sender>(env, *context_, strand_, guard_, options_)},
          receiver_{std::make_unique<detail::zeromq_receiver>(env, *context_, strand_, guard_, options_)}
    {
        if (options_.curve && !options_.listen.empty()) {
            receiver_->require_keys(detail::zeromq_authenticator::domain);
            // Last: it waits already, and nothing may fail once something waits.
            authenticator_ =
                std::make_unique<detail::zeromq_authenticator>(*context_, strand_, guard_, options_.curve->allowed);
        }
    }
    zeromq_transport(zeromq_transport const&) = delete;
    zeromq_transport& operator=(zeromq_transport const&) = delete;

    /// Drops what is still to be sent, as a crash would; nothing is lost by that.
    ~zeromq_transport()
    {
        handles_.close_all();
        shut(0);
    }

    std::vector<std::string> consumers_of(std::string_view topic) const
    {
        std::vector<std::string> names;
        for (auto const& r : options_.routes)
            if (r.topic == topic)
                names.push_back(r.consumer);
        return names;
    }

    /// @throws system_error `errc::no_route` for a destination that is not declared, `errc::transport_failed` for an
    /// endpoint that libzmq does not understand, `errc::transport_closed`.
    publisher_type open_publisher(std::string_view topic, std::string_view consumer)
    {
        auto const& route = find_route(topic, consumer);
        auto const p = std::make_shared<detail::zeromq_sender::publisher>();
        p->topic = topic;
        p->consumer = consumer;
        p->state = std::make_shared<detail::publisher_state>(strand_, waker(&zeromq_transport::sender_, p));
        publisher_type handle{handles_.add(p->state)};
        std::lock_guard const lock{guard_->mutex};
        if (!guard_->closed)
            sender_->add(p, route);
        return handle;
    }

    /// @throws system_error `errc::bad_configuration` without an endpoint to listen on, `errc::transport_closed`.
    subscription_type subscribe(std::string_view topic, std::string_view consumer)
    {
        if (options_.listen.empty())
            throw make_error(errc::bad_configuration,
                "zeromq_transport: a subscription to '" + std::string{topic} + "' needs zeromq_options::listen");
        auto const s = std::make_shared<detail::zeromq_subscriber>();
        s->topic = topic;
        s->consumer = consumer;
        s->state = std::make_shared<detail::subscription_state>(
            *environment_, strand_, waker(&zeromq_transport::receiver_, s));
        subscription_type handle{handles_.add(s->state)};
        std::lock_guard const lock{guard_->mutex};
        if (!guard_->closed)
            receiver_->add(s);
        return handle;
    }

    /// Binds the endpoints. Called again, it does nothing.
    /// @throws system_error `errc::transport_failed` that names the endpoint.
    void start()
    {
        std::lock_guard const lock{guard_->mutex};
        if (!guard_->closed && bound_.empty())
            bound_ = receiver_->listen();
    }

    /// What `start` has bound, with the ports that the system chose.
    std::vector<std::string> endpoints() const
    {
        std::lock_guard const lock{guard_->mutex};
        return bound_;
    }

    /// Sends the last acknowledgements, then closes everything; waits at most `zeromq_options::linger`.
    /// @par Cancellation
    /// has no effect.
    asio::awaitable<void> close()
    {
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        handles_.close_all();
        co_await say_farewell();
        auto context = shut(detail::to_milliseconds(options_.linger));
        if (!context)
            co_return;
        // Blocks until libzmq has sent what is left.
        auto const worker = environment_->start_worker();
        auto const done = std::make_shared<detail::event>(strand_);
        asio::post(worker->get_executor(), [c = std::move(context), done]() mutable {
            c.reset();
            done->notify();
        });
        co_await done->wait();
    }

    message_limits const& limits() const noexcept { return options_.limits; }
    environment& get_environment() noexcept { return *environment_; }

    zeromq_counters counters() const
    {
        std::lock_guard const lock{guard_->mutex};
        return guard_->closed ? last_counters_ : read_counters();
    }

private:
    zeromq_route const& find_route(std::string_view topic, std::string_view consumer) const
    {
        for (auto const& r : options_.routes)
            if (r.topic == topic && r.consumer == consumer)
                return r;
        throw make_error(errc::no_route, "no route for the topic '" + std::string{topic} + "' to the consumer '"
                                             + std::string{consumer} + "': declare it in zeromq_options::routes");
    }

    // Called for a handle on any thread; the handle may outlive the transport.
    template <class Side, class Client>
    std::function<void()> waker(std::unique_ptr<Side> zeromq_transport::*side, std::shared_ptr<Client> const& client)
    {
        return [this, side, strand = strand_, guard = guard_, weak = std::weak_ptr<Client>{client}] {
            if (guard->closed)
                return;
            asio::post(strand, detail::guarded(guard, [this, side, weak] {
                if (auto const alive = weak.lock())
                    (this->*side)->serve(alive);
            }));
        };
    }

    // Until every sender has read the last acknowledgements: what is in its socket when the connection ends is dropped.
    asio::awaitable<void> say_farewell()
    {
        auto const heard = std::make_shared<detail::event>(strand_);
        {
            std::lock_guard const lock{guard_->mutex};
            if (guard_->closed)
                co_return;
            receiver_->say_farewell([heard] { heard->notify(); });
        }
        auto const timeout = std::make_shared<detail::alarm>(*environment_, strand_, heard);
        auto const until = environment_->steady_now() + options_.linger;
        asio::post(strand_, [timeout, until] { timeout->set(until); });
        co_await heard->wait();
        asio::post(strand_, [timeout] { timeout->cancel(); });
    }

    // Closes the sockets. What is left of the context ends when the last frames have left, or after the time given.
    std::unique_ptr<detail::zeromq_context> shut(int linger_milliseconds)
    {
        std::lock_guard const lock{guard_->mutex};
        if (guard_->closed)
            return nullptr;
        receiver_->set_linger(linger_milliseconds);
        sender_->set_linger(linger_milliseconds);
        last_counters_ = read_counters();
        guard_->closed = true;
        receiver_.reset();
        sender_.reset();
        authenticator_.reset(); // after the receiver: without it every key would be let in
        return std::move(context_);
    }

    zeromq_counters read_counters() const
    {
        auto c = receiver_->counters();
        c.refused_frames += sender_->refused_frames();
        c.refused_keys = authenticator_ ? authenticator_->refused() : 0;
        return c;
    }

    environment* environment_;
    zeromq_options options_;
    asio::any_io_executor strand_;
    std::unique_ptr<detail::zeromq_context> context_;
    std::shared_ptr<detail::zeromq_guard> guard_;
    std::unique_ptr<detail::zeromq_sender> sender_;
    std::unique_ptr<detail::zeromq_authenticator> authenticator_;
    std::unique_ptr<detail::zeromq_receiver> receiver_;
    detail::handle_registry handles_;
    std::vector<std::string> bound_;
    zeromq_counters last_counters_;
};

static_assert(transport<zeromq_transport>);

/// Makes a key pair for `zeromq_curve::own`.
inline curve_key_pair make_curve_key_pair()
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
