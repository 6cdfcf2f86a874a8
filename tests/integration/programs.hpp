// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/json.hpp>

#include <boost/describe/class.hpp>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Runs the example programs as processes of their own.
namespace programs {

using namespace std::chrono_literals;

/// Much longer than anything here takes.
constexpr auto enough = 60s;

[[noreturn]] inline void fail_with_errno(char const* what)
{
    throw std::system_error{errno, std::generic_category(), what};
}

/// A number in an environment variable.
inline std::uint64_t from_environment(char const* name, std::uint64_t otherwise)
{
    char const* const text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// A folder that disappears with all that is in it.
class temporary_folder {
public:
    temporary_folder()
    {
        std::string path = (std::filesystem::temp_directory_path() / "cosaga_XXXXXX").string();
        if (::mkdtemp(path.data()) == nullptr)
            fail_with_errno("mkdtemp");
        path_ = path;
    }
    temporary_folder(temporary_folder const&) = delete;
    temporary_folder& operator=(temporary_folder const&) = delete;
    ~temporary_folder()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string operator/(std::string const& name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

inline std::string read_file(std::string const& path)
{
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

inline void write_file(std::string const& path, std::string const& text)
{
    std::ofstream{path, std::ios::binary} << text;
}

/// A process, killed at the latest when this is destroyed, or when the test's own process ends.
class child {
public:
    /// How a process ended: one of the two is set.
    struct ending {
        std::optional<int> code;
        std::optional<int> signal;

        friend bool operator==(ending const&, ending const&) = default;
    };

    /// @param command the program and its arguments.
    /// @param input what it has as standard input; the child closes its copy.
    child(std::vector<std::string> const& command, std::string const& output, std::string const& errors, int input)
    {
        std::vector<char*> argv;
        for (auto const& word : command)
            argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        int const out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        int const err = ::open(errors.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        auto const parent = ::getpid();
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            bool const ready = ::getppid() == parent && ::dup2(input, STDIN_FILENO) >= 0
                            && ::dup2(out, STDOUT_FILENO) >= 0 && ::dup2(err, STDERR_FILENO) >= 0;
            if (ready)
                ::execv(argv[0], argv.data());
            ::_exit(127);
        }
        ::close(out);
        ::close(err);
        handle_ = pid_ > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)) : -1;
        if (handle_ < 0)
            fail_with_errno("a program cannot be started");
    }
    child(child const&) = delete;
    child& operator=(child const&) = delete;
    ~child()
    {
        if (!ending_) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(handle_);
    }

    /// How it ended, or nothing when it still runs after `most`.
    std::optional<ending> wait(std::chrono::microseconds most)
    {
        if (ending_)
            return ending_;
        pollfd waited{handle_, POLLIN, 0};
        timespec const time{most / 1s, (most % 1s) / 1ns};
        if (::ppoll(&waited, 1, &time, nullptr) <= 0)
            return std::nullopt;
        int status = 0;
        if (::waitpid(pid_, &status, 0) != pid_)
            fail_with_errno("waitpid");
        ending_.emplace();
        if (WIFEXITED(status))
            ending_->code = WEXITSTATUS(status);
        else
            ending_->signal = WTERMSIG(status);
        return ending_;
    }

    /// Sends a signal, also to a program that does not handle it yet, and waits for the end.
    std::optional<ending> end_at_once(int signal)
    {
        if (!ending_)
            ::kill(pid_, signal);
        return wait(enough);
    }

    /// Sends a signal and waits for the end. A program that has just been started gets the time to handle the signal.
    std::optional<ending> end(int signal)
    {
        for (int waited = 0; signal != SIGKILL && !handles(signal) && waited < 10'000; ++waited)
            if (wait(1ms))
                return ending_;
        return end_at_once(signal);
    }

private:
    bool handles(int signal) const
    {
        std::ifstream status{"/proc/" + std::to_string(pid_) + "/status"};
        std::string name;
        unsigned long long handled = 0;
        while (status >> name)
            if (name == "SigCgt:" && status >> std::hex >> handled)
                return (handled >> (signal - 1) & 1) != 0;
        return false;
    }

    pid_t pid_ = -1;
    int handle_ = -1;
    std::optional<ending> ending_;
};

inline child::ending const exited_with_0{.code = 0, .signal = {}};
inline child::ending const exited_with_1{.code = 1, .signal = {}};
inline child::ending const exited_with_2{.code = 2, .signal = {}};
inline child::ending const was_killed{.code = {}, .signal = SIGKILL};

inline void PrintTo(child::ending const& e, std::ostream* out)
{
    if (e.code)
        *out << "exit code " << *e.code;
    else
        *out << "signal " << e.signal.value_or(0);
}

/// Standard input for a child that the test writes little by little.
class input_pipe {
public:
    input_pipe()
    {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0)
            fail_with_errno("pipe2");
        read_end_ = ends[0];
        write_end_ = ends[1];
    }
    input_pipe(input_pipe const&) = delete;
    input_pipe& operator=(input_pipe const&) = delete;
    ~input_pipe()
    {
        close();
        ::close(read_end_); // kept open, so that writing to a child that has ended is no SIGPIPE
    }

    int read_end() const noexcept { return read_end_; }

    /// Blocks when more than 64 KiB are not read.
    void write(std::string const& text)
    {
        for (std::size_t done = 0; done < text.size();) {
            auto const n = ::write(write_end_, text.data() + done, text.size() - done);
            if (n < 0)
                fail_with_errno("the pipe cannot be written");
            done += static_cast<std::size_t>(n);
        }
    }

    /// Writes nothing when the pipe is nearly full. @return true if it was written.
    bool try_write(std::string const& text)
    {
        pollfd waited{write_end_, POLLOUT, 0};
        if (text.size() > PIPE_BUF || ::poll(&waited, 1, 0) <= 0)
            return false;
        write(text);
        return true;
    }

    /// The end of the input.
    void close()
    {
        if (write_end_ >= 0)
            ::close(std::exchange(write_end_, -1));
    }

private:
    int read_end_ = -1;
    int write_end_ = -1;
};

/// An endpoint on loopback where nobody listens. Below the range from which the system takes ports of connecting
/// sockets: there a sender that tries to reconnect could connect to itself.
inline std::string unused_endpoint()
{
    std::random_device random;
    for (int attempt = 0; attempt < 1000; ++attempt) {
        auto const port = static_cast<std::uint16_t>(10'000 + random() % 20'000);
        int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        bool const free = ::bind(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0;
        ::close(fd);
        if (free)
            return "tcp://127.0.0.1:" + std::to_string(port);
    }
    throw std::runtime_error{"no unused port was found"};
}

/// Made-up orders: lines of an input, and what they come to.
class order_book {
public:
    order_book(std::uint64_t seed, std::size_t count)
    {
        std::mt19937_64 random{seed};
        auto const below = [&random](std::uint64_t end) { return random() % end; };
        for (std::size_t n = 1; n <= count; ++n) {
            std::string line = R"({"order_id":"order-)" + std::to_string(n) + R"(","customer_id":"customer-)"
                             + std::to_string(below(customers))
                             + R"(","status":"approved","purchased_at":"2024-01-01T00:00:00Z","items":[)";
            auto const items = 1 + below(3);
            for (std::uint64_t i = 0; i < items; ++i) {
                auto const price = below(50'000);
                auto const freight = below(3'000);
                cents_ += static_cast<std::int64_t>(price + freight);
                line += std::string{i > 0 ? "," : ""} + R"({"product_id":"p","seller_id":"s","price_cents":)"
                      + std::to_string(price) + R"(,"freight_cents":)" + std::to_string(freight) + "}";
            }
            lines_.push_back(line + R"(],"payments":[{"type":"voucher","installments":1,"cents":100}]})" + "\n");
        }
    }

    std::size_t size() const noexcept { return lines_.size(); }
    /// Of all items, price and freight.
    std::int64_t cents() const noexcept { return cents_; }

    std::string lines(std::size_t first, std::size_t last) const
    {
        std::string text;
        for (auto i = first; i < last; ++i)
            text += lines_[i];
        return text;
    }
    std::string lines() const { return lines(0, size()); }

private:
    static constexpr std::uint64_t customers = 37;

    std::vector<std::string> lines_;
    std::int64_t cents_ = 0;
};

/// What `orders_audit --json` prints.
struct audit_report {
    std::int64_t orders = -1;
    std::int64_t shipments = -1;
    std::int64_t missing = -1;
    std::int64_t duplicated = -1;
    std::int64_t orders_cents = -1;
    std::int64_t shipments_cents = -1;
    std::int64_t dead_letters = -1;

    friend bool operator==(audit_report const&, audit_report const&) = default;
};
BOOST_DESCRIBE_STRUCT(
    audit_report, (), (orders, shipments, missing, duplicated, orders_cents, shipments_cents, dead_letters))

inline void PrintTo(audit_report const& r, std::ostream* out)
{
    *out << cosaga::json_codec::encode(r);
}

/// The rows of a query, in text; "-" for NULL.
inline std::vector<std::vector<std::string>> query(std::string const& database, char const* sql)
{
    sqlite3* opened = nullptr;
    int const code = sqlite3_open_v2(database.c_str(), &opened, SQLITE_OPEN_READWRITE, nullptr);
    std::unique_ptr<sqlite3, int (*)(sqlite3*)> const connection{opened, &sqlite3_close};
    if (code != SQLITE_OK)
        throw std::runtime_error{"cannot open " + database};
    sqlite3_busy_timeout(opened, 10'000);
    sqlite3_stmt* prepared = nullptr;
    if (sqlite3_prepare_v2(opened, sql, -1, &prepared, nullptr) != SQLITE_OK)
        throw std::runtime_error{sqlite3_errmsg(opened)};
    std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> const statement{prepared, &sqlite3_finalize};
    std::vector<std::vector<std::string>> rows;
    int step = 0;
    while ((step = sqlite3_step(prepared)) == SQLITE_ROW) {
        auto& row = rows.emplace_back();
        for (int i = 0; i < sqlite3_column_count(prepared); ++i) {
            auto const* const text = reinterpret_cast<char const*>(sqlite3_column_text(prepared, i));
            row.emplace_back(text ? text : "-");
        }
    }
    if (step != SQLITE_DONE)
        throw std::runtime_error{sqlite3_errmsg(opened)};
    return rows;
}

/// Waits until a query of one number gives at least `least`; the database may not be there yet.
inline void wait_for(std::string const& database, char const* sql, std::int64_t least)
{
    for (auto const until = std::chrono::steady_clock::now() + enough; std::chrono::steady_clock::now() < until;) {
        try {
            if (std::stoll(query(database, sql).front().front()) >= least)
                return;
        } catch (std::runtime_error const&) { // no table yet
        }
        static_cast<void>(::poll(nullptr, 0, 5));
    }
    FAIL() << "waited in vain for " << sql;
}

/// Standard input of programs that read none.
inline int null_input()
{
    static int const fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd;
}

/// The two services with their databases in a folder of their own.
class orders_system {
    temporary_folder folder_; // first: the names below are in it

public:
    std::string const orders_db = folder_ / "orders.db";
    std::string const warehouse_db = folder_ / "warehouse.db";
    std::string const input = folder_ / "input.jsonl";

    /// @param arguments beside the usual ones.
    std::unique_ptr<child> start_orders(std::vector<std::string> const& arguments, int standard_input = null_input())
    {
        std::vector<std::string> command{COSAGA_ORDER_SERVICE, "--db", orders_db, "--listen", orders_endpoint_,
            "--connect", warehouse_endpoint_};
        command.insert(command.end(), arguments.begin(), arguments.end());
        return start(command, standard_input);
    }

    std::unique_ptr<child> start_orders() { return start_orders({"--input", input}); }

    std::unique_ptr<child> start_warehouse() { return start_warehouse(orders_endpoint_); }
    std::unique_ptr<child> start_warehouse(std::string const& answers_to)
    {
        return start({COSAGA_WAREHOUSE_SERVICE, "--db", warehouse_db, "--listen", warehouse_endpoint_, "--connect",
            answers_to});
    }

    std::unique_ptr<child> start(std::vector<std::string> const& command, int standard_input = null_input())
    {
        return std::make_unique<child>(command, folder_ / "output", folder_ / "errors", standard_input);
    }

    /// What all programs have written to standard error.
    std::string errors() const { return read_file(folder_ / "errors"); }
    /// What all programs have written to standard output.
    std::string output() const { return read_file(folder_ / "output"); }

    std::optional<child::ending> audit(bool json)
    {
        std::filesystem::remove(folder_ / "output");
        std::vector<std::string> command{COSAGA_ORDERS_AUDIT, "--orders", orders_db, "--warehouse", warehouse_db};
        if (json)
            command.emplace_back("--json");
        return start(command)->wait(enough);
    }

    /// What the audit reports, and how it ends.
    std::pair<audit_report, std::optional<child::ending>> audit()
    {
        auto const ending = audit(true);
        return {cosaga::json_codec::decode<audit_report>(output()), ending};
    }

private:
    std::string const orders_endpoint_ = unused_endpoint();
    std::string const warehouse_endpoint_ = unused_endpoint();
};

} // namespace programs
