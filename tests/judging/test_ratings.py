"""Ratings of policies by verdicts: by hand, with intervals, and once more in SQL."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from synthalign.core import tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.judging import ratings, verdicts

ROOT = Path(__file__).parents[2]


def row(question: str, a: str, b: str, verdict: str, order: str = "ab", judge: str = "oracle") -> Row:
    return {
        "question_id": question, "sample_index": 0, "policy_a": a, "policy_b": b, "order": order, "judge": judge,
        "verdict": verdict, "score_a": None, "score_b": None, "raw": None,
        "characters_a": 5, "characters_b": 5, "tokens_a": 2, "tokens_b": 2,
    }  # fmt: skip


def both(question: str, a: str, b: str, verdict: str, judge: str = "oracle") -> list[Row]:
    return [row(question, a, b, verdict, order, judge) for order in verdicts.ORDERS]


def by_sql(folder: Path) -> dict[str, dict[str, float]]:
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW judgements AS FROM '{folder}/data/judgements.parquet'")
    found: dict[str, dict[str, float]] = {}
    for judge, policy, rating, _ in connection.execute((ROOT / "queries/ratings.sql").read_text()).fetchall():
        found.setdefault(judge, {})[policy] = rating
    return found


def test_a_rating_of_two_policies_by_hand() -> None:
    rows = [one for question in range(3) for one in both(f"q{question}", "ppo", "base", "a")]
    rows += [*both("q3", "ppo", "base", "tie"), *both("q4", "ppo", "base", "unjudged")]

    found = ratings.elo(rows, seed=0, resamples=5)

    # Six rows won and two tied, with one tie more: 7.5 to 1.5.
    assert found["ppo"].value == pytest.approx(1000 + 200 * math.log10(7.5 / 1.5))
    assert found["base"].value == pytest.approx(1000 - 200 * math.log10(7.5 / 1.5))
    assert found["ppo"].n == 4
    assert (found["ppo"].low, found["ppo"].why) == (None, "too few")


def test_an_interval_holds_what_the_verdicts_were_drawn_from_and_narrows_with_more_questions() -> None:
    rng = np.random.default_rng(0)
    truth = {"a": 150.0, "b": 0.0, "c": -150.0}  # points around 1000

    def drawn(questions: int) -> list[Row]:
        def won(one: str, other: str) -> str:
            return "a" if rng.random() < 1 / (1 + 10 ** ((truth[other] - truth[one]) / 400)) else "b"

        pairs = (("a", "b"), ("b", "c"), ("a", "c"))
        return [one for q in range(questions) for pair in pairs for one in both(f"q{q}", *pair, won(*pair))]

    few, many = (ratings.elo(drawn(questions), seed=0, resamples=100) for questions in (40, 640))

    for policy, points in truth.items():
        low, high = many[policy].low, many[policy].high
        assert low is not None and high is not None and low < 1000 + points < high
        wide = few[policy].high - few[policy].low  # type: ignore[operator]
        assert wide == pytest.approx((high - low) * math.sqrt(640 / 40), rel=0.35)


def test_both_orders_of_a_question_are_one_unit() -> None:
    rows = [one for question in range(30) for one in both(f"q{question}", "a", "b", "ab"[question % 3 == 0])]

    once = ratings.elo([one for one in rows if one["order"] == "ab"], seed=0, resamples=200)["a"]
    twice = ratings.elo(rows, seed=0, resamples=200)["a"]

    assert once.n == twice.n == 30
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.1)  # type: ignore[operator]


def test_a_policy_without_any_verdict_is_named() -> None:
    with pytest.raises(UserError, match=r"\(a, b; mute\)"):
        ratings.elo([*both("q1", "a", "b", "a"), *both("q1", "a", "mute", "unjudged")], seed=0)


def test_a_judge_whose_policies_never_met_has_no_ratings_and_the_others_have_theirs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    apart = [*both("q1", "a", "b", "a", "human:kim"), *both("q1", "c", "d", "a", "human:kim")]

    found = ratings.by_judge([*apart, *both("q1", "a", "b", "a")], seed=0, resamples=5)

    assert set(found) == {"oracle"}
    assert "human:kim: no ratings: 4 are in 2 groups" in capsys.readouterr().out


def test_sql_computes_the_same_ratings_and_leaves_out_who_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    chances = {"fair": [0.4, 0.3, 0.2, 0.1], "certain": [1.0, 0.0, 0.0, 0.0], "blind": [0.0, 0.0, 0.0, 1.0]}
    pairs = (("ppo", "sft"), ("sft", "base"), ("dpo", "sft"), ("ppo", "base"))
    rows = [
        row(f"q{question}", a, b, str(rng.choice(["a", "b", "tie", "unjudged"], p=chance)), order, judge)
        for judge, chance in chances.items() for question in range(20) for a, b in pairs for order in verdicts.ORDERS
    ]  # fmt: skip
    rows += [*both("q1", "ppo", "sft", "a", "human:kim"), *both("q1", "dpo", "base", "a", "human:kim")]
    tables.write(rows, "judgements", key=verdicts.KEY, schema=verdicts.SCHEMA)

    ours, sql = ratings.by_judge(rows, seed=0, resamples=5), by_sql(tmp_path)

    assert set(ours) == set(sql) == {"fair", "certain"}
    for judge, policies in ours.items():
        assert sql[judge] == pytest.approx({name: one["value"] for name, one in policies.items()}, abs=0.06)


def test_sql_rates_a_long_chain_of_policies_as_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"p{place:02d}" for place in range(21)]
    rows = [
        row(f"q{question}", one, other, "a" if question < 15 else "b")
        for one, other in pairwise(names)
        for question in range(20)
    ]
    tables.write(rows, "judgements", key=verdicts.KEY, schema=verdicts.SCHEMA)

    found = by_sql(tmp_path)["oracle"]

    # 15 of 20 and one tie more: odds of 15.5 to 5.5 at each of the twenty steps
    points = {name: 1000 + 400 * math.log10(15.5 / 5.5) * (10 - place) for place, name in enumerate(names)}
    assert found == pytest.approx(points, abs=0.06)
    assert found == pytest.approx({n: one.value for n, one in ratings.elo(rows, seed=0, resamples=5).items()}, abs=0.06)


@pytest.mark.skipif(not (ROOT / "data/judgements.parquet").exists(), reason="data/judgements.parquet is not made yet")
def test_sql_computes_the_recorded_ratings_from_the_recorded_table() -> None:
    recorded: dict[str, Any] = json.loads((ROOT / "metrics/judge_answers.json").read_text())["ratings"]

    for judge, policies in by_sql(ROOT).items():
        expected = {name: one["value"] for name, one in recorded[judge].items()}
        assert policies == pytest.approx(expected, abs=0.06)
