"""What `synthalign plan --memory` says of four steps, and of them with LoRA, beside what they take on a CPU.

    python -m benchmarks.memory models/base/small          # a folder of a plain Llama of some hundred million weights

Each step runs in a fresh process; see `memory_step` for what is measured and how long its texts are. Large blocks of
memory go back to the system when they are freed (MALLOC_MMAP_THRESHOLD_), as the resident set counts what the allocator
keeps. The figures go to benchmarks/results/memory.json; a step that was not run keeps its old ones.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import versions
from benchmarks.memory_step import ENDING, LORA, SIZES
from synthalign.commands import memory, memory_shapes
from synthalign.commands.memory import Held, Need, Shape
from synthalign.reporting.text_tables import plain

RESULTS = Path("benchmarks/results/memory.json")
HELD = Held(device="cpu")
WITH_LORA = replace(HELD, rank=LORA.rank)
WITHIN = 0.25


def sampling(shape: Shape) -> Need:
    size = SIZES["sampling"]
    return memory.sampling(
        shape, w=4, prefix=size["prefix"], own=size["own"], new=size["new"], slots=size["slots"], device="cpu"
    )


def pairs(kind: str, held: Held, shape: Shape, *, words: bool) -> Need:
    rows, tokens = 2 * SIZES[kind]["batch_size"], SIZES[kind]["max_length"]
    return memory.training(held, shape, rows=rows, tokens=tokens, accumulates=False, words=words)


def ppo(held: Held, shape: Shape) -> Need:
    """With all weights a reference, a reward and a value model beside; with adapters one base."""
    size, reward = SIZES["ppo"], shape.as_reward()
    beside = 4 * (shape.parameters + 2 * reward.parameters) if held.rank is None else 0
    return memory.loop(
        held, shape, beside=beside, value=reward, rows=size["rows"], prompt=size["prompt"], new=size["new"],
        accumulates=False,
    )  # fmt: skip


PLANS: dict[str, Callable[[Shape], Need]] = {"sampling": sampling, f"sampling{ENDING}": sampling}
for _held, _ending in ((HELD, ""), (WITH_LORA, ENDING)):
    PLANS |= {
        f"reward{_ending}": lambda shape, held=_held: pairs("reward", held, shape.as_reward(), words=False),
        f"dpo{_ending}": lambda shape, held=_held: pairs("dpo", held, shape, words=True),
        f"ppo{_ending}": lambda shape, held=_held: ppo(held, shape),
    }


def measured(kind: str, folder: str) -> int:
    """Bytes that a step of this kind took, in a process of its own."""
    given = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "MALLOC_MMAP_THRESHOLD_": "262144"}
    with tempfile.TemporaryDirectory() as work:
        for step in ("adapters", kind) if kind.endswith(ENDING) else (kind,):
            command = [sys.executable, "-m", "benchmarks.memory_step", step, folder, work]
            done = subprocess.run(command, env=os.environ | given, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak"])


def main(folder: str, kinds: list[str]) -> bool:
    """Whether every plan is within a quarter of what was measured."""
    shape = memory_shapes.shape(folder, None)
    how = "largest resident set less that with tokenizer and code loaded, bytes; one run each, one CPU, fp32"
    kept = {
        "parameters": shape.parameters,
        "measure": how,
        "versions": versions("torch", "transformers", "trl", "peft"),
    }
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["steps"] if RESULTS.exists() else {}
    for kind in kinds:
        need, took = PLANS[kind](shape), measured(kind, folder)
        terms = ("weights", "gradients", "optimizer", "activations", "caches")
        found[kind] = {
            "planned": round(need.peak),
            "measured": took,
            "ratio": round(need.peak / took, 3),
            "terms": {term: round(getattr(need, term)) for term in terms},
            "sizes": SIZES[kind.removesuffix(ENDING)],
        }
        print(f"{kind}: {json.dumps(found[kind])}", file=sys.stderr, flush=True)
        found = {known: found[known] for known in PLANS if known in found}
        RESULTS.write_text(json.dumps(kept | {"steps": found}, indent=1) + "\n", encoding="utf-8")
    rows = [("step", "planned GB", "measured GB", "ratio")]
    rows += [
        (kind, f"{one['planned'] / 1e9:.2f}", f"{one['measured'] / 1e9:.2f}", f"{one['ratio']:.2f}")
        for kind, one in found.items()
        if kind in kinds
    ]
    print(plain(rows))
    return all(abs(found[kind]["ratio"] - 1) <= WITHIN for kind in kinds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of the model")
    parser.add_argument("kinds", nargs="*", metavar="STEP", help=f"only these of {', '.join(PLANS)}")
    asked = parser.parse_args()
    raise SystemExit(0 if main(asked.folder, asked.kinds or list(PLANS)) else 1)
