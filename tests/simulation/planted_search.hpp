// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/testing/scenario.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>
#include <memory>

namespace planted {

/// Runs one seed after another until a promise is broken.
template <class Scenario>
void expect_to_be_found()
{
    constexpr std::uint64_t most = 2000;
    for (std::uint64_t seed = 1; seed <= most; ++seed) {
        cosaga::testing::run_options options;
        options.seed = seed;
        auto const r = run_scenario([] { return std::make_unique<Scenario>(); }, options);
        if (r.findings.empty())
            continue;
        std::cout << "found with seed " << seed << ": " << r.findings.front().what << '\n';
        ::testing::Test::RecordProperty("seeds", static_cast<int>(seed));
        return;
    }
    ADD_FAILURE() << "not found by " << most << " seeds";
}

} // namespace planted
