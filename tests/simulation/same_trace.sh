#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Builds the simulation with g++ and clang, optimised and not, and compares the traces with those of a program that is there.
# Usage: same_trace.sh BUILD_FOLDER PROGRAM
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1
program=$2

# Twice in one process, and in an order of its own: what one world leaves behind must not matter to the next.
traces() {
    {
        "$1" --seeds 1..8 --hashes
        "$1" --seeds 5..12 --jobs 2 --hashes
        for slow in ledger_sqlite total_queue_sqlite key_order_sqlite parked_messages_sqlite transactions_sqlite transactions_zeromq notifications_sqlite sagas_sqlite reconciliation_sqlite; do
            "$1" --workload $slow --seeds 8..12 --hashes
        done
    } | grep -E ' [0-9a-f]{16}$' | sort -u
}

expected=$(traces "$program")
echo "$expected"
failed=0
for variant in "g++ Debug" "clang++-16 Debug" "clang++-16 Release"; do
    read -r compiler type <<<"$variant"
    command -v "$compiler" >/dev/null || { echo "same_trace.sh: $compiler is not installed" >&2; exit 1; }
    build=$folder/trace-$compiler-$type
    cmake -G Ninja -S "$source" -B "$build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE="$type" \
        -DCOSAGA_BUILD_TESTS=ON -DCOSAGA_BUILD_EXAMPLES=OFF -DCOSAGA_BUILD_BENCH=OFF >/dev/null
    cmake --build "$build" --target cosaga_simulation --parallel 2 >"$build/log" || { cat "$build/log"; exit 1; }
    if difference=$(diff <(echo "$expected") <(traces "$build/tests/simulation/cosaga_simulation")); then
        echo "$variant: the same"
    else
        echo "$variant: differs"
        echo "$difference"
        failed=1
    fi
done
exit $failed
