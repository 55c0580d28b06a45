import numpy as np
import pytest

from synthalign.core.errors import UserError
from synthalign.core.measures import (
    HeldOutPair,
    Label,
    accuracy_report,
    best_of_n_weights,
    by_question,
    difference,
    effects,
    expected_best,
    held_out_pairs,
    label_agreement,
    longer_right,
    mean,
    over_optimisation,
    ranks_right,
)


def test_several_answers_to_a_question_count_once():
    scores = by_question([("q1", 1.0), ("q1", 3.0), ("q2", 5.0)])

    assert scores == {"q1": (1 + 3) / 2, "q2": 5.0}
    assert mean(scores, seed=0).value == (2 + 5) / 2
    assert mean(scores, seed=0).n == 2


def test_a_difference_is_over_the_questions_that_both_answered():
    result = difference({"q1": 3.0, "q2": 5.0, "q3": 100.0}, {"q2": 4.0, "q1": 2.0}, seed=0)

    assert (result.value, result.n) == (1.0, 2)


def test_how_much_larger_one_difference_is_than_another_is_a_difference_of_the_same_questions():
    scores = {"a": {"q1": 5.0, "q2": 9.0}, "b": {"q1": 3.0, "q2": 8.0}, "c": {"q1": 2.0, "q2": 8.0}}

    found = effects(scores, {"demonstrations": ("a", "b"), "size": ("b", "c")})

    assert found["demonstrations"] == {"q1": 5.0 - 3.0, "q2": 9.0 - 8.0}
    assert found["demonstrations_over_size"] == {"q1": 2.0 - 1.0, "q2": 1.0 - 0.0}
    assert "demonstrations_over_shots" not in found  # nobody asked for the difference of shots


def test_agreement_leaves_ties_out_and_coverage_counts_them():
    labels = [
        Label("q1", "1", gap=1.0, longer=5),
        Label("q1", "2", gap=-0.5, longer=3),
        Label("q2", "3", gap=0.0, longer=9),
        Label("q2", "4", gap=2.0, longer=-1),
        Label("q3", "5", gap=-1.0, longer=0),
    ]

    parts = label_agreement(labels, {"raw": frozenset("12345"), "filtered": frozenset("134")}, seed=0)

    raw, filtered = parts["raw"], parts["filtered"]
    assert raw.agreement.value == 2 / 4  # 1 and 4 of 1, 2, 4, 5
    assert (raw.coverage, raw.ties, raw.longer, raw.pairs) == (1.0, pytest.approx(1 / 5), 2 / 4, 5)
    assert raw.agreement.n == 3
    assert raw.over_first.value == 0
    assert filtered.agreement.value == 2 / 2  # 1 and 4
    assert (filtered.coverage, filtered.ties, filtered.longer, filtered.pairs) == (
        3 / 5,
        pytest.approx(1 / 3),
        1 / 2,
        3,
    )
    assert filtered.agreement.n == 2  # q3 has no pair left
    assert filtered.over_first.value == filtered.over_previous.value == 1 - 2 / 4


def test_a_part_without_a_preference_cannot_be_measured():
    with pytest.raises(UserError, match="no preference on any of the 1 pairs of 'raw'"):
        label_agreement([Label("q1", "1", 0.0, 1), Label("q1", "2", 1.0, 1)], {"raw": frozenset("1")}, seed=0)


def test_held_out_pairs_are_the_different_texts_of_one_question_with_a_preference():
    pairs = held_out_pairs(
        ["q1", "q1", "q1", "q2", "q2"], ["long answer", "short", "short", "x", "yy"], [1.0, 2.0, 2.0, 0.5, 0.5]
    )

    assert pairs == [
        HeldOutPair("q1", better=1, worse=0, longer=5 - 11),
        HeldOutPair("q1", better=2, worse=0, longer=5 - 11),
    ]  # 1 and 2 say the same, 3 and 4 tie


def test_an_equal_reward_has_not_found_the_better_one():
    pairs = [HeldOutPair("q", 0, 1, 0), HeldOutPair("q", 0, 2, 0), HeldOutPair("q", 0, 3, 0)]

    assert ranks_right(pairs, [1.0, 0.5, 1.0, 2.0]).tolist() == [1, 0, 0]


def test_always_longer_guesses_between_equal_lengths():
    assert longer_right([HeldOutPair("q", 0, 1, length) for length in (7, 0, -7)]).tolist() == [1, 0.5, 0]


def test_the_best_of_n_is_counted_not_drawn():
    # of 4, the best of 2: 6 draws, of which the worst wins none, the second 1, the third 2, the best 3
    assert best_of_n_weights(4, 2) == pytest.approx(np.array([0, 1, 2, 3]) / 6)
    assert best_of_n_weights(4, 1) == pytest.approx(np.array([1, 1, 1, 1]) / 4)
    assert best_of_n_weights(4, 4) == pytest.approx(np.array([0, 0, 0, 1]))
    with pytest.raises(ValueError, match="best of 5 needs"):
        best_of_n_weights(4, 5)


def test_the_expected_best_is_chosen_by_one_number_and_worth_another():
    rewards, oracle = [0.3, 0.1, 0.2], [30.0, 10.0, 60.0]

    assert expected_best(rewards, oracle, 1) == pytest.approx((30 + 10 + 60) / 3)
    assert expected_best(rewards, oracle, 2) == pytest.approx((0 * 10 + 1 * 60 + 2 * 30) / 3)
    assert expected_best(rewards, oracle, 3) == pytest.approx(30)


def test_of_equal_rewards_the_first_candidate_is_chosen():
    assert expected_best([0.5, 0.5], [1.0, 9.0], 2) == 1.0


def test_over_optimisation_begins_at_the_oracles_peak():
    result = over_optimisation([0, 10, 20, 30], rewards=[0.0, 1.0, 2.0, 3.0], scores=[1.0, 2.0, 1.75, 1.5])

    assert (result["peak_step"], result["peak_oracle"]) == (10, 2.0)
    assert result["oracle_after_peak"] == 1.5 - 2.0
    assert result["reward_after_peak"] == 3.0 - 1.0


def test_an_accuracy_report_splits_by_length_and_compares_on_the_same_pairs():
    pairs = [
        HeldOutPair("q1", 0, 1, longer=9),
        HeldOutPair("q1", 0, 2, longer=-9),
        HeldOutPair("q2", 3, 4, longer=3),
        HeldOutPair("q2", 3, 5, longer=0),
    ]
    right = np.array([1.0, 1.0, 0.0, 1.0])

    report = accuracy_report(right, pairs, {"longer": longer_right(pairs)}, seed=0)

    assert report["accuracy"]["value"] == 3 / 4
    assert report["better_is_longer"]["value"] == 1 / 2
    assert report["better_is_shorter"]["value"] == 1.0
    assert report["minus_longer"]["value"] == (3 - (1 + 0 + 1 + 0.5)) / 4
    assert report["accuracy"]["n"] == 2


def test_a_part_that_no_pair_is_in_is_left_open():
    assert accuracy_report(np.array([1.0]), [HeldOutPair("q", 0, 1, 5)], {}, seed=0)["better_is_shorter"] is None
