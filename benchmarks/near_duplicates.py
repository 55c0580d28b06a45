"""The near-duplicate filter of `mine_queries` beside `rouge_score`, which Self-Instruct's code calls for every pair.

Ours is the stage's own filter, over all queries. The other side compares some of them with everything that was accepted
before them; its seconds are multiplied by the share of pairs this is. Both must accept and reject the same ones.
"""

import random
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count

from rouge_score import rouge_scorer

from benchmarks.bench import Comparison, take_turns, versions
from synthalign.queries.mining import Filter

QUERIES, MANY = 10_000, 100_000
SAMPLE = 12
THRESHOLD = 0.7
"""Of ROUGE-L F1, as in Self-Instruct."""

VOCABULARY = 20_000


@dataclass(frozen=True)
class Language:
    """What questions are made of: openings and words, both as lists of what the filter counts as a word."""

    openings: Sequence[Sequence[str]]
    words: Sequence[Sequence[str]]
    """From the most frequent on."""

    blank: str = " "
    mark: str = "?"


ENGLISH = Language(
    openings=[
        opening.split()
        for opening in (
            "how do i",
            "what is the",
            "can you tell me",
            "why does a",
            "please explain the",
            "which of the",
            "where can",
        )
    ],
    words=[[f"w{rank}"] for rank in range(VOCABULARY)],
)


def queries(amount: int, seed: int, language: Language = ENGLISH) -> list[str]:
    """Questions of about ten words: an opening, and words as frequent as those of English (Zipf's law).

    Two of five are an older one with one or two words changed, as models write them.
    """
    draw = random.Random(seed)
    frequencies = list(accumulate(1 / (rank + 2.7) for rank in range(VOCABULARY)))
    made: list[list[str]] = []
    for _ in range(amount):
        drawn = draw.choices(language.words, cum_weights=frequencies, k=draw.randint(4, 10))
        words = [part for word in drawn for part in word]
        if made and draw.random() < 0.4:
            older = list(draw.choice(made))
            for word in words[: draw.randint(1, 2)]:
                older[draw.randrange(len(older))] = word
            made.append(older)
        else:
            made.append([*draw.choice(language.openings), *words])
    return [language.blank.join(words) + language.mark for words in made]


def judged(texts: list[str]) -> tuple[list[bool], float]:
    """Whether our filter accepts each, and its seconds."""
    start = time.perf_counter()
    judge = Filter([], [], min_characters=0, max_characters=1000, keywords=[], rouge_threshold=THRESHOLD)
    accepted = [judge.judge(text).reject_reason is None for text in texts]
    return accepted, time.perf_counter() - start


def compare() -> Comparison:
    texts = queries(QUERIES, seed=0)
    accepted, _ = judged(texts)
    before = [sum(accepted[:place]) for place in range(QUERIES)]  # how many texts each is compared with
    pool = [text for text, is_new in zip(texts, accepted, strict=True) if is_new]
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    seeds = count()
    microseconds = []

    def ours() -> float:
        return judged(texts)[1]

    def theirs() -> float:
        sample = random.Random(next(seeds)).sample(range(QUERIES), SAMPLE)
        start = time.perf_counter()
        for place in sample:
            scores = [scorer.score(known, texts[place])["rougeL"].fmeasure for known in pool[: before[place]]]
            assert (max(scores, default=0.0) < THRESHOLD) == accepted[place], f"another decision on {texts[place]!r}"
        seconds = time.perf_counter() - start
        compared = sum(before[place] for place in sample)
        microseconds.append(1e6 * seconds / compared)
        return seconds * sum(before) / compared

    pairs = take_turns(ours, theirs)
    many, seconds = judged(queries(MANY, seed=1))
    return Comparison(
        work=f"near-duplicate filter over {QUERIES:,} queries",
        against="rouge_score on all pairs",
        ratios=[there / here for here, there in pairs],
        at_least=500,
        versions=versions("rouge_score", "rapidfuzz"),
        notes={
            "accepted": sum(accepted),
            "seconds": round(min(here for here, _ in pairs), 2),
            "rouge_score_seconds_extrapolated": round(min(there for _, there in pairs)),
            "rouge_score_microseconds_a_pair": round(min(microseconds), 1),
            "sampled_queries_with_equal_decisions": SAMPLE * len(microseconds),
            "queries_of_the_large_run": MANY,
            "accepted_of_the_large_run": sum(many),
            "seconds_of_the_large_run": round(seconds, 1),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    )
