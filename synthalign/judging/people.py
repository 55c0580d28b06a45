"""How well rewards rank what people ranked: held-out pairs with a preference, and pairs with several verdicts.

    {"prompt": …, "chosen": …, "rejected": …}                                         human_pairs, as label_gold's
    {"question": "Where …?", "answers": ["In …", "No idea."], "verdicts": [1, 1, 0]}  votes; 0 is a tie

A question is what is drawn in every bootstrap: the first message of a conversation, or the question of a vote.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthalign.core import ids, json_lines, measures, statistics
from synthalign.core.errors import UserError, each
from synthalign.core.measures import HeldOutPair
from synthalign.core.tables import Row
from synthalign.dialogue.chat import Message
from synthalign.feedback import human_pairs
from synthalign.judging import agreement

POINTS = {1: 1.0, 0: 0.5, 2: 0.0}
"""A verdict as points of the first answer."""


@dataclass(frozen=True)
class HeldOut:
    """What people judged: the dialogues of both sides of every pair, and the pairs, of which one side is better.

    dialogues  (2 P,)  those of pair i at 2 i and 2 i + 1
    pairs              the pairs with a preference; their places are in `dialogues`
    questions  (P,)    of every pair, one with no preference included
    verdicts   (P, A)  of each annotator, 1 or 2 for the better side, 0 for a tie; empty for a file of preferences
    """

    dialogues: list[list[Message]]
    pairs: list[HeldOutPair]
    questions: list[str]
    verdicts: list[list[int]]


def preferred(file: Path, most: int | None = None) -> HeldOut:
    """The pairs of a file of people's preferences, at most so many, those with the lowest ids.

    UserError as `human_pairs.load`, and when no pair is left.
    """
    rows, _ = human_pairs.load(file, feedback="people")
    if not rows:
        raise UserError(f"{file}: no pair is left to measure with; name another file in params.yaml, or null")
    rows = [rows[place] for place in ids.lowest([row["comparison_id"] for row in rows], most)]
    sides = [(row["prompt"], row["chosen"], row["rejected"]) for row in rows]
    dialogues = [[*prompt, *side] for prompt, *both in sides for side in both]
    questions = [next(said["content"] for said in prompt if said["role"] == "user") for prompt, _, _ in sides]
    pairs = [_pair(question, dialogues, place, 1) for place, question in enumerate(questions)]
    return HeldOut(dialogues, pairs, questions, [])


def voted(file: Path, most: int | None = None) -> HeldOut:
    """The pairs of a file of votes, at most so many, those with the lowest hashes.

    A pair without a majority for one side has no preference.

    UserError names all rows of another form, and a file without a majority anywhere.
    """
    rows = each(json_lines.entries(file, "pair"), lambda numbered: _vote(f"{file}, line {numbered[0]}", numbered[1]))
    hashed = [ids.content_id(row["question"], *row["answers"]) for row in rows]
    rows = [rows[place] for place in ids.lowest(hashed, most)]
    dialogues = [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": answer}]
        for row in rows
        for answer in row["answers"]
    ]
    sides = [majority(row["verdicts"]) for row in rows]
    pairs = [_pair(rows[at]["question"], dialogues, at, side) for at, side in enumerate(sides) if side]
    if not pairs:
        raise UserError(f"{file}: no pair has a majority for one answer; name another file in params.yaml, or null")
    return HeldOut(dialogues, pairs, [row["question"] for row in rows], [row["verdicts"] for row in rows])


def majority(verdicts: Sequence[int]) -> int:
    """The side that more than half of the annotators prefer, 1 or 2; 0 where there is none."""
    side, count = Counter(verdicts).most_common(1)[0]
    return side if 2 * count > len(verdicts) else 0


def _vote(place: str, row: Any) -> Row:
    form = "it needs question, a text, answers, two texts, and verdicts, a list of 1, 2 or 0 for each annotator"
    if not isinstance(row, dict) or not row.keys() >= {"question", "answers", "verdicts"}:
        raise UserError(f"{place}: {str(row)[:60]!r}; {form}")
    question, answers, verdicts = row["question"], row["answers"], row["verdicts"]
    if not isinstance(question, str) or not question.strip():
        raise UserError(f"{place}: question is {str(question)[:60]!r}; {form}")
    if not isinstance(answers, list) or len(answers) != 2 or not all(isinstance(one, str) for one in answers):
        raise UserError(f"{place}: answers is {str(answers)[:60]!r}; {form}")
    if not isinstance(verdicts, list) or not verdicts or not all(map(_is_verdict, verdicts)):
        raise UserError(f"{place}: verdicts is {str(verdicts)[:60]!r}; {form}")
    return row


def _is_verdict(value: Any) -> bool:
    return type(value) is int and value in POINTS


def _pair(question: str, dialogues: Sequence[Sequence[Message]], at: int, side: int) -> HeldOutPair:
    better, worse = (2 * at, 2 * at + 1) if side == 1 else (2 * at + 1, 2 * at)
    lengths = [len(dialogues[place][-1]["content"]) for place in (better, worse)]
    return HeldOutPair(question, better, worse, lengths[0] - lengths[1])


# -- figures ----------------------------------------------------------------------------------------------------------


def report(
    held_out: HeldOut,
    scores: Mapping[str, Sequence[float]],
    *,
    seed: int,
    subject: str | None = None,
    upper_bound: str | None = None,
) -> dict[str, Any]:
    """How often each scorer is right where people have a preference, beside always taking the longer answer.

    scores       (2 P,)  of every dialogue, by scorer
    subject      the scorer that is compared with every other
    upper_bound  the scorer trained on people's pairs, of whose accuracy the others' are given as a share

    Of votes also Krippendorff's alpha of the annotators, and of the annotators and each scorer or the longer answer.
    """
    pairs = held_out.pairs
    right = {name: measures.ranks_right(pairs, values) for name, values in scores.items()}
    longer = measures.longer_right(pairs)
    questions = [pair.question for pair in pairs]
    found: dict[str, Any] = {"longer": measures.accuracy_report(longer, pairs, {}, seed=seed)}
    for name, correct in right.items():
        others = {other: right[other] for other in right if name == subject != other}
        found[name] = measures.accuracy_report(correct, pairs, {"longer": longer} | others, seed=seed)
    for name, correct in ({"longer": longer} | right).items():
        if upper_bound in right and right[upper_bound].any():
            share = statistics.ratio_interval(correct, right[upper_bound], questions, seed=seed)
            found[name]["ratio_to_upper_bound"] = share.metrics()
    result: dict[str, Any] = {"pairs": len(pairs), "scorers": found}
    if held_out.verdicts:
        result |= {"without_majority": len(held_out.verdicts) - len(pairs), "alpha": _alphas(held_out, scores, seed)}
    return result


def _alphas(held_out: HeldOut, scores: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    """Krippendorff's alpha of the annotators alone, and of them and each scorer, ordinal: a tie lies between."""
    units: list[tuple[Hashable, ...]] = [(question, at) for at, question in enumerate(held_out.questions)]
    people: list[agreement.Points] = [
        {unit: POINTS[given[one]] for unit, given in zip(units, held_out.verdicts, strict=True) if one < len(given)}
        for one in range(max(map(len, held_out.verdicts)))
    ]
    judges: dict[str, list[agreement.Points]] = {"people": people}
    lengths = [len(dialogue[-1]["content"]) for dialogue in held_out.dialogues]
    for name, values in ({"longer": lengths} | dict(scores)).items():
        gaps = np.sign(np.subtract(values[::2], values[1::2]))
        judges[name] = [*people, dict(zip(units, ((gaps + 1) / 2).tolist(), strict=True))]
    found = {name: agreement.alpha(given, seed=seed) for name, given in judges.items()}
    return {name: None if figure is None else figure.metrics() for name, figure in found.items()}
