// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <unit/sorted_ledger.hpp>

#include <cosaga/detail/comparison.hpp>
#include <cosaga/detail/comparison_answer.hpp>

#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace ledgers;
using detail::comparison;
using detail::comparison_answer;
using fuzz::require;

sorted_ledger& known_ledger()
{
    static sorted_ledger ledger{[] {
        std::mt19937_64 chance{1};
        return make_records(500, std::chrono::seconds{1}, chance);
    }()};
    return ledger;
}

// What the participant makes of a request from anywhere.
void answer(std::string_view request)
{
    std::string answered;
    if (fuzz::decodes([&] { answered = comparison_answer{known_ledger(), everything}(request); }))
        require(answered.size() < 256 * 1024, "an answer is bounded");
}

// What the initiator makes of answers from anywhere, the first two bytes of each being its length.
void ask(fuzz::choices in)
{
    comparison c{everything, 1, 100};
    std::vector<ledger_difference> found;
    std::optional<std::string> request = c.open();
    while (request && !in.at_end()) {
        std::string text;
        auto const low = in.byte();
        for (auto left = low + 256 * in.below(16); left > 0 && !in.at_end(); --left)
            text += static_cast<char>(in.byte());
        if (!fuzz::decodes([&] { request = c.next(known_ledger(), text, found); }))
            return;
        require(!request || request->size() < 256 * 1024, "a request is bounded");
    }
    for (auto const& d : found)
        require(d.here || d.there, "a difference has a side");
}

} // namespace

// The first byte chooses the side.
int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    fuzz::choices in{data, size};
    if (in.below(2) == 0)
        answer(in.rest());
    else
        ask(in);
    return 0;
}
