// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: body_type
#include <cosaga/codec/binary.hpp>

#include <boost/describe/class.hpp>

#include <string>

namespace shop {

struct order {
    std::string id;
};
#ifdef COSAGA_EXPECT_SUCCESS
BOOST_DESCRIBE_STRUCT(order, (), (id))
#endif

} // namespace shop

std::string encode(shop::order const& placed) { return cosaga::binary_codec::encode(placed); }
