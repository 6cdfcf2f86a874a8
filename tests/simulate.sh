#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Runs every workload of the simulation with all faults, on all cores.
# Usage: tests/simulate.sh [SECONDS]                 as many seeds from 1 on as that takes; 180 seconds unless given
#        tests/simulate.sh --seeds 1..100000 [...]   as the runner is told: see --help
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}
    export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
fi
cmake/setup.sh build test
cmake --preset release >/dev/null
cmake --build --preset release --target cosaga_simulation --parallel "$(nproc)" >/dev/null
arguments=("$@")
[[ ${1:-180} == --* ]] || arguments=(--seeds 1..1000000000 --seconds "${1:-180}")
exec build/release/tests/simulation/cosaga_simulation --jobs "$(nproc)" "${arguments[@]}"
