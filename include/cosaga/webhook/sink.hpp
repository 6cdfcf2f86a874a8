// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/notification_sink.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/signature.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cosaga {

struct webhook_sink_options {
    /// The secrets that requests to a destination are signed with, all of them: two while one is replaced, 8 at most. Asked before each attempt,
    /// on the caller's thread. For a destination without any there is no attempt: it fails.
    std::function<std::vector<webhook_secret>(std::string const& destination)> secrets;
    webhook_format format = webhook_format::structured;
    /// Lets destinations begin with `http://`: everybody on the way can read and change what is sent, and what is answered.
    bool allow_http = false;
    /// Networks that may be connected to although they are not public: `127.0.0.0/8`, `10.20.0.0/16`; see `is_public`.
    std::vector<std::string> allowed_networks{};
    std::string ca_file{};                          ///< certificates to trust (PEM) instead of the system's
    /// For the name, the connection and TLS together. With `answer_limit` it should be less than `notifier_options::attempt_timeout` (15 s):
    /// then an attempt ends by the limit that it ran into, which its reason names.
    duration connect_limit = std::chrono::seconds{5};
    duration answer_limit = std::chrono::seconds{9}; ///< then, for the request and all of the answer
    std::size_t max_answer_header = std::size_t{8} << 10; ///< bytes; a longer one is no answer
    std::size_t max_answer_body = std::size_t{64} << 10;  ///< bytes; what comes beyond is not read
    std::size_t resolver_threads = 4;                ///< 1 to 64; each looks one name up at a time
    duration resolver_memory = std::chrono::seconds{10}; ///< how long addresses of a name, or that it has none, are remembered
    /// Looks a name up instead of the system; blocks, called on a thread of its own. What it throws counts as no address.
    std::function<std::vector<asio::ip::address>(std::string const& host)> resolve{};
    std::string user_agent = "cosaga";
};

/// Delivers notifications as webhooks: `POST`s over HTTPS, signed after the Standard Webhooks specification.
///
/// @code
/// webhook_sink_options options;
/// options.secrets = [&](std::string const& url) { return merchants.at(url).secrets; };
/// webhook_sink sink{env, options};
/// auto const result = co_await sink.deliver("https://merchant.example/hooks", m);
/// @endcode
/// A destination is a URL. `webhook-id` is the id of the message, so the same in each attempt; the timestamp is that of the attempt.
///
/// | answer                             | outcome |
/// |------------------------------------|---------|
/// | 2xx                                | delivered, whatever becomes of the rest of the answer |
/// | 410                                | gone |
/// | 3xx                                | failed: redirects are not followed |
/// | anything else, or none within the limits | failed, with `Retry-After` if there was one |
///
/// No way in through this: each address that the name has is checked (see `is_public`) and the connection goes to one that was; certificates
/// and host names are verified, with TLS 1.2 or later; nothing of an answer but its status and `Retry-After` comes out.
/// Each attempt has a connection of its own, so a process may need as many open files as attempts are in flight. The environment's executor must belong to an `asio::io_context`.
/// @par Thread safety
/// every member may be called from any thread. What is running when it is destroyed runs to its end.
class webhook_sink {
public:
    /// @throws system_error `errc::bad_configuration` for options outside their ranges, no `secrets`, or a `ca_file` that cannot be read;
    /// `errc::bad_argument` for a network that is none.
    webhook_sink(environment& env, webhook_sink_options options);
    webhook_sink(webhook_sink const&) = delete;
    webhook_sink& operator=(webhook_sink const&) = delete;
    ~webhook_sink();

    /// Tries once.
    /// @par Completes with
    /// what became of it; nothing but cancellation is thrown. The reason names the host, and neither secrets nor addresses.
    /// @par Cancellation
    /// closes the connection; the receiver may have the message. Throws `operation_aborted`.
    asio::awaitable<attempt_result> deliver(std::string const& destination, message const& m);

    /// @throws system_error `errc::bad_argument` for what is no URL (see `parse_webhook_url`), `http://` unless allowed, and an address that is not.
    void check(std::string const& destination) const;

    /// Asks whoever sends to us, with a signed `GET`: for the state of a notification, say. See `webhook_query`.
    ///
    /// In place of the body, `GET` with a space and the target is signed.
    /// @param url is checked and reached as a destination is, and has its secrets.
    /// @par Completes with
    /// any answer, with a body of at most `max_answer_body`.
    /// @par Errors
    /// @li `errc::bad_argument` - as `check`.
    /// @li `errc::unreachable` - no answer within the limits; the context says why.
    asio::awaitable<webhook_answer> ask(std::string const& url);

    environment& get_environment() noexcept;

private:
    struct state;
    std::shared_ptr<state> state_;
};

static_assert(notification_sink<webhook_sink>);

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_sink.ipp>
#endif
