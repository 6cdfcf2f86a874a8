#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# A payment service notifies two merchants over HTTP. The bakery often cuts the connection after it has booked a payment; the florist
# is down at first, and what it missed it gets by asking. In the end both have booked what was paid to them, once.
# Usage: demo.sh [FOLDER OF THE PROGRAMS]
set -euo pipefail
programs=$(realpath "${1:-$(dirname "$0")/../../build/demo/examples}")
scratch=$(mktemp -d)
payments= bakery= florist=
cleanup()
{
    for process in $payments $bakery $florist; do
        kill -KILL "$process" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap cleanup EXIT
cd "$scratch"

orders=60 # of each merchant
first_port=$((20000 + RANDOM % 10000))
umask 077
for merchant in bakery florist; do
    echo "whsec_$(head -c 32 /dev/urandom | base64)" >$merchant.secret
done
cat >merchants.jsonl <<END
{"name":"bakery","url":"http://127.0.0.1:$((first_port + 1))/hooks","secret":"$(<bakery.secret)"}
{"name":"florist","url":"http://127.0.0.1:$((first_port + 2))/hooks","secret":"$(<florist.secret)"}
END

start_merchant() # name, number, flags
{
    "$programs/webhook_merchant" --name "$1" --db "$1.db" --port $((first_port + $2)) --secret "$1.secret" \
        --ask "http://127.0.0.1:$first_port/payments/$1" --orders $orders "${@:3}" > >(tee "$1.out") &
}

echo "--- $((2 * orders)) payments; the bakery loses every third answer, the florist is down"
start_merchant bakery 1 --lossy
bakery=$!
"$programs/webhook_payment_service" --db payments.db --port "$first_port" --merchants merchants.jsonl \
    --payments $((2 * orders)) --pause-ms 40 > >(tee payments.out) &
payments=$!
sleep 4
echo "--- the florist opens"
start_merchant florist 2
florist=$!

last() { grep -h "$1" ./*.out | tail -n 1; }
agreed() # merchant
{
    [[ $(last "paid to   $1") == *" $orders payments "*" 0 pending" ]] \
        && [[ $(last "paid to   $1" | awk '{ print $4, $6 }') == $(last "booked by $1" | awk '{ print $4, $6 }') ]]
}
for _ in $(seq 300); do
    sleep 0.1
    agreed bakery && agreed florist && break
done
for process in $payments $bakery $florist; do
    kill -TERM "$process"
    wait "$process"
done
payments= bakery= florist=
sleep 0.2 # until the last lines are written
echo "--- in the end:"
for merchant in bakery florist; do
    last "paid to   $merchant"
    last "booked by $merchant"
done
for merchant in bakery florist; do
    agreed $merchant || { echo "--- audit: the $merchant has not booked what was paid"; exit 1; }
done
echo "--- audit: each payment is booked, and once"
