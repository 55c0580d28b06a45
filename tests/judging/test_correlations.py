import numpy as np
import pytest

from synthalign.core import statistics
from synthalign.core.statistics import ALL_EQUAL, TOO_FEW
from synthalign.judging import correlations

X, Y = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0], [1.0, 1.0, 4.0, 3.0, 5.0, 5.0]


def test_the_interval_is_over_questions_and_not_over_rows():
    found = correlations.interval(X, Y, range(6), seed=0)
    twice = correlations.interval([*X, *X], [*Y, *Y], [*range(6), *range(6)], seed=0)

    assert found.value == statistics.correlation(X, Y) and found.n == 6
    assert -1 <= found.low < found.value < found.high <= 1
    assert (twice.low, twice.high, twice.n) == (pytest.approx(found.low), pytest.approx(found.high), 6)


def test_what_does_not_vary_has_no_correlation_and_few_questions_no_interval():
    assert correlations.interval([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], range(5), seed=0) is None
    assert correlations.interval(X[:5], Y[:5], range(5), seed=0).why == TOO_FEW
    assert correlations.interval(X, Y, ["one"] * 6, seed=0).why == TOO_FEW
    # On a line every draw that varies has r = 1, and one of a single question has none.
    assert correlations.interval([*range(6)], [2 * x for x in range(6)], range(6), seed=0).why == ALL_EQUAL


def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        level = rng.normal(size=(60, 2)) @ np.array([[1, 0.6], [0, 0.8]])  # r = .6 between questions ...
        x, y = (level[:, [side]] + rng.normal(size=(60, 5)) for side in (0, 1))  # ... and rows of nothing: .3 in all
        found = correlations.interval(x.ravel(), y.ravel(), np.repeat(range(60), 5), seed=trial)
        held += found.low < 0.3 < found.high
    assert 180 <= held <= 198
