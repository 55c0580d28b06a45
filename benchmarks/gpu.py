"""`make bench-gpu`: a large random model decodes, scores and trains with LoRA, beside what the device can do.

    python -m benchmarks.gpu                  # the shape of a 1.5B model in bf16, on a GPU
    python -m benchmarks.gpu --size 7b        # of a 7B Llama
    python -m benchmarks.gpu --size toy       # the same code with a small shape, on any machine

Weights are random, so texts are noise and times are real. Each part (`gpu_parts`) runs in a process of its own, for as
many seconds as BUDGETS allow, all together at most ten minutes; one that fails or takes longer is named, and the others
go on. Parts that train are beside what `synthalign plan --memory` says. After each part the figures go to
benchmarks/results/<name of the GPU>-<size>.json, without a GPU to the folder that --results names, if any.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_parts
from benchmarks.bench import versions

BUDGETS = {"model": 90, "machine": 30, "decoding": 120, "scoring": 60, "sft": 90, "dpo": 90, "ppo": 120}
"""Seconds of each part, with starting Python and loading the model."""

TOTAL = sum(BUDGETS.values())
assert TOTAL <= 600


def outcome(part: str, size: str, work: str, seconds: float) -> dict[str, Any]:
    """The figures of a part, or why there are none."""
    command = [sys.executable, "-m", "benchmarks.gpu_parts", part, size, work]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {seconds:.0f} s"}
    if done.returncode:
        return {"failed": f"exit code {done.returncode}; the reason is above"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> bool:
    """Whether every part ended well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=gpu_parts.SIZES, default="1.5b")
    parser.add_argument("--results", type=Path, help="folder of the results (default on a GPU: benchmarks/results)")
    given = parser.parse_args()
    size, on_gpu = given.size, torch.cuda.is_available()
    if size != "toy" and not on_gpu:
        parser.error(f"the {size} shape needs a GPU, and torch sees none; --size toy runs anywhere")
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    folder = given.results or (Path("benchmarks/results") if on_gpu and size != "toy" else None)
    found: dict[str, Any] = {"device": device, "shape": size, "versions": versions("torch", "transformers", "trl")}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        for part, most in BUDGETS.items():
            start = time.monotonic()
            found[part] = outcome(part, size, work, min(most, begun + TOTAL - start))
            print(f"{part}, {time.monotonic() - start:.0f} s: {json.dumps(found[part])}", flush=True)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{device.lower().replace(' ', '-')}-{size}.json"
                file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            if part == "model" and "failed" in found[part]:
                break
    return not any("failed" in found.get(part, {"failed": ""}) for part in BUDGETS)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
