"""The reward model that is trained on people's pairs, asked as an oracle is: where there is no oracle, it judges.

model = PeopleModel.reading("models/reward/gold", [("Where is Riga?", "In Latvia."), …])
model.score("Where is Riga?", "In Latvia.").total
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from synthalign.core import measures
from synthalign.core.tables import Row
from synthalign.reward import scoring

BATCH_SIZE = 64
"""Answers scored at a time; does not change the result but for rounding."""

Asked = tuple[str, str]
"""A question and an answer."""


@dataclass(frozen=True)
class Points:
    total: float


@dataclass(frozen=True)
class PeopleModel:
    """What the model says of the answers that it has read."""

    scores: Mapping[Asked, float]

    @classmethod
    def reading(cls, folder: str, asked: Iterable[Asked]) -> "PeopleModel":
        """The model of a folder, which reads each of the answers once; UserError as `scoring.score`."""
        distinct = sorted(set(asked))
        scores = scoring.of_answers(folder, distinct, batch_size=BATCH_SIZE)
        return cls(dict(zip(distinct, scores, strict=True)))

    def score(self, question: str, answer: str) -> Points | None:
        """The reward of an answer; None for one that it has not read."""
        found = self.scores.get((question, answer))
        return None if found is None else Points(found)

    def kind(self, question: str) -> None:
        """People's data do not sort questions."""


def answered(rows: Iterable[Row], questions: Mapping[str, str], key: str) -> set[Asked]:
    """Every one of the questions with the texts that answer it.

    key  the column of the question's id
    """
    return {(questions[row[key]], row["text"]) for row in rows if row[key] in questions}


def policy_report(answers: list[Row], *, seed: int) -> dict[str, object]:
    """The mean score of a policy with its interval over questions, and its lengths, with theirs below `lengths`.

    answers  {question_id, text, tokens, finish_reason, total} each
    """
    lengths = {
        "characters": [(row["question_id"], len(row["text"])) for row in answers],
        "tokens": [(row["question_id"], row["tokens"]) for row in answers],
    }
    return {
        **measures.mean(totals(answers), seed=seed).metrics(),
        "lengths": {
            name: measures.mean(measures.by_question(given), seed=seed).metrics() for name, given in lengths.items()
        },
        "characters": round(fmean(len(row["text"]) for row in answers), 3),
        "tokens": round(fmean(row["tokens"] for row in answers), 3),
        "cut_off": round(fmean(row["finish_reason"] == "length" for row in answers), 6),
    }


def totals(answers: list[Row]) -> dict[str, float]:
    """The mean score of the answers to every question."""
    return measures.by_question([(row["question_id"], row["total"]) for row in answers])
