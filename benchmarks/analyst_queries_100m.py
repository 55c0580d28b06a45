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
from functools import partial
from math import isclose
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import analyst_tables
from benchmarks.bench import Comparison, Run, take_pieces, versions

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
"""What either side runs in the folder of the tables, as a file there: DuckDB 2.0 takes `python -c` for interactive, and
after two seconds it has a progress bar on stdout."""


def questions() -> dict[str, tuple[str, str]]:
    """Ours and theirs of every question, by its name."""
    ours = {file.stem: file.read_text(encoding="utf-8") for file in sorted(Path("queries").glob("*.sql"))}
    theirs = {file.stem: file.read_text(encoding="utf-8") for file in BY_HAND.glob("*.sql")}
    missing = (ours.keys() - {"views", "checks"}) ^ theirs.keys()
    assert not missing, f"questions that are not in both queries/ and {BY_HAND}: {sorted(missing)}"
    return {name: (text, theirs[name]) for name, text in ours.items() if name in theirs}


def asked(folder: Path, text: str, *, views: bool) -> Run:
    """One run: seconds of the question, the process's peak in MiB, seconds until it could be asked, and the answer."""
    given = json.dumps([LIMITS, text, views])
    (folder / "ask.py").write_text(ASK, encoding="utf-8")
    command, here = [sys.executable, "ask.py"], os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=folder, input=given, check=True, stdout=subprocess.PIPE, text=True, env=here)
    return dict(zip(("seconds", "peak_mib", "opened", "rows"), json.loads(done.stdout.splitlines()[-1]), strict=True))


def same(ours: Any, theirs: Any) -> bool:
    """Whether two answers are alike but for the last digit of what is rounded."""
    if isinstance(ours, dict):
        return same(sorted(ours.items()), sorted(theirs.items()))
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return isclose(ours, theirs, abs_tol=0.0101 if round(ours, 2) == ours else 0.000101)
    return bool(ours == theirs)


def measured(folder: Path, deadline: float | None = None) -> dict[str, list[tuple[Run, Run]]] | None:
    """The pairs of runs of every question; None where the deadline came before. AssertionError for other answers."""
    pairs: dict[str, list[tuple[Run, Run]]] = {}
    for number in range(1, FAST + 1):
        for name, (text, by_hand) in questions().items():
            ours, theirs = partial(asked, folder, text, views=True), partial(asked, folder, by_hand, views=False)
            runs = number if number == 1 else min(number, wanted(pairs[name][0]))
            pairs[name] = take_pieces(ours, theirs, folder / f"pairs/{name}.jsonl", runs=runs, deadline=deadline)
            if len(pairs[name]) < runs:
                return None
            for here, there in pairs[name]:
                assert same(here["rows"], there["rows"]), f"{name}: {here['rows']} against {there['rows']}"
    return pairs


def wanted(first: tuple[Run, Run]) -> int:
    """How many pairs of runs there are to be."""
    return FAST if first[1]["seconds"] < LONG else SLOW


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


def comparison(made: dict[str, int], pairs: dict[str, list[tuple[Run, Run]]]) -> Comparison:
    """A ratio of each question, the median of its pairs; the notes have seconds, and n of each."""
    notes: dict[str, float | int | str] = {}
    ratios = []
    for name, runs in pairs.items():
        here, there = ([run["seconds"] for run in side] for side in zip(*runs, strict=True))
        found = [other / own for own, other in zip(here, there, strict=True)]
        ratios.append(median(found))
        seconds = f"{median(here):.3g} s against {median(there):.3g} s, n = {len(runs)}"
        notes[name] = f"{seconds}, ratio {median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
    every = [pair for runs in pairs.values() for pair in runs]
    members = {name: rows for name, rows in made.items() if name.startswith("data/comparisons/")}
    return Comparison(
        work=f"the {len(pairs)} questions of queries/, over {sum(members.values()):,} comparisons, 2 threads, 4 GB",
        against="DuckDB alone on SQL that is written by hand",
        ratios=ratios,
        at_least=round(1 / 1.2, 3),
        versions=versions("duckdb", "pyarrow"),
        notes=notes
        | {
            "seconds_of_all": round(sum(median(here["seconds"] for here, _ in runs) for runs in pairs.values()), 1),
            "seconds_of_all_by_hand": round(
                sum(median(there["seconds"] for _, there in runs) for runs in pairs.values()), 1
            ),
            "seconds_to_open_the_views": round(median(here["opened"] for here, _ in every), 3),
            "peak_mib": round(max(here["peak_mib"] for here, _ in every)),
            "peak_mib_by_hand": round(max(there["peak_mib"] for _, there in every)),
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
