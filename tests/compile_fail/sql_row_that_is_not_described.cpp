// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: describe the row with BOOST_DESCRIBE_STRUCT first
#include <cosaga/storage/sqlite.hpp>

#include <boost/describe/class.hpp>

#include <cstdint>
#include <string>
#include <vector>

struct order {
    std::int64_t id = 0;
    std::string customer;
};
#ifdef COSAGA_EXPECT_SUCCESS
BOOST_DESCRIBE_STRUCT(order, (), (id, customer))
#endif

std::vector<order> read(cosaga::sqlite_transaction& tx)
{
    return tx.query<order>("SELECT id, customer FROM orders");
}
