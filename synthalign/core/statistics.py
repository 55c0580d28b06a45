"""Numbers with intervals: bootstrap by query, win rates, ratios, correlation, and several seeds put together.

Answers to one question resemble each other, so the question is what is drawn again in every bootstrap here, with all of
its rows; an interval over single rows would be too narrow.  `n` counts questions for the same reason.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
"""Bootstrap draws; the ends of a 95% interval then vary by about 2% of its width from seed to seed."""

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5% point of Student's t for 1, 2, … 9 degrees of freedom."""


@dataclass(frozen=True)
class Interval:
    """A figure, the ends of its 95% interval, and the number of independent units (questions) behind it."""

    value: float
    low: float
    high: float
    n: int

    def metrics(self) -> dict[str, float | int]:
        """The figure for a metrics file, to six digits."""
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6), "n": self.n}


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """sum(numerators) / sum(denominators) with a percentile bootstrap over clusters.

    numerators, denominators  (N,)  one of each per row; 1 as every denominator makes it a mean
    clusters                  (N,)  the question of each row

    A draw takes as many clusters as there are, with replacement, each with all of its rows.  ValueError when there is
    no row or the denominators sum to zero.
    """
    return ratio_sum_interval([(1, numerators, denominators)], clusters, seed=seed, resamples=resamples)


def ratio_difference_interval(
    one: tuple[ArrayLike, ArrayLike],
    other: tuple[ArrayLike, ArrayLike],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """The ratio of `one` minus the ratio of `other`, each (numerators, denominators) over the same rows (N,).

    With a 0 or 1 as denominators the ratios are means over two parts of the rows, which may overlap.
    """
    return ratio_sum_interval([(1, *one), (-1, *other)], clusters, seed=seed, resamples=resamples)


def ratio_sum_interval(
    terms: Sequence[tuple[int, ArrayLike, ArrayLike]],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """The sum of sign x sum(numerators) / sum(denominators) over the terms, each over the same rows (N,)."""
    columns, n = _cluster_sums([column for _, *pair in terms for column in pair], clusters)
    signs, totals = [sign for sign, *_ in terms], columns.sum(axis=1)
    if (totals[1::2] == 0).any():
        raise ValueError("there is nothing to measure")
    draws = _draws(columns, n, seed=seed, resamples=resamples)
    draws = draws[(draws[:, 1::2] != 0).all(axis=1)]  # a draw without any denominator has no ratio
    low, high = np.quantile((draws[:, ::2] / draws[:, 1::2]) @ signs, [0.025, 0.975])
    return Interval(float((totals[::2] / totals[1::2]) @ signs), float(low), float(high), n)


def _cluster_sums(columns: Sequence[ArrayLike], clusters: Sequence[Hashable]) -> tuple[NDArray[np.float64], int]:
    """(K, C) the sum of each column (N,) in each cluster, and the number C of clusters."""
    given = [np.asarray(column, dtype=float) for column in columns]
    if any(column.shape != (len(clusters),) for column in given):
        shapes = ", ".join(str(column.shape) for column in given)
        raise ValueError(f"rows do not match: {shapes} and {len(clusters)} clusters")
    if not len(clusters):
        raise ValueError("there is nothing to measure")
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(cluster, len(index)) for cluster in clusters])
    return np.stack([np.bincount(codes, weights=column, minlength=len(index)) for column in given]), len(index)


def _draws(sums: NDArray[np.float64], n: int, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """(resamples, K) the column sums of draws of n clusters with replacement."""
    rng = np.random.default_rng(seed)
    return np.stack([sums @ np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(resamples)])


def mean_interval(
    values: ArrayLike, clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """The mean of the values (N,) with an interval over clusters; of 0s and 1s it is an accuracy."""
    return ratio_interval(values, np.ones(len(clusters)), clusters, seed=seed, resamples=resamples)


def difference_interval(
    one: ArrayLike, other: ArrayLike, clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """mean(one - other) of paired values (N,): what the two share of a question's difficulty cancels."""
    return mean_interval(np.asarray(one, float) - np.asarray(other, float), clusters, seed=seed, resamples=resamples)


def win_points(verdicts: Sequence[str]) -> NDArray[np.float64]:
    """1 for "a", 1/2 for "tie", 0 for "b"; the mean is the win rate of a.  ValueError for any other verdict."""
    points = {"a": 1.0, "tie": 0.5, "b": 0.0}
    unknown = set(verdicts) - set(points)
    if unknown:
        raise ValueError(f"verdicts {sorted(unknown)} are no points; leave unjudged rows out")
    return np.array([points[verdict] for verdict in verdicts])


def win_rate(
    verdicts: Sequence[str], questions: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """How often a beats b, a tie being half a win; both orders of a question are one sample, not two."""
    return mean_interval(win_points(verdicts), questions, seed=seed, resamples=resamples)


def correlation(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson's r of two columns (N,), to six digits; None where it is not defined: one row, or a constant column."""
    dx, dy = np.asarray(x, float), np.asarray(y, float)
    if len(dx) < 2:
        return None
    dx, dy = dx - dx.mean(), dy - dy.mean()
    scale = float(np.sqrt((dx @ dx) * (dy @ dy)))
    return round(float(dx @ dy) / scale, 6) if scale > 0 else None


def combine_seeds(intervals: Sequence[Interval]) -> Interval:
    """One figure from the same measurement under several seeds: the mean, and an interval with both kinds of doubt.

        half width = sqrt( mean_s(h_s)^2  +  t_{k-1}^2 * s^2 / k )

    h_s is the half width under seed s (doubt about the questions, below and above each by itself) and s the standard
    deviation of the k values (doubt about the training run).  The seeds share their questions, so the first kind does
    not shrink with k; with two or three seeds a bootstrap of seeds is far too narrow, Student's t is not.  n is the
    smallest number of questions.  With one seed the interval is that seed's own.
    """
    if not intervals:
        raise ValueError("there is no seed to combine")
    k = len(intervals)
    if k == 1:
        return intervals[0]
    values = np.array([interval.value for interval in intervals])
    mean = float(values.mean())
    t = _T_975[k - 2] if k - 2 < len(_T_975) else NormalDist().inv_cdf(0.975)
    between = t**2 * float(values.var(ddof=1)) / k
    below = float(np.mean([interval.value - interval.low for interval in intervals]))
    above = float(np.mean([interval.high - interval.value for interval in intervals]))
    return Interval(
        mean,
        mean - float(np.sqrt(below**2 + between)),
        mean + float(np.sqrt(above**2 + between)),
        min(interval.n for interval in intervals),
    )
