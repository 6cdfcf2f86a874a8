// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/testing/runner.hpp>
#include <cosaga/testing/sqlite_platform.hpp>
#include <cosaga/testing/workloads/crash_points.hpp>
#include <cosaga/testing/workloads/key_order.hpp>
#include <cosaga/testing/workloads/ledger.hpp>
#include <cosaga/testing/workloads/notifications.hpp>
#include <cosaga/testing/workloads/parked_messages.hpp>
#include <cosaga/testing/workloads/reconciliation.hpp>
#include <cosaga/testing/workloads/sagas.hpp>
#include <cosaga/testing/workloads/total_queue.hpp>
#include <cosaga/testing/workloads/transactions.hpp>
#include <cosaga/testing/zeromq_platform.hpp>

int main(int argc, char** argv)
{
    using namespace cosaga::testing;
    runner r;
    r.add<ledger<>>("ledger");
    r.add<total_queue<>>("total_queue");
    r.add<key_order<>>("key_order");
    r.add<parked_messages<>>("parked_messages");
    r.add<transactions<>>("transactions");
    r.add<notifications<>>("notifications");
    r.add<sagas<>>("sagas");
    r.add<reconciliation<>>("reconciliation");
    r.add<ledger<sqlite_platform>>("ledger_sqlite", 10);
    r.add<total_queue<sqlite_platform>>("total_queue_sqlite", 10);
    r.add<key_order<sqlite_platform>>("key_order_sqlite", 10);
    r.add<parked_messages<sqlite_platform>>("parked_messages_sqlite", 10);
    r.add<transactions<sqlite_platform>>("transactions_sqlite", 10);
    r.add<notifications<sqlite_platform>>("notifications_sqlite", 10);
    r.add<sagas<sqlite_platform>>("sagas_sqlite", 10);
    r.add<reconciliation<sqlite_platform>>("reconciliation_sqlite", 10);
    r.add<ledger<zeromq_platform>>("ledger_zeromq");
    r.add<total_queue<zeromq_platform>>("total_queue_zeromq");
    r.add<key_order<zeromq_platform>>("key_order_zeromq");
    r.add<parked_messages<zeromq_platform>>("parked_messages_zeromq");
    r.add<transactions<zeromq_platform>>("transactions_zeromq", 10);
    r.add<notifications<zeromq_platform>>("notifications_zeromq");
    r.add<sagas<zeromq_platform>>("sagas_zeromq", 10);
    r.add<reconciliation<zeromq_platform>>("reconciliation_zeromq");
    r.add<crash_points>("crash_points");
    return r.main(argc, argv);
}
