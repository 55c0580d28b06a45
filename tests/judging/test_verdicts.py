"""Judges behind one call, and the rows that they leave."""

from typing import Any

import pytest

from synthalign.core.errors import UserError
from synthalign.judging.verdicts import (
    KEY,
    SCHEMA,
    Answer,
    Duel,
    Opinion,
    Shown,
    by_score,
    duels,
    judgements,
    preferred,
)


def duel(question: str = "q", a: str = "good", b: str = "bad", sample: int = 0) -> Duel:
    return Duel("ppo", "base", f"{question}?", Answer(question, sample, a, 2), Answer(question, sample, b, 3))


def test_the_higher_score_is_preferred_equal_ones_tie_and_a_missing_one_is_no_tie() -> None:
    assert preferred(2.0, 1.0) == "first"
    assert preferred(-1.0, 0.0) == "second"
    assert preferred(0.5, 0.5) == "tie"
    assert preferred(None, 1.0) == preferred(1.0, None) == preferred(None, None) == "unjudged"


def test_a_judge_reads_both_orders_and_its_rows_speak_of_the_same_policies() -> None:
    seen: list[Shown] = []

    def judge(shown: Any) -> list[Opinion]:
        seen.extend(shown)
        return [Opinion("first", 9.0, 4.0, "why"), Opinion("second", 3.0, 7.0, "why")]

    rows = judgements([duel()], "somebody", judge)

    assert seen == [Shown("q?", "good", "bad"), Shown("q?", "bad", "good")]
    # first in the order ab and second in the order ba are both policy_a
    assert [(row["order"], row["verdict"], row["score_a"], row["score_b"]) for row in rows] == [
        ("ab", "a", 9.0, 4.0),
        ("ba", "a", 7.0, 3.0),
    ]
    assert {(row["characters_a"], row["characters_b"], row["tokens_a"], row["tokens_b"]) for row in rows} == {
        (len("good"), len("bad"), 2, 3)
    }
    assert set(rows[0]) == set(SCHEMA.names) > set(KEY)


def test_a_judge_of_places_contradicts_itself() -> None:
    rows = judgements([duel()], "somebody", lambda shown: [Opinion("first") for _ in shown])

    assert [row["verdict"] for row in rows] == ["a", "b"]


def test_ties_and_what_is_unjudged_have_no_order() -> None:
    for preference in ("tie", "unjudged"):
        rows = judgements([duel()], "somebody", lambda shown: [Opinion(preference) for _ in shown])  # noqa: B023
        assert [row["verdict"] for row in rows] == [preference] * 2


def test_a_scoring_judge_scores_every_answer_to_a_question_once() -> None:
    asked: list[tuple[str, str]] = []

    def score(answers: Any) -> list[float | None]:
        asked.extend(answers)
        return [None if text == "?" else float(len(text)) for _, text in answers]

    rows = judgements(
        [duel(a="long", b="no"), duel("r", a="no", b="?"), duel(a="no", b="no", sample=1)], "length", by_score(score)
    )

    assert asked == [("q?", "long"), ("q?", "no"), ("r?", "?"), ("r?", "no")]
    assert [row["verdict"] for row in rows] == ["a", "a", "unjudged", "unjudged", "tie", "tie"]
    assert (rows[0]["score_a"], rows[1]["score_a"]) == (4.0, 4.0)


def test_answers_are_matched_by_question_and_sample_for_every_pair() -> None:
    answers = {
        "x": [Answer("q1", 0, "a", 1), Answer("q1", 1, "b", 1)],
        "y": [Answer("q1", 1, "c", 1), Answer("q1", 0, "d", 1)],
    }

    found = duels(answers, [["x", "y"], ["y", "x"]], {"q1": "Why?"})

    assert [(one.policy_a, one.a.text, one.b.text) for one in found] == [
        ("x", "a", "d"), ("x", "b", "c"), ("y", "c", "b"), ("y", "d", "a"),
    ]  # fmt: skip
    assert {one.question for one in found} == {"Why?"}


def test_answers_to_different_questions_are_refused() -> None:
    one, both = [Answer("q1", 0, "a", 1)], [Answer("q1", 0, "a", 1), Answer("q2", 0, "a", 1)]
    with pytest.raises(UserError, match=r"1 are in one of them only, the first \('q2', 0\)"):
        duels({"x": one, "y": both}, [["x", "y"]], {"q1": "", "q2": ""})
    with pytest.raises(UserError, match="has no rows"):
        duels({"x": [], "y": []}, [["x", "y"]], {})
