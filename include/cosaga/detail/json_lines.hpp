// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <functional>
#include <string_view>

namespace cosaga::detail {

/// Calls `member(name, value)` for each member of the object that `line` is. Text is decoded; a number is as it was written, so that
/// 12.50 stays 12.50; true, false and null are these words; a member that is an object or an array is passed over.
/// @return nothing, or what is wrong with the line.
std::string_view read_json_line(std::string_view line, std::function<void(std::string_view, std::string_view)> const& member);

} // namespace cosaga::detail

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/json_lines.ipp>
#endif
