"""Contrastive generation with real weights by the shared-prefix engine, and by llama.cpp's server with a prompt cache.

Ours reads the folder that SYNTHALIGN_BENCH_SMALL names (see `real_generation_vs_generate`), in the type that
hardware.yaml says; the server the GGUF file that this folder was made from, as it is (Q4_1), which
SYNTHALIGN_BENCH_GGUF names. Files of the same weights in other types stand beside it when SYNTHALIGN_BENCH_GGUF_F16 and
SYNTHALIGN_BENCH_GGUF_F32 name them (peers/README.md says how to make them), as notes of one run each, and so does the
server with its default of the 40 likeliest tokens:
without that it sorts the whole vocabulary for every token.
"""

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours, Peer
from benchmarks.generation_vs_generate import rate
from benchmarks.peers import environment
from benchmarks.real_generation_vs_generate import dtype, model, questions

OURS, THEIRS, SLOTS = 256, 64, 8
"""Questions of one run; what is compared is tokens a second. The server wrote 98 with 8 slots, and 89 with 16."""

VARIABLE, GGUF = "SYNTHALIGN_BENCH_GGUF", "models/gguf/smollm2-135m-instruct.gguf"


def server(file: str, **others: Any) -> Peer:
    if not Path(file).is_file():
        raise SystemExit(f"{file}: no GGUF file; bring it (data/sources/pocket.yaml), or set {VARIABLE}")
    root = str(environment("llama-server", "usr/bin/llama-server"))
    given = questions(THEIRS)
    return Peer(
        "llamacpp_generate.py", sys.executable, THEIRS, model=file, given=given, root=root, slots=SLOTS, **others
    )


def once(file: str, **others: Any) -> float:
    """Tokens a second of the second run, when every slot holds the prefix."""
    peer = server(file, **others)
    peer.run()
    found = rate(*peer.run())
    peer.close()
    return round(found, 1)


def compare() -> Comparison:
    ours = Ours(OURS, model=model("SYNTHALIGN_BENCH_SMALL", "models/base/small"), given=questions(OURS))
    file = os.environ.get(VARIABLE, GGUF)
    peer = server(file)
    rates = take_turns(lambda: rate(*ours.run()), lambda: rate(*peer.run()))
    peer.close()
    others = {"their_tokens_per_second_with_top_k_40": once(file, top_k=40)} | {
        f"their_tokens_per_second_{kind.lower()}": once(os.environ[f"{VARIABLE}_{kind}"])
        for kind in ("F16", "F32")
        if f"{VARIABLE}_{kind}" in os.environ
    }
    shared = len(ours.tokenizer(ours.prefix)["input_ids"])
    return Comparison(
        work=f"contrastive generation, SmolLM2-135M, {shared}-token prefix, {OURS} questions, {dtype(ours)}",
        against=f"llama.cpp's server, prompt cache, {SLOTS} slots, the same file in Q4_1 ({THEIRS} questions)",
        ratios=[here / there for here, there in rates],
        at_least=1.2,
        versions=versions("torch", "transformers") | {f"their {name}": value for name, value in peer.versions.items()},
        notes={"tokens_per_second": round(rates[-1][0], 1), "their_tokens_per_second": round(rates[-1][1], 1)} | others,
    )
