// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A simulation that finds nothing shows nothing: here are services with a bug each, and how many seeds it takes to find it.
#include "planted_bugs.hpp"
#include "planted_search.hpp"

#include <cosaga/testing/workloads/key_order.hpp>
#include <cosaga/testing/workloads/ledger.hpp>
#include <cosaga/testing/workloads/notifications.hpp>
#include <cosaga/testing/workloads/parked_messages.hpp>
#include <cosaga/testing/workloads/reconciliation.hpp>
#include <cosaga/testing/workloads/total_queue.hpp>
#include <cosaga/testing/workloads/transactions.hpp>

#include <gtest/gtest.h>

namespace {

using namespace cosaga::testing;
using namespace planted;

TEST(planted_bug, no_dedupe)
{
    expect_to_be_found<total_queue<store_platform<no_dedupe>>>();
}

TEST(planted_bug, dedupe_that_a_restart_forgets)
{
    expect_to_be_found<total_queue<store_platform<dedupe_in_memory>>>();
}

TEST(planted_bug, dedupe_that_forgets_before_the_last_copy_has_come)
{
    expect_to_be_found<total_queue<store_platform<short_memory>>>();
}

TEST(planted_bug, effect_outside_of_the_transaction)
{
    expect_to_be_found<ledger<store_platform<effect_outside>>>();
}

TEST(planted_bug, message_sent_outside_of_the_transaction)
{
    expect_to_be_found<total_queue<store_platform<send_outside>>>();
}

TEST(planted_bug, failing_message_dropped)
{
    expect_to_be_found<key_order<store_platform<failure_swallowed>>>();
}

TEST(planted_bug, failing_handler_not_rolled_back)
{
    expect_to_be_found<key_order<store_platform<no_rollback>>>();
}

TEST(planted_bug, dead_letter_deleted)
{
    expect_to_be_found<parked_messages<store_platform<dead_letters_deleted>>>();
}

TEST(planted_bug, acknowledgement_before_the_commit)
{
    expect_to_be_found<ledger<transport_platform<hasty_consumption>>>();
}

TEST(planted_bug, row_deleted_when_it_was_published)
{
    expect_to_be_found<total_queue<transport_platform<accepted_when_published>>>();
}

TEST(planted_bug, messages_published_in_any_order)
{
    expect_to_be_found<key_order<transport_platform<published_in_any_order>>>();
}

TEST(planted_bug, check_back_without_a_fence)
{
    expect_to_be_found<transactions<memory_platform, check_without_a_fence>>();
}

TEST(planted_bug, check_back_from_memory)
{
    expect_to_be_found<transactions<memory_platform, outcomes_in_memory>>();
}

TEST(planted_bug, mark_outside_of_the_local_transaction)
{
    expect_to_be_found<transactions<memory_platform, mark_outside>>();
}

TEST(planted_bug, notification_deleted_when_it_is_given_up)
{
    expect_to_be_found<notifications<store_platform<dead_letters_deleted>>>();
}

TEST(planted_bug, notification_stored_outside_of_the_transaction)
{
    expect_to_be_found<notifications<store_platform<send_outside>>>();
}

TEST(planted_bug, notification_whose_outcome_a_restart_forgets)
{
    expect_to_be_found<notifications<store_platform<dedupe_in_memory>>>();
}

TEST(planted_bug, notification_delivered_when_it_was_published)
{
    expect_to_be_found<notifications<transport_platform<accepted_when_published>>>();
}

TEST(planted_bug, ledger_outside_of_the_transaction)
{
    expect_to_be_found<reconciliation<store_platform<ledger_outside>>>();
}

TEST(planted_bug, reconciled_without_dedupe)
{
    expect_to_be_found<reconciliation<store_platform<no_dedupe>>>();
}

TEST(planted_bug, reconciled_message_sent_outside_of_the_transaction)
{
    expect_to_be_found<reconciliation<store_platform<send_outside>>>();
}

} // namespace
