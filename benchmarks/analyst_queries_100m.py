"""Every question of queries/ over a hundred million comparisons, beside SQL that is written by hand for DuckDB alone.

The other side is benchmarks/analyst_sql/: the same questions as somebody writes them who knows the files, with
`read_parquet` and no views. Both sides have two threads and 4 GB. Every run is a process of its own, so that its
memory is its own; what is timed is the question, and beside it in the notes what it costs to open the views. Both must
give the same answer.

    python -m benchmarks.bench analyst_queries_100m
    python -m benchmarks.analyst_queries_100m 1000000                  # so many rows: whether it works, not how fast
    python -m benchmarks.analyst_queries_100m --stop-after 240         # a piece of the whole; the next call goes on

The tables are made once, under .work/bench/, and each pair of runs is written down there; both go at the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from math import isclose
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import analyst_tables
from benchmarks.bench import Comparison, versions

ROWS = 100_000_000
BY_HAND = Path("benchmarks/analyst_sql")

LIMITS = {"threads": "2", "memory_limit": "4GB", "temp_directory": "spilled"}

FAST, SLOW = 5, 3
"""Pairs of runs of a question that takes less than `LONG` seconds by hand, and of another one."""

LONG = 5.0

ASK = """
import json, re, sys, time
import duckdb

config, text, views = json.loads(sys.stdin.read())
start = time.perf_counter()
if views:
    from synthalign.commands import sql
    tables = sql.opened(config=config)
    ask = lambda: sql.ask(tables, text)
else:
    connection = duckdb.connect(config=config)
    ask = lambda: connection.execute(text)
opened = time.perf_counter()
rows = ask().fetchall()
seconds = time.perf_counter() - opened
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([seconds, peak, opened - start, rows], default=float))
"""
"""What either side runs in the folder of the tables."""


def questions() -> dict[str, tuple[str, str]]:
    """Ours and theirs of every question, by its name."""
    ours = {file.stem: file.read_text(encoding="utf-8") for file in sorted(Path("queries").glob("*.sql"))}
    theirs = {file.stem: file.read_text(encoding="utf-8") for file in BY_HAND.glob("*.sql")}
    missing = (ours.keys() - {"views", "checks"}) ^ theirs.keys()
    assert not missing, f"questions that are not in both queries/ and {BY_HAND}: {sorted(missing)}"
    return {name: (text, theirs[name]) for name, text in ours.items() if name in theirs}


def asked(folder: Path, text: str, *, views: bool) -> dict[str, Any]:
    """One run: seconds of the question, the process's peak in MiB, seconds until it could be asked, and the answer."""
    given = json.dumps([LIMITS, text, views])
    command, here = [sys.executable, "-c", ASK], os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=folder, input=given, check=True, stdout=subprocess.PIPE, text=True, env=here)
    return dict(zip(("seconds", "peak", "opened", "rows"), json.loads(done.stdout.splitlines()[-1]), strict=True))


def pair(folder: Path, text: str, by_hand: str, *, ours_first: bool) -> dict[str, dict[str, Any]]:
    """Both sides of a question, one after the other; AssertionError where their answers differ."""
    order = (True, False) if ours_first else (False, True)
    ran = {views: asked(folder, text if views else by_hand, views=views) for views in order}
    ours, theirs = ran[True].pop("rows"), ran[False].pop("rows")
    assert same(ours, theirs), f"two answers to one question:\n{ours}\n{theirs}"
    return {"ours": ran[True], "theirs": ran[False]}


def same(ours: Any, theirs: Any) -> bool:
    """Whether two answers are alike but for the last digit of what is rounded."""
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return isclose(ours, theirs, abs_tol=0.0101 if round(ours, 2) == ours else 0.000101)
    return bool(ours == theirs)


def measured(folder: Path, deadline: float | None = None) -> dict[str, list[dict[str, dict[str, Any]]]] | None:
    """The pairs of runs of every question, those of earlier calls among them; None where the deadline came before."""
    journal = folder / "pairs.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    texts = questions()
    pairs: dict[str, list[dict[str, dict[str, Any]]]] = {name: [] for name in texts}
    for name, ran in map(json.loads, lines):
        pairs[name].append(ran)
    for number in range(FAST):
        for name, (text, by_hand) in texts.items():
            if len(pairs[name]) > number or (number and wanted(pairs[name][0]) <= number):
                continue
            if deadline and time.monotonic() > deadline:
                return None
            ran = pair(folder, text, by_hand, ours_first=number % 2 == 0)
            pairs[name].append(ran)
            with journal.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([name, ran]) + "\n")
            here, there = (f"{side['seconds']:.3f} s, {side['peak']:.0f} MiB" for side in (ran["ours"], ran["theirs"]))
            print(f"  {name}, pair {number + 1}: {here} against {there}", file=sys.stderr, flush=True)
    return pairs


def wanted(first: dict[str, dict[str, Any]]) -> int:
    """How many pairs of runs there are to be."""
    return FAST if first["theirs"]["seconds"] < LONG else SLOW


def compare(rows: int = ROWS, deadline: float | None = None) -> Comparison | None:
    folder = Path(f".work/bench/analyst_queries-{rows}")
    folder.mkdir(parents=True, exist_ok=True)
    made = analyst_tables.make(folder, analyst_tables.Sizes(rows), deadline)
    if made is None:
        return None
    (folder / "queries").mkdir(exist_ok=True)
    (folder / "queries/views.sql").write_bytes(Path("queries/views.sql").read_bytes())
    pairs = measured(folder, deadline)
    if pairs is None:
        return None
    entry = comparison(made, pairs)
    shutil.rmtree(folder)
    return entry


def comparison(made: dict[str, int], pairs: dict[str, list[dict[str, dict[str, Any]]]]) -> Comparison:
    """A ratio of each question, the median of its pairs; the notes have seconds, and n of each."""
    notes: dict[str, float | int | str] = {}
    ratios = []
    for name, runs in pairs.items():
        here, there = ([run[side]["seconds"] for run in runs] for side in ("ours", "theirs"))
        found = [other / own for own, other in zip(here, there, strict=True)]
        ratios.append(median(found))
        seconds = f"{median(here):.3g} s against {median(there):.3g} s, n = {len(runs)}"
        notes[name] = f"{seconds}, ratio {median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
    every = [run for runs in pairs.values() for run in runs]
    members = {name: rows for name, rows in made.items() if name.startswith("data/comparisons/")}
    return Comparison(
        work=f"the {len(pairs)} questions of queries/, over {sum(members.values()):,} comparisons, 2 threads, 4 GB",
        against="DuckDB alone on SQL that is written by hand",
        ratios=ratios,
        at_least=round(1 / 1.2, 3),
        versions=versions("duckdb", "pyarrow"),
        notes=notes
        | {
            "seconds_of_all": round(sum(median(run["ours"]["seconds"] for run in runs) for runs in pairs.values()), 1),
            "seconds_of_all_by_hand": round(
                sum(median(run["theirs"]["seconds"] for run in runs) for runs in pairs.values()), 1
            ),
            "seconds_to_open_the_views": round(median(run["ours"]["opened"] for run in every), 3),
            "peak_mib": round(max(run["ours"]["peak"] for run in every)),
            "peak_mib_by_hand": round(max(run["theirs"]["peak"] for run in every)),
            "rows_of_all_tables": sum(made.values()),
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.analyst_queries_100m", description=__doc__.splitlines()[0]
    )
    parser.add_argument("rows", type=int, nargs="?", default=ROWS, help="so many comparisons")
    parser.add_argument("--stop-after", type=float, help="seconds; the next call goes on")
    given = parser.parse_args()
    deadline = None if given.stop_after is None else time.monotonic() + given.stop_after
    found = compare(given.rows, deadline)
    print(json.dumps(found.entry("analyst_queries_100m")) if found else "not done yet; the same command goes on")
