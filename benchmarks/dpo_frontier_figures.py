"""What the runs of `benchmarks.dpo_frontier` add up to: numbers in, the figures of metrics/dpo_frontier.json out.

Frontier.  A policy of a sweep is a point (KL, reward). Of two policies one can be drawn for every answer, w of the time
the second: the reward of that mixture is the mean of theirs, and its KL at most the mean of theirs, as KL is convex. So
the line between two points can be reached, and the frontier of a sweep is the upper hull of its points, with the policy
that training began with at (0, its reward).  Which two are mixed is chosen on one half of the questions and measured on
the other, and the other way round: the best of many noisy points looks better than it is where it was chosen.

Win rates.  An answer meets each of several answers of SFT to its question; a tie by the oracle is half a win.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthalign.core import measures, statistics
from synthalign.core.statistics import Interval
from synthalign.judging import win_rates

Floats = NDArray[np.float64]

SEED = 0
"""Of the bootstrap."""


class Point(NamedTuple):
    """A policy of a sweep: what its answers to Q questions are like, (Q,) each."""

    kl: Floats
    """To the policy that training began with, nats."""
    reward: Floats
    oracle: Floats


class Answers(NamedTuple):
    """One answer to each of Q questions, (Q,) each."""

    oracle: Floats
    characters: Floats


# -- the frontier -----------------------------------------------------------------------------------------------------


def mixture(kl: Sequence[float], reward: Sequence[float], at: float) -> Floats:
    """The weights (M,) of the mixture of at most two policies whose reward is the highest at a KL of at most `at`.

    kl, reward  (M,)  of each policy.  ValueError when none has a KL of at most `at`.
    """
    best, weights = -np.inf, np.zeros(len(kl))
    for one, other in product(range(len(kl)), repeat=2):
        if kl[one] > at:
            continue
        share = (at - kl[one]) / (kl[other] - kl[one]) if kl[other] > at else 0.0
        value = (1 - share) * reward[one] + share * reward[other]
        if value > best:
            best, weights = value, np.zeros(len(kl))
            weights[one] += 1 - share
            weights[other] += share
    if best == -np.inf:
        raise ValueError(f"no policy has a KL of at most {at}; the one that training began with has 0")
    return weights


def frontier_at(points: Sequence[Point], at: float) -> Point:
    """The frontier at a KL, question by question: each half of the questions under the mixture that the other chose.

    Of two halves the first has every second question, from the first on.
    """
    kl, reward, oracle = (np.stack(found) for found in zip(*points, strict=True))  # (M, Q) each
    first = np.arange(kl.shape[1]) % 2 == 0
    found = Point(*(np.empty(kl.shape[1]) for _ in Point._fields))
    for chosen_on in (first, ~first):
        weights = mixture(kl[:, chosen_on].mean(1), reward[:, chosen_on].mean(1), at)
        for values, measured in zip((kl, reward, oracle), found, strict=True):
            measured[~chosen_on] = weights @ values[:, ~chosen_on]
    return found


def reach(sweeps: Sequence[Sequence[Point]]) -> float:
    """The largest KL that every one of the sweeps (a method under a seed each) reaches."""
    return min(max(float(point.kl.mean()) for point in points) for points in sweeps)


def even(furthest: float, count: int) -> list[float]:
    """`count` KL points at even distances, the last the furthest; 0, where nothing differs, is none of them."""
    return [furthest * place / count for place in range(1, count + 1)]


def frontiers(sweeps: Mapping[str, Sequence[Sequence[Point]]], *, shared: int, own: int) -> dict[str, Any]:
    """The frontier of each method, and at KL points that all reach the difference of dpo to ppo.

    sweeps  for each method the points of every seed
    shared  KL points for the difference; own  those of each method's curve, as far as it goes under every seed
    Every figure is a list, an interval for every seed.
    """
    one, other = sweeps["dpo"], sweeps["ppo"]
    at = even(reach([*one, *other]), shared)
    return {
        "shared": [
            {
                "kl": round(kl, 6),
                **{
                    name: [
                        _mean(getattr(frontier_at(a, kl), name) - getattr(frontier_at(b, kl), name))
                        for a, b in zip(one, other, strict=True)
                    ]
                    for name in Point._fields
                    if name != "kl"
                },
                **{f"kl_of_{name}": [_mean(frontier_at(seed, kl).kl) for seed in found]
                   for name, found in sweeps.items()},
            }
            for kl in at
        ],
        "curves": {
            name: [
                {"kl": round(kl, 6)} | _each([frontier_at(seed, kl) for seed in found], ("reward", "oracle"))
                for kl in [0.0, *even(reach(found), own)]
            ]
            for name, found in sweeps.items()
        },
    }  # fmt: skip


def point_figures(seeds: Sequence[Point]) -> dict[str, Any]:
    """A policy under every seed: its KL, reward and oracle score, an interval for every seed."""
    return _each(seeds, Point._fields)


def _each(seeds: Sequence[Point], names: Sequence[str]) -> dict[str, Any]:
    return {name: [_mean(getattr(point, name)) for point in seeds] for name in names}


# -- win rates --------------------------------------------------------------------------------------------------------


def wins(one: ArrayLike, other: ArrayLike) -> Floats:
    """1 where the oracle gives the first more points, 1/2 where as many, else 0."""
    a, b = np.asarray(one, float), np.asarray(other, float)
    return (a > b) + 0.5 * (a == b)


def against(oracle: Floats, opponents: Floats) -> Floats:
    """The mean over opponents of the wins of each answer: points (..., Q) and (O, Q) -> (..., Q)."""
    return np.stack([wins(oracle, opponent) for opponent in opponents]).mean(0)


def win_rate(points: Floats) -> dict[str, Any]:
    """The mean of the win points (Q,) of every question, with its interval over questions."""
    return _mean(points)


def duel(one: Answers, other: Answers) -> dict[str, Any]:
    """The win rate of one answer to every question over another, and what it would be at equal lengths; the latter is
    None where all differences in length are equal (`win_rates.length_controlled`)."""
    points, longer = wins(one.oracle, other.oracle), one.characters - other.characters
    fair = win_rates.length_controlled(points, longer, range(len(points)), seed=SEED)
    return {
        "win_rate": _mean(points),
        "length_controlled": fair.metrics() if fair else None,
        "characters": [round(float(side.characters.mean()), 3) for side in (one, other)],
    }


def best_of(rewards: Floats, values: Floats, n: int) -> Floats:
    """What the best of n by reward is worth, in expectation over all choices of n: (Q, N) and (Q, N) -> (Q,)."""
    return np.array([measures.expected_best(list(a), list(b), n) for a, b in zip(rewards, values, strict=True)])


def pick(rewards: Floats, values: Floats) -> Floats:
    """What the candidate with the highest reward is worth, of equal ones the first: (Q, N) and (Q, N) -> (Q,)."""
    return np.take_along_axis(values, rewards.argmax(1)[:, None], axis=1)[:, 0]


def drop(cold: Floats, hot: Floats) -> Floats:
    """By how much a win rate falls from greedy answers to those at temperature 1, question by question."""
    return cold - hot


def _mean(values: Floats) -> dict[str, Any]:
    """Of a value for every question, the mean and its interval over questions."""
    return interval(values).metrics()


def interval(values: Floats) -> Interval:
    return statistics.mean_interval(values, range(len(values)), seed=SEED)
