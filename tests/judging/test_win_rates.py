"""What judgements add up to: worked out by hand, and once more in SQL."""

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from synthalign.core import tables
from synthalign.core.statistics import ALL_EQUAL, Interval
from synthalign.core.tables import Row
from synthalign.judging import agreement, verdicts
from synthalign.judging.win_rates import RIDGE, length_controlled, summary

ROOT = Path(__file__).parents[2]


def row(question: str, order: str, verdict: str, lengths: tuple[int, int] = (5, 5), **changes: Any) -> Row:
    given = {"question_id": question, "sample_index": 0, "policy_a": "ppo", "policy_b": "base", "judge": "oracle"}
    given |= {"order": order, "verdict": verdict, "score_a": None, "score_b": None, "raw": None}
    sizes = {"characters_a": lengths[0], "characters_b": lengths[1], "tokens_a": lengths[0], "tokens_b": 1}
    return given | sizes | changes


def both(question: str, ab: str, ba: str | None = None, lengths: tuple[int, int] = (5, 5), **changes: Any) -> list[Row]:
    return [row(question, "ab", ab, lengths, **changes), row(question, "ba", ba or ab, lengths, **changes)]


def test_eighty_questions_in_both_orders_are_160_judgements_and_80_samples() -> None:
    rows = [one for question in range(80) for one in both(f"q{question}", "a")]

    assert len(rows) == 2 * 80
    assert summary(rows, seed=0)["win_rate"] == {
        "value": 1.0, "low": None, "high": None, "n": 80, "why": "all equal"
    }  # fmt: skip


def test_answers_that_one_order_did_not_judge_count_nowhere_for_a_place_may_have_won() -> None:
    first = [row(f"q{place}", "ab", "a") for place in range(100)]  # a judge that always says the first
    second = [row(f"q{place}", "ba", "b" if place < 50 else "unjudged") for place in range(100)]

    result = summary([*first, *second], seed=0)

    assert (result["win_rate"]["value"], result["win_rate"]["n"]) == (0.5, 50)
    assert result["unjudged"] == 50
    assert result["position_bias"]["value"] == 1.0


def test_a_summary_by_hand() -> None:
    rows = [
        *both("q1", "a", lengths=(30, 20)),
        *both("q2", "b", lengths=(10, 11)),  # lengths are similar
        *both("q3", "tie", lengths=(50, 20)),
        *both("q4", "unjudged", lengths=(10, 9)),
    ]

    result = summary(rows, seed=0)

    assert result["unjudged"] == 2
    assert (result["win"], result["tie"], result["loss"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-6)
    assert result["win_rate"]["value"] == (1 + 0 + 0.5) / 3
    assert result["win_rate"]["n"] == 3
    assert result["similar_length"] == {"value": 0.0, "low": None, "high": None, "n": 1, "why": "too few"}  # q2
    assert result["longer_wins"] == 1.0  # in q1 and in q2
    assert (result["characters_a"], result["characters_b"]) == ((30 + 10 + 50 + 10) / 4, (20 + 11 + 20 + 9) / 4)
    assert (result["tokens_a"], result["tokens_b"]) == ((30 + 10 + 50 + 10) / 4, 1)


def test_lengths_are_similar_up_to_a_fifth() -> None:
    rows = [*both("q1", "a", lengths=(12, 10)), *both("q2", "a", lengths=(10, 13))]

    assert summary(rows, seed=0)["similar_length"]["n"] == 1


def test_where_nothing_could_be_judged_there_is_no_win_rate() -> None:
    result = summary(both("q1", "unjudged"), seed=0)

    assert result["unjudged"] == 2
    assert "win_rate" not in result


# ------------------------------------------------------------------------------------------------ position


def test_a_judge_that_always_takes_the_first_has_position_bias_1_and_win_rate_one_half() -> None:
    result = summary([one for question in "1234" for one in both(question, "a", "b")], seed=0)

    assert (result["position_bias"]["value"], result["position_bias"]["n"]) == (1.0, 4)
    assert result["first_chosen"]["value"] == 1.0
    assert result["consistent"]["value"] == 0.0
    assert (result["win_rate"]["value"], result["win_rate"]["n"]) == (0.5, 4)  # one sample a question, not two


def test_position_bias_counts_pairs_judged_in_both_orders() -> None:
    rows = [
        *both("q1", "a", "b"),  # the first both times
        *both("q2", "b", "a"),  # the second both times
        *both("q3", "a", "a"),
        *both("q4", "a", "tie"),  # neither biased nor consistent
        *both("q5", "a", "unjudged"),  # says nothing of position, nor of anything else
    ]

    result = summary(rows, seed=0)

    assert (result["position_bias"]["value"], result["position_bias"]["n"]) == (2 / 4, 4)
    assert result["consistent"]["value"] == 1 / 4
    # first: q1 twice, q3 in ab, q4 in ab; second: q2 twice, q3 in ba
    assert result["first_chosen"]["value"] == pytest.approx(4 / 7)


def test_one_order_alone_says_nothing_of_position() -> None:
    result = summary([row("q1", "ab", "a"), row("q2", "ba", "tie")], seed=0)

    assert (result["position_bias"], result["consistent"]) == (None, None)
    assert result["first_chosen"]["value"] == 1.0


# ------------------------------------------------------------------------------------------------ length


def draw(n: int, intercept: float, slope: float, seed: int = 0) -> tuple[Any, Any, list[int]]:
    rng = np.random.default_rng(seed)
    difference = rng.normal(20, 30, n).round()
    x = np.tanh(difference / difference.std())
    return (rng.random(n) < 1 / (1 + np.exp(-(intercept + slope * x)))).astype(float), difference, list(range(n))


def test_a_win_rate_that_is_length_alone_is_one_half_at_equal_lengths() -> None:
    points, difference, questions = draw(4000, intercept=0.0, slope=2.0)

    found = length_controlled(points, difference, questions, seed=0, resamples=200)

    assert points.mean() > 0.6  # the longer wins, and a is mostly longer
    assert found is not None and found.low < 0.5 < found.high and found.high - found.low < 0.1


def test_a_win_rate_without_length_stays_as_it_is() -> None:
    points, difference, questions = draw(4000, intercept=1.0, slope=0.0)

    found = length_controlled(points, difference, questions, seed=0, resamples=200)

    assert found is not None and found.low < 1 / (1 + math.exp(-1)) < found.high


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_where_the_penalised_likelihood_is_flat(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, difference, questions = draw(60, *rng.normal(0, 2, 2), seed=seed)
    found = length_controlled(points, difference, questions, seed=0, resamples=1)
    assert found is not None
    intercept, x = math.log(found.value / (1 - found.value)), np.tanh(difference / difference.std())

    # of the slope we know only that it is the root of its own equation, which falls in it
    low, high = -50.0, 50.0
    for _ in range(100):
        slope = (low + high) / 2
        gradient = ((points - 1 / (1 + np.exp(-(intercept + slope * x)))) * x).sum() - RIDGE * slope
        low, high = (slope, high) if gradient > 0 else (low, slope)

    assert (points - 1 / (1 + np.exp(-(intercept + slope * x)))).sum() == pytest.approx(0, abs=1e-6)


def test_one_that_always_wins_has_a_rate_of_1_and_lengths_that_tell_the_winner_a_finite_fit() -> None:
    difference, questions = [3, 9, -4, 30, 8, -1, -2, -9, -5, -7, 4, 12], list("abcdefghijkl")

    always = length_controlled([1] * 12, difference, questions, seed=0)
    told = length_controlled([float(one > 0) for one in difference], difference, questions, seed=0)

    assert always is not None and always.value == pytest.approx(1.0, abs=1e-8)
    assert told is not None and 0 < told.value < 1 and math.isfinite(told.low + told.high)


def test_equal_differences_control_for_nothing() -> None:
    assert length_controlled([1, 0, 1], [4, 4, 4], list("abc"), seed=0) is None


def test_where_one_is_nearly_always_the_longer_equal_lengths_have_a_figure_without_an_interval() -> None:
    """A judge that goes by length alone; the win rate of .8 as it is would else come back, with a narrow interval."""
    rng = np.random.default_rng(0)
    difference = rng.integers(30, 70, 300)
    points = (rng.random(300) < 1 / (1 + np.exp(-0.03 * difference))).astype(float)

    never = length_controlled(points, difference, range(300), seed=0, resamples=50)
    five, six = (
        length_controlled([*points, *[0.0] * few], [*difference, *[-20] * few], range(300 + few), seed=0, resamples=50)
        for few in (5, 6)
    )

    assert never is not None and never.value > 0.7 and (never.low, never.why) == (None, "too few")
    assert five is not None and five.why == "too few"
    level = length_controlled([*points, *[0.0] * 6], [*difference, *[0] * 6], range(306), seed=0, resamples=50)
    assert level is not None and level.low is not None  # equal lengths are no extrapolation
    assert six is not None and six.low is not None and six.low < 0.5  # what was won by the shorter is seen now


def test_rows_of_one_question_are_drawn_together() -> None:
    points, difference, questions = draw(300, 0.5, 1.0)
    once = length_controlled(points, difference, questions, seed=0)
    twice = length_controlled(np.repeat(points, 2), np.repeat(difference, 2), np.repeat(questions, 2).tolist(), seed=0)

    assert once is not None and twice is not None
    assert twice.n == once.n == 300
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.03)  # up to the ridge's weight


# ------------------------------------------------------------------------------------------------ agreement


def test_judges_agree_on_what_both_judged_with_both_orders_put_together() -> None:
    one = [*both("q1", "a"), *both("q2", "a", "tie"), *both("q3", "a", "b"), *both("q4", "b"), *both("q5", "a")]
    other = [row("q1", "ab", "a"), row("q2", "ba", "a"), row("q3", "ab", "tie"), row("q4", "ab", "a")]
    other += both("q5", "unjudged") + [row("q6", "ab", "a")]

    shares = agreement.shares({"one": one, "other": other, "none": both("q7", "a")}, seed=0)

    # q1 a and a, q2 a (with a tie) and a, q3 contradicts itself and a tie, q4 b and a
    assert (shares["one"]["other"].value, shares["one"]["other"].n) == (3 / 4, 4)
    assert shares["other"] == {"one": shares["one"]["other"]}
    assert shares["none"] == {}


def test_alpha_by_hand() -> None:
    # Four units, two judges, two values: 3 agree, 1 does not.  Coincidences: D_o = 2 of 8 values differ in a pair;
    # 5 of the 8 values are 1 and 3 are 0, so D_e = 2 * 5 * 3 / (8 * 7).  alpha = 1 - D_o / D_e.
    one = {(question,): value for question, value in zip("abcd", (1.0, 1.0, 0.0, 1.0), strict=True)}
    other = {(question,): value for question, value in zip("abcd", (1.0, 1.0, 0.0, 0.0), strict=True)}

    found = agreement.alpha([one, other, {("e",): 1.0}], seed=0)

    assert found is not None
    assert found.value == pytest.approx(1 - (2 / 8) / (2 * 5 * 3 / (8 * 7)))
    assert found.n == 4  # e has one judge


def test_alpha_is_1_for_judges_of_one_mind_and_nothing_where_nobody_shares_a_unit_or_all_say_the_same() -> None:
    one = {("a",): 1.0, ("b",): 0.0, ("c",): 0.5, ("d",): 1.0, ("e",): 0.0, ("f",): 0.5}

    full = agreement.alpha([one, dict(one)], seed=0)
    assert full == Interval(1.0, None, None, 6, ALL_EQUAL)
    assert agreement.alpha([one, {("g",): 1.0}], seed=0) is None
    assert agreement.alpha([{("a",): 1.0}, {("a",): 1.0}], seed=0) is None
    assert agreement.alpha([], seed=0) is None


def test_alpha_is_near_0_for_judges_that_toss_coins() -> None:
    rng = np.random.default_rng(0)
    tosses = [{(question,): float(rng.integers(3)) for question in range(2000)} for _ in range(2)]

    found = agreement.alpha(tosses, seed=0, resamples=100)

    assert found is not None and found.low < 0 < found.high and found.high - found.low < 0.2


# ------------------------------------------------------------------------------------------------ SQL


def figures_by_sql(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW judgements AS FROM '{folder}/data/judgements.parquet'")
    result = connection.execute((ROOT / "queries/win_rates.sql").read_text())
    names = [column[0] for column in result.description]
    found = [dict(zip(names, line, strict=True)) for line in result.fetchall()]
    return {(f"{one['policy_a']}_vs_{one['policy_b']}", one["judge"]): one for one in found}


def assert_sql_says_the_same(metrics: dict[str, Any], folder: Path) -> None:
    """Every figure of the metrics file by SQL from the table alone; intervals are left to the bootstrap."""
    sql = figures_by_sql(folder)
    assert set(sql) == {(pair, judge) for pair, judges in metrics.items() for judge in judges}
    for pair, judges in metrics.items():
        for judge, figures in judges.items():
            for name, figure in figures.items():
                found = sql[pair, judge][name]
                if name == "agreement":
                    assert (found or {}) == pytest.approx(
                        {other: share["value"] for other, share in figure.items()}, abs=1e-6
                    )
                    continue
                value = figure["value"] if isinstance(figure, dict) else figure
                digits = 5e-4 if name.startswith(("characters", "tokens")) else 1e-6
                assert found == (None if value is None else pytest.approx(value, abs=digits)), (pair, judge, name)
                if name == "win_rate":
                    assert sql[pair, judge]["n"] == figure["n"]


def test_sql_computes_every_figure_of_judges_with_every_weakness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    chances = {
        "fair": [0.4, 0.3, 0.2, 0.1], "blind": [0.0, 0.0, 0.0, 1.0], "certain": [1.0, 0.0, 0.0, 0.0],
        "human:kim": [0.5, 0.2, 0.3, 0.0], "even": [0.5, 0.5, 0.0, 0.0],
    }  # fmt: skip
    rows = [
        row(f"q{question}", order, str(rng.choice(["a", "b", "tie", "unjudged"], p=chances[judge])), lengths)
        | {"judge": judge, "sample_index": sample, "policy_b": policy}
        for question in range(40)
        for sample in range(2)
        for policy in ("base", "sft")
        for lengths in [tuple(map(int, rng.integers(5, 60, 2)))]
        for judge in chances
        for order in (["ab", "ba"] if judge != "human:kim" else [str(rng.choice(["ab", "ba"]))])
    ]
    rows = [one | ({"characters_a": 7, "characters_b": 3} if one["judge"] == "even" else {}) for one in rows]
    tables.write(rows, "judgements", key=verdicts.KEY, schema=verdicts.SCHEMA)
    metrics: dict[str, Any] = {}
    for policy in ("base", "sft"):
        by_judge = {name: [r for r in rows if (r["judge"], r["policy_b"]) == (name, policy)] for name in chances}
        agreed = agreement.shares(by_judge, seed=0)
        metrics[f"ppo_vs_{policy}"] = {
            judge: summary(given, seed=0)
            | {"agreement": {other: one.metrics() for other, one in agreed[judge].items()}}
            for judge, given in by_judge.items()
        }

    assert_sql_says_the_same(metrics, tmp_path)
    assert metrics["ppo_vs_sft"]["blind"]["unjudged"] == 40 * 2 * 2
    assert metrics["ppo_vs_sft"]["even"]["length_controlled"] is None


@pytest.mark.skipif(not (ROOT / "data/judgements.parquet").exists(), reason="data/judgements.parquet is not made yet")
def test_sql_computes_the_recorded_metrics_from_the_recorded_table() -> None:
    recorded = json.loads((ROOT / "metrics/judge_answers.json").read_text())
    assert_sql_says_the_same({pair: figures for pair, figures in recorded.items() if "_vs_" in pair}, ROOT)


def test_a_rating_in_both_orders_is_its_mean_whichever_comes_first():
    unit = {"question_id": "q", "sample_index": 0, "policy_a": "ppo", "policy_b": "base"}
    rows = [unit | {"score_a": score} for score in (7, 2, None)]

    assert agreement.unit_ratings(rows) == agreement.unit_ratings(rows[::-1]) == {("q", 0, "ppo", "base"): 4.5}
