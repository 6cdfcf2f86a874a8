// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_content.hpp>
#include <cosaga/detail/webhook_exchange.hpp>
#include <cosaga/detail/webhook_text.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/webhook/sink.hpp>
#include <cosaga/webhook/url.hpp>

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <utility>

namespace cosaga {

namespace detail {

// Blocks.
inline std::vector<asio::ip::address> look_up_by_system(asio::any_io_executor const& executor, std::string const& host)
{
    std::vector<asio::ip::address> found;
    boost::system::error_code ec;
    asio::ip::tcp::resolver resolver{executor};
    for (auto const& entry : resolver.resolve(host, "", ec))
        found.push_back(entry.endpoint().address());
    return found;
}

inline asio::ssl::context make_client_tls(std::string const& ca_file)
{
    asio::ssl::context tls{asio::ssl::context::tls_client};
    boost::system::error_code ec;
    SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
    tls.set_verify_mode(asio::ssl::verify_peer);
    if (ca_file.empty())
        tls.set_default_verify_paths(ec);
    else
        tls.load_verify_file(ca_file, ec);
    if (ec)
        throw make_error(errc::bad_configuration, "webhook_sink: the certificates to trust cannot be read (" + ca_file + "): " + ec.message());
    return tls;
}

inline webhook_sink_options checked(webhook_sink_options options)
{
    auto const require = [](bool valid, char const* what) {
        if (!valid)
            throw make_error(errc::bad_configuration, std::string{"webhook_sink_options::"} + what);
    };
    require(options.secrets != nullptr, "secrets is needed");
    require(options.connect_limit > duration::zero() && options.answer_limit > duration::zero(), "connect_limit and answer_limit must be positive");
    require(options.max_answer_header >= 256 && options.max_answer_header <= std::size_t{1} << 20, "max_answer_header must be from 256 to 1048576");
    require(options.max_answer_body <= std::size_t{16} << 20, "max_answer_body must be at most 16777216");
    require(options.resolver_threads >= 1 && options.resolver_threads <= 64, "resolver_threads must be from 1 to 64");
    require(options.resolver_memory >= duration::zero(), "resolver_memory must not be negative");
    require(is_header_value(options.user_agent), "user_agent has a control character");
    return options;
}

} // namespace detail

struct webhook_sink::state {
    using outside_type = std::shared_ptr<detail::webhook_outside>;
    using result_type = detail::webhook_exchange_result;

    state(environment& e, webhook_sink_options o) : env{&e}, options{detail::checked(std::move(o))}, ids{e}
    {
        detail::webhook_exchange_limits limits;
        limits.connect = options.connect_limit;
        limits.answer = options.answer_limit;
        limits.header = options.max_answer_header;
        limits.body = options.max_answer_body;
        auto look_up = options.resolve;
        if (!look_up)
            look_up = [executor = e.get_executor()](std::string const& host) { return detail::look_up_by_system(executor, host); };
        outside = outside_type{new detail::webhook_outside{&e, limits, address_guard{options.allowed_networks},
            detail::make_client_tls(options.ca_file),
            detail::webhook_resolver{e, options.resolver_threads, options.resolver_memory, std::move(look_up)}}};
    }

    webhook_url parse(std::string const& destination) const
    {
        auto url = parse_webhook_url(destination);
        if (!url.secure && !options.allow_http)
            throw make_error(errc::bad_argument, "webhook URL: http:// is not allowed; see webhook_sink_options::allow_http");
        boost::system::error_code ec;
        auto const literal = asio::ip::make_address(url.host, ec);
        if (!ec && !outside->guard.permits(literal))
            throw make_error(errc::bad_argument, "webhook URL: the address is not public; see webhook_sink_options::allowed_networks");
        return url;
    }

    std::vector<webhook_secret> secrets_of(std::string const& destination) const
    {
        std::vector<webhook_secret> secrets;
        try {
            secrets = options.secrets(destination);
        } catch (...) { // what it says is not told: it may name them
            throw make_error(errc::bad_argument, "webhook: the secrets of the destination cannot be had");
        }
        if (secrets.empty())
            throw make_error(errc::bad_argument, "webhook: no secret is known for the destination");
        return secrets;
    }

    // The lines that every request has. Nothing that was not checked goes in: a line break would begin another header.
    std::string make_head(char const* method, webhook_url const& url, std::string const& destination, webhook_stamp stamp,
        std::string_view signed_content) const
    {
        auto const secrets = secrets_of(destination);
        std::string head;
        auto const add = [&](std::string_view name, std::string_view value) { head.append(name).append(": ").append(value).append("\r\n"); };
        head.append(method).append(1, ' ').append(url.target).append(" HTTP/1.1\r\n");
        add("Host", url.authority());
        add("User-Agent", options.user_agent);
        add("Connection", "close");
        add("webhook-id", stamp.id);
        add("webhook-timestamp", std::to_string(stamp.timestamp));
        add("webhook-signature", sign_webhook(secrets, stamp, signed_content));
        return head;
    }

    std::shared_ptr<detail::webhook_exchange> make_post(std::string const& destination, message const& m) const
    {
        auto url = parse(destination);
        auto content = detail::to_webhook_content(m, options.format);
        auto const id = m.id.to_string();
        webhook_stamp const stamp{id, seconds_now()};
        auto head = make_head("POST", url, destination, stamp, content.body);
        head.append("Content-Type: ").append(content.content_type).append("\r\n");
        head.append("Content-Length: ").append(std::to_string(content.body.size())).append("\r\n");
        for (auto const& h : content.headers)
            head.append(h.name).append(": ").append(h.value).append("\r\n");
        head.append("\r\n");
        return std::make_shared<detail::webhook_exchange>(outside, std::move(url), std::move(head), std::move(content.body));
    }

    std::shared_ptr<detail::webhook_exchange> make_get(std::string const& destination)
    {
        auto url = parse(destination);
        auto const id = ids().to_string();
        webhook_stamp const stamp{id, seconds_now()};
        auto head = make_head("GET", url, destination, stamp, "GET " + url.target);
        head.append("\r\n");
        return std::make_shared<detail::webhook_exchange>(outside, std::move(url), std::move(head), std::string{});
    }

    std::int64_t seconds_now() const
    {
        return std::chrono::floor<std::chrono::seconds>(env->now()).time_since_epoch().count();
    }

    static asio::awaitable<result_type> run(std::shared_ptr<detail::webhook_exchange> exchange)
    {
        exchange->start();
        bool cancelled = false;
        try {
            co_await exchange->wait();
        } catch (boost::system::system_error const&) {
            cancelled = true;
        }
        if (cancelled) {
            co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
            exchange->abort();
            co_await exchange->wait();
            throw boost::system::system_error{asio::error::operation_aborted};
        }
        co_return exchange->take();
    }

    attempt_result judge(result_type const& r) const
    {
        attempt_result made;
        made.status = r.status;
        if (r.status >= 200 && r.status < 300) {
            made.outcome = attempt_outcome::delivered;
            return made;
        }
        made.retry_after = detail::parse_retry_after(r.retry_after, env->now());
        if (r.status == 0)
            made.reason = r.problem;
        else if (r.status == 410)
            made.reason = "410: the receiver wants nothing any more";
        else if (r.status / 100 == 3)
            made.reason = "redirected, which is not followed";
        else
            made.reason = "answered with status " + std::to_string(r.status);
        if (r.status == 410)
            made.outcome = attempt_outcome::gone;
        return made;
    }

    environment* env;
    webhook_sink_options options;
    message_id_generator ids;
    outside_type outside;
};

COSAGA_DECL webhook_sink::webhook_sink(environment& env, webhook_sink_options options)
    : state_{std::make_shared<state>(env, std::move(options))}
{
}

COSAGA_DECL webhook_sink::~webhook_sink() = default;

COSAGA_DECL asio::awaitable<attempt_result> webhook_sink::deliver(std::string const& destination, message const& m)
{
    auto const self = state_;
    attempt_result result;
    std::shared_ptr<detail::webhook_exchange> exchange;
    try {
        exchange = self->make_post(destination, m);
    } catch (std::exception const& e) {
        result.reason = e.what();
    }
    if (!exchange)
        co_return result;
    auto const answer = co_await state::run(std::move(exchange));
    result = self->judge(answer);
    co_return result;
}

COSAGA_DECL void webhook_sink::check(std::string const& destination) const
{
    state_->parse(destination);
}

COSAGA_DECL asio::awaitable<webhook_answer> webhook_sink::ask(std::string const& url)
{
    auto const self = state_;
    auto exchange = self->make_get(url);
    auto result = co_await state::run(std::move(exchange));
    if (result.status == 0)
        throw make_error(errc::unreachable, "webhook query: " + result.problem);
    webhook_answer answer;
    answer.status = result.status;
    answer.body = std::move(result.body);
    answer.content_type = std::move(result.content_type);
    co_return answer;
}

COSAGA_DECL environment& webhook_sink::get_environment() noexcept
{
    return *state_->env;
}

} // namespace cosaga
