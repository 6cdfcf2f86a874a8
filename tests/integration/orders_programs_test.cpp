// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstddef>

namespace {

using namespace programs;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr char shipments[] = "SELECT count(*) FROM shipments";

audit_report all_of(order_book const& book)
{
    auto const count = static_cast<std::int64_t>(book.size());
    return {count, count, 0, 0, book.cents(), book.cents(), 0};
}

/// Lets both services run until all orders of the input are answered.
void run_to_end(orders_system& system)
{
    auto const warehouse = system.start_warehouse();
    EXPECT_EQ(system.start_orders()->wait(enough), exited_with_0) << system.errors();
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0) << system.errors();
}

void expect_agreement(orders_system& system, audit_report const& expected)
{
    auto const [report, ending] = system.audit();
    EXPECT_EQ(report, expected);
    EXPECT_EQ(ending, exited_with_0) << system.errors();
}

TEST(orders_programs, ship_the_sample_and_skip_its_malformed_line)
{
    orders_system system;
    auto const sample = read_file(COSAGA_ORDERS_SAMPLE);
    write_file(system.input, sample);
    run_to_end(system);
    auto const [report, ending] = system.audit();
    EXPECT_EQ(report.orders, std::count(sample.begin(), sample.end(), '\n') - 1);
    EXPECT_EQ(report.shipments, report.orders);
    EXPECT_EQ(ending, exited_with_0);
    EXPECT_THAT(system.errors(), HasSubstr("order_service: line 118 skipped: "));
    EXPECT_THAT(system.errors(), Not(HasSubstr("line 117")));
}

TEST(orders_programs, say_what_is_wrong_with_each_line_they_skip)
{
    orders_system system;
    order_book const book{1, 2};
    auto const with = [](std::string const& members) { return "{" + members + "}\n"; };
    write_file(system.input,
        book.lines(0, 1) + "\nnot JSON\n" + with(R"("order_id":"","customer_id":"c","items":[{}])")
            + with(R"("order_id":"o","items":[{}])") + with(R"("order_id":"o","customer_id":"c")")
            + with(R"("order_id":"o","customer_id":"c","items":[{"price_cents":-1}])")
            + with(R"("order_id":"o","customer_id":"c","items":[{"price_cents":"1"}])") + std::string(2'000'000, ' ')
            + "\n" + book.lines(1, 2));
    run_to_end(system);
    expect_agreement(system, all_of(book));
    for (int line = 2; line <= 9; ++line)
        EXPECT_THAT(system.errors(), HasSubstr("line " + std::to_string(line) + " skipped: "));
    EXPECT_THAT(system.errors(), HasSubstr("line 9 skipped: longer than 1 MiB"));
    EXPECT_THAT(system.errors(), Not(HasSubstr("line 10 ")));
}

TEST(orders_programs, read_the_last_line_without_its_end)
{
    orders_system system;
    order_book const book{2, 3};
    auto text = book.lines();
    text.pop_back();
    write_file(system.input, text);
    run_to_end(system);
    expect_agreement(system, all_of(book));
}

TEST(orders_programs, place_nothing_twice_when_the_same_input_comes_again)
{
    orders_system system;
    order_book const book{3, 300};
    write_file(system.input, book.lines());
    run_to_end(system);
    run_to_end(system);
    write_file(system.input, book.lines() + book.lines());
    run_to_end(system);
    expect_agreement(system, all_of(book));
}

TEST(orders_programs, take_orders_from_standard_input_as_they_come)
{
    orders_system system;
    order_book const book{4, 20};
    input_pipe pipe;
    auto const warehouse = system.start_warehouse();
    auto const orders = system.start_orders({"--input", "-"}, pipe.read_end());
    pipe.write(book.lines(0, 10));
    wait_for(system.orders_db, "SELECT count(*) FROM orders WHERE answers = 1", 10); // while the input is open
    pipe.write(book.lines(10, 20));
    EXPECT_EQ(orders->wait(0s), std::nullopt);
    pipe.close();
    EXPECT_EQ(orders->wait(enough), exited_with_0) << system.errors();
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0);
    expect_agreement(system, all_of(book));
}

TEST(orders_programs, end_at_once_when_there_is_nothing_to_do)
{
    orders_system system;
    EXPECT_EQ(system.start_orders({})->wait(enough), exited_with_0) << system.errors();
}

TEST(orders_programs, deliver_to_a_warehouse_that_starts_late)
{
    orders_system system;
    order_book const book{5, 500};
    write_file(system.input, book.lines());
    auto const orders = system.start_orders();
    wait_for(system.orders_db, "SELECT count(*) FROM orders", 500);
    EXPECT_EQ(orders->wait(100ms), std::nullopt) << "not acknowledged, so not done";
    auto const warehouse = system.start_warehouse();
    EXPECT_EQ(orders->wait(enough), exited_with_0) << system.errors();
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0);
    expect_agreement(system, all_of(book));
}

TEST(orders_programs, lose_nothing_when_the_warehouse_is_stopped_on_its_way)
{
    constexpr std::size_t at_once = 200;
    orders_system system;
    order_book const book{6, 6 * at_once};
    input_pipe pipe;
    auto warehouse = system.start_warehouse();
    auto const orders = system.start_orders({"--input", "-"}, pipe.read_end());
    std::size_t given = 0;
    for (int const signal : {SIGTERM, SIGINT, SIGTERM, SIGTERM, SIGINT, SIGTERM}) {
        wait_for(system.warehouse_db, shipments, 0); // the table is there
        auto const shipped = std::stoll(query(system.warehouse_db, shipments).front().front());
        pipe.write(book.lines(given, given + at_once));
        given += at_once;
        wait_for(system.warehouse_db, shipments, shipped + 1); // so that it runs, and is not done
        EXPECT_EQ(warehouse->end(signal), exited_with_0) << system.errors();
        warehouse = system.start_warehouse();
    }
    pipe.close();
    EXPECT_EQ(orders->wait(enough), exited_with_0) << system.errors();
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0);
    expect_agreement(system, all_of(book));
}

// Until a program handles SIGTERM it is killed by it, whatever it has done by then.
TEST(orders_programs, lose_nothing_when_they_are_told_to_stop_before_they_listen)
{
    orders_system system;
    order_book const book{11, 300};
    write_file(system.input, book.lines());
    child::ending const was_terminated{.code = {}, .signal = SIGTERM};
    int unheard = 0;
    for (int n = 0; n < 40; ++n) {
        auto const warehouse = system.start_warehouse();
        auto const orders = system.start_orders();
        std::chrono::microseconds const early{n * 500};
        static_cast<void>(orders->wait(early));
        auto const one = orders->end_at_once(SIGTERM);
        auto const other = warehouse->end_at_once(SIGTERM);
        unheard += one == was_terminated;
        unheard += other == was_terminated;
        EXPECT_TRUE(one == was_terminated || one == exited_with_1 || one == exited_with_0) << system.errors();
        EXPECT_TRUE(other == was_terminated || other == exited_with_0) << system.errors();
    }
    EXPECT_GT(unheard, 0) << "never too early: the test shows nothing";
    run_to_end(system);
    expect_agreement(system, all_of(book));
}

TEST(orders_programs, go_on_after_the_order_service_is_stopped_on_its_way)
{
    orders_system system;
    order_book const book{7, 1000};
    write_file(system.input, book.lines());
    {
        auto const orders = system.start_orders();
        wait_for(system.orders_db, "SELECT count(*) FROM orders", 1); // so it runs
        EXPECT_EQ(orders->end(SIGTERM), exited_with_1) << "not all are answered";
    }
    {
        input_pipe pipe; // stays open, so that it waits for more
        auto const orders = system.start_orders({"--input", "-"}, pipe.read_end());
        pipe.write(order_book{8, 1001}.lines(1000, 1001));
        wait_for(system.orders_db, "SELECT count(*) FROM orders WHERE order_id = 'order-1001'", 1);
        EXPECT_EQ(orders->end(SIGINT), exited_with_1);
    }
    run_to_end(system);
    auto const [report, ending] = system.audit();
    EXPECT_EQ(report.orders, 1001);
    EXPECT_EQ(ending, exited_with_0);
}

TEST(orders_programs, report_what_is_missing_with_exit_code_1)
{
    orders_system system;
    order_book const book{8, 50};
    write_file(system.input, book.lines());
    auto warehouse = system.start_warehouse();
    wait_for(system.warehouse_db, "SELECT count(*) + 1 FROM shipments", 1);
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0);
    auto const orders = system.start_orders();
    wait_for(system.orders_db, "SELECT count(*) FROM orders", 50);

    auto const [report, ending] = system.audit();
    audit_report const expected{50, 0, 50, 0, book.cents(), 0, 0};
    EXPECT_EQ(report, expected);
    EXPECT_EQ(ending, exited_with_1);
    EXPECT_EQ(system.audit(false), exited_with_1);
    EXPECT_THAT(system.output(), ContainsRegex("missing +50"));
    EXPECT_THAT(system.output(), HasSubstr("DIFFER"));
}

TEST(orders_programs, report_what_is_doubled_or_altered_with_exit_code_1)
{
    orders_system system;
    order_book const book{9, 5};
    write_file(system.input, book.lines());
    run_to_end(system);
    query(system.warehouse_db,
        "INSERT INTO shipments (order_id, customer_id, number, cents)"
        " SELECT order_id, customer_id, number, cents FROM shipments LIMIT 1");
    auto const doubled = system.audit();
    EXPECT_EQ(doubled.first.duplicated, 1);
    EXPECT_EQ(doubled.first.shipments, 6);
    EXPECT_EQ(doubled.second, exited_with_1);

    query(system.warehouse_db, "DELETE FROM shipments WHERE seq > 5");
    query(system.warehouse_db, "UPDATE shipments SET cents = cents + 1 WHERE seq = 5");
    auto const altered = system.audit();
    EXPECT_EQ(altered.first.shipments_cents, book.cents() + 1);
    EXPECT_EQ(altered.second, exited_with_1);
}

TEST(orders_programs, give_up_when_only_dead_letters_are_left)
{
    orders_system system;
    order_book const book{10, 2};
    write_file(system.input, book.lines());
    auto const orders = system.start_orders();
    {
        auto const warehouse = system.start_warehouse(unused_endpoint()); // so that its answers stay in its table
        wait_for(system.warehouse_db, shipments, 2);
        EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0);
    }
    query(system.warehouse_db, "UPDATE cosaga_messages SET payload = CAST('{' AS BLOB) WHERE position ="
                               " (SELECT max(position) FROM cosaga_messages)");
    auto const warehouse = system.start_warehouse();
    EXPECT_EQ(orders->wait(enough), exited_with_1) << system.errors();
    EXPECT_THAT(system.errors(), HasSubstr("unanswered because of dead letters"));
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0);
    auto const [report, ending] = system.audit();
    audit_report const expected{2, 2, 0, 0, book.cents(), book.cents(), 1};
    EXPECT_EQ(report, expected);
    EXPECT_EQ(ending, exited_with_1) << "one order is not answered";
}

TEST(orders_programs, print_an_audit_for_people)
{
    orders_system system;
    write_file(system.input, read_file(COSAGA_ORDERS_SAMPLE));
    run_to_end(system);
    EXPECT_EQ(system.audit(false), exited_with_0);
    EXPECT_THAT(system.output(), HasSubstr("the two sides agree"));
    EXPECT_THAT(system.output(), ContainsRegex("payments that do not match their items.*: 5 orders"));
}

TEST(orders_programs, refuse_wrong_arguments_with_their_usage_and_exit_code_2)
{
    std::string const endpoint = "tcp://127.0.0.1:1";
    std::vector<std::vector<std::string>> const commands{
        {COSAGA_ORDER_SERVICE},
        {COSAGA_ORDER_SERVICE, "--db", "x", "--listen", endpoint},
        {COSAGA_ORDER_SERVICE, "--db", "x", "--listen", endpoint, "--connect", endpoint, "--what"},
        {COSAGA_ORDER_SERVICE, "--db", "x", "--listen", endpoint, "--connect", endpoint, "--input"},
        {COSAGA_WAREHOUSE_SERVICE},
        {COSAGA_WAREHOUSE_SERVICE, "--db", "", "--listen", endpoint, "--connect", endpoint},
        {COSAGA_WAREHOUSE_SERVICE, "--db", "x", "--db", "y"},
        {COSAGA_WAREHOUSE_SERVICE, "something"},
        {COSAGA_ORDERS_AUDIT, "--orders", "x"},
        {COSAGA_ORDERS_AUDIT, "--orders", "x", "--json", "--json"},
    };
    for (auto const& command : commands) {
        orders_system system;
        EXPECT_EQ(system.start(command)->wait(enough), exited_with_2) << testing::PrintToString(command);
        auto const name = std::filesystem::path{command[0]}.filename().string();
        EXPECT_THAT(system.errors(), HasSubstr("usage: " + name + " --"));
    }
}

TEST(orders_programs, name_a_file_that_is_not_there)
{
    orders_system system;
    EXPECT_EQ(system.start_orders({"--input", system.input})->wait(enough), exited_with_1);
    EXPECT_THAT(system.errors(), HasSubstr(system.input));
    std::filesystem::remove(system.orders_db);
    EXPECT_EQ(system.audit(true), exited_with_2);
    EXPECT_THAT(system.errors(), HasSubstr(system.orders_db + " does not exist"));
    EXPECT_FALSE(std::filesystem::exists(system.orders_db)) << "an audit creates nothing";
}

} // namespace
