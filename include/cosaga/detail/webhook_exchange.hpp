// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/event.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/strand_timer.hpp>
#include <cosaga/detail/webhook_resolver.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/webhook/address_guard.hpp>
#include <cosaga/webhook/url.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/error_code.hpp>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace cosaga::detail {

struct webhook_exchange_limits {
    duration connect{};
    duration answer{};
    std::size_t header = 0;
    std::size_t body = 0;
};

/// What all exchanges of a sink have in common.
struct webhook_outside {
    environment* env;
    webhook_exchange_limits limits;
    address_guard guard;
    asio::ssl::context tls;
    webhook_resolver resolver;
};

struct webhook_exchange_result {
    std::uint32_t status = 0; ///< 0 when there was no answer
    std::string problem{};    ///< then: why
    std::string retry_after{};
    std::string content_type{};
    std::string body{};
};

/// One request over a connection of its own, and its answer: name, connection, TLS, request, answer, each within the limits.
///
/// It runs on a strand with its timers. A limit, or who cancels, closes the socket, which ends whatever waits for it.
class webhook_exchange : public std::enable_shared_from_this<webhook_exchange> {
    using socket_type = asio::ip::tcp::socket;
    using stream_type = asio::ssl::stream<socket_type&>;
    template <class Body>
    using parser = boost::beast::http::response_parser<Body>;

public:
    webhook_exchange(std::shared_ptr<webhook_outside> outside, webhook_url url, std::string head, std::string body)
        : outside_{std::move(outside)},
          url_{std::move(url)},
          head_{std::move(head)},
          body_{std::move(body)},
          strand_{strand_of(outside_->env->get_executor())},
          ended_{strand_},
          socket_{strand_}
    {
    }

    void start()
    {
        spawn_on(strand_, run(), [self = shared_from_this()](std::exception_ptr e) { self->end(e); }, cancel_);
    }

    /// Suspends until it has ended, which is within its limits.
    asio::awaitable<void> wait() { return ended_.wait(); }

    /// Ends it soon.
    void abort()
    {
        post_to(strand_, [self = shared_from_this()] { self->stop("cancelled"); });
    }

    webhook_exchange_result take() { return std::move(result_); }

private:
    asio::awaitable<void> run()
    {
        limit(outside_->limits.connect, "no connection within the time limit");
        auto const addresses = co_await resolve();
        if (addresses.empty())
            co_return;
        bool const connected = co_await connect(addresses);
        if (!connected)
            co_return;
        if (!url_.secure) {
            co_await talk(socket_);
            co_return;
        }
        stream_type stream{socket_, outside_->tls};
        bool const trusted = co_await shake_hands(stream);
        if (trusted)
            co_await talk(stream);
    }

    // The addresses that may be connected to.
    asio::awaitable<webhook_resolver::addresses> resolve()
    {
        webhook_resolver::addresses all;
        boost::system::error_code ec;
        auto const literal = asio::ip::make_address(url_.host, ec);
        if (!ec)
            all.push_back(literal);
        else
            all = co_await outside_->resolver.resolve(url_.host, strand_);
        if (all.empty())
            result_.problem = "the host name has no address";
        auto const refused = std::erase_if(all, [&](asio::ip::address const& a) { return !outside_->guard.permits(a); });
        if (refused > 0 && all.empty())
            result_.problem = "the host is at an address that is not allowed: it is not public";
        co_return all;
    }

    asio::awaitable<bool> connect(webhook_resolver::addresses const& addresses)
    {
        for (auto const& address : addresses) {
            boost::system::error_code ec;
            socket_.close(ec);
            asio::ip::tcp::endpoint const to{address, url_.port};
            co_await socket_.async_connect(to, asio::redirect_error(asio::use_awaitable, ec));
            if (!ec) {
                socket_.set_option(asio::ip::tcp::no_delay{true}, ec);
                co_return true;
            }
            result_.problem = "no connection: " + ec.message();
        }
        co_return false;
    }

    asio::awaitable<bool> shake_hands(stream_type& stream)
    {
        auto* const tls = stream.native_handle();
        boost::system::error_code ec;
        auto const literal = asio::ip::make_address(url_.host, ec);
        SSL_set_hostflags(tls, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        int const named = ec ? SSL_set_tlsext_host_name(tls, url_.host.c_str()) == 1 && SSL_set1_host(tls, url_.host.c_str()) == 1
                             : X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), literal.to_string().c_str());
        if (named != 1) {
            result_.problem = "TLS: OpenSSL refused the host name";
            co_return false;
        }
        co_await stream.async_handshake(asio::ssl::stream_base::client, asio::redirect_error(asio::use_awaitable, ec));
        if (!ec)
            co_return true;
        auto const verified = SSL_get_verify_result(tls);
        result_.problem = verified == X509_V_OK ? "TLS: " + ec.message()
                                                : std::string{"TLS: the certificate is refused: "} + X509_verify_cert_error_string(verified);
        co_return false;
    }

    template <class Stream>
    asio::awaitable<void> talk(Stream& stream)
    {
        limit(outside_->limits.answer, "no answer within the time limit");
        boost::system::error_code written;
        std::array<asio::const_buffer, 2> const request{asio::buffer(head_), asio::buffer(body_)};
        co_await asio::async_write(stream, request, asio::redirect_error(asio::use_awaitable, written));
        // A receiver may answer and close before it has read all.
        auto const problem = co_await read_answer(stream);
        if (result_.status == 0)
            result_.problem = written ? "the request could not be sent: " + written.message() : problem;
    }

    template <class Stream>
    asio::awaitable<std::string> read_answer(Stream& stream)
    {
        namespace http = boost::beast::http;
        constexpr int most_informational = 8;
        boost::beast::flat_buffer buffer{outside_->limits.header + outside_->limits.body};
        for (int n = 0; n <= most_informational; ++n) {
            parser<http::string_body> answer;
            answer.header_limit(static_cast<std::uint32_t>(outside_->limits.header));
            answer.body_limit(outside_->limits.body);
            boost::system::error_code ec;
            co_await http::async_read_header(stream, buffer, answer, asio::redirect_error(asio::use_awaitable, ec));
            if (ec == http::error::header_limit || ec == http::error::buffer_overflow)
                co_return "the header of the answer is over the limit";
            if (ec && ec != http::error::body_limit) // that is an announced length: the header is there
                co_return "no answer: " + ec.message();
            auto const status = answer.get().result_int();
            if (status / 100 == 1 && status != 101)
                continue;
            take_header(answer.get());
            // What becomes of the body changes nothing: over the limit, cut off or too slow.
            if (!ec)
                co_await http::async_read(stream, buffer, answer, asio::redirect_error(asio::use_awaitable, ec));
            result_.body = std::move(answer.get().body());
            co_return std::string{};
        }
        co_return "no answer: one informational answer after another";
    }

    template <class Response>
    void take_header(Response const& r)
    {
        namespace http = boost::beast::http;
        result_.status = r.result_int();
        result_.retry_after = std::string{r[http::field::retry_after]};
        result_.content_type = std::string{r[http::field::content_type]};
    }

    void limit(duration span, char const* problem)
    {
        timer_.emplace(*outside_->env, strand_);
        timer_->arm(span, [weak = weak_from_this(), problem] {
            if (auto const self = weak.lock())
                self->stop(problem);
        });
    }

    void stop(char const* problem)
    {
        if (stopped_)
            return;
        stopped_ = problem;
        boost::system::error_code ec;
        socket_.close(ec);
        cancel_->emit(asio::cancellation_type::terminal);
    }

    void end(std::exception_ptr e)
    {
        timer_.reset();
        boost::system::error_code ec;
        socket_.close(ec);
        if (result_.status == 0 && stopped_)
            result_.problem = stopped_;
        else if (result_.status == 0 && result_.problem.empty())
            result_.problem = describe(e);
        stopped_ = "";
        ended_.notify();
    }

    static std::string describe(std::exception_ptr const& e)
    {
        try {
            if (e)
                std::rethrow_exception(e);
        } catch (std::exception const& error) {
            return error.what();
        }
        return "no answer";
    }

    std::shared_ptr<webhook_outside> outside_;
    webhook_url url_;
    std::string head_;
    std::string body_;
    asio::any_io_executor strand_;
    event ended_;
    socket_type socket_;
    std::shared_ptr<asio::cancellation_signal> cancel_ = std::make_shared<asio::cancellation_signal>();
    std::optional<strand_timer> timer_;
    char const* stopped_ = nullptr; // why: nothing is begun any more
    webhook_exchange_result result_;
};

} // namespace cosaga::detail
