// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: a member of a row is an integer, double, bool, string
#include <cosaga/storage/sqlite.hpp>

#include <boost/describe/class.hpp>

#include <string>
#include <vector>

struct order {
#ifdef COSAGA_EXPECT_SUCCESS
    std::string lines;
#else
    std::vector<std::string> lines;
#endif
};
BOOST_DESCRIBE_STRUCT(order, (), (lines))

std::vector<order> read(cosaga::sqlite_transaction& tx)
{
    return tx.query<order>("SELECT lines FROM orders");
}
