// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "programs.hpp"

#include <cosaga.hpp>
#include <cosaga/detail/notification_rows.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <iostream>
#include <thread>

namespace {

using namespace programs;
namespace asio = boost::asio;

struct paid {
    std::int64_t number = 0;
};
BOOST_DESCRIBE_STRUCT(paid, (), (number))

std::string const notices{cosaga::notifications_topic};
std::string const merchant_name = "merchant";

/// Loses some answers.
struct lossy_sink {
    asio::awaitable<cosaga::attempt_result> deliver(std::string const& destination, cosaga::message const& m)
    {
        auto result = co_await through.deliver(destination, m);
        if (env->random() % 8 == 0)
            throw std::runtime_error{"the answer was lost"};
        co_return result;
    }
    void check(std::string const& destination) const { through.check(destination); }

    cosaga::environment* env;
    cosaga::transport_sink<cosaga::zeromq_transport> through;
};

/// The two programs: what they keep is in a folder, and they may be killed at any time.
struct notifying_system {
    temporary_folder folder;
    std::string const bank_db = folder / "bank.db";
    std::string const merchant_db = folder / "merchant.db";
    std::string const endpoint = unused_endpoint();

    static cosaga::notification_schedule quick()
    {
        return {.retries = cosaga::schedule::list({20ms, 50ms, 100ms, 200ms, 500ms, 1s, 1s, 1s, 1s})};
    }

    /// Makes notifications for as long as it runs, unless it is only to deliver those that are there.
    void run_bank(bool makes)
    {
        asio::io_context io{1};
        cosaga::system_environment env{io.get_executor()};
        env.set_reporter([](std::string const&) {});
        cosaga::sqlite_store store{env, bank_db};
        cosaga::zeromq_transport transport{env, {.service = "bank", .routes = {{notices, merchant_name, {endpoint}}}}};
        cosaga::node node{store, transport, {.service = "bank"}};
        lossy_sink sink{&env, cosaga::transport_sink{transport}};
        cosaga::notifier notifier{node.get_outbox(), sink, {.schedule = quick(), .attempt_timeout = 300ms, .breaker_open = 50ms, .breaker_cap = 200ms}};
        node.attach(notifier);
        auto const serve = [&]() -> asio::awaitable<void> {
            auto create = [](auto& tx) { tx.execute("CREATE TABLE IF NOT EXISTS made(number INTEGER PRIMARY KEY, id TEXT NOT NULL)"); };
            co_await store.transact(create);
            auto make = [&](auto& tx) {
                auto const last = tx.template query<std::int64_t>("SELECT coalesce(max(number), 0) FROM made").front();
                auto const id = tx.notify(merchant_name, paid{last + 1});
                tx.execute("INSERT INTO made VALUES(?, ?)", last + 1, id.to_string());
            };
            while (makes) {
                co_await notifier.transact(make);
                co_await env.sleep_for(cosaga::duration{500us});
            }
            co_await env.sleep_for(cosaga::duration{1h});
        };
        asio::co_spawn(io, node.run(serve()), [](std::exception_ptr) {});
        io.run();
    }

    void run_merchant()
    {
        asio::io_context io{1};
        cosaga::system_environment env{io.get_executor()};
        env.set_reporter([](std::string const&) {});
        cosaga::sqlite_store store{env, merchant_db};
        cosaga::zeromq_transport transport{env, {.service = merchant_name, .listen = {endpoint}}};
        cosaga::node node{store, transport, {.service = merchant_name}};
        node.consume<paid>(notices, merchant_name, [](auto& tx, paid const& p) {
            tx.execute("CREATE TABLE IF NOT EXISTS applied(number INTEGER NOT NULL)");
            tx.execute("INSERT INTO applied VALUES(?)", p.number);
        });
        asio::co_spawn(io, node.run(), [](std::exception_ptr) {});
        io.run();
    }

    /// The state of each notification that was made, in their order; nothing for one that is forgotten.
    std::vector<std::optional<cosaga::notification_state>> states()
    {
        auto const made = query(bank_db, "SELECT id FROM made ORDER BY number");
        asio::io_context io{1};
        cosaga::system_environment env{io.get_executor()};
        cosaga::sqlite_store store{env, bank_db};
        std::vector<std::optional<cosaga::notification_state>> found;
        auto look = [&](cosaga::sqlite_transaction& tx) {
            cosaga::detail::notification_rows<cosaga::sqlite_transaction> const rows{cosaga::notifier_options{}};
            for (auto const& row : made) {
                auto const n = rows.find(tx, *cosaga::message_id::parse(row.front()));
                found.push_back(n ? std::optional{n->state} : std::nullopt);
            }
        };
        auto done = asio::co_spawn(io, store.transact(look), asio::use_future);
        io.run();
        done.get();
        return found;
    }
};

/// A process that runs a function until it is killed.
class forked {
public:
    explicit forked(std::function<void()> const& body) : pid_{::fork()}
    {
        if (pid_ < 0)
            fail_with_errno("fork");
        if (pid_ > 0)
            return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        try {
            body();
        } catch (...) {
        }
        ::_exit(1);
    }
    forked(forked const&) = delete;
    forked& operator=(forked const&) = delete;
    ~forked()
    {
        ::kill(pid_, SIGKILL);
        int status = 0;
        ::waitpid(pid_, &status, 0);
    }

private:
    ::pid_t pid_;
};

TEST(notification_crash, forgets_and_doubles_nothing_when_programs_are_killed)
{
    auto const seed = from_environment("COSAGA_CRASH_SEED", std::random_device{}());
    auto const kills = from_environment("COSAGA_CRASH_KILLS", COSAGA_CRASH_KILLS / 2);
    std::cout << "COSAGA_CRASH_SEED=" << seed << " COSAGA_CRASH_KILLS=" << kills << std::endl;
    std::mt19937_64 random{seed};
    notifying_system system;
    auto const start_bank = [&](bool makes) { return std::make_unique<forked>([&] { system.run_bank(makes); }); };
    auto const start_merchant = [&] { return std::make_unique<forked>([&] { system.run_merchant(); }); };
    auto bank = start_bank(true);
    auto merchant = start_merchant();
    for (std::uint64_t i = 0; i < kills; ++i) {
        wait_for(system.merchant_db, "SELECT count(*) FROM applied", static_cast<std::int64_t>(i) + 1); // so that there is something to break
        std::this_thread::sleep_for(std::chrono::milliseconds{random() % 80});
        if (random() % 2 == 0) {
            bank.reset();
            bank = start_bank(true);
        } else {
            merchant.reset();
            merchant = start_merchant();
        }
    }
    bank.reset();
    bank = start_bank(false);
    constexpr char pending[] = "SELECT coalesce(sum(prepared + ready), 0) FROM cosaga_queues";
    for (auto const until = std::chrono::steady_clock::now() + enough; std::chrono::steady_clock::now() < until;) {
        if (query(system.bank_db, pending).front().front() == "0")
            break;
        std::this_thread::sleep_for(50ms);
    }
    bank.reset();
    merchant.reset();

    std::vector<int> applied;
    for (auto const& row : query(system.merchant_db, "SELECT number, count(*) FROM applied GROUP BY number")) {
        auto const number = static_cast<std::size_t>(std::stoll(row[0]));
        applied.resize(std::max(applied.size(), number));
        applied[number - 1] = std::stoi(row[1]);
    }
    auto const states = system.states();
    std::size_t delivered = 0;
    applied.resize(std::max(applied.size(), states.size()));
    ASSERT_EQ(applied.size(), states.size()) << "something was applied that was never made";
    for (std::size_t i = 0; i < states.size(); ++i) {
        ASSERT_TRUE(states[i]) << "forgotten: notification " << i + 1;
        EXPECT_NE(*states[i], cosaga::notification_state::pending) << i + 1;
        EXPECT_LE(applied[i], 1) << i + 1;
        bool const is_delivered = *states[i] == cosaga::notification_state::delivered;
        EXPECT_TRUE(!is_delivered || applied[i] == 1) << "not applied: " << i + 1;
        delivered += is_delivered;
    }
    std::cout << states.size() << " made, " << delivered << " delivered, " << states.size() - delivered << " given up\n";
    EXPECT_GT(delivered, 0u);
}

} // namespace
