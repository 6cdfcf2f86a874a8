// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: an SQL argument is an integer, double, bool, text, bytes, message_id, time_point, nullptr or an optional of these
#include <cosaga/storage/sqlite.hpp>

#include <string>
#include <vector>

void insert(cosaga::sqlite_transaction& tx, std::vector<std::string> const& lines)
{
#ifdef COSAGA_EXPECT_SUCCESS
    tx.execute("INSERT INTO lines VALUES(?)", lines.front());
#else
    tx.execute("INSERT INTO lines VALUES(?)", lines);
#endif
}
