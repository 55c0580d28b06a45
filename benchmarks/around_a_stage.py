"""What DVC spends around a stage that does nothing: reading the graph and dvc.lock, and writing the lock again.

This tree's dvc.yaml and dvc.lock beside those of an earlier commit, each in a clone with one stage more, whose command
is `true`. What is timed is the whole of `dvc repro` of that stage alone, so that starting DVC counts on both sides.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Comparison, take_turns, versions

BEFORE = "8d51fce"
"""One shelf of 86 modules: 1,766 lines of dvc.yaml, a dvc.lock of 552 KB."""

NOTHING = "\n  nothing:\n    cmd: 'true'\n"


def clone(commit: str, folder: Path) -> Path:
    """The tree of a commit with the stage that does nothing in front of all others."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(Path.cwd()), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    graph = folder / "dvc.yaml"
    graph.write_text(graph.read_text().replace("\nstages:\n", f"\nstages:\n{NOTHING}", 1))
    assert "nothing" in graph.read_text()
    return folder


def seconds(folder: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "nothing"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def compare() -> Comparison:
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as root:
        now, before = clone(head, Path(root) / "now"), clone(BEFORE, Path(root) / "before")
        pairs = take_turns(lambda: seconds(now), lambda: seconds(before))
        sizes = {
            f"{name}_{what}": count
            for name, folder in (("now", now), ("before", before))
            for what, count in (
                ("lock_bytes", (folder / "dvc.lock").stat().st_size),
                ("graph_lines", (folder / "dvc.yaml").read_text().count("\n")),
            )
        }
    return Comparison(
        work="dvc repro of one stage that does nothing",
        against=f"the same at {BEFORE}",
        ratios=[before / now for now, before in pairs],
        at_least=1.0,
        versions=versions("dvc", "ruamel.yaml"),
        notes=sizes
        | {
            "now_seconds": round(min(now for now, _ in pairs), 2),
            "before_seconds": round(min(before for _, before in pairs), 2),
        },
    )
