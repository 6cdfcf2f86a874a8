// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

enum class statement_format : std::uint8_t {
    csv,        ///< RFC 4180, with the names of the columns in the first line
    json_lines, ///< an object a line
};

/// A column of a statement, or a member of its objects, that is compared with a field of the ledger.
struct statement_column {
    std::string name;
    std::string field{};                                     ///< of the ledger; empty: as the column
    std::function<std::string(std::string_view)> convert{}; ///< makes of "12.50" what the ledger has, "1250"; what it throws is an error of the line
};

/// How a statement reads.
struct statement_options {
    statement_format format = statement_format::csv;
    char separator = ',';
    std::string id_column = "id";
    std::string id_source{};                 ///< who gave the ids, as `message_id::from_foreign` has it; needed when they are no UUIDs
    std::string key_column{};                ///< compared with the key; empty: keys are not compared
    std::vector<statement_column> columns{}; ///< what else is compared; empty: ids alone
    time_point from{};                       ///< records of the ledger before are not compared
    time_point until = time_point::max();    ///< nor these from here on
    std::size_t memory = std::size_t{32} << 20; ///< bytes; what needs more is sorted in temporary files
    std::string folder = "/tmp";             ///< for them
};

/// What came of a comparison with a statement.
struct statement_summary {
    std::uint64_t in_ledger = 0;         ///< records that were compared
    std::uint64_t in_statement = 0;      ///< lines
    std::uint64_t equal = 0;
    std::uint64_t only_in_ledger = 0;
    std::uint64_t only_in_statement = 0;
    std::uint64_t differing = 0;         ///< in both, with other fields

    bool all_equal() const noexcept { return only_in_ledger + only_in_statement + differing == 0; }

    /// In words, one sentence or two.
    std::string to_string() const
    {
        auto const count = [](std::uint64_t n, std::string_view what) {
            return std::to_string(n) + ' ' + std::string{what} + (n == 1 ? "" : "s");
        };
        auto text = "Compared " + count(in_ledger, "record") + " of the ledger with " + count(in_statement, "line") + " of the statement: ";
        if (all_equal())
            return text + "they are equal.";
        return text + std::to_string(equal) + " are equal, " + std::to_string(only_in_ledger) + " are only in the ledger, "
             + std::to_string(only_in_statement) + " only in the statement, " + std::to_string(differing) + " differ.";
    }
};

} // namespace cosaga
