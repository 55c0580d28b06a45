"""Which of two policies answered better: verdicts from scores, in both orders, and what they add up to.

A judge that scores each answer by itself (an oracle, a reward model) has no favourite place, so its two orders agree;
they are recorded all the same, so that every judge's rows are counted in one way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import pyarrow as pa

from synthalign import statistics
from synthalign.errors import UserError
from synthalign.tables import Row

Verdict = Literal["a", "b", "tie", "unjudged"]

SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("sample_index", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("order", pa.string()),
        ("judge", pa.string()),
        ("verdict", pa.string()),
        ("score_a", pa.float64()),
        ("score_b", pa.float64()),
        ("raw", pa.string()),
    ]
)
"""order says whose answer came first (ab, ba); verdict, score_a and score_b always speak of policy_a and policy_b.
raw is what a judge that writes has written, NULL for one that scores."""

KEY = ("question_id", "sample_index", "policy_a", "policy_b", "order", "judge")

SIMILAR_LENGTH = 0.2
"""Two answers are of similar length when the longer has at most this share more characters than the shorter."""


@dataclass(frozen=True)
class Answer:
    """One answer of a policy, with the length that its win is to be read beside."""

    question_id: str
    sample_index: int
    text: str
    tokens: int


def verdict(score_a: float | None, score_b: float | None) -> Verdict:
    """The better one by score; equal scores tie, and a missing score leaves the pair unjudged (never a tie)."""
    if score_a is None or score_b is None:
        return "unjudged"
    return "tie" if score_a == score_b else "a" if score_a > score_b else "b"


def both_orders(
    *,
    question_id: str,
    sample_index: int,
    policy_a: str,
    policy_b: str,
    judge: str,
    score_a: float | None,
    score_b: float | None,
) -> list[Row]:
    """The two rows of a scoring judge for one question: with a first and with b first."""
    return [
        {
            "question_id": question_id,
            "sample_index": sample_index,
            "policy_a": policy_a,
            "policy_b": policy_b,
            "order": order,
            "judge": judge,
            "verdict": verdict(score_a, score_b),
            "score_a": score_a,
            "score_b": score_b,
            "raw": None,
        }
        for order in ("ab", "ba")
    ]


def matched(a: Sequence[Answer], b: Sequence[Answer], *, policy_a: str, policy_b: str) -> list[tuple[Answer, Answer]]:
    """The two policies' answers to the same question with the same sample index.

    UserError when one of them lacks a question that the other has: a win rate over what both happen to share would
    hide it.
    """
    by_key = {(answer.question_id, answer.sample_index): answer for answer in b}
    keys = [(answer.question_id, answer.sample_index) for answer in a]
    if set(keys) != set(by_key):
        missing = sorted(set(keys) ^ set(by_key))
        raise UserError(
            f"data/answers/{policy_a}.parquet and data/answers/{policy_b}.parquet do not answer the same questions: "
            f"{len(missing)} are in one of them only, the first {missing[0]}; sample both again"
        )
    if not keys:
        raise UserError(f"data/answers/{policy_a}.parquet has no rows, so there is nothing to judge")
    return [(answer, by_key[key]) for answer, key in zip(a, keys, strict=True)]


def summary(judgements: Sequence[Row], pairs: Sequence[tuple[Answer, Answer]], *, seed: int) -> dict[str, Any]:
    """What one judge's rows for one pair of policies add up to.

    win, tie, loss       shares of the judged rows, from the side of a
    win_rate             ties half, interval over questions
    unjudged             number of rows without a verdict; they count nowhere else
    similar_length       the win rate where the two lengths differ by at most SIMILAR_LENGTH, None if nowhere
    longer_wins          among decided rows with different lengths, the share won by the longer, None if there are none
    characters_a, …      mean lengths of all answers
    """
    judged = [row for row in judgements if row["verdict"] != "unjudged"]
    lengths = {(a.question_id, a.sample_index): (len(a.text), len(b.text)) for a, b in pairs}
    result: dict[str, Any] = {
        "unjudged": len(judgements) - len(judged),
        "characters_a": round(fmean(len(a.text) for a, _ in pairs), 3),
        "characters_b": round(fmean(len(b.text) for _, b in pairs), 3),
        "tokens_a": round(fmean(a.tokens for a, _ in pairs), 3),
        "tokens_b": round(fmean(b.tokens for _, b in pairs), 3),
    }
    if not judged:
        return result
    for name, outcome in (("win", "a"), ("tie", "tie"), ("loss", "b")):
        result[name] = round(fmean(row["verdict"] == outcome for row in judged), 6)
    result["win_rate"] = _win_rate(judged, seed)
    similar = [row for row in judged if _is_similar(*lengths[row["question_id"], row["sample_index"]])]
    result["similar_length"] = _win_rate(similar, seed) if similar else None
    result["longer_wins"] = _longer_wins(judged, lengths)
    return result


def _win_rate(rows: Sequence[Row], seed: int) -> dict[str, float | int]:
    verdicts, questions = [row["verdict"] for row in rows], [row["question_id"] for row in rows]
    return statistics.win_rate(verdicts, questions, seed=seed).metrics()


def _is_similar(one: int, other: int) -> bool:
    return max(one, other) <= (1 + SIMILAR_LENGTH) * min(one, other)


def _longer_wins(rows: Sequence[Row], lengths: Mapping[tuple[str, int], tuple[int, int]]) -> float | None:
    won = []
    for row in rows:
        of_a, of_b = lengths[row["question_id"], row["sample_index"]]
        if row["verdict"] != "tie" and of_a != of_b:
            won.append((row["verdict"] == "a") == (of_a > of_b))
    return round(fmean(won), 6) if won else None
