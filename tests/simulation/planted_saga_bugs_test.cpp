// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Sagas with a bug each, and how many seeds it takes to find it.
#include "planted_saga_bugs.hpp"
#include "planted_search.hpp"

#include <cosaga/testing/workloads/sagas.hpp>

#include <gtest/gtest.h>

namespace {

using cosaga::testing::sagas;
using namespace planted;

TEST(planted_saga_bug, compensation_written_after_the_effect)
{
    expect_to_be_found<sagas<store_platform<compensation_afterwards>>>();
}

TEST(planted_saga_bug, decision_to_compensate_in_memory)
{
    expect_to_be_found<sagas<store_platform<decision_in_memory>>>();
}

TEST(planted_saga_bug, barrier_without_null_compensation)
{
    expect_to_be_found<sagas<store_platform<no_null_compensation>>>();
}

TEST(planted_saga_bug, barrier_that_a_restart_forgets)
{
    expect_to_be_found<sagas<store_platform<barrier_in_memory>>>();
}

TEST(planted_saga_bug, step_outside_of_the_transaction)
{
    expect_to_be_found<sagas<store_platform<effect_outside>>>();
}

} // namespace
