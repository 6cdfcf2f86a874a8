// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iostream>
#include <map>
#include <sstream>

namespace {

using namespace programs;
using testing::HasSubstr;

struct payment {
    std::string payment_id;
    std::string account;
    std::int64_t cents = 0;

    friend auto operator<=>(payment const&, payment const&) = default;
};
BOOST_DESCRIBE_STRUCT(payment, (), (payment_id, account, cents))

void PrintTo(payment const& p, std::ostream* out)
{
    *out << cosaga::json_codec::encode(p);
}

/// Made-up payments, as many as are asked for.
class payment_book {
public:
    explicit payment_book(std::uint64_t seed) : random_{seed} {}

    /// All that were asked for.
    std::vector<payment> const& payments() const noexcept { return payments_; }

    std::string lines(std::size_t first, std::size_t last)
    {
        while (payments_.size() < last)
            payments_.push_back({"payment-" + std::to_string(payments_.size() + 1), "account-" + std::to_string(random_() % 37),
                static_cast<std::int64_t>(1 + random_() % 50'000)});
        std::string text;
        for (auto i = first; i < last; ++i)
            text += cosaga::json_codec::encode(payments_[i]) + '\n';
        return text;
    }

private:
    std::mt19937_64 random_;
    std::vector<payment> payments_;
};

/// What the ledger file says.
struct ledger {
    std::vector<payment> payments;
    std::map<std::string, std::string> marks; // by transaction, as SQLite prints it in hex
};

ledger read_ledger(std::string const& path)
{
    ledger found;
    std::istringstream file{read_file(path)};
    for (std::string line; std::getline(file, line);) {
        line.resize(line.rfind(' ')); // the checksum
        std::istringstream fields{line};
        std::string mark;
        std::string id;
        std::string entry;
        std::getline(fields, mark, '\t');
        std::getline(fields, id, '\t');
        std::getline(fields, entry);
        std::erase(id, '-');
        std::transform(id.begin(), id.end(), id.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
        EXPECT_TRUE(found.marks.emplace(id, mark).second) << id << " has two marks";
        EXPECT_EQ(mark == "committed", !entry.empty()) << line;
        if (!entry.empty())
            found.payments.push_back(cosaga::json_codec::decode<payment>(entry));
    }
    return found;
}

/// The three programs with their files in a folder of their own.
class payment_system {
    temporary_folder folder_; // first: the names below are in it

public:
    std::string const ledger_file = folder_ / "ledger.txt";
    std::string const coordinator_db = folder_ / "coordinator.db";
    std::string const books_db = folder_ / "books.db";
    std::string const input = folder_ / "input.jsonl";

    std::unique_ptr<child> start_payments(std::string const& from, int standard_input = null_input())
    {
        return start({COSAGA_PAYMENT_SERVICE, "--ledger", ledger_file, "--listen", payments_endpoint_, "--coordinator",
                         coordinator_endpoint_, "--input", from},
            standard_input);
    }
    std::unique_ptr<child> start_coordinator()
    {
        return start({COSAGA_COORDINATOR, "--db", coordinator_db, "--listen", coordinator_endpoint_, "--payment-service",
            payments_endpoint_, "--bookkeeper", books_endpoint_, "--first-check-ms", "300", "--check-interval-ms", "200"});
    }
    std::unique_ptr<child> start_bookkeeper()
    {
        return start({COSAGA_BOOKKEEPER, "--db", books_db, "--listen", books_endpoint_});
    }

    std::unique_ptr<child> start(std::vector<std::string> const& command, int standard_input = null_input())
    {
        return std::make_unique<child>(command, folder_ / "output", folder_ / "errors", standard_input);
    }

    /// What all programs have written to standard error.
    std::string errors() const { return read_file(folder_ / "errors"); }
    /// What all programs have written to standard output.
    std::string output() const { return read_file(folder_ / "output"); }

    std::vector<payment> booked() const
    {
        std::vector<payment> found;
        for (auto const& row : query(books_db, "SELECT payment_id, account, cents FROM payments ORDER BY seq"))
            found.push_back({row[0], row[1], std::stoll(row[2])});
        return found;
    }

private:
    std::string const payments_endpoint_ = unused_endpoint();
    std::string const coordinator_endpoint_ = unused_endpoint();
    std::string const books_endpoint_ = unused_endpoint();
};

constexpr char all_booked[] = "SELECT count(DISTINCT payment_id) FROM payments";
constexpr char nothing_left[] = "SELECT count(*) = 0 FROM cosaga_messages";

/// Kills the programs at random instants while payments flow, and starts them again.
class killer {
public:
    killer(payment_system& system, payment_book& book, std::uint64_t seed)
        : system_{system}, book_{book}, random_{seed}
    {
        for (auto const who : {bookkeeper, coordinator, payments})
            start(who);
    }

    /// Goes on until that many processes died by its hand.
    void kill(std::uint64_t times)
    {
        auto const share = std::chrono::microseconds{30s} / std::max<std::uint64_t>(times, 1);
        auto const unit = time_to_book(std::max<std::chrono::microseconds>(share, 400ms));
        while (kills_ < times && !testing::Test::HasFailure()) {
            feed_for(random_span(below(4) == 0 ? 4 * unit : unit));
            std::vector<victim> const victims = choose();
            for (auto const who : victims) {
                EXPECT_EQ(running_[who]->end(SIGKILL), was_killed) << system_.errors();
                ++kills_;
            }
            if (below(4) == 0) // mostly at once, since the other ones are busy most when this one comes back
                static_cast<void>(::poll(nullptr, 0, static_cast<int>(below(30))));
            for (auto const who : victims)
                start(who);
        }
    }

    /// Lets all payments be made and everything be decided.
    void finish()
    {
        running_[payments]->end(SIGKILL);
        write_file(system_.input, book_.lines(0, book_.payments().size()));
        running_[payments] = system_.start_payments(system_.input);
        wait_for(system_.books_db, all_booked, static_cast<std::int64_t>(book_.payments().size()));
        wait_for(system_.coordinator_db, nothing_left, 1);
        for (auto const& [who, process] : running_)
            EXPECT_EQ(process->end(SIGTERM), exited_with_0) << system_.errors();
    }

private:
    enum victim { payments, coordinator, bookkeeper };

    static constexpr auto step = 2ms; // from one payment to the next
    static constexpr std::size_t given_again = 50; // the last ones, when the payment service starts

    std::vector<victim> choose()
    {
        switch (below(8)) {
        case 0: return {bookkeeper};
        case 1: return {payments, coordinator};
        case 2: return {coordinator, payments, bookkeeper};
        case 3:
        case 4: return {coordinator};
        default: return {payments};
        }
    }

    // Some times what the programs take from their start to the first payment that is booked, so that kills fall before, within
    // and after it on any machine, sanitizers or not, also when connections are made again; at most `most`, so that the test has an end.
    std::chrono::microseconds time_to_book(std::chrono::microseconds most)
    {
        auto const start = std::chrono::steady_clock::now();
        feed_for(5ms);
        wait_for(system_.books_db, all_booked, 1);
        auto const took = std::chrono::ceil<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
        return std::min(std::max<std::chrono::microseconds>(4 * took, 300ms), most);
    }

    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    std::chrono::microseconds random_span(std::chrono::microseconds most)
    {
        return std::chrono::microseconds{below(1 + static_cast<std::uint64_t>(most.count()))};
    }

    // Payments that are given and then lost with the process come again with the last input.
    void feed_for(std::chrono::microseconds span)
    {
        for (; span > 0us; span -= step) {
            if (pipe_->try_write(book_.lines(next_, next_ + 1)))
                ++next_;
            EXPECT_EQ(running_[payments]->wait(std::min<std::chrono::microseconds>(span, step)), std::nullopt) << system_.errors();
        }
    }

    void start(victim who)
    {
        if (who == coordinator)
            running_[who] = system_.start_coordinator();
        else if (who == bookkeeper)
            running_[who] = system_.start_bookkeeper();
        else {
            pipe_ = std::make_unique<input_pipe>();
            next_ -= std::min(next_, given_again);
            running_[who] = system_.start_payments("-", pipe_->read_end());
        }
    }

    payment_system& system_;
    payment_book& book_;
    std::mt19937_64 random_;
    std::uint64_t kills_ = 0;
    std::size_t next_ = 0;
    std::unique_ptr<input_pipe> pipe_;
    std::map<victim, std::unique_ptr<child>> running_;
};

// Whatever the coordinator has decided is what the ledger says, and it knows of every payment.
void expect_agreement(payment_system const& system, ledger const& written)
{
    auto const rows = query(system.coordinator_db, "SELECT hex(id), value FROM cosaga_marks");
    std::map<std::string, std::string> decided;
    for (auto const& row : rows) {
        decided.emplace(row[0], row[1]);
        auto const mark = written.marks.find(row[0]);
        EXPECT_TRUE(mark != written.marks.end() && mark->second == row[1]) << row[0] << ' ' << row[1];
    }
    for (auto const& [id, mark] : written.marks)
        EXPECT_TRUE(mark != "committed" || decided.contains(id)) << id;
}

TEST(payment_crash, books_what_is_in_the_ledger_when_any_program_is_killed_again_and_again)
{
    auto const seed = from_environment("COSAGA_CRASH_SEED", std::random_device{}());
    auto const kills = from_environment("COSAGA_CRASH_KILLS", COSAGA_CRASH_KILLS / 4);
    std::cout << "COSAGA_CRASH_SEED=" << seed << " COSAGA_CRASH_KILLS=" << kills << std::endl;

    payment_book book{seed};
    payment_system system;
    {
        killer k{system, book, seed};
        k.kill(kills);
        auto const flowed = query(system.books_db, all_booked).front().front();
        std::cout << flowed << " of " << book.payments().size() << " payments were booked between kills" << std::endl;
        EXPECT_NE(flowed, "0");
        k.finish();
    }

    auto const written = read_ledger(system.ledger_file);
    std::cout << written.marks.size() - written.payments.size() << " half messages were rolled back" << std::endl;
    auto const sorted = [](std::vector<payment> p) {
        std::sort(p.begin(), p.end());
        return p;
    };
    EXPECT_EQ(sorted(written.payments), sorted(book.payments())) << "each payment is in the ledger once";
    EXPECT_EQ(sorted(system.booked()), sorted(written.payments)) << "and was booked once";
    expect_agreement(system, written);
    for (auto const& database : {system.coordinator_db, system.books_db})
        EXPECT_EQ(query(database, nothing_left).front().front(), "1") << "nothing is undecided, undelivered or parked";
}

TEST(payment_programs, make_each_payment_once_when_the_same_input_comes_again)
{
    payment_book book{1};
    payment_system system;
    auto const input = book.lines(0, 200);
    write_file(system.input, input + "not JSON\n" + input);
    auto const bookkeeper = system.start_bookkeeper();
    auto const coordinator = system.start_coordinator();
    for (int n = 1; n <= 2; ++n) {
        auto const payments = system.start_payments(system.input);
        wait_for(system.books_db, all_booked, 200);
        wait_for(system.coordinator_db, nothing_left, 1);
        EXPECT_EQ(payments->end(SIGTERM), exited_with_0) << system.errors();
    }
    EXPECT_EQ(coordinator->end(SIGTERM), exited_with_0) << system.errors();
    EXPECT_EQ(bookkeeper->end(SIGTERM), exited_with_0) << system.errors();
    EXPECT_EQ(system.booked().size(), 200U);
    EXPECT_EQ(read_ledger(system.ledger_file).payments.size(), 200U);
    EXPECT_THAT(system.errors(), HasSubstr("payment_service: line 201 skipped: "));
}

TEST(payment_programs, start_no_payment_while_no_coordinator_takes_its_message)
{
    payment_book book{1};
    payment_system system;
    write_file(system.input, book.lines(0, 10));
    auto const bookkeeper = system.start_bookkeeper();
    auto const payments = system.start_payments(system.input);
    EXPECT_EQ(payments->wait(300ms), std::nullopt);
    EXPECT_EQ(read_file(system.ledger_file), "");
    auto const coordinator = system.start_coordinator();
    wait_for(system.books_db, all_booked, 10);
}

TEST(payment_programs, lock_the_ledger)
{
    payment_system system;
    auto const first = system.start_payments("/dev/null");
    while (system.output().empty() && !first->wait(5ms)) {
    }
    EXPECT_EQ(system.start_payments("/dev/null")->wait(enough), exited_with_1);
    EXPECT_THAT(system.errors(), HasSubstr("ledger.txt is in use by another process"));
    EXPECT_EQ(first->end(SIGINT), exited_with_0);
}

TEST(payment_programs, refuse_wrong_arguments_with_their_usage_and_exit_code_2)
{
    std::string const e = "tcp://127.0.0.1:1";
    std::vector<std::vector<std::string>> const commands{
        {COSAGA_PAYMENT_SERVICE, "--ledger", "x", "--listen", e, "--coordinator", e},
        {COSAGA_BOOKKEEPER, "--db", "x"},
        {COSAGA_COORDINATOR, "--db", "x", "--listen", e, "--payment-service", e},
        {COSAGA_COORDINATOR, "--db", "x", "--listen", e, "--payment-service", e, "--bookkeeper", e, "--first-check-ms", "1s"},
    };
    for (auto const& command : commands) {
        payment_system system;
        EXPECT_EQ(system.start(command)->wait(enough), exited_with_2) << testing::PrintToString(command);
        auto const name = std::filesystem::path{command[0]}.filename().string();
        EXPECT_THAT(system.errors(), HasSubstr("usage: " + name + " --"));
    }
}

} // namespace
