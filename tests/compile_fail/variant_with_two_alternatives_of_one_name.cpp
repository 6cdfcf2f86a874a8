// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: two alternatives of this variant have the same name in JSON
#include <cosaga/codec/json.hpp>

#include <string>
#include <variant>
#include <vector>

#ifdef COSAGA_EXPECT_SUCCESS
using answer = std::variant<std::vector<int>, std::string>;
#else
using answer = std::variant<std::vector<int>, std::vector<std::string>>;
#endif

std::string encode(answer const& given) { return cosaga::json_codec::encode(given); }
