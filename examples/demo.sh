#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Installs what is missing, builds the orders example and runs it: both services are killed half-way, and the audit
# shows that nothing was lost or doubled all the same. Then runs the payments, the webhooks and the travel example.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake/setup.sh build
if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi
cmake --preset demo
cmake --build --preset demo --parallel "$(nproc)"

programs=build/demo/examples
sample=examples/orders/sample.jsonl
scratch=$(mktemp -d)
order_service=
warehouse=
cleanup()
{
    for process in $order_service $warehouse; do
        kill -KILL "$process" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap cleanup EXIT

free_port()
{
    local port
    while true; do
        port=$((20000 + RANDOM % 10000))
        # Nobody listens where a connection is refused.
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}
orders_endpoint=tcp://127.0.0.1:$(free_port)
warehouse_endpoint=tcp://127.0.0.1:$(free_port)

start_warehouse()
{
    "$programs/warehouse_service" --db "$scratch/warehouse.db" \
        --listen "$warehouse_endpoint" --connect "$orders_endpoint" &
    warehouse=$!
}
start_orders() # reads the orders from standard input
{
    "$programs/order_service" --db "$scratch/orders.db" \
        --listen "$orders_endpoint" --connect "$warehouse_endpoint" --input - <&0 &
    order_service=$!
}
slowly() { while IFS= read -r line; do printf '%s\n' "$line"; sleep 0.01; done <"$sample"; }
killed() # process
{
    kill -KILL "$1"
    wait "$1" 2>/dev/null || true
}

echo "--- placing the orders of $(wc -l <"$sample") lines, one of which is malformed"
start_warehouse
start_orders < <(slowly)
sleep 0.7
echo "--- kill -9 the warehouse, and start it again"
killed "$warehouse"
start_warehouse
sleep 0.3
echo "--- kill -9 the order service, and start it again with the same file"
killed "$order_service"
start_orders <"$sample"
wait "$order_service"
order_service=
echo "--- every order is acknowledged and answered; stopping the warehouse"
kill -TERM "$warehouse"
wait "$warehouse"
warehouse=
echo "--- audit"
"$programs/orders_audit" --orders "$scratch/orders.db" --warehouse "$scratch/warehouse.db"

echo
echo "--- payments: transactional messages; the payment service writes to a text file, and has no database"
examples/payment/demo.sh "$programs"

echo
echo "--- webhooks: best-effort notifications over HTTP"
examples/webhook/demo.sh "$programs"

echo
echo "--- sagas: trips with a flight, a room and a car, or none of them"
examples/travel/demo.sh "$programs"
