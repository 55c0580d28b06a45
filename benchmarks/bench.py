"""`make bench`: this project beside its best peers, on the same work in the same run.

    python -m benchmarks.bench                      # every comparison
    python -m benchmarks.bench near_duplicates      # only these

Every comparison is a module of this folder with a function `compare() -> Comparison`. It runs in a process of its own,
takes turns between the two sides, and what counts is the ratio of neighbouring runs, so that a machine that slows down
slows both. Results go to benchmarks/results/<machine kind>.json; a comparison that was not run keeps its old entry.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from synthalign.reporting import text_tables

Run = dict[str, Any]
"""`seconds`, and what else is known of a run; all of it JSON."""

COMPARISONS = {
    "generation_vs_generate": "benchmarks.generation_vs_generate",
    "generation_vs_vllm": "benchmarks.generation_vs_vllm",
    "sampling_large_vocabulary": "benchmarks.sampling_large_vocabulary",
    "real_generation_vs_generate": "benchmarks.real_generation_vs_generate",
    "real_generation_vs_llamacpp": "benchmarks.real_generation_vs_llamacpp",
    "real_generation_vs_vllm": "benchmarks.real_generation_vs_vllm",
    "windowed_generation_vs_generate": "benchmarks.windowed_generation_vs_generate",
    "best_of_four": "benchmarks.best_of_four",
    "reward_scoring": "benchmarks.reward_scoring",
    "near_duplicates": "benchmarks.near_duplicates",
    "near_duplicates_unicode": "benchmarks.near_duplicates_unicode",
    "sft_step": "benchmarks.sft_step",
    "dpo_step": "benchmarks.dpo_step",
    "ppo_vs_trl": "benchmarks.ppo_vs_trl",
    "ppo_vs_before": "benchmarks.ppo_vs_before",
    "rrhf_vs_before": "benchmarks.rrhf_vs_before",
    "gguf_conversion": "benchmarks.gguf_conversion",
    "ppo_lora_memory": "benchmarks.ppo_lora_memory",
    "ppo_lora_speed": "benchmarks.ppo_lora_speed",
    "noop_repro": "benchmarks.noop_repro",
    "around_a_stage": "benchmarks.around_a_stage",
    "stage_overhead": "benchmarks.stage_overhead",
    "repro_vs_before": "benchmarks.repro_vs_before",
    "nightly_vs_before": "benchmarks.nightly_vs_before",
    "test_vs_before": "benchmarks.test_vs_before",
    "table_memory": "benchmarks.table_memory",
    "analyst_queries": "benchmarks.analyst_queries",
    "analyst_queries_100m": "benchmarks.analyst_queries_100m",
}


@dataclass(frozen=True)
class Comparison:
    """One line of the table."""

    work: str
    against: str
    ratios: list[float]
    """One of each pair of runs; above 1 this project is better."""

    at_least: float
    """What it is meant to be."""

    versions: dict[str, str] = field(default_factory=dict)
    """Of everything that was compared."""

    notes: dict[str, float | int | str] = field(default_factory=dict)
    """Other figures of the same runs: rows, tokens, seconds, bytes."""

    def entry(self, name: str) -> dict[str, object]:
        """As it stands in the results file; low and high are the smallest and the greatest ratio."""
        ratio, low, high = median(self.ratios), min(self.ratios), max(self.ratios)
        figures = {"ratio": round(ratio, 3), "n": len(self.ratios), "low": round(low, 3), "high": round(high, 3)}
        return {"id": name} | {k: v for k, v in asdict(self).items() if k != "ratios"} | figures


def take_turns(
    ours: Callable[[], float], theirs: Callable[[], float], *, runs: int = 5, warm_up: bool = True
) -> list[tuple[float, float]]:
    """(ours, theirs) of `runs` pairs of runs, after one of each that does not count; what goes first alternates.

    warm_up  False leaves that first one out, where each run is a process of its own
    """
    if warm_up:
        ours(), theirs()
    pairs = []
    for run in range(runs):
        if run % 2:
            there = theirs()
            pairs.append((ours(), there))
        else:
            here = ours()
            pairs.append((here, theirs()))
        print(f"  run {run + 1} of {runs}: {pairs[-1][0]:.4g} against {pairs[-1][1]:.4g}", file=sys.stderr, flush=True)
    return pairs


def take_pieces(
    ours: Callable[[], Run], theirs: Callable[[], Run], journal: Path, *, runs: int, deadline: float | None = None
) -> list[tuple[Run, Run]]:
    """(ours, theirs) of `runs` pairs of runs that are long: each is a line of the journal, and a later call goes on.

    deadline  on the clock time.monotonic(): no pair is begun after it, so that there may be fewer
    """
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    pairs: list[tuple[Run, Run]] = [(here, there) for here, there in map(json.loads, lines)]
    while len(pairs) < runs and (deadline is None or time.monotonic() < deadline):
        if len(pairs) % 2:
            there = theirs()
            here = ours()
        else:
            here = ours()
            there = theirs()
        pairs.append((here, there))
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(pairs[-1]) + "\n")
        seconds = f"{here['seconds']:.4g} against {there['seconds']:.4g}"
        print(f"  {journal.stem}, run {len(pairs)}: {seconds}", file=sys.stderr, flush=True)
    return pairs


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages, and of Python."""
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


def machine() -> str:
    """The kind of machine: cores, architecture and the widest instructions that matter here."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    widest = next((name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags), "plain")
    return f"{platform.machine()}-{len(os.sched_getaffinity(0))}-cores-{widest.replace('_', '-')}"


def table(entries: Sequence[dict[str, object]]) -> str:
    """The results for the terminal."""
    rows: text_tables.Rows = [("work", "against", "ratio", "spread", "n", "at least", "")]
    for entry in entries:
        reached = "yes" if float(str(entry["ratio"])) >= float(str(entry["at_least"])) else "NO"
        spread = f"{entry['low']} to {entry['high']}"
        cells = (entry["work"], entry["against"], entry["ratio"], spread, entry["n"], entry["at_least"], reached)
        rows.append(tuple(map(str, cells)))
    return text_tables.plain(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", choices=[[], *COMPARISONS], help="what to run (default: everything)")
    parser.add_argument("--one", choices=COMPARISONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(importlib.import_module(COMPARISONS[given.one]).compare().entry(given.one)))
        return
    file = Path("benchmarks/results") / f"{machine()}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    found = {entry["id"]: entry for entry in known}
    failed = []
    for name in given.ids or COMPARISONS:
        print(name, file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.bench", "--one", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed.append(name)
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        file.parent.mkdir(parents=True, exist_ok=True)
        entries = [found[key] for key in COMPARISONS if key in found]
        file.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(table([found[key] for key in COMPARISONS if key in found]))
    if failed:
        print(f"could not be run: {', '.join(failed)}; the reason is above", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
