#!/usr/bin/env python3
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
"""Measures all that has a target and prints measured against wanted: exit 1 when one is not reached.

Every ratio is taken within one run of the benchmarks, and its median over all runs is what counts. The crash test and the
compile time are measured once, when they are there: the sanitizers alone are left to `tests/run.sh asan tsan`.
"""
import argparse
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys

HOPS = (r"(durable_hop/((binary|json|floor)/(1|1024)|naive|ledger/1024)|transactional/binary/1024|transact/1024|saga/steps/1024/(5|100)"
        r"|three_ways/\w+/(1|1024))$|webhook/healthy")
BACKLOG = r"(backlog/drain/1000000$|transactional/unresolved/1000000|saga/(groups|recovery))"
RECONCILIATION = r"reconciliation/"
# Differences among a million records a side, and the most bytes and round trips.
COMPARISONS = {"0/0": ("no difference", 1024, 2), "1/0": ("one difference", 4096, 4),
               "100/1": ("100 differences in the newest hour", 20_000, None), "100/0": ("100 differences anywhere", 200_000, None)}


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
    alone = result["durable_hop/binary/1"]["effect_p50_us"] / result["durable_hop/floor/1"]["effect_p50_us"]
    yield "durable hops/s, binary, 1,024 outstanding, against floor", "x", binary / floor, ">=", 0.60
    yield "the same with JSON", "x", rate(result, "durable_hop/json/1024") / floor, ">=", 0.45
    yield "binary, 1,024 outstanding, against naive", "x", binary / rate(result, "durable_hop/naive"), ">=", 25
    yield "one at a time: p50 from transact to effect committed, against floor", "x", alone, "<=", 1.3
    yield "durable hops/s, binary, 1,024 outstanding, with ledgers, against without", "x", rate(result, "durable_hop/ledger/1024") / binary, ">=", 0.85
    yield "cycles of transactional messages, 1,024 outstanding, against the hop rate", "x", rate(result, "transactional/binary/1024") / binary, ">=", 0.4
    for steps in (5, 100):
        ratio = rate(result, f"saga/steps/1024/{steps}") / rate(result, "transact/1024")
        yield f"journaled steps/s, 1,024 sagas of {steps} steps in flight, against transact", "x", ratio, ">=", 0.5
    groups, recovery, unresolved = (
        next((r for name, r in result.items() if name.startswith(of)), None)
        for of in ("saga/groups", "saga/recovery", "transactional/unresolved"))
    if groups:
        yield "durable groups of a saga of five steps", "", round(groups["groups"], 1), "<=", 5
    if recovery:
        yield "start with 100,000 sleeping sagas, to the end of a new one", "s", recovery["seconds"], "<=", 5
        yield "memory of each of them until it wakes", "bytes", recovery["bytes_each"], "<=", 500
    if unresolved:
        yield "a new cycle with 1,000,000 unresolved half messages against none", "x", unresolved["cycle_ratio"], "<=", 1.2
        yield "resident memory with 1,000,000 unresolved half messages", "MB", unresolved["resident_MB"], "<=", 200
    webhook = next((r for name, r in result.items() if name.startswith("webhook/healthy")), None)
    if webhook:
        yield "webhooks to 2,000 merchants, 1,000/s, a tenth hang or refuse: p99 delay of the others", "ms", webhook["p99_ms"], "<=", 1000
        yield "and resident memory", "MB", webhook["resident_MB"], "<=", 100
    backlog = result.get("backlog/drain/1000000")
    if backlog:
        yield "resident memory with 1,000,000 pending rows", "MB", backlog["resident_MB"], "<=", 150
        for concurrency in (1, 1024):
            title = f"transact with that backlog against an empty table, {concurrency} at a time"
            yield title, "x", backlog[f"transact_ratio_{concurrency}"], "<=", 1.2
        yield "drain of that backlog against the hop rate", "x", backlog["items_per_second"] / binary, ">=", 0.5


def reconciliation(result):
    """The same for ledgers of a million records."""
    for case, (title, most_bytes, most_trips) in COMPARISONS.items():
        b = next(r for name, r in result.items() if name.startswith(f"reconciliation/compare/{case}/"))
        yield f"{title} among 1,000,000 records: bytes", "", b["bytes"], "<=", most_bytes
        if most_trips:
            yield f"{title} among 1,000,000 records: round trips", "", b["round_trips"], "<=", most_trips
        if case == "0/0":
            yield "work a side to find 1,000,000 records equal", "ms", max(b["here_ms"], b["there_ms"]), "<=", 50
    b = next(r for name, r in result.items() if name.startswith("reconciliation/statement"))
    yield "a ledger against a statement of 1,000,000 lines", "s", b["real_time"] / 1000, "<=", 10
    yield "resident memory meanwhile", "MB", b["peak_MB"], "<=", 100


def crash_test(program, kills, seed):
    """How many kills went well: all of them or none."""
    environment = dict(os.environ, COSAGA_CRASH_KILLS=str(kills), COSAGA_CRASH_SEED=str(seed))
    for what, test in (("orders", "orders_crash"), ("payments", "payment_crash"), ("webhooks", "webhook_crash")):
        done = subprocess.run([program, f"--gtest_filter={test}.*"], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if "0 tests from 0 test suites ran" in done.stdout:
            continue  # built without webhooks
        passed = done.returncode == 0 and "[  PASSED  ] 1 test" in done.stdout
        if not passed:
            print(done.stdout, file=sys.stderr)
        yield f"kills while {what} flow with nothing lost or doubled, seed {seed}", "", kills if passed else 0, ">=", kills


def compile_time(script):
    done = subprocess.run([script], check=True, text=True, stdout=subprocess.PIPE)
    print(done.stdout.strip(), file=sys.stderr)
    for how, ratio in re.findall(r"with (\S.*?) \d+ ms, ratio ([0-9.]+)", done.stdout):
        yield f"compile time of the example with {how}, against plain Asio", "x", float(ratio), "<=", 3


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    default = root / "build/release/bench/cosaga_bench"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", default=str(default), help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--no-backlog", action="store_true", help="leave out the backlog of a million rows")
    parser.add_argument("--no-reconciliation", action="store_true", help="leave out the ledgers of a million records")
    parser.add_argument("--kills", type=int, default=200, help="of the crash test; 0 leaves it out; default: %(default)s")
    parser.add_argument("--seed", type=int, help="of the crash test; default: a random one")
    parser.add_argument("--no-compile-time", action="store_true", help="leave out the compile time of the example")
    options = parser.parse_args()

    seen = {}
    rates = {}

    def take(measured):
        for title, unit, value, direction, target in measured:
            seen.setdefault((title, unit, direction, target), []).append(value)

    for n in range(options.runs):
        print(f"run {n + 1} of {options.runs}", file=sys.stderr)
        result = run(options.program, HOPS)
        if not options.no_backlog:
            result.update(run(options.program, BACKLOG))
        take(measures(result))
        for name, b in result.items():
            if "items_per_second" not in b:
                continue
            columns = ("items_per_second", "p50_us", "p99_us", "effect_p50_us")
            rates.setdefault(name, []).append([b.get(column, 0) for column in columns])
        if not options.no_reconciliation:
            take(reconciliation(run(options.program, RECONCILIATION)))
    if not options.no_compile_time:
        print("compile time", file=sys.stderr)
        take(compile_time(root / "tests/compile_time.sh"))
    tests = pathlib.Path(options.program).resolve().parent.parent / "tests/cosaga_integration_tests"
    if options.kills > 0 and tests.exists():
        seed = random.randrange(2**32) if options.seed is None else options.seed
        print(f"crash test, seed {seed}", file=sys.stderr)
        take(crash_test(tests, options.kills, seed))

    print("| benchmark | per second | p50 us | p99 us | p50 us to effect |\n|---|---|---|---|---|")
    for name, samples in rates.items():
        medians = [statistics.median(column) for column in zip(*samples)]
        print(f"| {name} | " + " | ".join(f"{m:,.0f}" if m else "" for m in medians) + " |")
    print("\n| measure | median | lowest to highest | must reach | |\n|---|---|---|---|---|")
    missed = False
    for (title, unit, direction, target), values in seen.items():
        value = statistics.median(values)
        reached = value >= target if direction == ">=" else value <= target
        missed = missed or not reached
        print(f"| {title} | {value:.4g} {unit} | {min(values):.4g} to {max(values):.4g} | {direction} {target:g} "
              f"| {'reached' if reached else 'NOT REACHED'} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
