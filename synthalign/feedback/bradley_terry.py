"""Bradley–Terry: how often each of several won against others becomes one rating of each, on Elo's scale.

    P(i beats j) = s_i / (s_i + s_j) = sigmoid(theta_i - theta_j)        (Bradley and Terry 1952)
    Elo rating   = 1000 + 400 log10 s_i                                  (400 points are odds of 10 to 1)

They are found by scikit-learn's logistic regression without penalty, as Chiang et al. 2024 (Chatbot Arena) do.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthalign.core.errors import UserError

Floats = NDArray[np.float64]

POINTS = 400 / math.log(10)
"""Elo points of one unit of theta."""

MEAN = 1000.0
"""Mean Elo rating of those that are rated together: only differences are known."""

TIE = 0.5
"""What both sides of every two that were compared have on top of what they won: one tie more. Without it, one that
always won would be infinitely better. Of two with 2,000 games it takes .1 points off the difference where one won .65
of them, and 4 points where it won .99."""


def win_matrix(one: ArrayLike, other: ArrayLike, points: ArrayLike, *, players: int) -> Floats:
    """(P, P) the points that each of P players has won against each other one.

    one, other  (N,)  who met, as places in range(P)
    points      (N,)  what `one` won, between 0 and 1, a tie being 1/2; the other won the rest
    """
    wins = np.zeros((players, players))
    first, second, won = np.asarray(one, int), np.asarray(other, int), np.asarray(points, float)
    np.add.at(wins, (first, second), won)
    np.add.at(wins, (second, first), 1 - won)
    return wins


def groups(compared: ArrayLike) -> list[list[int]]:
    """The players in groups that have a common scale: within a group everybody can be reached by comparisons.

    compared  (P, P)  true where two of them were compared, in one of the two places at least
    """
    from scipy.sparse.csgraph import connected_components  # not at the top: who rates nobody does not wait for it

    number, labels = connected_components(np.asarray(compared), directed=False)
    return [np.flatnonzero(labels == group).tolist() for group in range(number)]


def strengths(wins: ArrayLike, names: Sequence[str], *, compared: ArrayLike | None = None) -> Floats:
    """(P,) theta of each player, with mean 0: the most likely ones, given the wins and one more TIE of every two.

    wins      (P, P)  what each won against each other one (`win_matrix`)
    names     (P,)    whom an error names
    compared  (P, P)  who was compared with whom, where a draw of a bootstrap may have none of it; else what wins say

    A tie is half a win of both, which is what Elo ratings and win rates make of it. UserError where not all of them
    can be put on one scale, one that was never compared among them.
    """
    from sklearn.linear_model import LogisticRegression

    won = np.asarray(wins, float)
    met = (won + won.T > 0) if compared is None else np.asarray(compared, bool) | np.asarray(compared, bool).T
    if len(found := groups(met)) > 1:
        apart = "; ".join(", ".join(names[place] for place in group) for group in found)
        raise UserError(
            f"{len(names)} are in {len(found)} groups without a comparison between them, so there is no common scale "
            f"for them ({apart}); compare one of each group with one of another"
        )
    if len(names) == 1:
        return np.zeros(1)
    one, other = np.nonzero(np.triu(met, 1))
    rows = np.zeros((len(one), len(names)))
    rows[np.arange(len(one)), one], rows[np.arange(len(one)), other] = 1, -1
    model = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(
        np.concatenate([rows, rows])[:, 1:],  # the first has theta 0
        np.repeat([1, 0], len(one)),
        sample_weight=np.concatenate([won[one, other], won[other, one]]) + TIE,
    )
    theta = np.concatenate([[0.0], model.coef_[0]])
    return theta - theta.mean()


def elo(theta: ArrayLike) -> Floats:
    """Thetas as Elo ratings: MEAN for 0, 400 points for odds of 10 to 1."""
    return MEAN + POINTS * np.asarray(theta, float)
