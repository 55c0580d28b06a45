"""`make test` beside 8d51fce: the tests that both have, each commit's in the way that its `make test` runs them.

Tests have moved to other files since, and there are more: one is the same where its name and its parameters are, and
only one test of either commit has them. Where a test of now fails nothing is written.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Comparison, versions
from benchmarks.whole_graph import BEFORE, cloned, environment

RUNS = 2
"""Pairs; one takes the better part of an hour on two cores."""

SELECTED = ("-m", "not slow")


@dataclass(frozen=True)
class Suite:
    """The tests of one commit, in a clone of it."""

    folder: Path
    beside: tuple[str, ...]
    """How `make test` of the commit has them run beside each other."""

    tests: dict[str, str]
    """Where each is, by name with parameters."""

    def seconds(self, names: list[str]) -> tuple[float, int]:
        """How long these take, and how many of them fail."""
        listed = self.folder / ".tests"
        listed.write_text("".join(f"{self.tests[name]}\n" for name in names), encoding="utf-8")
        start = time.perf_counter()
        done = pytest(self.folder, *SELECTED, *self.beside, f"@{listed}")
        seconds = time.perf_counter() - start
        if done.returncode not in (0, 1):  # 1: some test failed
            raise SystemExit(f"pytest in {self.folder.name} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        failed = re.findall(r"(\d+) (?:failed|errors?)\b", done.stdout.splitlines()[-1])
        return seconds, sum(map(int, failed))


def pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


def suite(commit: str, folder: Path, made: tuple[str, ...], beside: tuple[str, ...]) -> Suite:
    """A clone of a commit with this environment, what its `make test` makes first, and the tests that it finds."""
    cloned(commit, folder)
    command = ["make", "--old-file", ".venv/ready", *made]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    listing = pytest(folder, *SELECTED, "--collect-only", "-q").stdout
    return Suite(folder, beside, by_name(line for line in listing.splitlines() if "::" in line))


def by_name(tests: Iterable[str]) -> dict[str, str]:
    """Where each test is that alone has its name and parameters."""
    places = {place: place.partition("::")[2] for place in tests}
    often = Counter(places.values())
    return {name: place for place, name in places.items() if often[name] == 1}


def compare() -> Comparison:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        if (shared := Path("../shared")).exists():  # people's files, which tests of formats read
            (root / "shared").symlink_to(shared.resolve())
        now = suite(
            "HEAD",
            root / "now",
            ("accelerate.yaml", "hardware.yaml"),
            ("--numprocesses", "auto", "--dist", "loadfile", "--no-loadscope-reorder"),
        )
        before = suite(BEFORE, root / "before", ("accelerate.yaml",), ())
        both = [name for name in before.tests if name in now.tests]
        found: dict[str, list[tuple[float, int]]] = {"now": [], "before": []}
        for run in range(RUNS):
            for one in (now, before) if run % 2 == 0 else (before, now):
                seconds, failed = one.seconds(both)
                found[one.folder.name].append((seconds, failed))
                print(f"  {len(both)} tests {one.folder.name}: {seconds:.0f} s, {failed} fail", file=sys.stderr)
                if one is now and failed:
                    raise SystemExit(f"{failed} tests of now fail; mend them first")
    return Comparison(
        work="make test: the tests that both commits have",
        against=f"the same at {BEFORE}",
        ratios=[there / here for (here, _), (there, _) in zip(found["now"], found["before"], strict=True)],
        at_least=1 / 0.6,
        versions=versions("pytest", "pytest-xdist", "torch", "transformers"),
        notes={
            "tests": len(both),
            "tests_of_now": len(now.tests),
            "tests_of_before": len(before.tests),
            "now_seconds": round(min(seconds for seconds, _ in found["now"]), 1),
            "before_seconds": round(min(seconds for seconds, _ in found["before"]), 1),
            "failed_before": max(failed for _, failed in found["before"]),
        },
    )
