// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "sorted_ledger.hpp"

#include <cosaga/statement.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace ledgers;
using differences = std::vector<ledger_difference>;

std::string const a = "01890000-0000-7000-8000-00000000000a";
std::string const b = "01890000-0000-7000-8000-00000000000b";
std::string const c = "01890000-0000-7000-8000-00000000000c";

ledger_record record(std::string const& id, std::string const& cents, std::string key = "k")
{
    ledger_record r;
    r.id = *message_id::parse(id);
    r.time = time_point{std::chrono::seconds{1'700'000'000}};
    r.key = std::move(key);
    r.fields.add("cents", cents).add("state", "paid");
    return r;
}

std::string to_cents(std::string_view amount)
{
    auto const point = amount.find('.');
    if (point == std::string_view::npos || point + 3 != amount.size())
        throw std::runtime_error{"an amount has two decimals"};
    return std::string{amount.substr(0, point)} + std::string{amount.substr(point + 1)};
}

statement_options by_cents()
{
    statement_options o;
    o.columns = {{"cents"}};
    return o;
}

/// What a statement and three records have in common.
struct outcome {
    statement_summary summary;
    differences found;
};

outcome compare(std::string const& text, statement_options options, std::vector<ledger_record> const& records)
{
    outcome o;
    statement s{std::move(options)};
    std::istringstream in{text};
    s.read(in);
    s.add(records);
    o.summary = s.join([&](ledger_difference const& d) { o.found.push_back(d); });
    return o;
}

std::string failure_of(std::string const& text, statement_options options = by_cents())
{
    try {
        compare(text, std::move(options), {});
    } catch (boost::system::system_error const& e) {
        EXPECT_TRUE(e.code() == errc::malformed_data || e.code() == errc::limit_exceeded) << e.what();
        return e.what();
    }
    return "no error";
}

TEST(statement, equal_lines_in_any_order_are_equal)
{
    auto const o = compare("id,cents\n" + c + ",3\n" + a + ",1\n" + b + ",2\n", by_cents(),
        {record(a, "1"), record(b, "2"), record(c, "3")});
    EXPECT_TRUE(o.summary.all_equal());
    EXPECT_EQ(o.summary.equal, 3u);
    EXPECT_EQ(o.summary.to_string(), "Compared 3 records of the ledger with 3 lines of the statement: they are equal.");
}

TEST(statement, differences_are_told_with_both_sides)
{
    auto const o = compare("id,cents\r\n" + a + ",1\r\n" + b + ",20\r\n", by_cents(), {record(b, "2"), record(c, "3")});
    ASSERT_EQ(o.found.size(), 3u);
    EXPECT_FALSE(o.found[0].here);
    EXPECT_EQ(o.found[0].there->fields.find("cents"), "1");
    EXPECT_EQ(o.found[1].here->fields.find("cents"), "2");
    EXPECT_EQ(o.found[1].there->fields.find("cents"), "20");
    EXPECT_FALSE(o.found[2].there);
    EXPECT_EQ(o.summary.to_string(), "Compared 2 records of the ledger with 2 lines of the statement: 0 are equal, 1 are only in the "
                                     "ledger, 1 only in the statement, 1 differ.");
}

TEST(statement, columns_are_mapped_converted_and_quoted)
{
    statement_options o;
    o.separator = ';';
    o.id_column = "Our \"reference\"";
    o.key_column = "Customer";
    o.columns = {{"Amount", "cents", to_cents}, {"state"}};
    auto const text = "\xef\xbb\xbfNo;\"Our \"\"reference\"\"\";Amount;state;Customer\n1;" + a + ";12.50;paid;\"x;\r\ny\"\n\n2;" + b
                    + ";1.00;\"pa\"\"id\";k";
    auto const found = compare(text, o, {record(a, "1250", "x;\r\ny"), record(b, "100")});
    EXPECT_EQ(found.summary.equal, 1u);
    ASSERT_EQ(found.found.size(), 1u);
    EXPECT_EQ(found.found[0].there->fields.find("state"), "pa\"id");
}

TEST(statement, ids_of_another_system_are_those_of_from_foreign)
{
    auto o = by_cents();
    o.id_source = "bank";
    auto paid = record(a, "1");
    paid.id = message_id::from_foreign("bank", "17/2024");
    EXPECT_TRUE(compare("id,cents\n17/2024,1\n", o, {paid}).summary.all_equal());
}

TEST(statement, json_lines_keep_numbers_as_they_are_written)
{
    statement_options o;
    o.format = statement_format::json_lines;
    o.columns = {{"amount", "cents", to_cents}, {"state"}};
    auto const text = R"({"id":")" + a + R"(","amount":12.50,"state":"p\u0061id","more":{"id":[1,{"amount":2}]}})" "\r\n\n"
                    + R"({"state":"paid","amount":100000000000000000000.25,"id":")" + b + "\"}";
    EXPECT_TRUE(compare(text, o, {record(a, "1250"), record(b, "10000000000000000000025")}).summary.all_equal());
}

TEST(statement, what_is_wrong_in_csv_is_said_with_its_line)
{
    EXPECT_NE(failure_of("").find("is empty"), std::string::npos);
    EXPECT_NE(failure_of("id,amount\n").find("line 1: there is no column 'cents'; there are 'id', 'amount'"), std::string::npos);
    EXPECT_NE(failure_of("id,cents,id\n").find("twice"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\n" + a + ",1\n" + b + "\n").find("line 3: has 1 fields, the first line 2"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\n\"" + a + "\n").find("line 2: has a quoted field without an end"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\n\"" + a + "\"x,1\n").find("line 2: has text behind"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\nx\"y,1\n").find("line 2: has a quote inside"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\n\"\n\n\",1\n17,2\n").find("line 2: the column 'id' is no UUID"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\n" + a + "," + std::string(2'000'000, '1')).find("line 2: has more than"), std::string::npos);
    EXPECT_NE(failure_of("id,cents\n" + a + "," + std::string(2'000, '1')).find("line 2: the compared columns"), std::string::npos);
    auto o = by_cents();
    o.columns[0].convert = to_cents;
    EXPECT_NE(failure_of("id,cents\n" + a + ",1\n", o).find("line 2: the column 'cents': an amount has two decimals"), std::string::npos);
}

TEST(statement, what_is_wrong_in_json_lines_is_said_with_its_line)
{
    auto o = by_cents();
    o.format = statement_format::json_lines;
    auto const good = R"({"id":")" + a + R"(","cents":1})" + '\n';
    EXPECT_NE(failure_of(good + "{\"id\":", o).find("line 2: is no JSON"), std::string::npos);
    EXPECT_NE(failure_of(good + "{}", o).find("line 2: has no member 'id'"), std::string::npos);
    EXPECT_NE(failure_of("[1]\n", o).find("line 1: is no object"), std::string::npos);
    EXPECT_NE(failure_of("17\n", o).find("line 1: is no object"), std::string::npos);
    EXPECT_NE(failure_of("{} {}\n", o).find("line 1: has text behind its end"), std::string::npos);
    EXPECT_NE(failure_of(R"({"id":1,"id":2})", o).find("twice"), std::string::npos);
    EXPECT_NE(failure_of(std::string(100, '[') + '\n', o).find("line 1: is no"), std::string::npos);
}

TEST(statement, the_same_id_twice_is_an_error_that_names_both_lines)
{
    int told = 0;
    statement s{by_cents()};
    std::istringstream in{"id,cents\n" + a + ",1\n" + b + ",2\n" + a + ",3\n"};
    s.read(in);
    try {
        s.join([&](ledger_difference const&) { ++told; });
        ADD_FAILURE() << "joined";
    } catch (boost::system::system_error const& e) {
        EXPECT_NE(std::string{e.what()}.find("lines 2 and 4 have the same id"), std::string::npos) << e.what();
    }
    EXPECT_EQ(told, 0);
}

TEST(statement, what_does_not_fit_the_memory_is_sorted_in_files)
{
    std::mt19937_64 chance{1};
    auto records = make_records(20'000, std::chrono::milliseconds{1}, chance);
    auto const in_ledger = records;
    std::shuffle(records.begin(), records.end(), chance);
    for (int i = 0; i < 10; ++i) {
        records.pop_back();
        records[static_cast<std::size_t>(i)].fields = ledger_fields{}.add("cents", "-1");
    }
    std::string text = "id,cents\n";
    for (auto const& r : records)
        text += r.id.to_string() + ',' + std::string{*r.fields.find("cents")} + '\n';
    auto o = by_cents();
    o.memory = 20'000; // over 100 runs a side
    auto const found = compare(text, o, in_ledger);
    EXPECT_EQ(found.summary.differing, 10u);
    EXPECT_EQ(found.summary.only_in_ledger, 10u);
    EXPECT_EQ(found.summary.only_in_statement, 0u);
    EXPECT_EQ(found.summary.equal, 19'980u);
    EXPECT_TRUE(std::is_sorted(found.found.begin(), found.found.end(), [](auto const& x, auto const& y) { return x.id() < y.id(); }));
}

TEST(statement, a_folder_that_is_not_there_is_named)
{
    auto o = by_cents();
    o.memory = 1;
    o.folder = "/no/such/folder";
    try {
        compare("id,cents\n" + a + ",1\n", o, {});
        ADD_FAILURE() << "sorted";
    } catch (boost::system::system_error const& e) {
        EXPECT_EQ(e.code(), errc::store_failed);
        EXPECT_NE(std::string{e.what()}.find("/no/such/folder"), std::string::npos) << e.what();
    }
}

TEST(difference_report, is_csv_that_no_spreadsheet_runs)
{
    std::ostringstream out;
    difference_report const report{out};
    report({record(a, "1", "=1+1\"x\""), record(a, "-2")});
    report({std::nullopt, record(b, "3")});
    EXPECT_EQ(out.str(), "difference,id,time,ledger_key,ledger,statement_key,statement\r\n"
                         "differs," + a + ",2023-11-14T22:13:20.000Z,\"'=1+1\"\"x\"\"\",\"cents=1, state=paid\",k,\"cents=-2, state=paid\"\r\n"
                         "only in the statement," + b + ",,,,k,\"cents=3, state=paid\"\r\n");
}

} // namespace
