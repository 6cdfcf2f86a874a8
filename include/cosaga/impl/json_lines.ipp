// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/json_lines.hpp>

#include <boost/json/basic_parser_impl.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace cosaga::detail {

/// What the parser of Boost.JSON calls.
class json_line_handler {
    using error_code = boost::system::error_code;
    using view = boost::json::string_view;

public:
    static constexpr std::size_t max_object_size = 4096;
    static constexpr std::size_t max_array_size = std::size_t{1} << 20;
    static constexpr std::size_t max_key_size = std::size_t{1} << 12;
    static constexpr std::size_t max_string_size = std::size_t{1} << 20;

    explicit json_line_handler(std::function<void(std::string_view, std::string_view)> const& member) : member_{&member} {}

    std::string_view problem() const noexcept { return problem_; }

    bool on_document_begin(error_code&) { return true; }
    bool on_document_end(error_code&) { return true; }
    bool on_object_begin(error_code&) { return ++depth_, true; }
    bool on_object_end(std::size_t, error_code&) { return --depth_, true; }
    bool on_array_begin(error_code& ec) { return ++depth_ > 1 || refuse(ec); }
    bool on_array_end(std::size_t, error_code&) { return --depth_, true; }
    bool on_key_part(view part, std::size_t, error_code&) { return take(name_, part, false); }
    bool on_key(view part, std::size_t, error_code&) { return take(name_, part, true); }
    bool on_string_part(view part, std::size_t, error_code&) { return take(value_, part, false); }
    bool on_string(view part, std::size_t, error_code& ec) { return take(value_, part, true) && tell(ec); }
    bool on_number_part(view part, error_code&) { return take(value_, part, false); }
    bool on_int64(std::int64_t, view part, error_code& ec) { return take(value_, part, true) && tell(ec); }
    bool on_uint64(std::uint64_t, view part, error_code& ec) { return take(value_, part, true) && tell(ec); }
    bool on_double(double, view part, error_code& ec) { return take(value_, part, true) && tell(ec); }
    bool on_bool(bool b, error_code& ec) { return take(value_, b ? "true" : "false", true) && tell(ec); }
    bool on_null(error_code& ec) { return take(value_, "null", true) && tell(ec); }
    bool on_comment_part(view, error_code&) { return true; }
    bool on_comment(view, error_code&) { return true; }

private:
    struct text {
        std::string bytes;
        bool complete = true;
    };

    static bool take(text& to, view part, bool last)
    {
        if (std::exchange(to.complete, last))
            to.bytes.clear();
        to.bytes.append(part.data(), part.size());
        return true;
    }

    bool tell(error_code& ec)
    {
        if (depth_ == 0)
            return refuse(ec);
        if (depth_ == 1)
            (*member_)(name_.bytes, value_.bytes);
        return true;
    }

    bool refuse(error_code& ec)
    {
        problem_ = "is no object";
        ec = boost::system::errc::make_error_code(boost::system::errc::invalid_argument);
        return false;
    }

    std::function<void(std::string_view, std::string_view)> const* member_;
    text name_;
    text value_;
    int depth_ = 0;
    std::string_view problem_;
};

COSAGA_DECL std::string_view read_json_line(
    std::string_view line, std::function<void(std::string_view, std::string_view)> const& member)
{
    boost::json::basic_parser<json_line_handler> parser{boost::json::parse_options{}, member};
    boost::system::error_code ec;
    auto const used = parser.write_some(false, line.data(), line.size(), ec);
    if (!parser.handler().problem().empty())
        return parser.handler().problem();
    if (ec)
        return "is no JSON";
    return used == line.size() && parser.done() ? std::string_view{} : "has text behind its end";
}

} // namespace cosaga::detail
