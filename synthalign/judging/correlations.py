"""Correlations with intervals over questions."""

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthalign.core import statistics
from synthalign.core.statistics import Interval


def interval(x: ArrayLike, y: ArrayLike, questions: Sequence[Hashable], *, seed: int) -> Interval | None:
    """Pearson's r of two columns (N,) with a percentile bootstrap over questions; None where r is not defined: one row,
    or a column that is constant but for rounding.

    questions  (N,)  of each row

    A draw takes as many questions as there are, with replacement, each with all of its rows.
    """
    value = statistics.correlation(x, y)
    if value is None:
        return None
    from scipy.stats import DegenerateDataWarning, bootstrap  # not at the top: it takes seconds to import

    dx, dy = (column - column.mean() for column in (np.asarray(x, float), np.asarray(y, float)))
    sums, n = statistics.cluster_sums((np.ones(len(dx)), dx, dy, dx * dx, dy * dy, dx * dy), questions)

    def r(drawn: NDArray[Any], axis: int) -> NDArray[Any]:
        rows, x_, y_, xx, yy, xy = sums[:, drawn].sum(axis=axis if axis < 0 else axis + 1)
        spread = np.stack([rows * xx - x_**2, rows * yy - y_**2])
        varies = (spread > 1e-9 * rows * np.stack([xx, yy])).all(axis=0)
        return np.divide(rows * xy - x_ * y_, np.sqrt(np.abs(spread).prod(axis=0)), out=np.full(rows.shape, np.nan),
                         where=varies)  # fmt: skip

    if n < statistics.FEWEST:
        return statistics.percentile_interval(value, np.array([value]), n)
    with warnings.catch_warnings(action="ignore", category=DegenerateDataWarning):  # draws that are all alike
        found = bootstrap(
            (np.arange(n),),
            r,
            n_resamples=statistics.RESAMPLES,
            method="percentile",
            vectorized=True,
            batch=100,
            rng=np.random.default_rng(seed),
        )
    draws = found.bootstrap_distribution[np.isfinite(found.bootstrap_distribution)]
    return statistics.percentile_interval(value, draws, n) if len(draws) else None
