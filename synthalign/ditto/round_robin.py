"""Every method against every other, by how much of the author each answer has."""

from collections.abc import Mapping
from itertools import permutations
from statistics import fmean
from typing import Any

from synthalign.core.tables import Row
from synthalign.judging import verdicts, win_rates
from synthalign.judging.verdicts import Answer


def head_to_head(by_method: Mapping[str, list[Row]], seed: int) -> dict[str, dict[str, Any]]:
    """`win_rates.summary` of every ordered pair of methods that answered something together, by the style oracle.

    A pair is compared over the prompts that both answered: a method may be one of some authors only, as a prompt of
    one's own or SPIN.
    """
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
        both = {one.question_id for one in answers[a]} & {one.question_id for one in answers[b]}
        shared = {method: [one for one in answers[method] if one.question_id in both] for method in (a, b)}
        if both:
            rows = verdicts.judgements(verdicts.duels(shared, [(a, b)], prompts), "style", judge)
            found[f"{a}_vs_{b}"] = win_rates.summary(rows, seed=seed)
    return found


def against_all(summaries: Mapping[str, Mapping[str, Any]], policy: str) -> float | None:
    """The mean win rate of one against all others, from the summaries by "a_vs_b" of every ordered pair; None where it
    met nobody.

    The mean of this over all is 1/2 where all have met, for what one wins the other loses.
    """
    rates = [found["win_rate"]["value"] for name, found in summaries.items() if name.startswith(f"{policy}_vs_")]
    return fmean(rates) if rates else None
