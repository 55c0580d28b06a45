"""What DVC spends around a stage that does nothing: reading the graph and dvc.lock, and writing the lock again.

This tree's dvc.yaml and dvc.lock beside those of an earlier commit, each in a clone with one stage more, whose command
is `true`. There, what is timed is the whole of `dvc repro` of that stage alone; here, what `make repro` starts for it,
which leaves the writing of dvc.lock to be done for all stages together. What that takes is in the notes: it happens
every five minutes, beside the stages.
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


BEFORE_COMMAND = ["-m", "dvc", "repro", "--force", "--single-item", "nothing"]
NOW_COMMAND = ["-m", "flows.dvc_stage", "nothing", "entry.yaml"]
WRITING = [
    "-c",
    "from pathlib import Path; from flows.lock import Entries; "
    "entries = Entries(); entries.take(Path('entry.yaml')); entries.write()",
]


def seconds(folder: Path, command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def compare() -> Comparison:
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as root:
        now, before = clone(head, Path(root) / "now"), clone(BEFORE, Path(root) / "before")
        pairs = take_turns(lambda: seconds(now, NOW_COMMAND), lambda: seconds(before, BEFORE_COMMAND))
        writing = min(seconds(now, WRITING) for _ in range(3))
        sizes = {
            f"{name}_{what}": count
            for name, folder in (("now", now), ("before", before))
            for what, count in (
                ("lock_bytes", (folder / "dvc.lock").stat().st_size),
                ("graph_lines", (folder / "dvc.yaml").read_text().count("\n")),
            )
        }
    return Comparison(
        work="DVC around a stage that does nothing",
        against=f"dvc repro at {BEFORE}",
        ratios=[before / now for now, before in pairs],
        at_least=1.0,
        versions=versions("dvc", "ruamel.yaml"),
        notes=sizes
        | {
            "now_seconds": round(min(now for now, _ in pairs), 2),
            "writing_seconds": round(writing, 2),
            "before_seconds": round(min(before for _, before in pairs), 2),
        },
    )
