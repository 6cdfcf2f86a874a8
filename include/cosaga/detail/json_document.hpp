// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/detail/json_path.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace boost::json {
class array;
class object;
class value;
} // namespace boost::json

namespace cosaga::detail {

class json_value;

class json_array {
public:
    explicit json_array(boost::json::array const& a) noexcept : array_{&a} {}

    std::size_t size() const noexcept;
    json_value operator[](std::size_t i) const noexcept;

private:
    boost::json::array const* array_;
};

class json_object {
public:
    explicit json_object(boost::json::object const& o) noexcept : object_{&o} {}

    std::size_t size() const noexcept;
    std::string_view key(std::size_t i) const noexcept;
    json_value operator[](std::size_t i) const noexcept;
    /// Sets `i` to the place of the member, which is often the one given; false if there is none.
    bool find(std::string_view name, std::size_t& i) const noexcept;

private:
    boost::json::object const* object_;
};

/// A value of a document. To read it as what it is not throws `errc::malformed_data` with the place `at`.
class json_value {
public:
    explicit json_value(boost::json::value const& v) noexcept : value_{&v} {}

    bool is_null() const noexcept;
    bool boolean(json_path const& at) const;
    std::int64_t integer(json_path const& at, std::int64_t least, std::int64_t most) const;
    std::uint64_t unsigned_integer(json_path const& at, std::uint64_t most) const;
    double number(json_path const& at) const;
    std::string_view text(json_path const& at) const;
    json_array array(json_path const& at) const;
    json_object object(json_path const& at) const;

private:
    boost::json::value const* value_;
};

/// Calls `read(context, document)` with the document, which lives as long as the call.
/// @throws system_error `errc::malformed_data` with the position, `errc::limit_exceeded`.
void parse_json(std::string_view text, codec_limits const& limits, void (*read)(void*, json_value), void* context);

template <class Read>
void parse_json(std::string_view text, codec_limits const& limits, Read read)
{
    parse_json(text, limits, [](void* context, json_value document) { (*static_cast<Read*>(context))(document); }, &read);
}

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/json_document.ipp>
#endif
