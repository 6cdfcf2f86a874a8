// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// A shop sends orders to a warehouse. Then careless operators delete rows on both sides, change amounts, and restore a backup of
// yesterday: what no retry can mend. The reconciler finds it all, prints it as a table, and mends it.
//
// With --orders and --warehouse it looks at the databases of the programs in examples/orders instead, and changes no business row.
#include "services.hpp"

#include <charconv>
#include <system_error>

namespace {

using namespace reconcile;

constexpr char usage[] = "[--folder FOLDER] [--messages N] | --orders FILE --warehouse FILE";
constexpr char shop_rows[] = "SELECT order_id, cents FROM orders";
constexpr char warehouse_rows[] = "SELECT order_id, cents FROM shipments";

std::string const sent = cosaga::outbox_ledger("orders");
std::string const applied = cosaga::inbox_ledger("orders", "warehouse", "shop");

/// The warehouse writes shipments; a message that comes again with another amount counts.
void ship(services& s)
{
    s.warehouse.consume<order>("orders", "warehouse",
        [](auto& tx, order const& o) {
            tx.execute("INSERT INTO shipments VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = ?2", o.order_id, o.cents);
        },
        {.ledger_retention = std::chrono::days{30}});
}

/// What is to be done about each kind of difference.
void set_policies(services& s)
{
    auto rebuild = [](auto& tx, ledger_record const& r) -> std::optional<order> {
        auto const found = tx.template query<order>("SELECT order_id, cents FROM orders WHERE order_id = ?", field(r, "order_id"));
        return found.empty() ? std::nullopt : std::optional{found.front()};
    };
    s.orders.redrive<order>(rebuild);
    s.orders.ask_to_apply<order>(rebuild); // the shop is right about amounts
    s.orders.call(difference_kind::missing_at_initiator, [](auto& tx, ledger_difference const& d) {
        tx.execute("INSERT INTO orders VALUES (?, ?)", field(*d.there, "order_id"), std::stoll(field(*d.there, "cents")));
        tx.record(sent, {&*d.there, 1});
    });
}

class demonstration {
public:
    demonstration(std::filesystem::path folder, std::uint64_t messages)
        : folder_{std::move(folder)},
          messages_{messages},
          setup_{.shop_file = (folder_ / "shop.db").string(), .warehouse_file = (folder_ / "warehouse.db").string()},
          backup_{(folder_ / "yesterday.db").string()}
    {
    }

    /// @return true if both sides were equal in the end.
    bool run()
    {
        for (auto const& entry : std::filesystem::directory_iterator{folder_})
            if (entry.path().extension() == ".db")
                throw std::runtime_error{folder_.string() + " has databases already: give an empty --folder"};
        auto const yesterday = messages_ - messages_ / 50;
        session([&](services& s) { return place(s, 0, yesterday); });
        std::filesystem::copy_file(setup_.warehouse_file, backup_);
        session([&](services& s) { return place(s, yesterday, messages_); });
        std::printf("%llu orders are placed and shipped\n", static_cast<unsigned long long>(messages_));
        session([&](services& s) { return wound(s); });
        std::printf("\nrows were deleted on either side, and amounts changed\n");
        session([&](services& s) { return find_and_mend(s); });
        std::filesystem::copy_file(backup_, setup_.warehouse_file, std::filesystem::copy_options::overwrite_existing);
        std::printf("\nthe warehouse was restored from yesterday's backup\n");
        session([&](services& s) { return find_and_mend(s); });
        return equal_;
    }

private:
    template <class Body>
    void session(Body body)
    {
        services s{setup_};
        ship(s);
        set_policies(s);
        s.run([&](services& running) { return body(running); });
    }

    static asio::awaitable<void> create_tables(services& s)
    {
        auto for_orders = [](auto& tx) { tx.execute("CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, cents INTEGER NOT NULL)"); };
        auto for_shipments = [](auto& tx) { tx.execute("CREATE TABLE IF NOT EXISTS shipments (order_id TEXT PRIMARY KEY, cents INTEGER NOT NULL)"); };
        co_await s.shop.transact(for_orders);
        co_await s.warehouse.transact(for_shipments);
    }

    static asio::awaitable<std::int64_t> count(cosaga::sqlite_store& store, std::string query)
    {
        std::int64_t found = 0;
        auto read = [&](auto& tx) { found = tx.template query<std::int64_t>(query).front(); };
        co_await store.transact(read);
        co_return found;
    }

    asio::awaitable<void> place(services& s, std::uint64_t from, std::uint64_t to)
    {
        co_await create_tables(s);
        while (from < to) {
            auto const end = std::min<std::uint64_t>(to, from + 1000);
            auto work = [&](auto& tx) {
                for (auto n = from; n < end; ++n) {
                    order const o{"order-" + std::to_string(n), static_cast<std::int64_t>(100 + n % 900)};
                    tx.execute("INSERT INTO orders VALUES (?, ?)", o.order_id, o.cents);
                    tx.send("orders", o, {.key = o.order_id});
                }
            };
            co_await s.shop.transact(work);
            from = end;
        }
        co_await until_shipped(s);
    }

    /// Until the warehouse has what the shop has.
    static asio::awaitable<void> until_shipped(services& s)
    {
        auto const placed = co_await count(s.shop_store, "SELECT count(*) FROM orders");
        for (std::int64_t shipped = -1; shipped < placed;) {
            co_await s.environment.sleep_for(std::chrono::milliseconds{50});
            shipped = co_await count(s.warehouse_store, "SELECT count(*) FROM shipments");
        }
    }

    static asio::awaitable<void> wound(services& s)
    {
        auto at_shop = [](auto& tx) { tx.execute("DELETE FROM orders WHERE abs(random()) % 20000 = 0 OR order_id = 'order-17'"); };
        auto at_warehouse = [](auto& tx) {
            tx.execute("DELETE FROM shipments WHERE abs(random()) % 20000 = 0 OR order_id = 'order-3'");
            tx.execute("UPDATE shipments SET cents = cents * 10 WHERE abs(random()) % 20000 = 0 OR order_id = 'order-5'");
        };
        co_await s.shop.transact(at_shop);
        co_await s.warehouse.transact(at_warehouse);
    }

    asio::awaitable<void> find_and_mend(services& s)
    {
        co_await true_up(s.shop_store, sent, shop_rows);
        co_await true_up(s.warehouse_store, applied, warehouse_rows);
        co_await s.environment.sleep_for(2 * setup_.grace);
        auto const found = co_await s.orders.run();
        print(found);
        auto again = found;
        for (int tries = 0; !again.equal && tries < 50; ++tries) {
            co_await s.environment.sleep_for(2 * setup_.grace);
            again = co_await s.orders.run();
        }
        std::printf("  Afterwards: %s\n", again.to_string().c_str());
        auto const sum = " count(*) || ' rows, ' || sum(cents) || ' cents' FROM ";
        auto const here = co_await text(s.shop_store, std::string{"SELECT"} + sum + "orders");
        auto const there = co_await text(s.warehouse_store, std::string{"SELECT"} + sum + "shipments");
        std::printf("  shop: %s; warehouse: %s\n", here.c_str(), there.c_str());
        equal_ = again.equal && here == there;
    }

    static asio::awaitable<std::string> text(cosaga::sqlite_store& store, std::string query)
    {
        std::string found;
        auto read = [&](auto& tx) { found = tx.template query<std::string>(query).front(); };
        co_await store.transact(read);
        co_return found;
    }

    std::filesystem::path folder_;
    std::uint64_t messages_;
    setup setup_;
    std::string backup_;
    bool equal_ = false;
};

/// The databases of examples/orders: reported, not mended, since the order service does not keep the items of its orders.
bool look_at(setup const& given)
{
    for (auto const& file : {given.shop_file, given.warehouse_file})
        if (!std::filesystem::exists(file))
            throw std::runtime_error{file + " does not exist"};
    bool equal = false;
    services s{given};
    s.run([&](services& running) -> asio::awaitable<void> {
        co_await true_up(running.shop_store, sent, shop_rows);
        co_await true_up(running.warehouse_store, cosaga::inbox_ledger("orders", "warehouse", given.shop), warehouse_rows);
        co_await running.environment.sleep_for(2 * given.grace);
        auto const report = co_await running.orders.run();
        print(report);
        equal = report.equal;
    });
    return equal;
}

std::uint64_t number_of(std::string const& text)
{
    std::uint64_t n = 0;
    auto const read = std::from_chars(text.data(), text.data() + text.size(), n);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || n < 100 || n > 10'000'000)
        throw usage_error{"--messages needs a number from 100 to 10,000,000"};
    return n;
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("reconcile", usage, 2, [&] {
        arguments const given{argc, argv, {}, {"--folder", "--messages", "--orders", "--warehouse"}};
        if (given.has("--orders") != given.has("--warehouse"))
            throw usage_error{"--orders and --warehouse belong together"};
        if (given.has("--orders"))
            return look_at({.shop_file = given["--orders"], .warehouse_file = given["--warehouse"], .shop = "order_service"}) ? 0 : 1;
        auto const folder = given.has("--folder") ? given["--folder"] : std::string{"reconcile_demo"};
        std::filesystem::create_directories(folder);
        demonstration demo{folder, given.has("--messages") ? number_of(given["--messages"]) : 100'000};
        return demo.run() ? 0 : 1;
    });
}
