// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "body_checks.hpp"

#include <map>

using cosaga::binary_codec;

template <class Body>
using check = fuzz::body_check<binary_codec, Body>;

// The first byte chooses the body.
int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    fuzz::choices input{data, size};
    auto const body = input.below(5);
    auto const bytes = input.rest();
    switch (body) {
    case 0: check<bodies::everything>::run(bytes); break;
    case 1: fuzz::check_both_versions<binary_codec>(bytes); break;
    case 2:
        check<fuzz::strict_values>::run(bytes, [&](auto const&, std::string const& encoded) {
            fuzz::require(encoded == bytes, "every value has exactly one encoding");
        });
        break;
    case 3: check<bodies::tree>::run(bytes); break;
    default: check<std::map<std::string, std::optional<bodies::point>>>::run(bytes); break;
    }
    return 0;
}
