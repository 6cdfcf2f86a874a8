// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/ledger.hpp>

#include <boost/describe/enum.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace cosaga {

/// What is wrong with one message, seen from its initiator.
enum class difference_kind : std::uint8_t {
    missing_at_participant, ///< recorded here only
    missing_at_initiator,   ///< recorded there only
    digest_differs,         ///< recorded on both sides, with another key or other fields
};
BOOST_DESCRIBE_ENUM(difference_kind, missing_at_participant, missing_at_initiator, digest_differs)

/// One difference between two ledgers, with what each of them has.
struct ledger_difference {
    std::optional<ledger_record> here;  ///< at the initiator; or in the ledger, compared with a file
    std::optional<ledger_record> there; ///< at the participant; or in the file

    difference_kind kind() const noexcept
    {
        if (!there)
            return difference_kind::missing_at_participant;
        return here ? difference_kind::digest_differs : difference_kind::missing_at_initiator;
    }
    message_id const& id() const noexcept { return here ? here->id : there->id; }
    ledger_position position() const noexcept { return here ? here->position() : there->position(); }

    /// For people: `digest_differs 0190...: here cents=250, there cents=205`.
    std::string to_string() const
    {
        std::string text = kind() == difference_kind::digest_differs           ? "digest differs "
                         : kind() == difference_kind::missing_at_participant ? "missing at participant "
                                                                               : "missing at initiator ";
        text += id().to_string() + ':';
        if (here)
            text += " here " + here->fields.to_string();
        if (there)
            text += (here ? ", there " : " there ") + there->fields.to_string();
        return text;
    }

    friend bool operator==(ledger_difference const&, ledger_difference const&) = default;
};

} // namespace cosaga
