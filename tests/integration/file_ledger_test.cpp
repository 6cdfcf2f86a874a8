// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "../../examples/payment/file_ledger.hpp"
#include "programs.hpp"

#include <cosaga/testing/virtual_environment.hpp>

#include <boost/asio/co_spawn.hpp>

#include <gmock/gmock.h>

#include <csignal>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/resource.h>

namespace {

using cosaga::errc;
using cosaga::transaction_outcome;
using payments::file_ledger;
using payments::ledger_file;
using payments::payment;
using programs::read_file;
using programs::temporary_folder;
using programs::write_file;
using testing::ElementsAre;
using testing::HasSubstr;

struct file_lines {
    std::vector<std::string> lines;
    ledger_file file;

    explicit file_lines(std::string const& path) : file{path, [this](std::string_view line) { lines.emplace_back(line); }} {}
};

std::string refusal(std::string const& path)
{
    try {
        file_lines const opened{path};
    } catch (std::exception const& e) {
        return e.what();
    }
    return "";
}

/// No file of this process grows beyond that many bytes.
class size_limit {
public:
    explicit size_limit(rlim_t most) : handler_{std::signal(SIGXFSZ, SIG_IGN)}
    {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit const now{most, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    size_limit(size_limit const&) = delete;
    size_limit& operator=(size_limit const&) = delete;
    ~size_limit()
    {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

private:
    rlimit before_{};
    void (*handler_)(int);
};

TEST(ledger_file, keeps_its_lines)
{
    temporary_folder folder;
    {
        file_lines f{folder / "ledger"};
        f.file.append("one");
        f.file.append("two and three");
        EXPECT_THAT(f.lines, ElementsAre());
    }
    file_lines const again{folder / "ledger"};
    EXPECT_THAT(again.lines, ElementsAre("one", "two and three"));
}

TEST(ledger_file, cuts_off_a_last_line_that_was_not_written_to_its_end)
{
    temporary_folder folder;
    auto const path = folder / "ledger";
    {
        file_lines f{path};
        f.file.append("one");
        f.file.append("two");
    }
    auto const whole = read_file(path);
    auto const first = whole.find('\n') + 1;
    for (auto size = first; size < whole.size(); ++size) {
        write_file(path, whole.substr(0, size));
        file_lines f{path};
        EXPECT_THAT(f.lines, ElementsAre("one")) << size;
        f.file.append("three");
        EXPECT_THAT(read_file(path), HasSubstr("\nthree ")) << size;
    }
    for (std::string const garbage : {"\n", "two\n", "two 00000000\n"}) {
        write_file(path, whole.substr(0, first) + garbage);
        EXPECT_THAT(file_lines{path}.lines, ElementsAre("one")) << garbage;
        EXPECT_EQ(read_file(path), whole.substr(0, first));
    }
}

TEST(ledger_file, is_refused_when_it_is_damaged_before_its_end)
{
    temporary_folder folder;
    auto const path = folder / "ledger";
    {
        file_lines f{path};
        f.file.append("one");
        f.file.append("two");
    }
    auto text = read_file(path);
    text[1] = 'x';
    write_file(path, text);
    EXPECT_THAT(refusal(path), HasSubstr("damaged in line 1"));
    EXPECT_EQ(read_file(path), text) << "and left as it is";
}

TEST(ledger_file, is_open_in_one_place_at_a_time)
{
    temporary_folder folder;
    file_lines const f{folder / "ledger"};
    EXPECT_THAT(refusal(folder / "ledger"), HasSubstr("in use"));
}

TEST(ledger_file, takes_no_line_with_a_break)
{
    temporary_folder folder;
    file_lines f{folder / "ledger"};
    EXPECT_THROW(f.file.append("one\ntwo"), std::invalid_argument);
    f.file.append("one");
}

TEST(ledger_file, takes_nothing_more_after_it_could_not_be_written)
{
    temporary_folder folder;
    auto const path = folder / "ledger";
    {
        file_lines f{path};
        f.file.append("one");
        {
            size_limit const full{100};
            EXPECT_THROW(f.file.append(std::string(200, 'x')), std::system_error);
        }
        EXPECT_THROW(f.file.append("two"), std::runtime_error);
        EXPECT_EQ(read_file(path).size(), 100U);
    }
    EXPECT_THAT(file_lines{path}.lines, ElementsAre("one"));
}

/// A ledger, and coroutines run to their end.
struct ledger_test : testing::Test {
    temporary_folder folder;
    std::string const path = folder / "ledger";
    cosaga::testing::virtual_environment environment;
    cosaga::message_id_generator new_id{environment};
    std::optional<file_ledger> ledger;

    ledger_test() { reopen(); }

    void reopen()
    {
        ledger.reset();
        ledger.emplace(environment, path);
    }

    template <class T>
    T result_of(boost::asio::awaitable<T> body)
    {
        std::optional<T> result;
        std::exception_ptr failed;
        boost::asio::co_spawn(environment.get_executor(), std::move(body), [&](std::exception_ptr e, T r) {
            failed = e;
            result = std::move(r);
        });
        environment.run();
        if (failed)
            std::rethrow_exception(failed);
        return *result;
    }

    /// What is thrown, if anything.
    std::exception_ptr run(cosaga::message_id id, std::function<void(file_ledger::transaction&)> local)
    {
        std::exception_ptr failed;
        boost::asio::co_spawn(environment.get_executor(), ledger->run(id, local), [&](std::exception_ptr e) { failed = e; });
        environment.run();
        return failed;
    }
    std::exception_ptr pay(cosaga::message_id id, payment const& p)
    {
        return run(id, [&](file_ledger::transaction& tx) { tx.pay(p); });
    }

    transaction_outcome check(cosaga::message_id id) { return result_of(ledger->check(id)); }
    payments::balance total() { return result_of(ledger->total()); }
};

void expect_fenced(std::exception_ptr e)
{
    ASSERT_TRUE(e);
    try {
        std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        EXPECT_EQ(error.code(), errc::transaction_fenced);
    }
}

payment const one{"payment-1", "account", 100};
payment const other{"payment-2", "account", 20};

TEST_F(ledger_test, knows_what_committed_also_when_it_is_opened_again)
{
    auto const id = new_id();
    EXPECT_FALSE(pay(id, one));
    for (int n = 0; n < 2; ++n, reopen()) {
        EXPECT_EQ(check(id), transaction_outcome::commit);
        EXPECT_EQ(total(), (payments::balance{1, 100}));
        EXPECT_TRUE(result_of(ledger->has("payment-1")));
        EXPECT_FALSE(result_of(ledger->has("payment-2")));
    }
}

TEST_F(ledger_test, never_commits_what_it_said_was_rolled_back)
{
    auto const id = new_id();
    EXPECT_EQ(check(id), transaction_outcome::rollback);
    for (int n = 0; n < 2; ++n, reopen()) {
        expect_fenced(pay(id, one));
        EXPECT_EQ(check(id), transaction_outcome::rollback);
        EXPECT_EQ(total(), payments::balance{});
    }
}

TEST_F(ledger_test, commits_a_transaction_once)
{
    auto const id = new_id();
    EXPECT_FALSE(pay(id, one));
    expect_fenced(pay(id, other));
    EXPECT_EQ(total(), (payments::balance{1, 100}));
}

TEST_F(ledger_test, takes_a_payment_once_whatever_the_transaction)
{
    EXPECT_FALSE(pay(new_id(), one));
    auto const id = new_id();
    auto const failed = pay(id, one);
    EXPECT_THROW(std::rethrow_exception(failed), payments::already_paid);
    EXPECT_EQ(check(id), transaction_outcome::rollback);
}

TEST_F(ledger_test, writes_nothing_of_a_transaction_that_throws)
{
    auto const before = read_file(path);
    EXPECT_TRUE(run(new_id(), [](file_ledger::transaction& tx) {
        tx.pay(one);
        throw std::runtime_error{"no"};
    }));
    EXPECT_EQ(read_file(path), before);
    EXPECT_FALSE(pay(new_id(), one));
}

TEST_F(ledger_test, answers_a_check_behind_the_transaction_that_is_running)
{
    auto const id = new_id();
    std::function<void(file_ledger::transaction&)> local = [](file_ledger::transaction& tx) { tx.pay(one); };
    environment.set_worker_delay([] { return std::chrono::seconds{1}; });
    boost::asio::co_spawn(environment.get_executor(), ledger->run(id, local), [](std::exception_ptr e) { EXPECT_FALSE(e); });
    EXPECT_EQ(check(id), transaction_outcome::commit);
}

} // namespace
