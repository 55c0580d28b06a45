"""How far judges agree: the share of equal verdicts, and Krippendorff's alpha, which takes chance off it."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from statistics import fmean

import krippendorff
import numpy as np
from numpy.typing import NDArray

from synthalign.core import statistics
from synthalign.core.statistics import Interval
from synthalign.core.tables import Row
from synthalign.judging import verdicts

Unit = tuple[Hashable, ...]

Points = Mapping[Unit, float]
"""What one judge says of every unit, a question's sample under two policies: 1, 1/2 or 0 for policy_a, or a rating."""

VALUES = {"a": 1.0, "tie": 0.5, "b": 0.0}


def unit_points(judgements: Sequence[Row]) -> dict[Unit, float]:
    """What one judge makes of each (question, sample, policy_a, policy_b), its orders put together: 1, 1/2 or 0 for a.

    Two orders that contradict each other are a tie, and a tie with a win is a win.
    """
    found: dict[Unit, list[float]] = {}
    for row in verdicts.judged(judgements):
        unit = (row["question_id"], row["sample_index"], row["policy_a"], row["policy_b"])
        found.setdefault(unit, []).append(VALUES[row["verdict"]])
    return {unit: (np.sign(fmean(given) - 0.5) + 1) / 2 for unit, given in found.items()}


def shares(by_judge: Mapping[str, Sequence[Row]], *, seed: int) -> dict[str, dict[str, Interval]]:
    """For every judge and every other one, the share of what both judged in which they come to the same verdict."""
    points = {judge: unit_points(rows) for judge, rows in by_judge.items()}
    found: dict[str, dict[str, Interval]] = {judge: {} for judge in points}
    for one in points:
        for other in points:
            shared = sorted(set(points[one]) & set(points[other]))
            if one != other and shared:
                same = [points[one][unit] == points[other][unit] for unit in shared]
                found[one][other] = statistics.mean_interval(same, [unit[0] for unit in shared], seed=seed)
    return found


def alpha(judges: Sequence[Points], *, seed: int, resamples: int = 500) -> Interval | None:
    """Krippendorff's alpha, ordinal, over the units that at least two of the judges judged.

    1 is full agreement, 0 what chance alone would give.  The interval comes from a bootstrap over questions, the
    first part of a unit; None where no unit has two judges or all of them say one and the same thing.
    """
    units = sorted({unit for points in judges for unit in points})
    values = sorted({value for points in judges for value in points.values()})
    counts = np.array([[sum(one.get(unit) == value for one in judges) for value in values] for unit in units])
    shared = counts.sum(axis=1) >= 2 if units else np.array([], bool)
    if not shared.any() or len(values) < 2:
        return None
    counts = counts[shared]
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(unit[0], len(index)) for unit, kept in zip(units, shared, strict=True) if kept])

    def measured(repeats: NDArray[np.int64]) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw in which everybody says the same has none
            drawn = np.repeat(counts, repeats[codes], axis=0)
            return float(krippendorff.alpha(value_counts=drawn, value_domain=values, level_of_measurement="ordinal"))

    value = measured(np.ones(len(index), np.int64))
    rng = np.random.default_rng(seed)
    draws = [np.bincount(rng.integers(len(index), size=len(index)), minlength=len(index)) for _ in range(resamples)]
    found = np.array([measured(draw) for draw in draws])
    if not np.isfinite(value):
        return None
    return statistics.percentile_interval(value, found[np.isfinite(found)], len(index))


def unit_ratings(rows: Sequence[Row]) -> Points:
    """What a person gave the first answer of each unit that was rated; of both orders the mean, as in `unit_points`."""
    given: dict[Unit, list[float]] = {}
    for row in rows:
        if row["score_a"] is not None:
            unit = (row["question_id"], row["sample_index"], row["policy_a"], row["policy_b"])
            given.setdefault(unit, []).append(row["score_a"])
    return {unit: fmean(scores) for unit, scores in given.items()}


def table(judgements: Sequence[Row], *, seed: int = 0) -> list[tuple[str, ...]]:
    """A table of text: how often every two judges come to the same verdict, and alpha; last people among themselves."""
    by_judge: dict[str, list[Row]] = {}
    for row in judgements:
        by_judge.setdefault(row["judge"], []).append(row)
    points = {judge: unit_points(rows) for judge, rows in sorted(by_judge.items())}
    agreed = shares(by_judge, seed=seed)
    found: list[tuple[str, ...]] = [("judges", "agree", "95% interval", "alpha", "95% interval", "n")]
    for one, other in combinations(points, 2):
        if other in agreed[one]:
            share, corrected = agreed[one][other], alpha([points[one], points[other]], seed=seed)
            found.append((f"{one}, {other}", *_cells(share), *_cells(corrected), f"{share.n:,}"))
    people = [judge for judge in points if judge.startswith("human:")]
    ratings = [unit_ratings(by_judge[judge]) for judge in people]
    verdicts: list[Points] = [points[judge] for judge in people]
    for name, given in (("verdicts", verdicts), ("ratings 1 to 8", ratings)):
        if figure := alpha(given, seed=seed):
            found.append((f"all people, {name}", "", "", *_cells(figure), f"{figure.n:,}"))
    return found


def _cells(figure: Interval | None) -> tuple[str, str]:
    return (f"{figure.value:.3f}", figure.ends()) if figure else ("", "")
