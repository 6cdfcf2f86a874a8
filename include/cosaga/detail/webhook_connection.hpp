// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/spawn.hpp>
#include <cosaga/detail/strand_timer.hpp>
#include <cosaga/detail/webhook_intake.hpp>
#include <cosaga/detail/webhook_server.hpp>
#include <cosaga/detail/webhook_text.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/webhook/http.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga::detail {

/// One connection of an endpoint: requests one after another, each within its limits, on the strand of the server.
class webhook_connection : public std::enable_shared_from_this<webhook_connection> {
    using socket_type = asio::ip::tcp::socket;
    using parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

public:
    webhook_connection(std::shared_ptr<webhook_server> server, socket_type socket)
        : server_{std::move(server)}, socket_{std::move(socket)}, timer_{std::in_place, *server_->env, server_->strand}
    {
    }

    void start()
    {
        server_->connections.insert(this);
        spawn_on(server_->strand, run(), [self = shared_from_this()](std::exception_ptr e) { self->end(e); }, cancel_);
    }

    void stop_if_idle()
    {
        if (idle_)
            abort();
    }

    void abort()
    {
        boost::system::error_code ec;
        socket_.close(ec);
        if (!ended_)
            cancel_->emit(asio::cancellation_type::terminal);
    }

private:
    asio::awaitable<void> run()
    {
        limit(server_->options.request_limit);
        if (!server_->tls) {
            co_await serve(socket_);
            co_return;
        }
        asio::ssl::stream<socket_type&> stream{socket_, *server_->tls};
        boost::system::error_code ec;
        co_await stream.async_handshake(asio::ssl::stream_base::server, asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            count_as_broken();
        else
            co_await serve(stream);
    }

    template <class Stream>
    asio::awaitable<void> serve(Stream& stream)
    {
        boost::beast::flat_buffer buffer{server_->options.max_header + server_->options.max_body};
        for (bool first = true, again = true; again && !server_->stopping; first = false)
            again = co_await serve_one(stream, buffer, first);
        co_await close_gently();
    }

    template <class Stream>
    asio::awaitable<bool> serve_one(Stream& stream, boost::beast::flat_buffer& buffer, bool first)
    {
        parser p;
        p.header_limit(static_cast<std::uint32_t>(server_->options.max_header));
        p.body_limit(server_->options.max_body);
        auto const problem = co_await read(stream, buffer, p, first);
        if (problem == ended)
            co_return false;
        webhook_answer answer;
        if (problem != 0) {
            answer = refuse(problem, "the request is malformed or over a limit");
        } else {
            limit(server_->options.answer_limit);
            auto request = take(p);
            answer = co_await answer_to(request);
        }
        bool const again = problem == 0 && p.get().keep_alive() && !server_->stopping;
        bool const head = problem == 0 && p.get().method() == boost::beast::http::verb::head;
        auto const text = write_answer(answer, again, head);
        boost::system::error_code ec;
        co_await asio::async_write(stream, asio::buffer(text), asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            count_as_broken();
        co_return again && !ec;
    }

    static constexpr std::uint32_t ended = 1; // the connection, before or within a request
    static constexpr std::size_t first_read = 256; // no more than the smallest buffer holds

    // Completes with 0, `ended` or the status to answer with.
    template <class Stream>
    asio::awaitable<std::uint32_t> read(Stream& stream, boost::beast::flat_buffer& buffer, parser& p, bool first)
    {
        namespace http = boost::beast::http;
        boost::system::error_code ec;
        if (buffer.size() == 0) {
            if (!first)
                limit(server_->options.idle_limit);
            idle_ = true;
            auto const n = co_await stream.async_read_some(buffer.prepare(first_read), asio::redirect_error(asio::use_awaitable, ec));
            idle_ = false;
            buffer.commit(n);
            if (ec)
                co_return ended; // nothing has begun
        }
        if (!first)
            limit(server_->options.request_limit);
        co_await http::async_read_header(stream, buffer, p, asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            co_return status_of(ec);
        if (!p.is_done() && boost::beast::iequals(p.get()[http::field::expect], "100-continue")) {
            std::string const go_on = "HTTP/1.1 100 Continue\r\n\r\n";
            co_await asio::async_write(stream, asio::buffer(go_on), asio::redirect_error(asio::use_awaitable, ec));
        }
        if (!ec && !p.is_done())
            co_await http::async_read(stream, buffer, p, asio::redirect_error(asio::use_awaitable, ec));
        co_return ec ? status_of(ec) : 0u;
    }

    std::uint32_t status_of(boost::system::error_code ec)
    {
        namespace http = boost::beast::http;
        static auto const& parsing = http::make_error_code(http::error::bad_method).category();
        if (ec == http::error::end_of_stream)
            return ended;
        if (ec == http::error::header_limit || ec == http::error::buffer_overflow)
            return 431;
        if (ec == http::error::body_limit)
            return 413;
        if (ec.category() == parsing && ec != http::error::partial_message)
            return 400;
        count_as_broken();
        return ended;
    }

    static webhook_request take(parser& p)
    {
        auto& from = p.get();
        webhook_request r;
        r.method = std::string{from.method_string()};
        r.target = std::string{from.target()};
        for (auto const& field : from)
            r.headers.push_back({std::string{field.name_string()}, std::string{field.value()}});
        r.body = std::move(from.body());
        return r;
    }

    asio::awaitable<webhook_answer> answer_to(webhook_request const& request)
    {
        webhook_answer answer;
        auto const* const f = server_->find(request.target);
        if (!f) {
            answer = refuse(404, "nobody is here");
            co_return answer;
        }
        std::exception_ptr failed;
        try {
            answer = co_await (*f)(request);
        } catch (...) {
            failed = std::current_exception();
        }
        if (failed)
            answer = fail_webhook(failed);
        if (answer.status >= 500)
            server_->env->report("webhook endpoint: " + answer.detail);
        server_->answered.fetch_add(1, std::memory_order_relaxed);
        co_return answer;
    }

    webhook_answer refuse(std::uint32_t status, std::string why)
    {
        server_->refused.fetch_add(1, std::memory_order_relaxed);
        return refuse_webhook(status, std::move(why));
    }

    static bool is_sendable(webhook_answer const& a)
    {
        auto const is_token = [](std::string_view name) {
            return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return is_alphanumeric(c) || c == '-' || c == '_'; });
        };
        return a.status >= 200 && a.status <= 999 && is_header_value(a.content_type)
            && std::all_of(a.headers.begin(), a.headers.end(),
                [&](header const& h) { return is_token(h.name) && is_header_value(h.value); });
    }

    // What would break the answer apart is not sent.
    static std::string write_answer(webhook_answer const& given, bool again, bool head)
    {
        static webhook_answer const unsendable = refuse_webhook(500, "the handler failed");
        auto const& a = is_sendable(given) ? given : unsendable;
        std::string text = "HTTP/1.1 " + std::to_string(a.status) + ' ';
        text += std::string_view{boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(a.status))};
        text.append("\r\ncontent-type: ").append(a.content_type);
        text.append("\r\ncontent-length: ").append(std::to_string(a.body.size()));
        text.append("\r\nconnection: ").append(again ? "keep-alive" : "close");
        for (auto const& h : a.headers)
            text.append("\r\n").append(h.name).append(": ").append(h.value);
        text += "\r\n\r\n";
        return head ? text : text + a.body;
    }

    // An end with bytes unread would be a reset, which takes the answer from the other side before it was read.
    asio::awaitable<void> close_gently()
    {
        constexpr int most_reads = 64;
        idle_ = true;
        limit(std::chrono::seconds{1});
        boost::system::error_code ec;
        socket_.shutdown(socket_type::shutdown_send, ec);
        auto const rest = std::make_unique<std::array<char, 4096>>();
        for (int n = 0; n < most_reads && !ec; ++n)
            co_await socket_.async_read_some(asio::buffer(*rest), asio::redirect_error(asio::use_awaitable, ec));
    }

    void limit(duration span)
    {
        timer_.emplace(*server_->env, server_->strand);
        timer_->arm(span, [weak = weak_from_this()] {
            if (auto const self = weak.lock()) {
                if (!self->idle_)
                    self->count_as_broken();
                self->abort();
            }
        });
    }

    // Before the other side can see that it has ended.
    void count_as_broken()
    {
        if (!std::exchange(broken_, true))
            server_->broken.fetch_add(1, std::memory_order_relaxed);
    }

    void end(std::exception_ptr const&)
    {
        ended_ = true;
        timer_.reset();
        boost::system::error_code ec;
        socket_.close(ec);
        server_->connections.erase(this);
        server_->room.notify();
        server_->ended.notify();
    }

    std::shared_ptr<webhook_server> server_;
    socket_type socket_;
    std::shared_ptr<asio::cancellation_signal> cancel_ = std::make_shared<asio::cancellation_signal>();
    std::optional<strand_timer> timer_;
    bool idle_ = false;   // between requests
    bool broken_ = false;
    bool ended_ = false;
};

} // namespace cosaga::detail
