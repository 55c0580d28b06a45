#!/usr/bin/env bash
# prefect 3.8.8: after a restart of its server, a place that was held under a concurrency limit is never given back.
# Valid input: a limit of one, its place taken with a lease of 60 s as a deployment with `concurrency_limit: 1` takes it for a
# run, a server that is killed and started anew on the same PREFECT_HOME, everything else as installed.
# Expected: the lease ends unrenewed, and the place is free; that is what a lease is for. Seen: the place is in the server's
# database and the lease was in its memory, so nothing gives the place back, and to renew the lease is answered with 410: after
# a power cut with collision_strategy CANCEL_NEW all later runs are cancelled. With PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=
# prefect.server.concurrency.lease_storage.filesystem the same place is free again. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); server=
trap '[ -z "$server" ] || kill -9 "$server" 2> /dev/null || true; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prefect==3.8.8 fastapi==0.150.0
export PATH="$dir/venv/bin:$PATH" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
pip list 2> /dev/null | grep -iE "^(prefect|fastapi) "
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
api="http://127.0.0.1:$port/api"

start() {
    prefect server start --port "$port" > server.log 2>&1 & server=$!
    for _ in $(seq 90); do curl -sf "$api/health" > /dev/null && return; sleep 1; done
    tail server.log; exit 1
}
post() { curl -s -o answer -w '%{http_code}' -X POST "$api/v2/concurrency_limits/$1" -H 'content-type: application/json' -d "$2"; }
stop() { kill -9 "$server"; wait "$server" 2> /dev/null || true; server=; }

places() {  # of the storage named: what is held after the restart, once the lease has ended
    export PREFECT_HOME="$dir/home-$1"
    if [ "$1" = filesystem ]; then export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem; fi
    start
    post "" '{"name": "one", "limit": 1}' > /dev/null
    post increment-with-lease '{"names": ["one"], "slots": 1, "mode": "concurrency", "lease_duration": 60}' > /dev/null
    lease=$(python -c 'import json; print(json.load(open("answer"))["lease_id"])')
    stop; start
    renewed=$(post "leases/$lease/renew" '{"lease_duration": 60}')
    sleep 100
    held=$(curl -s "$api/v2/concurrency_limits/one" | python -c 'import json, sys; print(json.load(sys.stdin)["active_slots"])')
    stop
    echo "$1: after the restart a renewal is answered with $renewed; 40 s after the lease $held place(s) held" | tee "said-$1"
}

places memory
places filesystem
grep -q "answered with 410; 40 s after the lease 1 place" said-memory
grep -q "answered with 204; 40 s after the lease 0 place" said-filesystem
