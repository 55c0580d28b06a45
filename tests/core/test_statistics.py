import math

import numpy as np
import pytest

from synthalign.core.statistics import (
    ALL_EQUAL,
    FEWEST,
    TOO_FEW,
    Interval,
    combine_seeds,
    correlation,
    difference_interval,
    holm,
    mean_interval,
    p_value,
    ratio_difference_interval,
    ratio_interval,
    student_interval,
    win_points,
    win_rate,
)


def test_values_that_are_all_equal_have_no_interval_as_the_next_one_may_differ():
    assert mean_interval([0.1] * 485, range(485), seed=0) == Interval(pytest.approx(0.1), None, None, 485, ALL_EQUAL)


def test_one_value_that_differs_gives_an_interval():
    found = mean_interval([0.0] * 9 + [1.0], range(10), seed=0)

    assert (found.value, found.low, found.why) == (0.1, 0.0, None)
    assert found.high > 0.1


def test_five_units_are_too_few_however_they_differ_and_six_are_enough():
    values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]

    assert mean_interval(values[:5], range(5), seed=0) == Interval(2.0, None, None, 5, TOO_FEW)
    assert mean_interval(values, range(FEWEST), seed=0).why is None


def test_rows_do_not_make_up_for_questions():
    assert mean_interval([0, 1] * 50, ["q1", "q2"] * 50, seed=0).why == TOO_FEW


def test_a_figure_without_an_interval_lies_on_no_side_and_says_why_in_a_metrics_file():
    found = Interval(1.0, None, None, 3, TOO_FEW)

    assert not found.lies_above(0) and not found.lies_below(2)
    assert found.ends() == "too few"
    assert found.metrics() == {"value": 1.0, "low": None, "high": None, "n": 3, "why": "too few"}
    assert Interval.of(found.metrics()) == found
    assert Interval(0.5, 0.4, 0.6, 9).ends() == "0.400 to 0.600"


def test_n_counts_questions_not_rows():
    assert mean_interval([1, 0, 1, 0], ["q1", "q1", "q2", "q2"], seed=0).n == 2


def test_rows_of_one_question_are_drawn_together():
    # Each of six questions has the mean 1/2, so every draw has …
    assert mean_interval([1, 0] * 6, [q for q in range(6) for _ in "ab"], seed=0).why == ALL_EQUAL
    # … with the same values grouped the other way a question is all right or all wrong: 0 or 6 right of six in 1 of 64
    assert mean_interval([1, 0] * 6, [*range(6)] * 2, seed=0) == Interval(
        0.5, pytest.approx(1 / 6), pytest.approx(5 / 6), 6
    )


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

    found = difference_interval([hard + 1, easy + 1] * 3, [hard, easy] * 3, range(6), seed=0)

    assert found == Interval(1.0, None, None, 6, ALL_EQUAL)


def test_a_ratio_is_of_the_sums():
    # q1 gives 1 of 2, q2 gives 3 of 4: 4/6 together, and not the mean of 1/2 and 3/4
    interval = ratio_interval([1, 3] * 3, [2, 4] * 3, range(6), seed=0)

    assert interval.value == 12 / 18
    assert 2 / 4 <= interval.low < 12 / 18 < interval.high <= 3 / 4


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


def test_five_wins_among_480_ties_are_too_few_and_six_are_enough():
    def rate(wins):
        verdicts = ["a"] * wins + ["tie"] * (485 - wins)
        return win_rate(verdicts, range(485), seed=0)

    assert rate(5) == Interval((5 + 480 / 2) / 485, None, None, 485, TOO_FEW)  # a sign test: 2 / 2^5 = .0625
    assert rate(6).low is not None


def test_a_paired_difference_is_of_the_units_that_differ():
    def gap(better):
        one = [1.0] * better + [0.0] * (100 - better)
        return difference_interval(one, [0.0] * 100, range(100), seed=0)

    assert gap(5) == Interval(0.05, None, None, 100, TOO_FEW)
    assert gap(6).low is not None


def test_two_orders_of_a_question_are_one_sample():
    # A judge that always takes the first answer: a in one order, b in the other
    interval = win_rate(["a", "b"] * 6, [q for q in range(6) for _ in "ab"], seed=0)

    assert interval == Interval(0.5, None, None, 6, ALL_EQUAL)


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
    # values .5, .6, .7: standard deviation .1, t with 2 degrees of freedom 4.30265; each half width .1
    seeds = [Interval(value, value - 0.1, value + 0.1, n) for value, n in [(0.5, 400), (0.6, 390), (0.7, 410)]]
    half = math.sqrt(0.1**2 + 4.30265**2 * 0.1**2 / 3)

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

    interval = ratio_difference_interval((right * 2, inside * 2), (right * 2, inside * 2), range(6), seed=0)

    assert interval == Interval(0.0, None, None, 6, ALL_EQUAL)


def test_a_ratio_of_four_questions_among_a_hundred_is_of_too_few():
    right, decided = np.tile([1.0, 0.0], 50), np.ones(100)
    few = np.array([1.0] * 4 + [0.0] * 96)

    found = ratio_difference_interval((right * few, few), (right, decided), range(100), seed=0)

    assert (found.value, found.low, found.why) == (0.0, None, TOO_FEW)


def test_a_difference_of_ratios_by_hand():
    # each question has two rows, the first right and the second wrong; the part keeps the first: 1 - 1/2
    right, part, everything = [1, 0] * 6, [1, 0] * 6, [1, 1] * 6

    interval = ratio_difference_interval(
        (right, part), (right, everything), [q for q in range(6) for _ in "ab"], seed=0
    )

    assert interval == Interval(0.5, None, None, 6, ALL_EQUAL)


def test_a_mean_of_few_units_has_students_interval_by_hand():
    # mean 3.5, s^2 = 3.5, s / sqrt(6) = .763763; t with 5 degrees of freedom is 2.570582
    found = student_interval([1, 2, 3, 4, 5, 6], [1] * 6)

    assert (found.value, found.n, found.freedom) == (3.5, 6, 5)
    assert found.high - 3.5 == 3.5 - found.low == pytest.approx(2.570582 * 0.763763, abs=1e-5)
    assert Interval.of(found.metrics()).freedom == 5


def test_a_ratio_of_few_units_by_hand():
    # r = 21 / 12 = 1.75; numerators - r * denominators: -.75, -1.5, 1.25, .5, 1.5, -1, of which s^2 = 7.875 / 5
    found = student_interval([1, 2, 3, 4, 5, 6], [1, 2, 1, 2, 2, 4])

    assert found.value == 1.75
    assert found.high - 1.75 == pytest.approx(2.570582 * math.sqrt(7.875 / 5) / (math.sqrt(6) * 2), abs=1e-5)


def test_five_units_are_too_few_for_students_interval_and_equal_ones_have_none():
    assert student_interval([1, 2, 3, 4, 5], [1] * 5) == Interval(3.0, None, None, 5, TOO_FEW)
    assert student_interval([2] * 8, [1] * 8) == Interval(2.0, None, None, 8, ALL_EQUAL)
    with pytest.raises(ValueError, match="nothing to measure"):
        student_interval([1] * 6, [0] * 6)


def test_units_that_do_not_differ_count_for_students_interval():
    # Of "not worse by .05" eight gaps of which six are 0 are evidence, and a sign test would have nothing to say
    found = student_interval([0, 0, 0.087, 0, -0.063, 0, 0, 0], [1] * 8)

    assert found.lies_above(-0.05) and not found.lies_above(0)


def test_the_multiplier_is_students_for_any_number_of_seeds():
    # 21 seeds: t with 20 degrees of freedom is 2.08596, and a normal distribution would have 1.95996
    values = [0.5, *(0.4 for _ in range(10)), *(0.6 for _ in range(10))]
    seeds = [Interval(value, value - 1e-9, value + 1e-9, 100) for value in values]

    combined = combine_seeds(seeds)

    error = math.sqrt(20 * 0.1**2 / 20 / 21)
    assert combined.high - combined.value == pytest.approx(2.08596 * error, abs=1e-6)


def test_a_seed_without_an_interval_leaves_none_for_all():
    seeds = [Interval(0.5, 0.4, 0.6, 9), Interval(1.0, None, None, 9, ALL_EQUAL)]

    assert combine_seeds(seeds) == Interval(0.75, None, None, 9, ALL_EQUAL)


# -- p-values ---------------------------------------------------------------------------------------------------------


def test_a_bound_at_the_end_of_the_interval_has_a_p_value_of_5_percent():
    seeds = [Interval(value, value - 0.1, value + 0.2, 400) for value in (0.5, 0.6, 0.7)]
    combined = combine_seeds(seeds)

    assert p_value(seeds, combined.low) == pytest.approx(0.05, abs=1e-6)
    assert p_value(seeds, combined.high) == pytest.approx(0.05, abs=1e-6)
    assert p_value(seeds[:1], 0.4) == pytest.approx(0.05, abs=1e-6)
    assert p_value([combined], combined.low, seeds=3) == pytest.approx(0.05, abs=1e-6)


def test_questions_count_as_normal_and_seeds_as_students_t():
    # 2.5758 standard errors are 1% of a normal distribution, 9.9248 are 1% of Student's t with 2 degrees of freedom
    one = Interval(0.0, -1.959964, 1.959964, 400)
    agreeing, certain = [one] * 3, [Interval(value, value - 1e-9, value + 1e-9, 400) for value in (-1.0, 0.0, 1.0)]

    assert p_value([one], -2.575829) == pytest.approx(0.01, rel=1e-4)
    assert p_value(agreeing, -2.575829) == pytest.approx(0.01, rel=1e-4)
    assert p_value(certain, -9.924843 / math.sqrt(3)) == pytest.approx(0.01, rel=1e-4)
    assert p_value([Interval(0.0, -4.302653, 4.302653, 400)], -9.924843, seeds=3) == pytest.approx(0.01, rel=1e-4)


def test_a_p_value_of_few_units_is_students_too():
    # 3.499483 standard errors are 1% of Student's t with 7 degrees of freedom, 2.364624 are 5%
    one = Interval(0.0, -2.364624, 2.364624, 8, freedom=7)

    assert p_value([one], -3.499483) == pytest.approx(0.01, rel=1e-4)
    assert p_value([one] * 3, -3.499483) == pytest.approx(0.01, rel=1e-4)
    assert p_value([one] * 3, combine_seeds([one] * 3).low) == pytest.approx(0.05, rel=1e-4)


def test_of_seeds_that_are_put_together_already_the_larger_of_two_p_values_is_said():
    # Fisher's F of 16 and 16 degrees of freedom, which made this interval, has .135; Student's t alone has .081
    ratio = Interval(2.155688, 0.776342, 5.997207, 20)

    assert p_value([ratio], 1.0, seeds=5) == p_value([ratio], 1.0) == pytest.approx(0.1006, abs=1e-4)
    assert p_value([ratio], 0.5, seeds=5) > p_value([ratio], 0.5)  # below .05 Student's t is the larger


def test_a_bound_at_the_figure_itself_is_no_surprise_and_without_an_interval_nothing_is_known():
    seeds = [Interval(value, value - 0.1, value + 0.1, 400) for value in (0.5, 0.7)]

    assert p_value(seeds, 0.6) == 1.0
    assert p_value([Interval(0.5, None, None, 3, TOO_FEW)], 0.6) is None


def test_an_end_that_is_the_figure_itself_leaves_out_every_bound_beyond_it():
    assert p_value([Interval(0.5, 0.5, 0.6, 400)], 0.4) < 1e-9


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_never_goes_down():
    # sorted .01, .02, .03, .04: x4, x3, x2, x1 = .04, .06, .06, .04, and the last may not be below the one before it
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
