"""Numbers with intervals: bootstrap by query, win rates, ratios, correlation, and several seeds put together.

Answers to one question resemble each other, so the question is what is drawn again in every bootstrap here, with all of
its rows; an interval over single rows would be too narrow.  `n` counts questions for the same reason.
"""

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
"""Bootstrap draws; the ends of a 95% interval then vary by about 2% of its width from seed to seed."""

FEWEST = 6
"""The fewest units that get an interval.  A percentile interval never reaches beyond the smallest and the largest unit,
and all n units lie on one side of the middle of what they were drawn from with chance 2 / 2^n: 1 in 16 for five, 1 in
32 for six.  Of fewer than six it is no 95% interval, whatever the draws say."""

MOST_KEPT = 2000
"""Clusters of which draws are kept: 2,000 draws of them are 32 MB."""

SMALLEST_P = 1e-12
"""What a p-value of several seeds is not looked for below."""

TOO_FEW, ALL_EQUAL = "too few", "all equal"
"""Why a figure has no interval: fewer than FEWEST units, or units that are all alike, of which every draw is the same
and says nothing about the next one."""


@dataclass(frozen=True)
class Interval:
    """A figure, the ends of its 95% interval, and the number of independent units (questions) behind it.

    Where a bootstrap would have no width, low and high are None and `why` says so: TOO_FEW or ALL_EQUAL.  `freedom`
    has the degrees of freedom of an interval by Student's t; None otherwise.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    why: str | None = None
    freedom: int | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Interval":
        """The figure of a metrics file."""
        return cls(found["value"], found["low"], found["high"], found["n"], found.get("why"), found.get("freedom"))

    def metrics(self) -> dict[str, Any]:
        """The figure for a metrics file, to six digits; `why` and `freedom` are there only where they say something."""
        low, high = (None if end is None else round(end, 6) for end in (self.low, self.high))
        found = {"value": round(self.value, 6), "low": low, "high": high, "n": self.n}
        return found | {name: value for name in ("why", "freedom") if (value := getattr(self, name)) is not None}

    def lies_above(self, bound: float) -> bool:
        """Whether the whole interval is above the bound; never without an interval."""
        return self.low is not None and self.low > bound

    def lies_below(self, bound: float) -> bool:
        """Whether the whole interval is below the bound; never without an interval."""
        return self.high is not None and self.high < bound

    def ends(self, digits: int = 3) -> str:
        """The ends in words: "0.560 to 0.660", or why there are none."""
        if self.low is None or self.high is None:
            return str(self.why)
        return f"{self.low:.{digits}f} to {self.high:.{digits}f}"


def percentile_interval(value: float, draws: NDArray[np.float64], n: int) -> Interval:
    """The middle 95% of what a bootstrap drew (R,) for the figure of n units; without ends as Interval says."""
    if n < FEWEST:
        return Interval(value, None, None, n, TOO_FEW)
    low, high = np.quantile(draws, [0.025, 0.975])
    if high - low <= 1e-9 * max(1.0, abs(value)):  # draws of equal units differ by rounding alone
        return Interval(value, None, None, n, ALL_EQUAL)
    return Interval(value, float(low), float(high), n)


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
    columns, n = cluster_sums([column for _, *pair in terms for column in pair], clusters)
    signs, totals = [sign for sign, *_ in terms], columns.sum(axis=1)
    if (totals[1::2] == 0).any():
        raise ValueError("there is nothing to measure")
    if (np.count_nonzero(columns[1::2], axis=1) < FEWEST).any():  # units that one of the ratios is of
        return Interval(float((totals[::2] / totals[1::2]) @ signs), None, None, n, TOO_FEW)
    draws = _draws(columns, n, seed=seed, resamples=resamples)
    draws = draws[(draws[:, 1::2] != 0).all(axis=1)]  # a draw without any denominator has no ratio
    return percentile_interval(float((totals[::2] / totals[1::2]) @ signs), (draws[:, ::2] / draws[:, 1::2]) @ signs, n)


def student_interval(numerators: ArrayLike, denominators: ArrayLike) -> Interval:
    """sum(numerators) / sum(denominators) of a few units (N,), by Student's t; 1 as every denominator makes it a mean.

        r +- t_{N-1} * s / (sqrt(N) * mean(denominators)),    s the standard deviation of numerators - r * denominators

    Cochran 1977, section 2.11.  For so few units (tasks) a bootstrap is too narrow, and where many of them do not
    differ it has hardly a width.  Without ends where there are fewer than FEWEST or s is zero; ValueError when the
    denominators sum to zero.
    """
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    n, total = len(above), float(below.sum())
    if not total:
        raise ValueError("there is nothing to measure")
    value = float(above.sum()) / total
    if n < FEWEST:
        return Interval(value, None, None, n, TOO_FEW)
    error = float(np.std(above - value * below, ddof=1)) * math.sqrt(n) / abs(total)
    if error <= 1e-9 * max(1.0, abs(value)):
        return Interval(value, None, None, n, ALL_EQUAL)
    half = _student(n - 1, 0.05) * error
    return Interval(value, value - half, value + half, n, freedom=n - 1)


def cluster_sums(columns: Sequence[ArrayLike], clusters: Sequence[Hashable]) -> tuple[NDArray[np.float64], int]:
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
    drawn = _kept_draws if n <= MOST_KEPT else _drawn
    return np.stack([sums @ counts for counts in drawn(n, seed, resamples)])


def _drawn(n: int, seed: int, resamples: int) -> Iterable[NDArray[np.float64]]:
    """How often each of n clusters is in a draw (n,), draw after draw."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(n, size=n), minlength=n).astype(float)


@lru_cache(maxsize=4)
def _kept_draws(n: int, seed: int, resamples: int) -> Iterable[NDArray[np.float64]]:
    """The same, for the hundreds of figures of one stage that are over as many questions."""
    return tuple(_drawn(n, seed, resamples))


def mean_interval(
    values: ArrayLike, clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """The mean of the values (N,) with an interval over clusters; of 0s and 1s it is an accuracy."""
    return ratio_interval(values, np.ones(len(clusters)), clusters, seed=seed, resamples=resamples)


def difference_interval(
    one: ArrayLike, other: ArrayLike, clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """mean(one - other) of paired values (N,): what the two share of a question's difficulty cancels.

    Without ends where fewer than FEWEST units differ, as in `win_rate`.
    """
    gaps = np.asarray(one, float) - np.asarray(other, float)
    return _sided(mean_interval(gaps, clusters, seed=seed, resamples=resamples), gaps, clusters)


def _sided(found: Interval, gaps: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """The interval of a mean gap (N,), without ends where fewer than FEWEST units lie on a side at all.

    Units of no gap say nothing of its sign: five that all have one sign chance makes one time in 16 (2 / 2^5), however
    many ties there are beside them, and a bootstrap that draws the ties too does not know.
    """
    [sums], _ = cluster_sums([gaps], clusters)
    if found.low is None or np.count_nonzero(np.abs(sums) > 1e-9) >= FEWEST:
        return found
    return dataclasses.replace(found, low=None, high=None, why=TOO_FEW)


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
    """How often a beats b, a tie being half a win; both orders of a question are one sample, not two.

    Without ends where fewer than FEWEST questions are won by either (a sign test of five cannot reach .05).
    """
    points = win_points(verdicts)
    return _sided(mean_interval(points, questions, seed=seed, resamples=resamples), points - 0.5, questions)


def correlation(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson's r of two columns (N,), to six digits; None where it is not defined: one row, or a constant column."""
    dx, dy = np.asarray(x, float), np.asarray(y, float)
    if len(dx) < 2:
        return None
    dx, dy = dx - dx.mean(), dy - dy.mean()
    scale = float(np.sqrt((dx @ dx) * (dy @ dy)))
    return round(float(dx @ dy) / scale, 6) if scale > 0 else None


# -- several seeds ----------------------------------------------------------------------------------------------------


def combine_seeds(intervals: Sequence[Interval]) -> Interval:
    """One figure from the same measurement under several seeds: the mean, and an interval with both kinds of doubt.

        half width = sqrt( mean_s(h_s)^2  +  t_{k-1}^2 * s^2 / k )

    h_s is the half width under seed s (doubt about the questions, below and above each by itself) and s the standard
    deviation of the k values (doubt about the training run).  The seeds share their questions, so the first kind does
    not shrink with k; with two or three seeds a bootstrap of seeds is far too narrow, Student's t is not.  n is the
    smallest number of questions.  With one seed the interval is that seed's own, and where a seed has none there is
    none.
    """
    if not intervals:
        raise ValueError("there is no seed to combine")
    if len(intervals) == 1:
        return intervals[0]
    mean, n = float(np.mean([interval.value for interval in intervals])), min(interval.n for interval in intervals)
    why = next((interval.why for interval in intervals if interval.why), None)
    if why:
        return Interval(mean, None, None, n, why)
    between = _student(len(intervals) - 1, 0.05) * _standard_error(intervals)
    below, above = _half_widths(intervals)
    return Interval(mean, mean - math.hypot(below, between), mean + math.hypot(above, between), n)


def p_value(intervals: Sequence[Interval], bound: float, *, seeds: int | None = None) -> float | None:
    """How surprising one measurement under several seeds would be if its truth were the bound; two-sided.

    It turns the interval of `combine_seeds` round: p is the smallest a of which the interval of 1 - a leaves out the
    bound, the half width h of the questions being read as 1.96 standard errors of a normal distribution:

        | mean - bound |  =  sqrt( (z_{1-a/2} h / 1.96)^2  +  (t_{k-1, 1-a/2})^2 * s^2 / k )

    With an interval by Student's t it is t in the place of z too, with the degrees of freedom that the intervals have.
    So p < .05 exactly where the 95% interval leaves the bound out.  None where there is no interval.

    seeds  where a single interval is given that several seeds were put together to already: how many.  What part of
           its width is whose is not known any more.  p is the larger of what comes out with all of it the seeds'
           (Student's t), which is that below .05, and with none of it (the normal distribution), which is that above.
    """
    combined = combine_seeds(intervals)
    if combined.low is None or combined.high is None:
        return None
    from scipy.special import ndtr, stdtr  # not at the top: stages that only need a mean do not wait for it

    gap = abs(combined.value - bound)
    half = combined.value - combined.low if combined.value > bound else combined.high - combined.value
    if not gap:
        return 1.0
    if len(intervals) == 1:
        if not half:  # an end that is the figure itself
            return SMALLEST_P
        own = combined.freedom
        alone = float(2 * (stdtr(own, -gap / half * _student(own, 0.05)) if own else ndtr(-gap / half * _normal(0.05))))
        if seeds is None or seeds < 2:
            return alone
        return max(alone, float(2 * stdtr(seeds - 1, -gap / half * _student(seeds - 1, 0.05))))
    of_units = [one.freedom for one in intervals if one.freedom]
    own = min(of_units) if of_units else None
    questions = _half_widths(intervals)[combined.value <= bound] / (_student(own, 0.05) if own else _normal(0.05))
    error, freedom = _standard_error(intervals), len(intervals) - 1

    def beyond(log_a: float) -> float:
        a = math.exp(log_a)
        units = _student(own, a) if own else _normal(a)
        return math.hypot(units * questions, _student(freedom, a) * error) - gap

    from scipy.optimize import brentq

    least = math.log(SMALLEST_P)
    return SMALLEST_P if beyond(least) <= 0 else math.exp(brentq(beyond, least, 0.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values (m,) adjusted for being m at once; those below .05 hold together with an error of 5% at most.

    Holm 1979: of the p-values in ascending order the i-th is multiplied by m + 1 - i, is at least as large as the one
    before it, and at most 1.  Nothing is assumed about how they depend on each other.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, which in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[which]))
        adjusted[which] = largest
    return adjusted


def _half_widths(intervals: Sequence[Interval]) -> tuple[float, float]:
    """The mean over seeds of the half width below, and above, of intervals that have both ends."""
    ends = [(one.value - one.low, one.high - one.value) for one in intervals
            if one.low is not None and one.high is not None]  # fmt: skip
    below, above = np.mean(ends, axis=0)
    return float(below), float(above)


def _standard_error(intervals: Sequence[Interval]) -> float:
    """Of the mean over seeds: s / sqrt(k)."""
    return float(np.std([interval.value for interval in intervals], ddof=1)) / math.sqrt(len(intervals))


def _student(freedom: int, a: float) -> float:
    """What Student's t exceeds on either side with chance a together."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, a / 2))


def _normal(a: float) -> float:
    """What a standard normal exceeds on either side with chance a together."""
    from scipy.special import ndtri

    return -float(ndtri(a / 2))
