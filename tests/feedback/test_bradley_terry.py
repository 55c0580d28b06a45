"""Ratings from wins: worked out by hand, and what has none."""

import math

import numpy as np
import pytest

from synthalign.core.errors import UserError
from synthalign.feedback.bradley_terry import elo, groups, strengths, win_matrix


def test_of_two_players_the_odds_are_the_wins_and_a_tie_more() -> None:
    wins = win_matrix([0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0], players=2)

    theta = strengths(wins, ["ppo", "base"])

    # 3 wins to 1, and half a win for both
    assert wins.tolist() == [[0, 3], [1, 0]]
    assert theta.tolist() == pytest.approx([math.log(3.5 / 1.5) / 2, -math.log(3.5 / 1.5) / 2], abs=1e-9)
    assert elo(theta).tolist() == pytest.approx(
        [1000 + 200 * math.log10(3.5 / 1.5), 1000 - 200 * math.log10(3.5 / 1.5)], abs=1e-6
    )


def test_ten_to_one_is_four_hundred_points() -> None:
    one, other = elo(strengths([[0, 9.5], [0.5, 0]], ["one", "other"]))

    assert one - other == pytest.approx(400, abs=1e-6)  # 9.5 + .5 to .5 + .5


def test_ties_are_half_a_win_of_both() -> None:
    ties = win_matrix([0, 0], [1, 1], [0.5, 0.5], players=2)
    each_wins = win_matrix([0, 1], [1, 0], [1, 1], players=2)

    assert ties.tolist() == each_wins.tolist() == [[0, 1], [1, 0]]
    assert strengths(ties, ["one", "other"]).tolist() == pytest.approx([0, 0], abs=1e-9)


def test_three_that_beat_each_other_in_order_are_equally_far_apart() -> None:
    theta = strengths(win_matrix([0, 0, 1], [1, 2, 2], [1, 1, 1], players=3), ["a", "b", "c"])

    # By symmetry theta = (x, 0, -x). a won 1 + 1 and half of two ties more, of 2 + 2 games: with t = e^x
    # 2 t/(1 + t) + 2 t²/(1 + t²) = 3, which is t³ - t² - t - 3 = 0.
    t = math.exp(theta[0])
    assert t**3 - t**2 - t - 3 == pytest.approx(0, abs=1e-6)
    assert theta[1:].tolist() == pytest.approx([0, -theta[0]], abs=1e-9)


def test_two_that_never_met_are_compared_through_a_third() -> None:
    # a : b = 3 : 1 and b : c = 3 : 1, the tie more included, so a : c = 9 : 1
    theta = strengths([[0, 2.5, 0], [0.5, 0, 2.5], [0, 0.5, 0]], ["a", "b", "c"])

    assert theta[0] - theta[2] == pytest.approx(math.log(9), abs=1e-9)


def test_who_always_won_has_a_finite_rating() -> None:
    theta = strengths([[0, 1000], [0, 0]], ["one", "other"])

    assert theta[0] - theta[1] == pytest.approx(math.log(1000.5 / 0.5), abs=1e-6)


def test_one_who_was_never_compared_has_no_place_on_the_scale() -> None:
    with pytest.raises(UserError, match=r"3 are in 2 groups .*no common scale for them \(a, b; lonely\); compare one"):
        strengths(win_matrix([0], [1], [1], players=3), ["a", "b", "lonely"])


def test_groups_that_never_met_are_named() -> None:
    wins = win_matrix([0, 2], [1, 3], [1, 0], players=4)

    assert groups(wins) == [[0, 1], [2, 3]]
    with pytest.raises(UserError, match=r"4 are in 2 groups .*\(a, b; c, d\)"):
        strengths(wins, ["a", "b", "c", "d"])


def test_a_draw_without_a_game_of_two_that_met_still_has_ratings() -> None:
    met = np.array([[0, 3, 0], [0, 0, 2], [0, 0, 0]])

    theta = strengths([[0, 3, 0], [0, 0, 0], [0, 0, 0]], ["a", "b", "c"], compared=met)

    assert theta[0] - theta[1] == pytest.approx(math.log(3.5 / 0.5), abs=1e-9)
    assert theta[1] == pytest.approx(theta[2], abs=1e-9)  # of these two there is but the tie


def test_a_single_one_is_the_mean() -> None:
    assert elo(strengths([[0]], ["only"])).tolist() == [1000]
