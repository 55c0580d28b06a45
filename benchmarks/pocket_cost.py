"""What `make pocket` takes on this machine: minutes, and the most memory that all its processes hold together.

    python -m benchmarks.pocket_cost                  # in a clean clone: benchmarks/results/pocket.json
    python -m benchmarks.pocket_cost pocket-claims    # of that target, benchmarks/results/pocket-claims.json

Memory is proportional set size (Linux's smaps_rollup), so pages that forked processes share count once.  What was made
before is not made again, so the file says how many stages ran; a run that fails writes nothing.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench import machine
from synthalign.core.errors import UserError
from synthalign.reporting import costs

EVERY = 1.0
"""Seconds between two looks."""


def proportional(process: psutil.Process) -> int:
    """Bytes of a process, shared pages divided by those that share them; none where it has ended meanwhile."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return 0


def watched(command: Sequence[str], *, every: float = EVERY) -> tuple[float, int]:
    """Seconds that a command took, and the most bytes that it and all it started held at once.

    Raises UserError where it ends with another status than 0.
    """
    start = time.monotonic()
    most = 0
    with subprocess.Popen(command) as running:
        root = psutil.Process(running.pid)
        while running.poll() is None:
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                break
            most = max(most, sum(map(proportional, family)))
            time.sleep(every)
    if running.returncode:
        raise UserError(f"{' '.join(command)}: ended with status {running.returncode}; nothing is written")
    return time.monotonic() - start, most


def ran(before: dict[str, list[float]], after: dict[str, list[float]]) -> list[str]:
    """The stages that have more runs than before."""
    return sorted(name for name, runs in after.items() if len(runs) > len(before.get(name, ())))


def cost(target: str) -> dict[str, Any]:
    before = costs.durations()
    seconds, most = watched(["make", "--old-file", ".venv/ready", target])
    after = costs.durations()
    stages = ran(before, after)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    return {
        "target": target,
        "commit": commit.strip(),
        "machine": machine(),
        "minutes": round(seconds / 60, 1),
        "peak_gb": round(most / 1e9, 2),
        "stages": len(stages),
        "slowest_stages_seconds": dict(
            sorted(((name, after[name][-1]) for name in stages), key=lambda pair: -pair[1])[:10]
        ),
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pocket_cost", description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", default="pocket", choices=["pocket", "pocket-claims"], help="of make")
    target = parser.parse_args().target
    try:
        found = cost(target)
    except UserError as error:
        raise SystemExit(f"pocket_cost: {error}") from error
    file = Path(f"benchmarks/results/{target}.json")
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{file}: {found['stages']} stages, {found['minutes']} minutes, {found['peak_gb']} GB")


if __name__ == "__main__":
    main()
