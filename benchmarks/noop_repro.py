"""`make repro` with nothing to do beside `dvc status`, which is the least that DVC takes to find that out.

Needs a tree that is up to date. The whole of `make repro` counts: DVC's run and the results it prints.
"""

import subprocess
import sys
import time

from benchmarks.bench import Comparison, take_turns, versions

ALLOWED = 1.3
"""Times `dvc status` that `make repro` may take."""

STATUS = [sys.executable, "-m", "dvc", "status"]
REPRO = ["make", "--old-file", ".venv/ready", "repro"]  # never installs anything


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def compare() -> Comparison:
    status = subprocess.run(STATUS, check=True, capture_output=True, text=True).stdout
    assert "up to date" in status, f"the tree is not up to date, `make repro` makes it so:\n{status}"
    pairs = take_turns(lambda: seconds(REPRO), lambda: seconds(STATUS))
    return Comparison(
        work="make repro with nothing to do",
        against=f"{ALLOWED} x dvc status",
        ratios=[ALLOWED * status / repro for repro, status in pairs],
        at_least=1.0,
        versions=versions("dvc", "ruamel.yaml"),
        notes={
            "repro_seconds": round(min(repro for repro, _ in pairs), 2),
            "status_seconds": round(min(status for _, status in pairs), 2),
        },
    )
