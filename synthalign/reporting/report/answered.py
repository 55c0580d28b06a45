"""The questions of the browser of answers: what each policy said, and how each judge scored it."""

import hashlib
from collections.abc import Sequence

from synthalign.core import tables
from synthalign.core.tables import Row
from synthalign.reporting.report.run import Answer, Question

Key = tuple[str, str, int]
"""(policy, question_id, sample_index) of an answer."""


def scores_of(judgements: Sequence[Row]) -> dict[Key, dict[str, float]]:
    """The score of every answer by each judge that gives an answer one score, whoever it is compared with."""
    found: dict[Key, dict[str, float]] = {}
    pairwise = set()
    for row in judgements:
        for side in ("a", "b"):
            score, key = row[f"score_{side}"], (row[f"policy_{side}"], row["question_id"], row["sample_index"])
            if score is not None and found.setdefault(key, {}).setdefault(row["judge"], score) != score:
                pairwise.add(row["judge"])
    return {key: {judge: one for judge, one in given.items() if judge not in pairwise} for key, given in found.items()}


def questions_of(answers: dict[str, list[Row]], scores: dict[Key, dict[str, float]]) -> list[Question]:
    """The evaluation questions with all policies' answers, in the order of a hash of their ids."""
    asked = {row["query_id"]: row["text"] for row in tables.stream("queries") if row["split"] == "eval"}
    given: dict[str, dict[str, list[Answer]]] = {question: {policy: [] for policy in answers} for question in asked}
    for policy, rows in answers.items():
        for row in rows:
            if row["question_id"] in given:
                judged = scores.get((policy, row["question_id"], row["sample_index"]), {})
                rounded = {judge: round(score, 2) for judge, score in judged.items()}
                answer = Answer(row["text"], row["tokens"], row["finish_reason"], rounded)
                given[row["question_id"]][policy].append(answer)
    order = sorted(given, key=lambda question: hashlib.sha256(question.encode()).hexdigest())
    return [Question(question, asked[question], given[question]) for question in order]


def first_of(questions: Sequence[Question], megabytes: float) -> list[Question]:
    """As many of the questions, from the first on, as their texts and answers leave room for."""
    left, taken = megabytes * 1e6, []
    for question in questions:
        texts = [question.text, *(answer.text for given in question.answers.values() for answer in given)]
        left -= sum(len(text.encode()) for text in texts)
        if left < 0:
            break
        taken.append(question)
    return taken
