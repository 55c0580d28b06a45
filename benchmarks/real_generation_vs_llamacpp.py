"""Contrastive generation with real weights by the shared-prefix engine, and by llama.cpp's server with a prompt cache.

Ours reads the folder that SYNTHALIGN_BENCH_SMALL names (see `real_generation_vs_generate`), in float32; the server the
GGUF file that this folder was made from, as it is (Q4_1), which SYNTHALIGN_BENCH_GGUF names. Files of the same weights
in other types stand beside it when SYNTHALIGN_BENCH_GGUF_F16 and SYNTHALIGN_BENCH_GGUF_F32 name them (peers/README.md
says how to make them), as notes of one run each.
"""

import os
import sys
from pathlib import Path

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours, Peer
from benchmarks.generation_vs_generate import rate
from benchmarks.peers import environment
from benchmarks.real_generation_vs_generate import model, questions

OURS, THEIRS, SLOTS = 256, 96, 16
"""Questions of one run; what is compared is tokens a second. More slots, or fewer, are slower for the server."""

VARIABLE, GGUF = "SYNTHALIGN_BENCH_GGUF", "models/gguf/smollm2-135m-instruct.gguf"


def server(file: str) -> Peer:
    if not Path(file).is_file():
        raise SystemExit(f"{file}: no GGUF file; bring it (data/sources/pocket.yaml), or set {VARIABLE}")
    root = str(environment("llama-server", "usr/bin/llama-server"))
    return Peer(
        "llamacpp_generate.py", sys.executable, THEIRS, model=file, given=questions(THEIRS), root=root, slots=SLOTS
    )


def once(file: str) -> float:
    """Tokens a second of the second run, when every slot holds the prefix."""
    peer = server(file)
    peer.run()
    found = rate(*peer.run())
    peer.close()
    return found


def compare() -> Comparison:
    ours = Ours(OURS, model=model("SYNTHALIGN_BENCH_SMALL", "models/base/small"), given=questions(OURS))
    peer = server(os.environ.get(VARIABLE, GGUF))
    rates = take_turns(lambda: rate(*ours.run()), lambda: rate(*peer.run()))
    peer.close()
    others = {
        f"their_tokens_per_second_{kind.lower()}": round(once(os.environ[f"{VARIABLE}_{kind}"]), 1)
        for kind in ("F16", "F32")
        if f"{VARIABLE}_{kind}" in os.environ
    }
    shared = len(ours.tokenizer(ours.prefix)["input_ids"])
    return Comparison(
        work=f"contrastive generation, SmolLM2-135M, {shared}-token prefix, {OURS} questions, fp32",
        against=f"llama.cpp's server, prompt cache, {SLOTS} slots, the same file in Q4_1 ({THEIRS} questions)",
        ratios=[here / there for here, there in rates],
        at_least=1.2,
        versions=versions("torch", "transformers") | {f"their {name}": value for name, value in peer.versions.items()},
        notes={"tokens_per_second": round(rates[-1][0], 1), "their_tokens_per_second": round(rates[-1][1], 1)} | others,
    )
