// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "ledger_file.hpp"
#include "payments.hpp"

#include <cosaga/environment.hpp>
#include <cosaga/fence.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <concepts>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

namespace payments {

/// Thrown by a local transaction: the payment is in the ledger.
struct already_paid : std::runtime_error {
    already_paid() : std::runtime_error{"the payment is in the ledger already"} {}
};

/// Payments in a text file, as the resource of a `cosaga::transactional_producer`: local transactions with a fence.
///
/// Each line of the file begins with a mark and the id of a transaction, which together are the fence: a line `committed` holds the payment,
/// so mark and effect are written by one `append`, or neither is. A line `rolled back` holds nothing else: no transaction with that id can
/// come any more.
/// @code
/// committed    018f2c6e-...    {"payment_id":"payment-1","account":"account-7","cents":1250} 5d41402a
/// rolled back  018f2c6f-... 9b74c989
/// @endcode
/// Whatever blocks runs on a thread of its own, one thing after another: so a check waits for a transaction that is running.
/// The marks are kept in memory as well, for ever, as those in the file are.
/// @par Thread safety
/// everything on one executor.
class file_ledger {
public:
    /// What a local transaction can do.
    class transaction {
    public:
        /// @throws already_paid; then, as with any other exception, nothing is written.
        void pay(payment p)
        {
            if (entry_)
                throw std::logic_error{"a transaction of this ledger is one payment"};
            if (ledger_->paid_.contains(p.payment_id))
                throw already_paid{};
            entry_ = std::move(p);
        }

    private:
        friend file_ledger;
        explicit transaction(file_ledger& l) : ledger_{&l} {}

        file_ledger* ledger_;
        std::optional<payment> entry_;
    };

    /// @throws std::exception that says why the file cannot be used.
    file_ledger(cosaga::environment& environment, std::string const& path)
        : file_{path, [this](std::string_view line) { remember(line); }}, worker_{environment.start_worker()}
    {
    }

    /// Runs `local(transaction&)`. Unless it throws, its payment is on the disk on return.
    template <std::invocable<transaction&> Local>
    asio::awaitable<void> run(cosaga::message_id id, Local& local)
    {
        auto const work = [&] {
            cosaga::fence_marks::enter(find_mark(id));
            transaction tx{*this};
            local(tx);
            append(id, cosaga::fence_marks::committed, tx.entry_);
        };
        co_await on_worker(work);
    }

    /// Whether the transaction has committed. If not, it never will.
    asio::awaitable<cosaga::transaction_outcome> check(cosaga::message_id id)
    {
        auto outcome = cosaga::transaction_outcome::unknown;
        auto const work = [&] {
            auto const found = find_mark(id);
            if (!found)
                append(id, cosaga::fence_marks::rolled_back, std::nullopt);
            outcome = cosaga::fence_marks::decide(found);
        };
        co_await on_worker(work);
        co_return outcome;
    }

    asio::awaitable<bool> has(std::string const& payment_id)
    {
        bool found = false;
        auto const work = [&] { found = paid_.contains(payment_id); };
        co_await on_worker(work);
        co_return found;
    }

    /// Of all payments in the ledger.
    asio::awaitable<balance> total()
    {
        balance sum;
        auto const work = [&] { sum = total_; };
        co_await on_worker(work);
        co_return sum;
    }

private:
    static constexpr char separator = '\t';

    template <class Work>
    asio::awaitable<void> on_worker(Work const& work)
    {
        co_await asio::co_spawn(worker_->get_executor(), call(work), asio::use_awaitable);
    }
    template <class Work>
    static asio::awaitable<void> call(Work const& work)
    {
        work();
        co_return;
    }

    std::optional<std::string> find_mark(cosaga::message_id id) const
    {
        auto const found = marks_.find(id.to_string());
        return found == marks_.end() ? std::nullopt : std::optional<std::string>{found->second};
    }

    void append(cosaga::message_id id, std::string_view mark, std::optional<payment> const& entry)
    {
        auto line = std::string{mark} + separator + id.to_string();
        if (entry)
            line += separator + cosaga::json_codec::encode(*entry);
        file_.append(line);
        remember(line);
    }

    void remember(std::string_view line)
    {
        auto const next_field = [&] {
            auto const field = line.substr(0, line.find(separator));
            line.remove_prefix(std::min(field.size() + 1, line.size()));
            return std::string{field};
        };
        auto mark = next_field();
        marks_.emplace(next_field(), std::move(mark));
        if (line.empty())
            return;
        auto const p = parse_payment(line);
        paid_.insert(p.payment_id);
        ++total_.count;
        total_.cents += p.cents;
    }

    // Of the worker, once it runs.
    std::unordered_map<std::string, std::string> marks_; // by transaction
    std::set<std::string> paid_;
    balance total_;
    ledger_file file_;
    std::unique_ptr<cosaga::worker> worker_;
};

static_assert(cosaga::transaction_resource<file_ledger>);

} // namespace payments
