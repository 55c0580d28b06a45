"""Contrastive generation with real weights by the shared-prefix engine, and by `generate` of transformers.

The model is the folder that SYNTHALIGN_BENCH_SMALL names, by default models/base/small, which `base_models` of the
profile with SmolLM2-135M writes.
"""

import os
import sys
from pathlib import Path

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours, Peer
from benchmarks.generation_vs_generate import rate
from synthalign.core import hardware
from synthalign.dialogue import chat

OURS, THEIRS, BATCH = 256, 16, 16
"""Questions of one run: the peer is so slow that one batch has to do for it; what is compared is tokens a second."""

RUNS = 5


def model(variable: str, default: str) -> str:
    """The folder of the weights."""
    folder = os.environ.get(variable, default)
    if not Path(folder, "config.json").is_file():
        raise SystemExit(f"{folder}: no model; set {variable} to the folder of one in safetensors")
    return folder


def questions(count: int) -> list[str]:
    """The first `count` questions of the evaluation set as a model reads them."""
    texts = Path("data/embedded/eval_questions.txt").read_text(encoding="utf-8").splitlines()
    return [chat.prompt([{"role": "user", "content": text}]) for text in texts[:count]]


def dtype(ours: Ours) -> str:
    """The type of our weights by torch's name, float32 where hardware.yaml says nothing; `generate` has the same."""
    return str(ours.model.dtype).removeprefix("torch.")


def beside(folder: str) -> tuple[list[tuple[float, float]], Ours]:
    """(ours, theirs) in tokens a second of every pair of runs, and our side."""
    ours = Ours(OURS, model=folder, given=questions(OURS))
    same = {"model": folder, "given": questions(THEIRS), "batch": BATCH, "dtype": dtype(ours)}
    peer = Peer("transformers_generate.py", sys.executable, THEIRS, **same)
    rates = take_turns(lambda: rate(*ours.run()), lambda: rate(*peer.run()), runs=RUNS)
    peer.close()
    return rates, ours


def compare() -> Comparison:
    rates, ours = beside(model("SYNTHALIGN_BENCH_SMALL", "models/base/small"))
    shared = len(ours.tokenizer(ours.prefix)["input_ids"])
    return Comparison(
        work=f"contrastive generation, SmolLM2-135M, {shared}-token prefix, {OURS} questions, {dtype(ours)}",
        against=f"transformers generate, batch {BATCH}, full prompts ({THEIRS} questions)",
        ratios=[here / there for here, there in rates],
        at_least=10.0,
        versions=versions("torch", "transformers"),
        notes={
            "instructions": hardware.read().instructions,
            "tokens_per_second": round(rates[-1][0], 1),
            "their_tokens_per_second": round(rates[-1][1], 1),
        },
    )
