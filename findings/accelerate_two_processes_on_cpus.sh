#!/usr/bin/env bash
# accelerate 1.15.0: two processes on a machine without GPU are one, or two that each take themselves for the only one.
# Valid input: `accelerate launch --config_file` with num_processes: 2 and each distributed_type that `accelerate config` may write
# (MULTI_CPU, "NO", MULTI_GPU); a script that asks PartialState() how many there are, and PartialState(cpu=True) instead.
# Expected: two processes that know of each other, or a word that it cannot be. Seen: MULTI_CPU and "NO" start one process.
# MULTI_GPU starts two; PartialState() is process 0 of 1 in both, so both would write the same files; with cpu=True they are 0 and
# 1 of 2. The exit code is 0 in all cases and nothing is said. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 accelerate==1.15.0
cat > who.py <<'P'
import sys

from accelerate import PartialState

state = PartialState(**({"cpu": True} if "cpu" in sys.argv else {}))
sys.stdout.write(f"<{state.process_index} of {state.num_processes}>\n")
P
venv/bin/pip list 2> /dev/null | grep -iE "^(accelerate|torch) "
export CUDA_VISIBLE_DEVICES=
for kind in MULTI_CPU NO MULTI_GPU; do
    cpu=true; [ $kind = MULTI_GPU ] && cpu=false
    printf 'compute_environment: LOCAL_MACHINE\ndistributed_type: "%s"\nnum_machines: 1\nnum_processes: 2\nuse_cpu: %s\nmixed_precision: "no"\n' \
        $kind $cpu > launch.yaml
    for given in "" cpu; do
        venv/bin/accelerate launch --config_file launch.yaml who.py $given > said 2>&1
        echo "$kind${given:+, cpu=True}: exit code $?, $(grep -oE '<[0-9] of [0-9]>' said | sort | tr '\n' ' ')$(grep -ciE 'one process|single process' said || true) words about it"
    done
done | tee seen
[ "$(cat seen)" = 'MULTI_CPU: exit code 0, <0 of 1> 0 words about it
MULTI_CPU, cpu=True: exit code 0, <0 of 1> 0 words about it
NO: exit code 0, <0 of 1> 0 words about it
NO, cpu=True: exit code 0, <0 of 1> 0 words about it
MULTI_GPU: exit code 0, <0 of 1> <0 of 1> 0 words about it
MULTI_GPU, cpu=True: exit code 0, <0 of 2> <1 of 2> 0 words about it' ]
