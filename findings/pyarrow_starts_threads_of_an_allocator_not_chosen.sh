#!/usr/bin/env bash
# pyarrow 26.0.1 (Linux): its import starts threads, one of them of an allocator that the environment has not chosen.
# Valid input: `import pyarrow` with ARROW_DEFAULT_MEMORY_POOL=system, and nothing else imported.
# Expected: with the system's allocator in use, no thread of jemalloc; a process that only imports can be forked safely, as a
# start-up does that imports once and forks for each task (CPython from 3.12 warns of a fork with several threads).
# Seen: the pool is "system", and a thread "jemalloc_bg_thd" runs; the same with the default pool and with mimalloc. Only
# JE_ARROW_MALLOC_CONF=background_thread:false keeps it away. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1
cat > threads.py <<'P'
import os
from pathlib import Path

import pyarrow

names = [Path("/proc/self/task", task, "comm").read_text().strip() for task in os.listdir("/proc/self/task")]
print(pyarrow.default_memory_pool().backend_name, "jemalloc_bg_thd" in names)
P
venv/bin/pip list 2> /dev/null | grep -E "^pyarrow "
unset ARROW_DEFAULT_MEMORY_POOL JE_ARROW_MALLOC_CONF
seen=$(
    for pool in system mimalloc jemalloc; do ARROW_DEFAULT_MEMORY_POOL=$pool venv/bin/python threads.py; done
    ARROW_DEFAULT_MEMORY_POOL=system JE_ARROW_MALLOC_CONF=background_thread:false venv/bin/python threads.py
)
echo "$seen"
[ "$seen" = "system True
mimalloc True
jemalloc True
system False" ]
