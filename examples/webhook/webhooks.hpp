// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "../program.hpp"

#include <cosaga.hpp>
#include <cosaga/webhook/answerer.hpp>
#include <cosaga/webhook/endpoint.hpp>
#include <cosaga/webhook/sink.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/describe/class.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

// What the programs of this example share.
namespace webhooks {

namespace asio = boost::asio;
using namespace examples;
using namespace std::chrono_literals;

/// What a notice says: the customer has paid for that order of the merchant's.
struct payment {
    std::int64_t order = 0;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(payment, (), (order, cents))

inline std::vector<std::string> lines_of(std::string const& path)
{
    std::ifstream file{path};
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    if (lines.empty())
        throw std::runtime_error{path + " cannot be read, or is empty"};
    return lines;
}

template <class Number>
Number number_in(arguments const& given, std::string const& name)
{
    auto const& text = given[name];
    Number n{};
    auto const read = std::from_chars(text.data(), text.data() + text.size(), n);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || n < 0)
        throw usage_error{name + " needs a number"};
    return n;
}

/// This example stays on one machine: plain HTTP to loopback addresses has to be allowed in so many words.
inline cosaga::webhook_sink_options sink_options()
{
    cosaga::webhook_sink_options options;
    options.allow_http = true;
    options.allowed_networks = {"127.0.0.0/8"};
    options.connect_limit = 300ms;
    options.answer_limit = 500ms;
    return options;
}

/// True once a signal has asked the program to end.
class stop_request {
public:
    explicit stop_request(asio::io_context& io) : signals_{io, SIGINT, SIGTERM}
    {
        signals_.async_wait([this](boost::system::error_code ec, int) { made_ = !ec; });
    }
    explicit operator bool() const noexcept { return made_; }

private:
    asio::signal_set signals_;
    bool made_ = false;
};

/// Cells of a table.
inline std::string padded(std::string text)
{
    text.resize(std::max<std::size_t>(text.size(), 8), ' ');
    return text;
}
inline std::string cell(std::int64_t n, char const* what)
{
    auto const digits = std::to_string(n);
    return std::string(digits.size() < 8 ? 8 - digits.size() : 1, ' ') + digits + ' ' + what;
}

/// Prints how things are, once a second, if they have changed.
class progress {
public:
    explicit progress(cosaga::environment& env) : env_{env} {}

    bool is_due() const { return env_.steady_now() >= next_; }
    void print(std::string const& text)
    {
        next_ = env_.steady_now() + 1s;
        if (std::exchange(shown_, text) != text)
            std::fputs(text.c_str(), stdout);
        std::fflush(stdout);
    }

private:
    cosaga::environment& env_;
    cosaga::steady_time next_{};
    std::string shown_;
};

} // namespace webhooks
