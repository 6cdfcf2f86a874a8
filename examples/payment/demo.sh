#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Makes 3,000 payments while the payment service and the coordinator are killed, and shows that what is in the ledger is what was booked.
# Usage: demo.sh [FOLDER OF THE PROGRAMS]
set -euo pipefail
programs=$(realpath "${1:-$(dirname "$0")/../../build/demo/examples}")
scratch=$(mktemp -d)
payments= coordinator= bookkeeper=
cleanup()
{
    for process in $payments $coordinator $bookkeeper; do
        kill -KILL "$process" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap cleanup EXIT
cd "$scratch"

first_port=$((20000 + RANDOM % 10000))
endpoint() { echo "tcp://127.0.0.1:$((first_port + $1))"; }
start_payments()
{
    "$programs/payment_service" --ledger ledger.txt --listen "$(endpoint 0)" --coordinator "$(endpoint 1)" \
        --input payments.jsonl >ledger.out &
    payments=$!
}
start_coordinator()
{
    "$programs/coordinator" --db coordinator.db --listen "$(endpoint 1)" --payment-service "$(endpoint 0)" \
        --bookkeeper "$(endpoint 2)" --first-check-ms 1000 --check-interval-ms 1000 &
    coordinator=$!
}
killed() # process
{
    kill -KILL "$1"
    wait "$1" 2>/dev/null || true
}

for n in $(seq 3000); do
    echo "{\"payment_id\":\"payment-$n\",\"account\":\"account-$((n % 7))\",\"cents\":$((n * 37 % 5000 + 1))}"
done >payments.jsonl
"$programs/bookkeeper" --db books.db --listen "$(endpoint 2)" >books.out &
bookkeeper=$!
start_coordinator
start_payments
for _ in 1 2 3; do
    sleep 0.4
    echo "--- kill -9 the payment service, and start it again with the same file; $(wc -l <ledger.txt) lines are in the ledger"
    killed "$payments"
    start_payments
    sleep 0.4
    echo "--- kill -9 the coordinator, and start it again"
    killed "$coordinator"
    start_coordinator
done

for _ in $(seq 300); do
    sleep 0.1
    in_ledger=$(sed 's/.*: //' ledger.out)
    booked=$(tail -n 1 books.out | sed 's/.*: //')
    [[ -n $in_ledger && $in_ledger == "$booked" ]] && break
done
echo "--- in the ledger: $in_ledger"
echo "--- booked:        $booked"
for process in $payments $coordinator $bookkeeper; do
    kill -TERM "$process"
    wait "$process"
done
payments= coordinator= bookkeeper=
[[ -n $in_ledger && $in_ledger == "$booked" ]]
