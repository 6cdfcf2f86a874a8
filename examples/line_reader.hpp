// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace examples {

/// Reads the lines of a file, or of standard input, one after another: memory does not depend on how long the input is.
class line_reader {
public:
    /// A longer line is cut off one byte beyond this.
    static constexpr std::size_t longest = std::size_t{1} << 20;

    struct line {
        std::size_t number; ///< from 1
        std::string text;
    };

    /// @param path a file, or `-` for standard input.
    /// @throws std::system_error when it cannot be opened.
    line_reader(boost::asio::any_io_executor const& executor, std::string const& path)
        : file_{executor, open(path)}, chunk_(chunk_size)
    {
    }

    /// The next line, or nothing at the end.
    boost::asio::awaitable<std::optional<line>> next()
    {
        std::string text;
        for (;;) {
            auto const rest = std::string_view{chunk_.data(), filled_}.substr(used_);
            auto const end = rest.find('\n');
            auto const piece = rest.substr(0, end);
            text.append(piece.substr(0, longest + 1 - text.size()));
            used_ += std::min(piece.size() + 1, rest.size());
            if (end != std::string_view::npos)
                co_return line{++number_, std::move(text)};
            bool const more = co_await fill();
            if (stopped_ || (!more && text.empty())) // a line that has not come to its end is none
                co_return std::nullopt;
            if (!more)
                co_return line{++number_, std::move(text)};
        }
    }

    /// Ends the input here.
    void stop()
    {
        stopped_ = true;
        file_.cancel();
    }

private:
    static constexpr std::size_t chunk_size = std::size_t{1} << 16;

    static int open(std::string const& path)
    {
        int const fd = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            throw std::system_error{errno, std::generic_category(), path};
        return fd;
    }

    boost::asio::awaitable<bool> fill()
    {
        while (!stopped_) {
            // A regular file cannot be waited for, which is an error here, but needs no wait either.
            boost::system::error_code ignored;
            co_await file_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
            if (stopped_)
                break;
            auto const n = ::read(file_.native_handle(), chunk_.data(), chunk_.size());
            if (n >= 0) {
                used_ = 0;
                filled_ = static_cast<std::size_t>(n);
                co_return n > 0;
            }
            if (errno != EINTR && errno != EAGAIN)
                throw std::system_error{errno, std::generic_category(), "the input cannot be read"};
        }
        co_return false;
    }

    boost::asio::posix::stream_descriptor file_;
    std::vector<char> chunk_;
    std::size_t used_ = 0;
    std::size_t filled_ = 0;
    std::size_t number_ = 0;
    bool stopped_ = false;
};

} // namespace examples
