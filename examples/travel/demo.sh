#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Books trips with a flight, a room and a car each, while rooms run out, the cars' supplier is away for so long that trips time out, and
# suppliers and agency are killed. In the end each trip is booked at all three or at none.
# Usage: demo.sh [FOLDER OF THE PROGRAMS]
set -euo pipefail
programs=$(realpath "${1:-$(dirname "$0")/../../build/demo/examples}")
scratch=$(mktemp -d)
declare -A process=()
cleanup()
{
    for name in "${!process[@]}"; do
        kill -KILL "${process[$name]}" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap cleanup EXIT
cd "$scratch"

first_port=$((20000 + RANDOM % 10000))
declare -A number=([agency]=0 [flight]=1 [hotel]=2 [car]=3) in_each_city=([flight]=60 [hotel]=25 [car]=60)
endpoint() { echo "tcp://127.0.0.1:$((first_port + ${number[$1]}))"; }
start_supplier() # name
{
    "$programs/travel_supplier" --sells "$1" --db "$1.db" --listen "$(endpoint "$1")" --agency "$(endpoint agency)" \
        --in-each-city "${in_each_city[$1]}" &
    process[$1]=$!
}
start_agency()
{
    "$programs/travel_agency" --db agency.db --listen "$(endpoint agency)" --flight "$(endpoint flight)" --hotel "$(endpoint hotel)" \
        --car "$(endpoint car)" --input trips.jsonl --pause-ms 30 >agency.out &
    process[agency]=$!
}
killed() # name
{
    kill -KILL "${process[$1]}"
    wait "${process[$1]}" 2>/dev/null || true
}
report() { "$programs/travel_report" --agency agency.db "$@"; }
show() # what, pattern of the outcome
{
    local trip
    trip=$(grep -m 1 "$2" agency.out | sed 's/:.*//') || { echo "--- no trip was $1"; return 1; }
    echo "--- the saga of a trip that was $1"
    report --trip "$trip"
}

cities=(Lisbon Oslo Rome Kyoto)
for n in $(seq 160); do
    echo "{\"id\":\"trip-$n\",\"city\":\"${cities[$((n % 4))]}\"}"
done >trips.jsonl
echo "--- 160 trips; each city has 60 seats and 60 cars, but 25 rooms"
for name in flight hotel car; do
    start_supplier $name
done
start_agency
sleep 0.8
echo "--- kill -9 the agency, and start it again with the same trips"
killed agency
start_agency
sleep 0.4
echo "--- kill -9 the hotel's supplier, and start it again"
killed hotel
start_supplier hotel
sleep 0.4
echo "--- kill -9 the cars' supplier, and start it again after longer than the agency waits for an answer"
killed car
sleep 2.5
start_supplier car
sleep 0.3
echo "--- kill -9 the agency while trips are undone, and start it again"
killed agency
start_agency
wait "${process[agency]}"
unset 'process[agency]'
for name in flight hotel car; do
    kill -TERM "${process[$name]}"
    wait "${process[$name]}"
done
process=()

show booked ": flight"
show "refused and undone" "sold out"
show "undone after a time-out" "no answer to .*rent_car"
echo "--- audit"
report --flight flight.db --hotel hotel.db --car car.db
