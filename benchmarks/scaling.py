"""How much faster a sampling stage is on more workers and processes of this machine: benchmarks/results/scaling.json.

    python -m benchmarks.scaling

Every configuration samples the same rows, in a process (or processes) of its own that loads the model before the clock
starts.  The configurations take turns, so that a machine that slows down slows all.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import machine, versions
from synthalign.core.ids import content_id
from synthalign.dialogue import chat, demonstrations
from synthalign.generation import models, parallel
from synthalign.generation.generate import generate

CONFIGURATIONS = {
    "1 process, 1 worker": (1, 1),
    "1 process, 2 workers": (1, 2),
    "2 processes, 1 worker each": (2, 1),
}
MODEL, SHOWN, SHOTS = "data/embedded/models/large", "data/embedded/demonstrations/hhh.jsonl", 3
ROWS, NEW_TOKENS = 1024, 64
WARM = 64


def rows(count: int) -> dict[str, str]:
    """Questions by their ids."""
    texts = [f"What does animal number {number} eat?" for number in range(count)]
    return {content_id("query", text): chat.prompt([{"role": "user", "content": text}]) for text in texts}


def sample(workers: int) -> None:
    """What each process of a configuration runs: print the seconds and a hash of what was made."""
    write = partial(generate, models.load_causal(MODEL), models.load_tokenizer(MODEL))
    prefix = demonstrations.prefix(SHOWN, SHOTS)

    def run(count: int) -> tuple[float, str]:
        asked = rows(count)
        with tempfile.TemporaryDirectory() as folder:
            parallel.state().wait_for_everyone()
            begin = time.perf_counter()
            made = parallel.generated(
                write,
                folder=Path(folder),
                name="rows",
                prefix=prefix,
                suffixes=list(asked.values()),
                row_ids=list(asked),
                seed=0,
                max_new_tokens=NEW_TOKENS,
                temperature=1.0,
                top_p=0.9,
                stops=chat.STOPS,
                workers=workers,
            )
            seconds = time.perf_counter() - begin
        said = json.dumps({row: [one.text for one in many] for row, many in made.items()})
        return seconds, hashlib.sha256(said.encode()).hexdigest()

    run(WARM)
    seconds, digest = run(ROWS)
    if parallel.state().is_main_process:
        print(json.dumps({"seconds": seconds, "hash": digest}))


def measure(processes: int, workers: int) -> dict[str, Any]:
    """One run of a configuration."""
    command = ["-m", "benchmarks.scaling", "--workers", str(workers)]
    if processes > 1:
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *command]
    # A thread an operation, as in a stage: more of them round sums in another order and are slower here.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of every configuration (default 5)")
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.workers:
        sample(given.workers)
        return

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONFIGURATIONS}
    load = [os.getloadavg()[0]]
    for run in range(given.runs):
        for name in list(CONFIGURATIONS)[:: -1 if run % 2 else 1]:
            found[name].append(measure(*CONFIGURATIONS[name]))
            print(
                f"  run {run + 1}: {name}: {ROWS / found[name][-1]['seconds']:.1f} rows/s", file=sys.stderr, flush=True
            )
        load.append(os.getloadavg()[0])
    assert len({one["hash"] for many in found.values() for one in many}) == 1, "the configurations say different things"

    entries = []
    alone = [one["seconds"] for one in next(iter(found.values()))]
    for name, many in found.items():
        rates = [ROWS / one["seconds"] for one in many]
        gains = [before / one["seconds"] for before, one in zip(alone, many, strict=True)]
        entries.append(
            {"configuration": name, "n": len(rates)}
            | {"rows_per_second": round(median(rates), 1), "low": round(min(rates), 1), "high": round(max(rates), 1)}
            | {"speedup": round(median(gains), 2)}
            | {"speedup_low": round(min(gains), 2), "speedup_high": round(max(gains), 2)}
        )
    result = {
        "machine": machine(),
        "load_average": [round(min(load), 2), round(max(load), 2)],
        "work": f"{ROWS} rows of at most {NEW_TOKENS} tokens after {SHOTS} shots, the embedded world's large model",
        "versions": versions("torch", "transformers", "accelerate"),
        "measured": entries,
    }
    file = Path("benchmarks/results/scaling.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
