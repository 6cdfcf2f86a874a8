// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "body_checks.hpp"

#include <map>

using cosaga::json_codec;

template <class Body>
using check = fuzz::body_check<json_codec, Body>;

// The first byte chooses the body.
int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    fuzz::choices input{data, size};
    auto const body = input.below(5);
    auto const text = input.rest();
    switch (body) {
    case 0: check<bodies::everything>::run(text); break;
    case 1: fuzz::check_both_versions<json_codec>(text); break;
    case 2: check<fuzz::strict_values>::run(text); break;
    case 3: check<bodies::tree>::run(text); break;
    default: check<std::map<std::string, std::optional<bodies::point>>>::run(text); break;
    }
    return 0;
}
