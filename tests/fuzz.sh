#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Fuzzes every decoder of foreign bytes, one target for each core at a time: installs what is missing, builds, runs each
# target on a copy of its kept corpus, and prints a table. Exit code 1 if anything was found.
#
# Usage: tests/fuzz.sh [--executions N] [--minimise] [seconds for each target, default 30] [target...]
#   --executions N  N runs over all targets together, however long they take: tests/fuzz.sh --executions 10000000
#   --minimise      afterwards, replaces the kept corpus of the targets by the smallest inputs that reach as much
# What a run leaves is in build/fuzz/runs/<target>/: its log, its corpus, and the inputs that failed.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=30
executions=0
minimise=false
targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --executions) executions=${2:?tests/fuzz.sh: how many executions?}; shift ;;
        --minimise) minimise=true ;;
        -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
        *[!0-9]*) targets+=("$1") ;;
        *) seconds=$1 ;;
    esac
    shift
done
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/*.cpp; do
        target=$(basename "$source" .cpp)
        [[ $target == replay || $target == seeds ]] || targets+=("$target")
    done
fi
for target in "${targets[@]}"; do
    [ -f "tests/fuzz/$target.cpp" ] || { echo "fuzz.sh: no such target: $target" >&2; exit 2; }
done

cmake/setup.sh build test fuzz
if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}
    export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
fi
jobs=$(nproc)
cmake --preset fuzz
cmake --build --preset fuzz --parallel "$jobs"

programs=build/fuzz/tests/fuzz
runs=build/fuzz/runs
export UBSAN_OPTIONS=print_stacktrace=1
ASAN_SYMBOLIZER_PATH=$(readlink -f "$(command -v llvm-symbolizer)") # a link by that name alone is not taken
export ASAN_SYMBOLIZER_PATH
# One allocation of an input is far below 64 MiB. What is reported stays in the log.
limits=(-max_len=2048 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=64)
if [ "$executions" -gt 0 ]; then
    limits+=(-runs=$(((executions + ${#targets[@]} - 1) / ${#targets[@]})))
else
    limits+=(-max_total_time="$seconds")
fi

fuzz() {
    local target=$1 run=$runs/$1 kept=tests/fuzz/corpus/$1 before=tests/fuzz/regressions/$1
    rm -rf "$run"
    mkdir -p "$run/corpus" "$run/findings"
    [ ! -d "$kept" ] || cp "$kept"/* "$run/corpus"
    [ ! -d "$before" ] || cp "$before"/* "$run/corpus"
    local code=0
    "$programs/cosaga_fuzz_$target" "${limits[@]}" -print_final_stats=1 -artifact_prefix="$run/findings/" "$run/corpus" \
        >"$run/log" 2>&1 || code=$?
    echo "$code" >"$run/code"
}

row() {
    local target=$1 log=$runs/$1/log result=ok
    local executed rate edges
    [ "$(cat "$runs/$target/code")" = 0 ] || result=FOUND
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log" | tail -1)
    edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2) || edges=
    printf '%-18s %12s %10s %8s %8s  %s\n' "$target" "${executed:--}" "${rate:--}" "${edges:--}" \
        "$(find "$runs/$target/corpus" -type f | wc -l)" "$result"
    total=$((total + ${executed:-0}))
    [ $result = ok ]
}

minimise_corpus() {
    local target=$1 kept=tests/fuzz/corpus/$1 small=$runs/$1/small
    rm -rf "$small" "$runs/seeds"
    mkdir -p "$small" "$kept"
    "$programs/cosaga_fuzz_seeds" "$runs/seeds"
    "$programs/cosaga_fuzz_$target" -set_cover_merge=1 -use_counters=0 -max_len=2048 "$small" "$kept" "$runs/seeds/$target" "$runs/$target/corpus" \
        >"$runs/$target/merge_log" 2>&1
    rm -rf "$kept"
    cp -r "$small" "$kept"
    echo "$kept: $(find "$kept" -type f | wc -l) inputs"
}

for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    echo "fuzzing $target"
    fuzz "$target" &
done
wait

found=()
total=0
printf '\n%-18s %12s %10s %8s %8s  %s\n' target executions exec/s edges corpus result
for target in "${targets[@]}"; do
    row "$target" || found+=("$target")
done
printf '%-18s %12s\n' total "$total"

for target in "${found[@]}"; do
    printf '\n%s: ' "$target"
    grep -m 1 -E 'broken promise|ERROR: |runtime error|what\(\)' "$runs/$target/log" || tail -3 "$runs/$target/log"
    for input in "$runs/$target/findings"/*; do
        [ ! -e "$input" ] || echo "  repeat it: $programs/cosaga_fuzz_$target $input"
    done
done
[ ${#found[@]} -eq 0 ] || exit 1
if $minimise; then
    for target in "${targets[@]}"; do
        minimise_corpus "$target"
    done
fi
