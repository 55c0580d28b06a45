"""Ratings of all policies on one scale by each judge: Bradley–Terry of its verdicts, with intervals over questions.

A win rate says something of two policies; a rating puts all that were compared with each other, be it through others,
on one scale.  queries/ratings.sql computes them once more, in SQL, and a test compares.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthalign.core import statistics
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.core.tables import Row
from synthalign.feedback import bradley_terry
from synthalign.judging import verdicts

RESAMPLES = 500
"""Bootstrap draws, each a regression of its own; the ends of an interval vary by about 4% of its width."""


def by_judge(judgements: Sequence[Row], *, seed: int, resamples: int = RESAMPLES) -> dict[str, dict[str, Any]]:
    """For every judge the Elo ratings of the policies that it read, as figures for a metrics file.

    A judge whose verdicts do not put its policies on one scale has no ratings; why is printed.
    """
    rows_of: dict[str, list[Row]] = {}
    for row in judgements:
        rows_of.setdefault(row["judge"], []).append(row)
    found = {}
    for judge, rows in rows_of.items():
        try:
            rated = elo(rows, seed=seed, resamples=resamples)
            found[judge] = {policy: one.metrics() for policy, one in rated.items()}
        except UserError as error:
            print(f"{judge}: no ratings: {error}", flush=True)
    return found


def elo(judgements: Sequence[Row], *, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """The Elo rating of each policy of one judge's rows; the mean of all is 1000, so only differences say something.

    Every judged row (`verdicts.judged`) is a game, a tie half a win, as in `win_rates.summary`.  A draw of the
    bootstrap takes whole questions.  UserError where the policies have no common scale: one without any verdict, or
    groups that were never compared.
    """
    policies = sorted({row[side] for row in judgements for side in ("policy_a", "policy_b")})
    place = {policy: number for number, policy in enumerate(policies)}
    questions: dict[str, list[Row]] = {}
    for row in verdicts.judged(judgements):
        questions.setdefault(row["question_id"], []).append(row)
    wins = np.zeros((len(questions), len(policies), len(policies)))
    for number, rows in enumerate(questions.values()):
        one, other = ([place[row[side]] for row in rows] for side in ("policy_a", "policy_b"))
        points = statistics.win_points([row["verdict"] for row in rows])
        wins[number] = bradley_terry.win_matrix(one, other, points, players=len(policies))
    compared = wins.sum(axis=0) > 0
    values = bradley_terry.elo(bradley_terry.strengths(wins.sum(axis=0), policies, compared=compared))
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, len(policies)))
    for draw in range(resamples):
        times = np.bincount(rng.integers(len(wins), size=len(wins)), minlength=len(wins))
        drawn = np.tensordot(times, wins, axes=1)
        draws[draw] = bradley_terry.elo(bradley_terry.strengths(drawn, policies, compared=compared))
    n = [sum(bool(wins[q, at].any() or wins[q, :, at].any()) for q in range(len(wins))) for at in range(len(policies))]
    return {
        policy: statistics.percentile_interval(float(values[at]), draws[:, at], n[at])
        for at, policy in enumerate(policies)
    }
