// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <gmock/gmock.h>

namespace {

using namespace programs;
using testing::ContainsRegex;
using testing::HasSubstr;

struct reconcile_program : testing::Test {
    std::optional<child::ending> run(std::vector<std::string> arguments)
    {
        std::filesystem::remove(output_file);
        arguments.insert(arguments.begin(), COSAGA_RECONCILE);
        return child{arguments, output_file, errors_file, null_input()}.wait(enough);
    }
    std::string output() const { return read_file(output_file); }
    std::string errors() const { return read_file(errors_file); }

    temporary_folder folder;
    std::string const output_file = folder / "output";
    std::string const errors_file = folder / "errors";
};

TEST_F(reconcile_program, finds_and_mends_what_operators_and_a_backup_have_lost)
{
    auto const databases = folder / "databases";
    ASSERT_EQ(run({"--folder", databases, "--messages", "2000"}), exited_with_0) << output() << errors();
    EXPECT_THAT(output(), ContainsRegex("missing at the warehouse +[1-9]"));
    EXPECT_THAT(output(), ContainsRegex("missing at the shop +[1-9]"));
    EXPECT_THAT(output(), ContainsRegex("other amount +[1-9]"));
    EXPECT_THAT(output(), ContainsRegex("missing at the warehouse +40\n")) << "a fiftieth is younger than the backup";
    EXPECT_THAT(output(), HasSubstr("Afterwards: Checked 2000 records: both sides are equal."));
    auto const orders = query(databases + "/shop.db", "SELECT order_id, cents FROM orders ORDER BY order_id");
    EXPECT_EQ(orders.size(), 2000u);
    EXPECT_EQ(query(databases + "/warehouse.db", "SELECT order_id, cents FROM shipments ORDER BY order_id"), orders);

    EXPECT_EQ(run({"--folder", databases, "--messages", "2000"}), exited_with_2);
    EXPECT_THAT(errors(), HasSubstr("has databases already"));
}

TEST_F(reconcile_program, compares_the_databases_of_the_order_programs)
{
    orders_system system;
    order_book const book{21, 60};
    write_file(system.input, book.lines());
    auto const warehouse = system.start_warehouse();
    wait_for(system.warehouse_db, "SELECT count(*) FROM cosaga_ledgers", 1); // what was sent before is not compared
    EXPECT_EQ(system.start_orders()->wait(enough), exited_with_0) << system.errors();
    EXPECT_EQ(warehouse->end(SIGTERM), exited_with_0) << system.errors();
    EXPECT_EQ(run({"--orders", system.orders_db, "--warehouse", system.warehouse_db}), exited_with_0) << output() << errors();
    EXPECT_THAT(output(), HasSubstr("Checked 60 records: both sides are equal."));

    query(system.warehouse_db, "DELETE FROM shipments WHERE order_id = 'order-7'");
    query(system.warehouse_db, "UPDATE shipments SET cents = cents + 1 WHERE order_id = 'order-8'");
    query(system.orders_db, "DELETE FROM orders WHERE order_id = 'order-9'");
    EXPECT_EQ(run({"--orders", system.orders_db, "--warehouse", system.warehouse_db}), exited_with_1) << errors();
    EXPECT_THAT(output(), ContainsRegex("missing at the warehouse +1\n"));
    EXPECT_THAT(output(), ContainsRegex("missing at the shop +1\n"));
    EXPECT_THAT(output(), ContainsRegex("other amount +1\n"));
    EXPECT_THAT(output(), HasSubstr("order-7"));
    EXPECT_EQ(query(system.warehouse_db, "SELECT count(*) FROM shipments").front().front(), "59") << "nothing was mended";
}

TEST_F(reconcile_program, says_what_is_wrong_with_its_arguments)
{
    EXPECT_EQ(run({"--messages", "-5"}), exited_with_2);
    EXPECT_EQ(run({"--messages", "5x"}), exited_with_2);
    EXPECT_EQ(run({"--orders", "a.db"}), exited_with_2);
    EXPECT_EQ(run({"--orders", folder / "none.db", "--warehouse", folder / "none.db"}), exited_with_2);
    EXPECT_THAT(errors(), HasSubstr("none.db does not exist"));
    EXPECT_FALSE(std::filesystem::exists(folder / "none.db"));
}

} // namespace
