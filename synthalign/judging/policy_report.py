"""What the oracle says of a policy's answers to the evaluation questions: points, their parts, kinds and lengths."""

from statistics import fmean

from synthalign.core import measures
from synthalign.core.tables import Row
from synthalign.judging import verdicts
from synthalign.judging.verdicts import Oracle

TRAITS = ("helpful", "harmless", "honest")
"""The parts that the oracle's points are made of."""


def judged(rows: list[Row], oracle: Oracle) -> list[Row]:
    """The answers to questions that the oracle knows, with their points and the kind of the question."""
    questions = verdicts.eval_questions()
    found = []
    for row in rows:
        question = questions.get(row["question_id"], "")
        scores = oracle.score(question, row["text"])
        if scores is not None:
            points = {trait: getattr(scores, trait) for trait in TRAITS}
            found.append(row | points | {"total": scores.total, "kind": oracle.kind(question)})
    return found


def points_of(answers: list[Row], name: str) -> dict[str, float]:
    """The mean points of the answers to every question, in all or in one trait."""
    return measures.by_question([(row["question_id"], row[name]) for row in answers])


def report(answers: list[Row], seed: int) -> dict[str, object]:
    """The mean points of a policy with its interval, their parts, the points by kind of question, and its lengths."""
    totals = points_of(answers, "total")
    kinds = sorted({row["kind"] for row in answers})
    return {
        **measures.mean(totals, seed=seed).metrics(),
        **{trait: round(fmean(row[trait] for row in answers), 6) for trait in TRAITS},
        "parts": {trait: measures.mean(points_of(answers, trait), seed=seed).metrics() for trait in TRAITS},
        "by_kind": {k: round(fmean(row["total"] for row in answers if row["kind"] == k), 6) for k in kinds},
        "characters": round(fmean(len(row["text"]) for row in answers), 3),
        "tokens": round(fmean(row["tokens"] for row in answers), 3),
        "cut_off": round(fmean(row["finish_reason"] == "length" for row in answers), 6),
    }
