"""Four answers to every query in one call, and four calls for one answer each."""

from benchmarks.bench import Comparison, take_turns, versions
from benchmarks.contrastive import Ours

QUERIES = 512


def compare() -> Comparison:
    ours = Ours(QUERIES)
    seconds = take_turns(lambda: ours.run(samples=4)[0], lambda: sum(ours.run()[0] for _ in range(4)))
    return Comparison(
        work=f"best-of-4 generation, 636-token prefix, {QUERIES} queries, model L, fp32",
        against="4 single-sample calls",
        ratios=[there / here for here, there in seconds],
        at_least=4 / 2.5,
        versions=versions("torch", "transformers"),
        notes={"times_one_call": round(4 * seconds[-1][0] / seconds[-1][1], 3)},
    )
