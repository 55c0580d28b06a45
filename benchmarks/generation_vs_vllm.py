"""Contrastive generation by the shared-prefix engine, and by vLLM's CPU build with prefix caching."""

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours, Peer
from benchmarks.generation_vs_generate import rate
from benchmarks.peers import environment

QUERIES = 2048


def compare() -> Comparison:
    ours = Ours(QUERIES)
    peer = Peer("vllm_generate.py", str(environment("vllm") / "bin" / "python"), QUERIES)
    rates = take_turns(lambda: rate(*ours.run()), lambda: rate(*peer.run()))
    peer.close()
    return Comparison(
        work=f"contrastive generation, 636-token prefix, {QUERIES} queries, model L, fp32",
        against="vLLM CPU build, prefix caching, bf16",
        ratios=[here / there for here, there in rates],
        at_least=2.2,
        versions=versions("torch", "transformers") | {f"their {name}": value for name, value in peer.versions.items()},
        notes={"tokens_per_second": round(rates[-1][0], 1), "their_tokens_per_second": round(rates[-1][1], 1)},
    )
