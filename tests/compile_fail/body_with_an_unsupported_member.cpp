// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: a body cannot hold this type
#include <cosaga/codec/json.hpp>

#include <boost/describe/class.hpp>

#include <string>

namespace shop {

struct order {
    std::string id;
#ifdef COSAGA_EXPECT_SUCCESS
    int size = 1;
#else
    char size = 'S'; // a character, or a small number?
#endif
};
BOOST_DESCRIBE_STRUCT(order, (), (id, size))

} // namespace shop

std::string encode(shop::order const& placed) { return cosaga::json_codec::encode(placed); }
