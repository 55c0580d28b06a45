"""Contrastive generation with real weights by the shared-prefix engine, and by vLLM's CPU build with prefix caching.

Both read the folder that SYNTHALIGN_BENCH_SMALL names (see `real_generation_vs_generate`): ours in the type that
hardware.yaml says, vLLM in bf16, which is the faster of its types on a CPU that computes in it.
"""

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours, Peer
from benchmarks.generation_vs_generate import rate
from benchmarks.peers import environment
from benchmarks.real_generation_vs_generate import dtype, model, questions
from synthalign.core import hardware

QUESTIONS = 256


def compare() -> Comparison:
    folder = model("SYNTHALIGN_BENCH_SMALL", "models/base/small")
    asked = questions(QUESTIONS)
    ours = Ours(QUESTIONS, model=folder, given=asked)
    python = str(environment("vllm") / "bin" / "python")
    peer = Peer("vllm_generate.py", python, QUESTIONS, model=folder, given=asked)
    rates = take_turns(lambda: rate(*ours.run()), lambda: rate(*peer.run()))
    peer.close()
    shared = len(ours.tokenizer(ours.prefix)["input_ids"])
    return Comparison(
        work=f"contrastive generation, SmolLM2-135M, {shared}-token prefix, {QUESTIONS} questions, {dtype(ours)}",
        against="vLLM CPU build, prefix caching, bf16",
        ratios=[here / there for here, there in rates],
        at_least=1.2,
        versions=versions("torch", "transformers") | {f"their {name}": value for name, value in peer.versions.items()},
        notes={
            "instructions": hardware.read().instructions,
            "tokens_per_second": round(rates[-1][0], 1),
            "their_tokens_per_second": round(rates[-1][1], 1),
        },
    )
