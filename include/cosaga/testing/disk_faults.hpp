// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

namespace cosaga::testing {

/// What goes wrong with a simulated disk: probabilities, of each operation.
struct disk_faults {
    double read_error = 0;
    double write_error = 0;
    double sync_error = 0;
    double full = 0; ///< of each write that makes a file longer

    bool operator==(disk_faults const&) const = default;
};

} // namespace cosaga::testing
