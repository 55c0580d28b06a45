"""Every method against every other, by how much of the author each answer has."""

from collections.abc import Mapping
from itertools import permutations
from statistics import fmean
from typing import Any

from synthalign.core.tables import Row
from synthalign.judging import verdicts, win_rates
from synthalign.judging.verdicts import Answer


def head_to_head(by_method: Mapping[str, list[Row]], seed: int) -> dict[str, dict[str, Any]]:
    """`win_rates.summary` of every ordered pair of methods, the judge being the style oracle."""
    answers = {
        method: [Answer(row["prompt_id"], row["sample_index"], row["text"], row["tokens"]) for row in rows]
        for method, rows in by_method.items()
    }
    # A prompt stands here for its id, which is one author's.
    styles = {(row["prompt_id"], row["text"]): row["style"] for rows in by_method.values() for row in rows}
    prompts = {prompt: prompt for prompt, _ in styles}
    judge = verdicts.by_score(lambda given: [styles[one] for one in given])
    found: dict[str, dict[str, Any]] = {}
    for a, b in permutations(by_method, 2):
        rows = verdicts.judgements(verdicts.duels(answers, [(a, b)], prompts), "style", judge)
        found[f"{a}_vs_{b}"] = win_rates.summary(rows, seed=seed)
    return found


def against_all(summaries: Mapping[str, Mapping[str, Any]], policy: str) -> float:
    """The mean win rate of one against all others, from the summaries by "a_vs_b" of every ordered pair.

    The mean of this over all is 1/2, for what one wins the other loses.
    """
    return fmean(found["win_rate"]["value"] for name, found in summaries.items() if name.startswith(f"{policy}_vs_"))
