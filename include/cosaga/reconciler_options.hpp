// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/ledger_difference.hpp>

#include <boost/describe/class.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga {

struct reconciler_options {
    std::string topic;                             ///< of the messages; the outbox keeps a ledger of it
    std::string participant;                       ///< the consumer's name
    std::string requests;                          ///< the topic by which the participant is asked
    duration every = std::chrono::minutes{5};      ///< between runs
    duration grace = std::chrono::seconds{30};     ///< what is younger is pending, not different; longer than a message takes
    duration retention = std::chrono::days{30};    ///< that of the ledger: what is older is not compared
    duration timeout = std::chrono::seconds{10};   ///< of each request
    duration pause{};                              ///< between requests: the more, the less the comparison is felt
    std::uint64_t most_differences = 10'000;       ///< in one run; the next goes on where it stood
    std::size_t listed = 1000;                     ///< differences that a report lists
};

/// What one run has found.
struct reconciliation_report {
    bool equal = false;                     ///< proven: both sides have the same records from `from` until `until`
    bool complete = false;                  ///< everything was compared; else the next run goes on
    time_point from{};
    time_point until{};
    std::optional<time_point> equal_until{}; ///< the first difference is not older: before it both sides are equal, from `from` on
    std::uint64_t checked = 0;              ///< records here
    std::uint64_t differing = 0;            ///< without what is pending
    std::uint64_t pending = 0;              ///< missing there, and still in the outbox here
    std::uint64_t mended = 0;               ///< handled by a policy; whether it helped the next run tells
    std::uint64_t not_mended = 0;           ///< a policy threw; the next run tries again
    std::uint64_t round_trips = 0;
    std::uint64_t bytes = 0;                ///< of the comparison, both ways
    std::vector<ledger_difference> listed;  ///< the first of them

    /// In words, one sentence or two.
    std::string to_string() const;
};

/// What a reconciler did since it was made.
struct reconciliation_counters {
    std::uint64_t runs = 0;
    std::uint64_t failed = 0;                 ///< runs that ended in an error
    std::uint64_t checked = 0;
    std::uint64_t differing = 0;
    std::uint64_t mended = 0;
    std::uint64_t not_mended = 0;             ///< a policy threw
    std::optional<time_point> last_complete;  ///< when a run last compared everything
    std::optional<time_point> equal_until;    ///< up to which both sides are proven equal, by the last run from the beginning
};

struct reconciliation_options {
    duration grace = std::chrono::seconds{30};  ///< what is younger is not compared
    duration retention = std::chrono::days{30}; ///< at most that of the consumer's ledger
};

/// What a reconciler asks a participant.
struct reconciliation_request {
    std::string topic{};
    std::string consumer{};
    std::string source{};                 ///< whose messages
    std::vector<std::byte> comparison{};  ///< a message of the protocol

    static constexpr std::string_view message_type = "cosaga.reconciliation_request";
};
BOOST_DESCRIBE_STRUCT(reconciliation_request, (), (topic, consumer, source, comparison))

struct reconciliation_answer {
    std::vector<std::byte> comparison{};

    static constexpr std::string_view message_type = "cosaga.reconciliation_answer";
};
BOOST_DESCRIBE_STRUCT(reconciliation_answer, (), (comparison))

inline std::string reconciliation_report::to_string() const
{
    auto text = "Checked " + std::to_string(checked) + (checked == 1 ? " record: " : " records: ");
    if (equal)
        return text + "both sides are equal.";
    text += std::to_string(differing) + " differ, " + std::to_string(mended) + " of them handled";
    if (pending > 0)
        text += "; " + std::to_string(pending) + " are on their way";
    return text + (complete ? "." : "; there are more.");
}

} // namespace cosaga
