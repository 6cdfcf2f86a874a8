// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Compares the databases of the two services: each order must have one shipment of the same amount, in the order in
// which its customer placed them. Exit codes as those of diff: 0 when they agree, 1 when they differ, 2 for trouble.
#include "orders.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include <filesystem>
#include <unordered_map>

namespace {

using namespace orders;

constexpr char usage[] = "--orders FILE --warehouse FILE [--json]";

struct placed_row {
    std::string order_id;
    std::int64_t cents = 0;
    std::int64_t paid_cents = 0;
    std::int64_t answers = 0;
};
BOOST_DESCRIBE_STRUCT(placed_row, (), (order_id, cents, paid_cents, answers))

struct shipment_row {
    std::string order_id;
    std::string customer_id;
    std::int64_t number = 0;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(shipment_row, (), (order_id, customer_id, number, cents))

/// What `--json` prints.
struct report {
    std::int64_t orders = 0;
    std::int64_t shipments = 0;
    std::int64_t missing = 0;      ///< orders without a shipment
    std::int64_t duplicated = 0;   ///< effects beyond the first: of shipments, and of answers
    std::int64_t orders_cents = 0;
    std::int64_t shipments_cents = 0;
    std::int64_t dead_letters = 0; ///< in both databases
};
BOOST_DESCRIBE_STRUCT(
    report, (), (orders, shipments, missing, duplicated, orders_cents, shipments_cents, dead_letters))

template <class Row>
struct ledger {
    std::vector<Row> rows;
    std::int64_t dead_letters = 0;
};

template <class Row>
asio::awaitable<ledger<Row>> read(cosaga::sqlite_store& store, char const* query)
{
    ledger<Row> found;
    auto work = [&](auto& tx) {
        found.rows = tx.template query<Row>(query);
        for (auto const& queue : tx.queues())
            found.dead_letters += static_cast<std::int64_t>(tx.count(queue, cosaga::message_state::dead));
    };
    co_await store.transact(work);
    co_await store.close();
    co_return found;
}

template <class Row>
ledger<Row> read(std::string const& file, char const* query)
{
    if (!std::filesystem::exists(file))
        throw std::runtime_error{file + " does not exist"};
    asio::io_context io{1};
    cosaga::system_environment environment{io.get_executor()};
    cosaga::sqlite_store store{environment, file};
    auto found = asio::co_spawn(io, read<Row>(store, query), asio::use_future);
    io.run();
    return found.get();
}

/// Compares what was placed with what was shipped, in the order of shipping.
class audit {
public:
    audit(ledger<placed_row> const& placed, ledger<shipment_row> const& shipped)
    {
        sums_.orders = static_cast<std::int64_t>(placed.rows.size());
        sums_.shipments = static_cast<std::int64_t>(shipped.rows.size());
        sums_.dead_letters = placed.dead_letters + shipped.dead_letters;
        std::unordered_map<std::string, shipments_of_order> by_order;
        std::unordered_map<std::string, std::int64_t> last_number;
        for (auto const& s : shipped.rows) {
            sums_.shipments_cents += s.cents;
            auto& of_order = by_order[s.order_id];
            ++of_order.count;
            of_order.cents = s.cents;
            auto& last = last_number[s.customer_id];
            out_of_order_ += s.number < last ? 1 : 0;
            last = std::max(last, s.number);
        }
        for (auto const& o : placed.rows)
            compare(o, by_order);
        for (auto const& [order_id, of_order] : by_order)
            unknown_ += of_order.known ? 0 : of_order.count;
    }

    bool agrees() const
    {
        return sums_.missing == 0 && sums_.duplicated == 0 && sums_.orders_cents == sums_.shipments_cents
            && unanswered_ == 0 && unknown_ == 0 && other_amount_ == 0 && out_of_order_ == 0;
    }

    void print_json() const { std::printf("%s\n", cosaga::json_codec::encode(sums_).c_str()); }

    void print() const
    {
        line("orders", sums_.orders);
        line("shipments", sums_.shipments);
        line("orders, cents", sums_.orders_cents);
        line("shipments, cents", sums_.shipments_cents);
        line("missing", sums_.missing);
        line("duplicated", sums_.duplicated);
        line("unknown", unknown_);
        line("other amount", other_amount_);
        line("out of order", out_of_order_);
        line("unanswered", unanswered_);
        line("dead letters", sums_.dead_letters);
        std::printf("%s\n", agrees() ? "the two sides agree" : "THE TWO SIDES DIFFER");
        if (payments_differ_ > 0)
            std::printf("payments that do not match their items, as they came in: %lld orders\n",
                static_cast<long long>(payments_differ_));
    }

private:
    struct shipments_of_order {
        std::int64_t count = 0;
        std::int64_t cents = 0;
        bool known = false;
    };

    void compare(placed_row const& o, std::unordered_map<std::string, shipments_of_order>& by_order)
    {
        sums_.orders_cents += o.cents;
        payments_differ_ += o.cents != o.paid_cents ? 1 : 0;
        unanswered_ += o.answers == 0 ? 1 : 0;
        sums_.duplicated += std::max<std::int64_t>(o.answers - 1, 0);
        auto const found = by_order.find(o.order_id);
        if (found == by_order.end()) {
            ++sums_.missing;
            return;
        }
        found->second.known = true;
        sums_.duplicated += found->second.count - 1;
        other_amount_ += found->second.cents != o.cents ? 1 : 0;
    }

    static void line(char const* what, std::int64_t value)
    {
        std::printf("%-18s%12lld\n", what, static_cast<long long>(value));
    }

    report sums_;
    std::int64_t unknown_ = 0;         // shipments of orders that nobody placed
    std::int64_t other_amount_ = 0;    // orders that were shipped with another amount
    std::int64_t out_of_order_ = 0;    // shipments that came after a later one of their customer
    std::int64_t unanswered_ = 0;      // orders whose answer has not come
    std::int64_t payments_differ_ = 0; // a matter of the input, not of the hop
};

} // namespace

int main(int argc, char** argv)
{
    return run_program("orders_audit", usage, 2, [&] {
        arguments const given{argc, argv, {"--orders", "--warehouse"}, {}, {"--json"}};
        auto const placed = read<placed_row>(
            given["--orders"], "SELECT order_id, cents, paid_cents, answers FROM orders");
        auto const shipped = read<shipment_row>(
            given["--warehouse"], "SELECT order_id, customer_id, number, cents FROM shipments ORDER BY seq");
        audit const result{placed, shipped};
        given.has("--json") ? result.print_json() : result.print();
        return result.agrees() ? 0 : 1;
    });
}
