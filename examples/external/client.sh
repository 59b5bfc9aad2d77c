#!/bin/sh
# The same in a shell, with curl: TUNER_URL=… TUNER_TOKEN=… sh examples/external/client.sh night worker-1
set -eu
study=$1 worker=$2

call() { # PATH BODY: the status in $status, the answer in $answer; made again while nobody answers
    while :; do
        answer=$(curl --silent --max-time 60 --write-out '\n%{http_code}' "$TUNER_URL/v1/studies/$study/$1" \
            --header "Authorization: Bearer $TUNER_TOKEN" --header 'Content-Type: application/json' --data "$2") || true
        status=$(printf %s "$answer" | tail -n 1)
        answer=$(printf %s "$answer" | sed '$d')
        case $status in 2* | 404 | 409 | 410 | 422) return ;; esac
        sleep 1
    done
}
of() { printf %s "$answer" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^,}\"]*\).*/\1/p"; } # a value of the answer, by its name

while :; do
    call ask "{\"worker\": \"$worker\", \"wait_s\": 20}"
    case $status in 410) exit 0 ;; 204) sleep 1 && continue ;; 200) ;; *) echo "$answer" && exit 1 ;; esac
    trial=$(of trial) segment=$(of segment) batch=$(of batch) rate=$(of learning_rate) step=1 orders='go on'
    while [ "$step" -le 5 ] && [ "$orders" != stop ]; do
        score=$(awk "BEGIN { print 1 / (1 + ($rate - 0.1) ^ 2) - 0.5 / $step }")
        call "trials/$trial/reports" "{\"segment\": $segment, \"batch\": $batch, \"rows\": [[$step, {\"score\": $score}]]}"
        orders=$(of orders) batch=$((batch + 1)) step=$((step + 1))
        while [ "$orders" = pause ]; do
            sleep 1
            call "trials/$trial/reports" "{\"segment\": $segment, \"rows\": []}"
            orders=$(of orders)
        done
    done
    [ "$orders" = stop ] || call "trials/$trial/tell" "{\"segment\": $segment, \"state\": \"completed\"}"
    echo "trial $trial: $(of why)"
done
