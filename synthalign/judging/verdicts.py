"""Which of two policies answered better: every judge reads every pair of answers in both orders.

A judge is a function. It is shown pairs of answers and says of each which one it prefers:

    judge([Shown("Where is Riga?", first="In Latvia.", second="No idea.")])  ->  [Opinion("first", 8.0, 2.0)]

An oracle and a reward model score every answer by itself (`by_score`); a language model reads the two
(`llm_judge.opinions`).  What they say becomes rows of the table `judgements`, which speak of policies, not of places.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row

Order = Literal["ab", "ba"]
ORDERS: tuple[Order, Order] = ("ab", "ba")
"""Whose answer is shown first."""

Preference = Literal["first", "second", "tie", "unjudged"]
"""Unjudged: the judge said nothing that can be read, or does not know the question.  It is never a tie."""

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
        ("characters_a", pa.int64()),
        ("characters_b", pa.int64()),
        ("tokens_a", pa.int64()),
        ("tokens_b", pa.int64()),
    ]
)
"""order says whose answer came first (ab, ba); verdict (a, b, tie, unjudged), score_a and score_b always speak of
policy_a and policy_b.  judge is oracle, reward, people, llm:<model> or human:<id>.  raw is what a judge that writes has
written, or what a person chose as it was shown, NULL for one that scores."""

KEY = tables.KEYS["judgements"]


class Oracle(Protocol):
    """What is asked of world.oracle.Oracle here."""

    def score(self, question: str, answer: str) -> Any: ...

    def kind(self, question: str) -> Any: ...


@dataclass(frozen=True)
class Answer:
    """One answer of a policy, with the length that its win is to be read beside."""

    question_id: str
    sample_index: int
    text: str
    tokens: int


@dataclass(frozen=True)
class Shown:
    """A question and two answers in the order in which a judge reads them."""

    question: str
    first: str
    second: str


@dataclass(frozen=True)
class Opinion:
    """What a judge says of two answers as they were shown."""

    preference: Preference
    score_first: float | None = None
    score_second: float | None = None
    raw: str | None = None


Judge = Callable[[Sequence[Shown]], Sequence[Opinion]]


@dataclass(frozen=True)
class Duel:
    """The answers of two policies to one question."""

    policy_a: str
    policy_b: str
    question: str
    a: Answer
    b: Answer

    def shown(self, order: Order) -> Shown:
        first, second = (self.a, self.b) if order == "ab" else (self.b, self.a)
        return Shown(self.question, first.text, second.text)

    def judgement(self, order: Order, judge: str, opinion: Opinion) -> Row:
        """The row that says of the policies what the judge said of first and second."""
        scores = opinion.score_first, opinion.score_second
        score_a, score_b = scores if order == "ab" else scores[::-1]
        place_a, place_b = ("first", "second") if order == "ab" else ("second", "first")
        return {
            "question_id": self.a.question_id,
            "sample_index": self.a.sample_index,
            "policy_a": self.policy_a,
            "policy_b": self.policy_b,
            "order": order,
            "judge": judge,
            "verdict": {place_a: "a", place_b: "b"}.get(opinion.preference, opinion.preference),
            "score_a": score_a,
            "score_b": score_b,
            "raw": opinion.raw,
            "characters_a": len(self.a.text),
            "characters_b": len(self.b.text),
            "tokens_a": self.a.tokens,
            "tokens_b": self.b.tokens,
        }


def eval_questions() -> dict[str, str]:
    """The evaluation questions by id."""
    return {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}


def answers_of(policy: str, questions: Mapping[str, str]) -> list[Answer]:
    """The policy's answers to these questions."""
    return [
        Answer(row["question_id"], row["sample_index"], row["text"], row["tokens"])
        for row in tables.rows(f"answers/{policy}")
        if row["question_id"] in questions
    ]


def judged(judgements: Sequence[Row]) -> list[Row]:
    """The rows with a verdict, without those of two answers whose other order has none.

    A judge that prefers the first place is fair with both orders alone: of one order its wins are the place's.
    """
    half = {_of_answers(row) for row in judgements if row["verdict"] == "unjudged"}
    return [row for row in judgements if _of_answers(row) not in half]


def _of_answers(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ("judge", "policy_a", "policy_b", "question_id", "sample_index"))


def duels(
    answers: Mapping[str, Sequence[Answer]], pairs: Sequence[Sequence[str]], questions: Mapping[str, str]
) -> list[Duel]:
    """The two policies' answers to the same question with the same sample index, for all pairs [policy_a, policy_b].

    UserError when one of them lacks a question that the other has: a win rate over what both happen to share would
    hide it.
    """
    return [
        Duel(policy_a, policy_b, questions[a.question_id], a, b)
        for policy_a, policy_b in pairs
        for a, b in _matched(answers[policy_a], answers[policy_b], policy_a, policy_b)
    ]


def _matched(a: Sequence[Answer], b: Sequence[Answer], policy_a: str, policy_b: str) -> list[tuple[Answer, Answer]]:
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


def judgements(duels: Sequence[Duel], name: str, judge: Judge) -> list[Row]:
    """What the judge of this name says of every duel, in both orders: two rows each."""
    places: list[tuple[Duel, Order]] = [(duel, order) for duel in duels for order in ORDERS]
    opinions = judge([duel.shown(order) for duel, order in places])
    return [duel.judgement(order, name, opinion) for (duel, order), opinion in zip(places, opinions, strict=True)]


def preferred(score_first: float | None, score_second: float | None) -> Preference:
    """The better one by score; equal scores tie, and a missing score leaves the pair unjudged."""
    if score_first is None or score_second is None:
        return "unjudged"
    return "tie" if score_first == score_second else "first" if score_first > score_second else "second"


def by_score(score: Callable[[Sequence[tuple[str, str]]], Sequence[float | None]]) -> Judge:
    """The judge that scores every (question, answer) by itself; equal ones are scored once, whoever gave them.

    Such a judge has no favourite place.  Its two orders are recorded all the same, so that every judge's rows are
    counted in one way.
    """

    def judge(shown: Sequence[Shown]) -> list[Opinion]:
        keys = sorted({(pair.question, text) for pair in shown for text in (pair.first, pair.second)})
        scores = dict(zip(keys, score(keys), strict=True))
        found = [(scores[pair.question, pair.first], scores[pair.question, pair.second]) for pair in shown]
        return [Opinion(preferred(first, second), first, second) for first, second in found]

    return judge


def by_oracle(oracle: Oracle) -> Judge:
    """The judge that goes by the oracle's total; a question that the oracle does not know stays unjudged."""

    def totals(answers: Sequence[tuple[str, str]]) -> list[float | None]:
        found = [oracle.score(question, text) for question, text in answers]
        return [None if scores is None else scores.total for scores in found]

    return by_score(totals)
