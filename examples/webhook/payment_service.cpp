// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
// Takes payments for merchants in turn, and tells each of its own by webhooks. A notice that cannot be delivered is given up soon
// here; its merchant can ask. Runs until SIGTERM or SIGINT, and may be killed at any time: started again, it goes on where it was.
#include "webhooks.hpp"

#include <cosaga/transport/memory.hpp>

#include <algorithm>

namespace {

using namespace webhooks;

constexpr char usage[] = "--db FILE --port N --merchants FILE --payments N --pause-ms N";

/// A line of the file of merchants.
struct merchant {
    std::string name;
    std::string url; ///< where it takes notices
    std::string secret;
};
BOOST_DESCRIBE_STRUCT(merchant, (), (name, url, secret))

class merchant_book {
public:
    explicit merchant_book(std::string const& path)
    {
        for (auto const& line : lines_of(path))
            all.push_back(cosaga::json_codec::decode<merchant>(line));
    }

    std::vector<cosaga::webhook_secret> secrets_of(std::string const& url) const
    {
        auto const* const m = find([&](merchant const& x) { return x.url == url; });
        return m ? std::vector{cosaga::webhook_secret{m->secret}} : std::vector<cosaga::webhook_secret>{};
    }
    cosaga::webhook_asker asker(std::string const& name) const
    {
        auto const* const m = find([&](merchant const& x) { return x.name == name; });
        return m ? cosaga::webhook_asker{{cosaga::webhook_secret{m->secret}}, {m->url}} : cosaga::webhook_asker{};
    }

    std::vector<merchant> all;

private:
    template <class Test>
    merchant const* find(Test test) const
    {
        auto const found = std::find_if(all.begin(), all.end(), test);
        return found == all.end() ? nullptr : &*found;
    }
};

struct payment_row {
    std::int64_t cents = 0;
    std::string notice;
};
BOOST_DESCRIBE_STRUCT(payment_row, (), (cents, notice))

constexpr char schema[] = "CREATE TABLE IF NOT EXISTS payments (merchant TEXT NOT NULL, order_number INTEGER NOT NULL,"
                          " cents INTEGER NOT NULL, notice TEXT NOT NULL, PRIMARY KEY (merchant, order_number))";

/// A real service takes one of the presets, which last for a day or more.
cosaga::notifier_options notifier_options()
{
    cosaga::notification_schedule const soon{.retries = cosaga::schedule::list({200ms, 400ms, 800ms}), .deadline = 2s};
    return {.schedule = soon, .attempt_timeout = 1s, .breaker_open = 300ms, .breaker_cap = 600ms};
}

/// The next payment, unless all were made, and the notice of it: both or neither.
asio::awaitable<void> pay(auto& notifier, merchant_book const& merchants, std::int64_t wanted)
{
    auto work = [&](auto& tx) {
        auto const made = tx.template query<std::int64_t>("SELECT count(*) FROM payments").front();
        if (made >= wanted)
            return;
        auto const count = static_cast<std::int64_t>(merchants.all.size());
        auto const& to = merchants.all[static_cast<std::size_t>(made % count)];
        payment const p{made / count + 1, 100 + made * 37 % 5000};
        auto const notice = tx.notify(to.url, p);
        tx.execute("INSERT INTO payments VALUES (?, ?, ?, ?)", to.name, p.order, p.cents, notice.to_string());
    };
    co_await notifier.transact(work);
}

/// What a merchant is told that asks for an order: the payment itself, and what became of the notice.
asio::awaitable<std::optional<cosaga::notification_answer>> find_payment(auto& store, auto& notifier, std::string merchant, std::string order)
{
    std::vector<payment_row> found;
    auto look = [&](auto& tx) {
        found = tx.template query<payment_row>("SELECT cents, notice FROM payments WHERE merchant = ? AND order_number = ?", merchant, order);
    };
    co_await store.transact(look);
    if (found.empty())
        co_return std::nullopt;
    auto const& row = found.front();
    auto const notice = co_await notifier.find(cosaga::message_id::parse(row.notice).value());
    auto answer = notice ? cosaga::answer_of(*notice) : cosaga::notification_answer{};
    payment const p{std::stoll(order), row.cents};
    answer.id = row.notice;
    answer.fact = cosaga::json_codec::encode(p);
    co_return answer;
}

struct totals {
    std::int64_t count = 0;
    std::int64_t cents = 0;
};
BOOST_DESCRIBE_STRUCT(totals, (), (count, cents))

/// A line for each merchant.
asio::awaitable<std::string> outcomes(auto& store, auto& notifier, merchant_book const& merchants)
{
    auto const destinations = co_await notifier.destinations();
    std::string lines;
    auto write = [&](auto& tx) {
        for (auto const& m : merchants.all) {
            auto const paid = tx.template query<totals>(
                "SELECT count(*) AS count, coalesce(sum(cents), 0) AS cents FROM payments WHERE merchant = ?", m.name).front();
            auto const of_merchant = [&](auto const& d) { return d.name == m.url; };
            auto const d = std::find_if(destinations.begin(), destinations.end(), of_merchant);
            auto const pending = d == destinations.end() ? 0 : static_cast<std::int64_t>(d->pending);
            auto const given_up = d == destinations.end() ? 0 : static_cast<std::int64_t>(d->given_up);
            lines += "paid to   " + padded(m.name) + cell(paid.count, "payments") + cell(paid.cents, "cents")
                   + cell(paid.count - pending - given_up, "delivered") + cell(given_up, "given up") + cell(pending, "pending") + '\n';
        }
    };
    co_await store.transact(write);
    co_return lines;
}

} // namespace

int main(int argc, char** argv)
{
    return run_program("webhook_payment_service", usage, 1, [&] {
        arguments const given{argc, argv, {"--db", "--port", "--merchants", "--payments", "--pause-ms"}};
        auto const port = number_in<std::uint16_t>(given, "--port");
        auto const wanted = number_in<std::int64_t>(given, "--payments");
        cosaga::duration const pause = std::chrono::milliseconds{number_in<int>(given, "--pause-ms")};
        merchant_book const merchants{given["--merchants"]};

        asio::io_context io{1};
        cosaga::system_environment environment{io.get_executor()};
        cosaga::sqlite_store store{environment, given["--db"]};
        cosaga::memory_transport transport{environment}; // there is nothing to send but notices
        cosaga::node node{store, transport, {.service = "payment_service"}};

        auto to_merchants = sink_options();
        to_merchants.secrets = [&](std::string const& url) { return merchants.secrets_of(url); };
        cosaga::webhook_sink sink{environment, to_merchants};
        cosaga::notifier notifier{node.get_outbox(), sink, notifier_options()};
        node.attach(notifier);

        cosaga::webhook_answerer_options merchants_alone;
        merchants_alone.find_asker = [&](std::string const& name) { return merchants.asker(name); };
        auto const facts = [&](std::string const& merchant, cosaga::notification_query const& q) {
            return find_payment(store, notifier, merchant, q.subject);
        };
        cosaga::webhook_answerer answerer{environment, notifier, merchants_alone, facts};
        cosaga::webhook_endpoint endpoint{environment, {.port = port}};
        endpoint.serve("/payments/", [&](cosaga::webhook_request const& r) { return answerer.answer(r); });
        node.attach(endpoint);

        auto const work = [&]() -> asio::awaitable<void> {
            stop_request const stop{io};
            progress shown{environment};
            auto prepare = [](auto& tx) { tx.execute(schema); };
            co_await store.transact(prepare);
            while (!stop) {
                co_await pay(notifier, merchants, wanted);
                if (shown.is_due())
                    shown.print(co_await outcomes(store, notifier, merchants));
                co_await environment.sleep_for(pause);
            }
            shown.print(co_await outcomes(store, notifier, merchants));
        };
        auto ended = asio::co_spawn(io, node.run(work()), asio::use_future);
        io.run();
        ended.get();
        return 0;
    });
}
