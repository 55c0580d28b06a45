import math

import numpy as np
import pytest

from synthalign.core.statistics import (
    Interval,
    combine_seeds,
    correlation,
    difference_interval,
    mean_interval,
    ratio_difference_interval,
    ratio_interval,
    win_points,
    win_rate,
)


def test_a_mean_of_equal_values_is_certain():
    assert mean_interval([2.0, 2.0, 2.0], ["q1", "q2", "q3"], seed=0) == Interval(2.0, 2.0, 2.0, 3)


def test_n_counts_questions_not_rows():
    assert mean_interval([1, 0, 1, 0], ["q1", "q1", "q2", "q2"], seed=0).n == 2


def test_rows_of_one_question_are_drawn_together():
    # Both questions have the mean 1/2 whatever is drawn, so there is no doubt …
    assert mean_interval([1, 0, 1, 0], ["q1", "q1", "q2", "q2"], seed=0) == Interval(0.5, 0.5, 0.5, 2)
    # … with the same values grouped the other way a draw is 0, 1/2 or 1, each end with probability 1/4
    assert mean_interval([1, 0, 1, 0], ["q1", "q2", "q1", "q2"], seed=0) == Interval(0.5, 0.0, 1.0, 2)


def test_the_bootstrap_has_the_spread_of_the_mean():
    # 100 questions, half 0 and half 1: the standard error is sqrt(1/4 / 100) = .05, 95% is +- .098
    interval = mean_interval([0.0, 1.0] * 50, list(range(100)), seed=1)

    assert interval.value == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_the_interval_depends_on_the_seed_only():
    values, questions = np.sqrt(np.arange(40)), list(range(40))

    assert mean_interval(values, questions, seed=3) == mean_interval(values, questions, seed=3)
    assert mean_interval(values, questions, seed=3) != mean_interval(values, questions, seed=4)


def test_what_two_share_of_a_question_cancels():
    hard, easy = 1.0, 9.0

    assert difference_interval([hard + 1, easy + 1], [hard, easy], ["q1", "q2"], seed=0) == Interval(1.0, 1.0, 1.0, 2)


def test_a_ratio_is_of_the_sums():
    # q1 gives 1 of 2, q2 gives 3 of 4: 4/6 together; draws give 2/4, 4/6 or 6/8
    interval = ratio_interval([1, 3], [2, 4], ["q1", "q2"], seed=0)

    assert interval == Interval(4 / 6, 2 / 4, 6 / 8, 2)


def test_nothing_to_measure_is_an_error_and_not_a_number():
    with pytest.raises(ValueError, match="nothing to measure"):
        mean_interval([], [], seed=0)
    with pytest.raises(ValueError, match="nothing to measure"):
        ratio_interval([1, 1], [0, 0], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="do not match"):
        mean_interval([1, 2], ["a"], seed=0)


def test_a_tie_is_half_a_win():
    assert win_points(["a", "tie", "b"]).tolist() == [1, 0.5, 0]
    assert win_rate(["a", "tie", "b", "a"], ["q1", "q2", "q3", "q4"], seed=0).value == (1 + 0.5 + 0 + 1) / 4


def test_two_orders_of_a_question_are_one_sample():
    # A judge that always takes the first answer: a in one order, b in the other
    interval = win_rate(["a", "b", "a", "b"], ["q1", "q1", "q2", "q2"], seed=0)

    assert interval == Interval(0.5, 0.5, 0.5, 2)


def test_an_unjudged_row_is_not_a_tie():
    with pytest.raises(ValueError, match="unjudged"):
        win_points(["a", "unjudged"])


def test_correlation_by_hand():
    # deviations (-1, 0, 1) and (-1, -1, 2): 3 / sqrt(2 * 6)
    assert correlation([1, 2, 3], [1, 1, 4]) == pytest.approx(3 / math.sqrt(12), abs=1e-6)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert correlation([1, 1, 1], [1, 2, 3]) is None
    assert correlation([1], [1]) is None


def test_95_percent_intervals_hold_the_truth_about_95_times_in_100():
    # 60 questions with 5 rows each; a question's own level varies as much as its rows do
    rng = np.random.default_rng(0)
    questions = np.repeat(np.arange(60), 5)
    held = held_by_rows = 0
    for trial in range(200):
        values = rng.normal(size=60)[questions] + rng.normal(size=300)
        by_question = mean_interval(values, questions.tolist(), seed=trial, resamples=300)
        by_row = mean_interval(values, list(range(300)), seed=trial, resamples=300)
        held += by_question.low <= 0 <= by_question.high
        held_by_rows += by_row.low <= 0 <= by_row.high

    assert 0.89 * 200 <= held <= 0.99 * 200
    assert held_by_rows < 0.82 * 200  # rows of a question repeat each other


def test_one_seed_keeps_its_interval():
    assert combine_seeds([Interval(0.6, 0.5, 0.7, 400)]) == Interval(0.6, 0.5, 0.7, 400)


def test_seeds_that_agree_leave_the_doubt_about_the_questions():
    same = Interval(0.6, 0.5, 0.8, 400)

    combined = combine_seeds([same, same, same])

    assert (combined.low, combined.value, combined.high) == pytest.approx((0.5, 0.6, 0.8))


def test_seeds_that_differ_add_their_own_doubt():
    # values .5, .6, .7: standard deviation .1, t with 2 degrees of freedom 4.303; each half width .1
    seeds = [Interval(value, value - 0.1, value + 0.1, n) for value, n in [(0.5, 400), (0.6, 390), (0.7, 410)]]
    half = math.sqrt(0.1**2 + 4.303**2 * 0.1**2 / 3)

    combined = combine_seeds(seeds)

    assert (combined.value, combined.low, combined.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert combined.n == 390


def test_the_interval_of_three_seeds_holds_the_truth():
    # The seeds share 100 questions (standard error .1) and vary by .1 themselves
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        questions = rng.normal(scale=0.1)
        values = questions + rng.normal(scale=0.1, size=3)
        combined = combine_seeds([Interval(value, value - 0.196, value + 0.196, 100) for value in values.tolist()])
        held += combined.low <= 0 <= combined.high

    assert held >= 0.93 * 400


def test_metrics_are_rounded_to_six_digits():
    assert Interval(1 / 3, 0.0, 2 / 3, 7).metrics() == {"value": 0.333333, "low": 0.0, "high": 0.666667, "n": 7}


def test_a_difference_of_ratios_is_zero_for_the_same_part():
    right, inside = [1, 0, 1], [1, 1, 1]

    interval = ratio_difference_interval((right, inside), (right, inside), ["q1", "q2", "q3"], seed=0)

    assert interval == Interval(0.0, 0.0, 0.0, 3)


def test_a_difference_of_ratios_by_hand():
    # each question has two rows, the first right and the second wrong; the part keeps the first: 1 - 1/2
    right, part, everything = [1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]

    interval = ratio_difference_interval((right, part), (right, everything), ["q1", "q1", "q2", "q2"], seed=0)

    assert interval == Interval(0.5, 0.5, 0.5, 2)
