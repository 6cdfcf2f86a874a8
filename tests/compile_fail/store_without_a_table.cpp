// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// expect: find_marks
#include <cosaga/storage/memory.hpp>

/// A transaction of somebody's own that has forgotten to find marks.
struct transaction : cosaga::memory_transaction {
    using memory_transaction::memory_transaction;
#ifndef COSAGA_EXPECT_SUCCESS
    void find_marks() = delete;
#endif
};

static_assert(cosaga::store_transaction<transaction>);
