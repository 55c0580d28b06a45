#!/usr/bin/env bash
# prefect 3.8.8 with prefect-ray 0.6.0 and ray 2.60.0: a flow that is loaded by its file cannot run a task on Ray; loaded by its module it can.
# Valid input: one file with a flow on RayTaskRunner and a task that adds, loaded by Prefect's own load_flow_from_entrypoint, as a
# worker loads it for a deployment: once as "sums.py:total", the form that `prefect deploy` writes, once as "sums.total".
# Expected: 3 both times. Seen: by its file the task ends with a ModuleNotFoundError on Ray's worker, for a module whose name Prefect
# makes up when it loads the file; by its module it gives 3. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prefect==3.8.8 prefect-ray==0.6.0 ray==2.60.0
cat > sums.py <<'P'
from prefect import flow, task
from prefect_ray import RayTaskRunner


@task
def add(a, b):
    return a + b


@flow(task_runner=RayTaskRunner(init_kwargs={"num_cpus": 1, "include_dashboard": False}))
def total():
    return add.submit(1, 2).result()
P
cat > load.py <<'P'
import sys

from prefect.flows import load_flow_from_entrypoint

print("gives", load_flow_from_entrypoint(sys.argv[1])())
P
export PATH="$dir/venv/bin:$PATH" PREFECT_HOME="$dir/prefect" PYTHONPATH="$dir" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
export RAY_USAGE_STATS_ENABLED=0 PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
pip list 2> /dev/null | grep -E "^(prefect|prefect-ray|ray) "
for entrypoint in sums.py:total sums.total; do
    timeout 300 python load.py $entrypoint > said 2>&1 || true
    echo "$entrypoint: $(grep -oE '^gives 3$|ModuleNotFoundError' said | sort -u | tr '\n' ' ')"
done | tee seen
[ "$(cat seen)" = "sums.py:total: ModuleNotFoundError 
sums.total: gives 3 " ]
