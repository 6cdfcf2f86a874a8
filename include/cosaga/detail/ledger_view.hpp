// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/ledger.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// A ledger as a comparison reads it; see `ledger_table`. Apart from stores, so that comparisons are compiled once.
class ledger_view {
public:
    ledger_view() = default;
    ledger_view(ledger_view const&) = delete;
    ledger_view& operator=(ledger_view const&) = delete;
    virtual ~ledger_view() = default;

    virtual std::vector<ledger_sum> sum(std::span<ledger_range const> ranges) = 0;
    virtual std::vector<ledger_position> divide(ledger_range const& range, std::size_t parts) = 0;
    virtual std::vector<ledger_record> read(ledger_range const& range, std::size_t most) = 0;
};

/// A ledger of a store, within a transaction.
template <ledger_table Tx>
class stored_ledger_view final : public ledger_view {
public:
    stored_ledger_view(Tx& tx, std::string name) : tx_{&tx}, name_{std::move(name)} {}

    std::vector<ledger_sum> sum(std::span<ledger_range const> ranges) override { return tx_->sum_records(name_, ranges); }
    std::vector<ledger_position> divide(ledger_range const& range, std::size_t parts) override
    {
        return tx_->divide_records(name_, range, parts);
    }
    std::vector<ledger_record> read(ledger_range const& range, std::size_t most) override
    {
        return tx_->read_records(name_, range, most);
    }

private:
    Tx* tx_;
    std::string name_;
};

} // namespace cosaga::detail
