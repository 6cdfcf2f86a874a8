// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/ledger.hpp>
#include <cosaga/message.hpp>

#include <cstddef>
#include <string_view>
#include <utility>

namespace cosaga::detail {

inline ledger_record ledger_record_of(message const& m, ledger_fields fields)
{
    return {m.id, m.time, m.key, std::move(fields)};
}

/// Writes messages to ledgers, and purges what is older than the retention as fast as new records come.
class ledger_keeper {
public:
    explicit ledger_keeper(duration retention) : retention_{retention} {}

    template <ledger_table Tx>
    void keep(Tx& tx, std::string_view ledger, ledger_record const& record)
    {
        tx.record(ledger, {&record, 1});
        if (++kept_ % purged_after == 0)
            tx.purge_records(ledger, tx.now() - retention_);
    }

    duration retention() const noexcept { return retention_; }

private:
    static constexpr std::size_t purged_after = 256; // fewer than what one purge takes away

    duration retention_;
    std::size_t kept_ = 0;
};

} // namespace cosaga::detail
