#!/usr/bin/env python3
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
"""Runs the benchmarks that have a target and prints measured against wanted: exit 1 when one is not reached.

Every ratio is taken within one run of the program, and its median over all runs is what counts.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HOPS = r"durable_hop/((binary|json|floor)/(1|1024)|naive)$"
BACKLOG = r"backlog/drain/1000000$"


def run(program, pattern):
    command = [program, f"--benchmark_filter={pattern}", "--benchmark_format=json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return {b["name"]: b for b in json.loads(done.stdout)["benchmarks"]}


def rate(result, name):
    return result[name]["items_per_second"]


def measures(result):
    """What one run says about each target: title, unit, value, at least or at most, target."""
    binary = rate(result, "durable_hop/binary/1024")
    floor = rate(result, "durable_hop/floor/1024")
    alone = result["durable_hop/binary/1"]["p50_us"] / result["durable_hop/floor/1"]["p50_us"]
    yield "durable hops/s, binary, 1,024 outstanding, against floor", "x", binary / floor, ">=", 0.60
    yield "the same with JSON", "x", rate(result, "durable_hop/json/1024") / floor, ">=", 0.45
    yield "binary, 1,024 outstanding, against naive", "x", binary / rate(result, "durable_hop/naive"), ">=", 25
    yield "one at a time: latency p50 against floor", "x", alone, "<=", 1.3
    backlog = result.get("backlog/drain/1000000")
    if backlog:
        yield "resident memory with 1,000,000 pending rows", "MB", backlog["resident_MB"], "<=", 150
        for concurrency in (1, 1024):
            title = f"transact with that backlog against an empty table, {concurrency} at a time"
            yield title, "x", backlog[f"transact_ratio_{concurrency}"], "<=", 1.2
        yield "drain of that backlog against the hop rate", "x", backlog["items_per_second"] / binary, ">=", 0.5


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "build/release/bench/cosaga_bench"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", default=str(default), help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--no-backlog", action="store_true", help="leave out the backlog of a million rows")
    options = parser.parse_args()

    seen = {}
    rates = {}
    for n in range(options.runs):
        print(f"run {n + 1} of {options.runs}", file=sys.stderr)
        result = run(options.program, HOPS)
        if not options.no_backlog:
            result.update(run(options.program, BACKLOG))
        for title, unit, value, direction, target in measures(result):
            seen.setdefault((title, unit, direction, target), []).append(value)
        for name, b in result.items():
            rates.setdefault(name, []).append((b["items_per_second"], b.get("p50_us", 0), b.get("p99_us", 0)))

    print("| benchmark | per second | p50 us | p99 us |\n|---|---|---|---|")
    for name, samples in rates.items():
        columns = (statistics.median(column) for column in zip(*samples))
        print("| {} | {:,.0f} | {:,.0f} | {:,.0f} |".format(name, *columns))
    print("\n| measure | median | lowest to highest | must reach | |\n|---|---|---|---|---|")
    missed = False
    for (title, unit, direction, target), values in seen.items():
        value = statistics.median(values)
        reached = value >= target if direction == ">=" else value <= target
        missed = missed or not reached
        print(f"| {title} | {value:.2f} {unit} | {min(values):.2f} to {max(values):.2f} | {direction} {target:g} "
              f"| {'reached' if reached else 'NOT REACHED'} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
