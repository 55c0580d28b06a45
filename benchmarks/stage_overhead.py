"""What an accelerated stage costs that does nothing: the launcher, its imports, its settings, and DVC around it.

A member of a family of stages imports what a real stage imports, reads its settings and ends. On our side it is run as
`make repro` runs it, by a DVC that leaves dvc.lock alone, and forked from a warm parent. The time until that is ready
counts too, for each stage the share of one accelerated stage of ALMoST, and so does a writing of dvc.lock for every two
stages, which in a run is for all stages of five minutes. On the other side is `dvc repro` at an earlier commit.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.around_a_stage import BEFORE
from benchmarks.bench import Comparison, take_turns, versions
from flows import graph
from warm import start

ALLOWED = 0.35
"""Of the time before."""

AS = ("sample_answers", "train_dpo")
"""Whose imports and settings: the fewest imports and the most."""

STAGE = """
import importlib, sys
module = importlib.import_module(f"stages.{sys.argv[1]}")
module.stage.run(lambda params, item: None, sys.argv[1], module.Params)
"""
FAMILY = """
stages:
  nothing:
    foreach: [{members}]
    do:
      cmd: {launcher} --quiet --config_file accelerate.yaml -m stages.nothing ${{item}}

"""
WRITING = """
import sys
from pathlib import Path
from flows.lock import Entries
entries = Entries()
for file in sys.argv[1:]:
    entries.take(Path(file))
entries.write()
"""
LAUNCHER = [sys.executable, "-m", "warm.launch", "--quiet", "--config_file", "accelerate.yaml", "-m", "stages.nothing"]


def clone(commit: str, launcher: str, folder: Path) -> Path:
    """The tree of a commit with the stages that do nothing in front of all others."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(Path.cwd()), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    family = FAMILY.format(members=", ".join(AS), launcher=launcher)
    stages = folder / "dvc.yaml"
    stages.write_text(stages.read_text().replace("\nstages:\n", family, 1))
    (folder / "stages/nothing.py").write_text(STAGE)
    shutil.copyfile(folder / "accelerate/cpu.yaml", folder / "accelerate.yaml")
    return folder


def seconds(command: Sequence[str], folder: Path) -> float:
    begun = time.perf_counter()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path})
    took = time.perf_counter() - begun
    assert done.returncode == 0 and "starts this stage" not in done.stderr, done.stdout + done.stderr
    return took


def beside(folder: Path) -> float:
    """Seconds of one stage as `make repro` has it."""
    entries = [f"entry-{name}.yaml" for name in AS]
    ran = [
        seconds([sys.executable, "-m", "flows.dvc_stage", f"nothing@{name}", entry], folder)
        for name, entry in zip(AS, entries, strict=True)
    ]
    return (sum(ran) + seconds([sys.executable, "-c", WRITING, *entries], folder)) / len(AS)


def repro(folder: Path) -> float:
    """Seconds of one stage by `dvc repro`."""
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item"]
    return sum(seconds([*command, f"nothing@{name}"], folder) for name in AS) / len(AS)


def compare() -> Comparison:
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    accelerated = sum(stage.gpu for stage in graph.select(graph.read(), ["report"]).values())
    parts: list[tuple[float, float]] = []
    """Seconds until the parent was ready, and of a stage."""

    with TemporaryDirectory() as root:
        now = clone(head, "python -m warm.launch", Path(root) / "now")
        before = clone(BEFORE, "accelerate-launch", Path(root) / "before")

        def ours() -> float:
            with chdir(now), start.beside():
                parts.append((seconds([*LAUNCHER, AS[0]], now), beside(now)))
            ready, stage = parts[-1]
            return ready / accelerated + stage

        pairs = take_turns(ours, lambda: repro(before))
    return Comparison(
        work="an accelerated stage that does nothing, with DVC",
        against=f"the same at {BEFORE}",
        ratios=[before / now for now, before in pairs],
        at_least=round(1 / ALLOWED, 3),
        versions=versions("torch", "transformers", "trl", "accelerate", "dvc"),
        notes={
            "now_seconds": round(min(now for now, _ in pairs), 2),
            "before_seconds": round(min(before for _, before in pairs), 2),
            "parent_ready_seconds": round(min(ready for ready, _ in parts), 2),
            "stages_that_share_a_parent": accelerated,
        },
    )
