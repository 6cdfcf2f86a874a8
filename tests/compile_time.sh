#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Compares the compile time of FILE with that of the least that any Asio coroutine program includes, with headers only
# and as a program that links cosaga::compiled: medians of five runs in turn, so that a busy machine slows all.
# At most 3 is wanted of the latter.
# Usage: [CXX=g++] [CXXFLAGS=-O2] tests/compile_time.sh [FILE, else examples/hello.cpp]
set -euo pipefail
cd "$(dirname "$0")/.."
source=${1:-examples/hello.cpp}
read -ra flags <<<"${CXXFLAGS:--O2}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/asio.cpp" <<'END'
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
END

separate=(-DCOSAGA_SEPARATE_COMPILATION -DBOOST_ASIO_SEPARATE_COMPILATION)

milliseconds() # file, more flags
{
    local start end
    start=$(date +%s%N)
    "${CXX:-g++}" -std=c++20 "${flags[@]}" -DBOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=8 -Iinclude "${@:2}" -c "$1" -o "$scratch/out.o"
    end=$(date +%s%N)
    echo $(((end - start) / 1000000))
}
median() { sort -n "$1" | sed -n 3p; }

report() # how, name of the times
{
    awk -v asio="$(median "$scratch/asio")" -v ours="$(median "$scratch/$2")" -v flags="${flags[*]}" -v source="$source" -v how="$1" \
        'BEGIN { printf "compile time %s: asio %d ms, %s %s %d ms, ratio %.2f\n", flags, asio, source, how, ours, ours / asio }'
}

for _ in 1 2 3 4 5; do
    milliseconds "$scratch/asio.cpp" >>"$scratch/asio"
    milliseconds "$source" >>"$scratch/headers"
    milliseconds "$source" "${separate[@]}" >>"$scratch/separate"
done
report "with headers only" headers
report "with cosaga::compiled" separate
