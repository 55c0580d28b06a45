"""What the rows of `judgements` add up to: win rates, what position and length have to do with them.

All figures follow from the table alone; queries/win_rates.sql computes them once more, in SQL, and a test compares.
Intervals come from a bootstrap over questions: both orders of a question, and all samples of it, are one unit.
"""

from collections.abc import Hashable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthalign.core import statistics
from synthalign.core.statistics import Interval
from synthalign.core.tables import Row
from synthalign.judging import agreement, verdicts

Floats = NDArray[np.float64]

SIMILAR_LENGTH = 0.2
"""Two answers are of similar length when the longer has at most this share more characters than the shorter."""

RIDGE = 1.0
"""Weight of slope^2 / 2 in the regression on length: what one row could say of it.  Without any, lengths that tell the
winner every time would have no finite slope."""

NEWTON_STEPS = 25
"""Six are enough where both win; where one always wins the rate is within e^-20 of 1 by then."""


def by_pair(judgements: Sequence[Row], pairs: Sequence[Sequence[str]], *, seed: int) -> dict[str, dict[str, Any]]:
    """For every pair of policies and every judge of it the summary, and how often the other judges agree with it."""
    found = {}
    for policy_a, policy_b in pairs:
        by_judge: dict[str, list[Row]] = {}
        for row in judgements:
            if (row["policy_a"], row["policy_b"]) == (policy_a, policy_b):
                by_judge.setdefault(row["judge"], []).append(row)
        agreed = agreement.shares(by_judge, seed=seed)
        found[f"{policy_a}_vs_{policy_b}"] = {
            judge: summary(rows, seed=seed)
            | {"agreement": {other: share.metrics() for other, share in agreed[judge].items()}}
            for judge, rows in by_judge.items()
        }
    return found


def summary(judgements: Sequence[Row], *, seed: int) -> dict[str, Any]:
    """What one judge's rows for one pair of policies add up to.

    win, tie, loss        shares of the judged rows, from the side of a
    win_rate              ties half, interval over questions
    unjudged              number of rows without a verdict; they count nowhere else but in the mean lengths, nor does
                          the other order of the same two answers (`verdicts.judged`)
    similar_length        the win rate where the two lengths differ by at most SIMILAR_LENGTH, None if nowhere
    length_controlled     the win rate that would be expected of equal lengths (`length_controlled`)
    longer_wins           among decided rows with different lengths, the share won by the longer, None if there are none
    position_bias         of the pairs judged in both orders, the share where the same place won both times
    consistent            of the same pairs, the share with the same verdict in both orders
    first_chosen          among decided rows, the share won by the answer shown first; .5 is fair with both orders
    characters_a, …       mean lengths
    """
    judged = verdicts.judged(judgements)
    result: dict[str, Any] = {"unjudged": sum(row["verdict"] == "unjudged" for row in judgements)}
    for column in ("characters_a", "characters_b", "tokens_a", "tokens_b"):
        result[column] = round(fmean(row[column] for row in judgements), 3)
    if not judged:
        return result
    for name, outcome in (("win", "a"), ("tie", "tie"), ("loss", "b")):
        result[name] = round(fmean(row["verdict"] == outcome for row in judged), 6)
    similar = [row for row in judged if _is_similar(row["characters_a"], row["characters_b"])]
    controlled = length_controlled(
        statistics.win_points(_column(judged, "verdict")),
        [row["characters_a"] - row["characters_b"] for row in judged],
        _column(judged, "question_id"),
        seed=seed,
    )
    longer = [
        (row["verdict"] == "a") == (row["characters_a"] > row["characters_b"])
        for row in judged
        if row["verdict"] != "tie" and row["characters_a"] != row["characters_b"]
    ]
    return result | {
        "win_rate": _win_rate(judged, seed),
        "similar_length": _win_rate(similar, seed) if similar else None,
        "length_controlled": controlled.metrics() if controlled else None,
        "longer_wins": round(fmean(longer), 6) if longer else None,
        **positions(judged, seed=seed),
    }


def _win_rate(rows: Sequence[Row], seed: int) -> dict[str, float | int]:
    return statistics.win_rate(_column(rows, "verdict"), _column(rows, "question_id"), seed=seed).metrics()


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _is_similar(one: int, other: int) -> bool:
    return max(one, other) <= (1 + SIMILAR_LENGTH) * min(one, other)


# -- position ---------------------------------------------------------------------------------------------------------


def positions(judged: Sequence[Row], *, seed: int) -> dict[str, dict[str, float | int] | None]:
    """How far verdicts go by the place in which an answer was shown (Zheng et al. 2023, section 3.3).

    A judge that always prefers the first answer has a position bias of 1 and, because both orders are asked, a win
    rate of .5.  One that sees a tie in one order and a winner in the other is neither consistent nor biased.
    """
    verdicts: dict[tuple[Hashable, ...], dict[str, str]] = {}
    for row in judged:
        verdicts.setdefault((row["question_id"], row["sample_index"]), {})[row["order"]] = row["verdict"]
    both = {unit: (found["ab"], found["ba"]) for unit, found in verdicts.items() if len(found) == 2}
    questions = [question for question, _ in both]
    decided = [row for row in judged if row["verdict"] != "tie"]
    return {
        "position_bias": _share([set(pair) == {"a", "b"} for pair in both.values()], questions, seed),
        "consistent": _share([ab == ba for ab, ba in both.values()], questions, seed),
        "first_chosen": _share(
            [(row["verdict"] == "a") == (row["order"] == "ab") for row in decided],
            _column(decided, "question_id"),
            seed,
        ),
    }


def _share(values: Sequence[bool], questions: Sequence[Hashable], seed: int) -> dict[str, float | int] | None:
    return statistics.mean_interval(values, questions, seed=seed).metrics() if questions else None


# -- length -----------------------------------------------------------------------------------------------------------


def length_controlled(
    points: ArrayLike,
    differences: ArrayLike,
    questions: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = statistics.RESAMPLES,
) -> Interval | None:
    """The win rate of a where both answers are of one length, by a logistic regression on the difference of lengths.

        P(a wins) = sigmoid(intercept + slope * tanh(d / s)),    returned is sigmoid(intercept)

    points       (N,)  1, 1/2 or 0, a tie being half a win and half a loss
    differences  (N,)  d, characters of a minus characters of b; s is their standard deviation (over N)
    questions    (N,)  what the bootstrap draws; s stays that of all rows

    The length term of AlpacaEval 2.0 (Dubois et al. 2024, section 3), fitted to one pair of policies; their term for
    how hard a question is, which needs many models, is left out.  None where all differences are equal.  Where a is
    longer, or shorter, in all but a few questions (fewer than FEWEST) equal lengths are outside of what was seen, and
    there is no interval: with x nearly constant the ridge holds the slope at 0, and what came out would be the win rate
    as it is.  Read it beside `similar_length`, which extrapolates nowhere.
    """
    difference = np.asarray(differences, float)
    spread = float(difference.std())
    if not spread:
        return None
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(question, len(index)) for question in questions])
    # Rows of one question with one difference, its two orders for instance, count as one unit with more weight.
    units, unit = np.unique(np.stack([codes, difference]), axis=1, return_inverse=True)
    rows = np.bincount(unit).astype(float)
    wins = np.bincount(unit, weights=np.asarray(points, float)).astype(float)
    of_unit, x = units[0].astype(int), np.tanh(units[1] / spread)
    sides = min(len(set(of_unit[x <= 0])), len(set(of_unit[x >= 0])))
    rng = np.random.default_rng(seed)
    rates = [_rate_at_zero(x, wins, rows, np.ones((1, len(x))))]
    if sides < statistics.FEWEST:
        return Interval(float(rates[0][0]), None, None, len(index), statistics.TOO_FEW)
    for start in range(0, resamples, 200):
        draws = rng.integers(len(index), size=(min(200, resamples - start), len(index)))
        counts = np.stack([np.bincount(draw, minlength=len(index)) for draw in draws]).astype(float)
        rates.append(_rate_at_zero(x, wins, rows, counts[:, of_unit]))
    value, draws_of_rate = float(rates[0][0]), np.concatenate(rates[1:])
    return statistics.percentile_interval(value, draws_of_rate, len(index))


def _rate_at_zero(x: Floats, wins: Floats, rows: Floats, weights: Floats) -> Floats:
    """sigmoid(intercept) (R,) of R weighted logistic regressions by Newton's method, slopes held down by RIDGE.

    x (U,) of each unit, wins (U,) of its rows (U,), weights (R, U)
    """
    intercept, slope, weighted = np.zeros(len(weights)), np.zeros(len(weights)), weights * rows
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(intercept[:, None] + slope[:, None] * x)))
        residual, curvature = weights * (wins - rows * p), weighted * p * (1 - p)
        g0, g1 = residual.sum(axis=1), residual @ x - RIDGE * slope
        h00, h01, h11 = curvature.sum(axis=1), curvature @ x, curvature @ x**2 + RIDGE
        determinant = h00 * h11 - h01**2
        step = np.stack([g0 * h11 - g1 * h01, g1 * h00 - g0 * h01]) / determinant
        intercept, slope = intercept + step[0], slope + step[1]
        if np.abs(step).max() < 1e-12:
            break
    return 1 / (1 + np.exp(-intercept))
