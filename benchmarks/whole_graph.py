"""The whole of ALMoST in a clean clone with an empty cache: how long one command takes, at two commits in turn.

What comes out is held against the dvc.lock of the commit, hash by hash: a fast run that makes something else counts for
nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Comparison, versions
from benchmarks.same_outs import Outs, differences, outs

BEFORE = "8d51fce"
"""The commit that the issue about the speed of the whole graph takes its ratios against."""


@dataclass(frozen=True)
class Run:
    """One run: how long it took, what dvc.lock says after it, and what of that is not as it was to be."""

    seconds: float
    made: Outs
    differs: list[str]


def cloned(commit: str, folder: Path) -> Path:
    """A clean clone of a commit with this environment, which is not installed again."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(Path.cwd()), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def environment() -> dict[str, str]:
    """The environment without what an outer make or a Prefect profile would say to a clone."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAKE"))}


def measure(target: str, commit: str, root: Path, scale: str | None) -> Run:
    """`make` of a target in a clean clone of a commit; scale: the embedded profile with so many rows of it."""
    folder = cloned(commit, Path(tempfile.mkdtemp(dir=root)))
    if scale:
        composing = [sys.executable, "-m", "synthalign", "profile", "embedded", "--scale", scale]
        subprocess.run(composing, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    lock = folder / "dvc.lock"
    expected = outs(lock.read_text(encoding="utf-8"))
    start = time.perf_counter()
    command = ["make", "--old-file", ".venv/ready", target]  # never installs anything
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode and not scale:  # with few rows gates may be red
        raise SystemExit(f"make {target} of {commit} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    if not (folder / "report/index.html").exists():
        raise SystemExit(f"make {target} of {commit} made no report:\n{(done.stdout + done.stderr)[-3000:]}")
    made = outs(lock.read_text(encoding="utf-8"))
    found = Run(seconds, made, differences(expected, made))
    shutil.rmtree(folder)
    return found


def compared(work: str, target: str, *, runs: int = 2, scale: str | None = None) -> Comparison:
    """`make` of a target now and before, in turn; SystemExit where an output is not what dvc.lock says."""
    now, before = [], []
    with tempfile.TemporaryDirectory() as root:
        for run in range(runs):
            for commit in ("HEAD", BEFORE) if run % 2 == 0 else (BEFORE, "HEAD"):
                found = measure(target, commit, Path(root), scale)
                (now if commit == "HEAD" else before).append(found)
                print(
                    f"  {target} of {commit}: {found.seconds:.0f} s, {len(found.differs)} outputs differ",
                    file=sys.stderr,
                )
    for found in now:
        if wrong := differences(now[0].made, found.made) if scale else found.differs:
            raise SystemExit(
                f"make {target}: {len(wrong)} outputs are not those of dvc.lock:\n" + "\n".join(wrong[:20])
            )
    return Comparison(
        work=work,
        against=f"the same at {BEFORE}",
        ratios=[there.seconds / here.seconds for here, there in zip(now, before, strict=True)],
        at_least=2.0,
        versions=versions("dvc", "prefect", "torch", "transformers", "accelerate"),
        notes={
            "now_seconds": round(min(found.seconds for found in now), 1),
            "before_seconds": round(min(found.seconds for found in before), 1),
            "outputs_that_differ_from_dvc_lock": sum(len(found.differs) for found in now),
            "outputs_that_differ_at_before": sum(len(found.differs) for found in before),
        },
    )
