"""Contrastive generation by the shared-prefix engine, and by `generate` of transformers on whole prompts."""

import sys

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours, Peer

OURS, THEIRS = 2048, 128
"""Queries of one run; the peer is so slow that a part has to do for it: what is compared is tokens a second."""


def compare() -> Comparison:
    ours = Ours(OURS)
    peer = Peer("transformers_generate.py", sys.executable, THEIRS)
    rates = take_turns(lambda: rate(*ours.run()), lambda: rate(*peer.run()))
    peer.close()
    return Comparison(
        work=f"contrastive generation, 636-token prefix, {OURS} queries, model L, fp32",
        against=f"transformers generate, batch 32, full prompts ({THEIRS} queries)",
        ratios=[here / there for here, there in rates],
        at_least=18.0,
        versions=versions("torch", "transformers"),
        notes={"tokens_per_second": round(rates[-1][0], 1), "their_tokens_per_second": round(rates[-1][1], 1)},
    )


def rate(seconds: float, tokens: int) -> float:
    """Tokens a second."""
    return tokens / seconds
