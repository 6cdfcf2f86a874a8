#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Installs what is missing, builds and runs the tests, for each preset of CMakePresets.json in turn.
# Usage: tests/run.sh [release|debug|asan|tsan|clang]...
set -euo pipefail
cd "$(dirname "$0")/.."
presets=("${@:-release}")

cmake/setup.sh build test clang # clang also for the test that compares traces
if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
    # What another checkout has compiled serves this one, too.
    export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
fi

jobs=$(nproc)
for preset in "${presets[@]}"; do
    cmake --preset "$preset"
    cmake --build --preset "$preset" --parallel "$jobs"
    run=()
    # g++ 12's thread sanitizer refuses to start where the kernel randomises more address bits than it expects.
    if [ "$preset" = tsan ] && setarch -R true 2>/dev/null; then
        run=(setarch -R)
    fi
    "${run[@]}" ctest --preset "$preset" --parallel "$jobs"
done
