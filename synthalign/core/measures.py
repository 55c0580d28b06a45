"""What the oracle's scores say about configurations, labels, reward models, best-of-N and training steps.

Everything here is numbers in, numbers out: scores come from an oracle or a reward model, questions are the units that
intervals are drawn over, and a preference on which the oracle has equal scores (a tie) is neither right nor wrong.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthalign.core import statistics
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval


def by_question(scores: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The mean score of every question's answers, from (question, score) rows."""
    collected: dict[str, list[float]] = {}
    for question, score in scores:
        collected.setdefault(question, []).append(score)
    return {question: fmean(values) for question, values in collected.items()}


def mean(scores: Mapping[str, float], *, seed: int) -> Interval:
    """The mean over questions of `{question: score}`."""
    return statistics.mean_interval(list(scores.values()), list(scores), seed=seed)


def difference(one: Mapping[str, float], other: Mapping[str, float], *, seed: int) -> Interval:
    """one - other, paired over the questions that both answered."""
    return gap(paired(one, other), seed=seed)


def gap(differences: Mapping[str, float], *, seed: int) -> Interval:
    """The mean over questions of `{question: difference}`; see `statistics.difference_interval`."""
    return statistics.difference_interval(
        list(differences.values()), [0.0] * len(differences), list(differences), seed=seed
    )


def paired(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """one - other for every question that both answered."""
    return {question: one[question] - other[question] for question in one if question in other}


LARGER = {f"demonstrations_over_{other}": ("demonstrations", other) for other in ("size", "shots")}
"""Differences of which the first is claimed to be the larger (ALMoST Table 2)."""


def check_differences(asked: Mapping[str, Sequence[str]], known: Collection[str], *, of: str) -> None:
    """ValueError, as settings are refused, for a difference that is not between two of those there are."""
    for name, compared in asked.items():
        if len(compared) != 2 or not set(compared) <= set(known):
            raise ValueError(
                f"differences.{name} = {list(compared)}; a difference is between two of {of}: {', '.join(known)}"
            )


def effects(
    scores: Mapping[str, Mapping[str, float]], asked: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """The differences that are asked for as {name: (better, worse)}, question by question, and those of LARGER.

    scores  {configuration: {question: score}}

    By how much one difference is larger than another is a difference again, of the same questions.
    """
    found = {name: paired(scores[better], scores[worse]) for name, (better, worse) in asked.items()}
    known = [(name, pair) for name, pair in LARGER.items() if set(pair) <= set(found)]
    return found | {name: paired(found[one], found[other]) for name, (one, other) in known}


# -- labels -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """One comparison and what the oracle thinks of it.

    gap     oracle score of the chosen response minus that of the rejected one
    longer  characters of the chosen one minus those of the rejected one
    sure    1 for a label, 1/2 for a toss-up between it and its opposite
    """

    question: str
    comparison_id: str
    gap: float
    longer: int
    sure: float = 1.0

    @property
    def right(self) -> float:
        """1 where the oracle agrees, 0 where it prefers the other one or neither; half of each for a toss-up."""
        return self.sure * (self.gap > 0) + (1 - self.sure) * (self.gap < 0)

    @property
    def chooses_longer(self) -> float:
        """1 where the chosen response has more characters, else 0; half of each side for a toss-up."""
        return self.sure * (self.longer > 0) + (1 - self.sure) * (self.longer < 0)


@dataclass(frozen=True)
class Agreement:
    """How a kept part of the labels fares.

    agreement  share right among those where the oracle has a preference
    over_first, over_previous  its agreement minus that of the first part and of the one before it
    coverage   pairs kept of all, ties included
    ties       share of the kept pairs on which the oracle has no preference
    longer     share of the kept pairs with a preference in which the chosen response is the longer
    """

    agreement: Interval
    over_first: Interval
    over_previous: Interval
    coverage: float
    ties: float
    longer: float
    pairs: int

    def metrics(self) -> dict[str, Any]:
        """For a metrics file."""
        return {
            "agreement": self.agreement.metrics(),
            "over_first": self.over_first.metrics(),
            "over_previous": self.over_previous.metrics(),
            "coverage": round(self.coverage, 6),
            "ties": round(self.ties, 6),
            "chosen_longer": round(self.longer, 6),
            "pairs": self.pairs,
        }


def label_agreement(labels: Sequence[Label], kept: Mapping[str, frozenset[str]], *, seed: int) -> dict[str, Agreement]:
    """The agreement of every part of `labels`, a part being the comparison ids that a filter kept.

    Parts are compared with the first and with the one before them in `kept`. UserError when a part has no pair with a
    preference.
    """
    decided = [label for label in labels if label.gap != 0]
    right = np.array([label.right for label in decided], dtype=float)
    longer = np.array([label.chooses_longer for label in decided], dtype=float)
    questions = [label.question for label in decided]
    inside = {name: np.array([label.comparison_id in ids for label in decided]) for name, ids in kept.items()}
    first = previous = next(iter(kept))
    raw = sum(label.comparison_id in kept[first] for label in labels)
    result: dict[str, Agreement] = {}
    for name, ids in kept.items():
        if not inside[name].any():
            raise UserError(f"the oracle has no preference on any of the {len(ids)} pairs of {name!r}; see its table")
        part, pairs = inside[name], sum(label.comparison_id in ids for label in labels)
        result[name] = Agreement(
            agreement=statistics.mean_interval(
                right[part], [question for question, is_in in zip(questions, part, strict=True) if is_in], seed=seed
            ),
            over_first=_gain(right, part, inside[first], questions, seed),
            over_previous=_gain(right, part, inside[previous], questions, seed),
            coverage=pairs / raw,
            ties=1 - int(part.sum()) / pairs,
            longer=float(longer[part].mean()),
            pairs=pairs,
        )
        previous = name
    return result


def _gain(
    right: NDArray[np.float64], one: NDArray[np.bool_], other: NDArray[np.bool_], questions: Sequence[str], seed: int
) -> Interval:
    """The share right in one part minus that in another, which share most of their rows; n is of both together."""
    either = one | other
    right, one, other = right[either], one[either], other[either]
    questions = [question for question, is_in in zip(questions, either, strict=True) if is_in]
    return statistics.ratio_difference_interval((right * one, one), (right * other, other), questions, seed=seed)


# -- reward models ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldOutPair:
    """Two responses to one question, places in a list of scored responses, of which the oracle prefers `better`."""

    question: str
    better: int
    worse: int
    longer: int
    """Characters of the better response minus those of the worse one."""


def held_out_pairs(questions: Sequence[str], texts: Sequence[str], scores: Sequence[float]) -> list[HeldOutPair]:
    """Every pair of different responses to one question on which the oracle has a preference.

    questions, texts, scores  (R,)  the question, the text and the oracle's score of each response
    """
    places: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        places.setdefault(question, []).append(place)
    pairs = []
    for question, responses in places.items():
        for one, other in combinations(responses, 2):
            if texts[one] != texts[other] and scores[one] != scores[other]:
                better, worse = (one, other) if scores[one] > scores[other] else (other, one)
                pairs.append(HeldOutPair(question, better, worse, len(texts[better]) - len(texts[worse])))
    return pairs


def ranks_right(pairs: Sequence[HeldOutPair], rewards: Sequence[float]) -> NDArray[np.float64]:
    """(P,) 1 where the better response has strictly the higher reward, else 0: an equal reward has not found it."""
    return np.array([rewards[pair.better] > rewards[pair.worse] for pair in pairs], dtype=float)


def longer_right(pairs: Sequence[HeldOutPair]) -> NDArray[np.float64]:
    """(P,) the always-longer rule: 1 where the better one is longer, 0 where it is shorter, 1/2 where it must guess."""
    return np.array([(np.sign(pair.longer) + 1) / 2 for pair in pairs])


def accuracy_report(
    right: NDArray[np.float64], pairs: Sequence[HeldOutPair], against: Mapping[str, NDArray[np.float64]], *, seed: int
) -> dict[str, dict[str, float | int] | None]:
    """How often a rule is right, overall and by which response is longer, and by how much more often than others.

    right    (P,)  of the rule, from `ranks_right` or `longer_right`
    against  (P,)  of other rules on the same pairs; their entries are named minus_<other>
    """
    questions = [pair.question for pair in pairs]
    report: dict[str, dict[str, float | int] | None] = {
        "accuracy": statistics.mean_interval(right, questions, seed=seed).metrics()
    }
    for name, sign in (("better_is_longer", 1), ("better_is_shorter", -1)):
        part = [place for place, pair in enumerate(pairs) if np.sign(pair.longer) == sign]
        report[name] = None
        if part:
            report[name] = statistics.mean_interval(right[part], [questions[p] for p in part], seed=seed).metrics()
    for name, other in against.items():
        report[f"minus_{name}"] = statistics.difference_interval(right, other, questions, seed=seed).metrics()
    return report


# -- best of n --------------------------------------------------------------------------------------------------------


def best_of_n_weights(candidates: int, n: int) -> NDArray[np.float64]:
    """(N,) the chance of each candidate, from the worst to the best, to be the best of n drawn without replacement.

    The k-th worst (k from 1) is the best of a draw when the other n - 1 are among the k - 1 below it:
    C(k-1, n-1) / C(N, n).  So the curve uses all N candidates at every n and needs no draws.
    """
    if not 1 <= n <= candidates:
        raise ValueError(f"the best of {n} needs at least as many candidates; there are {candidates}")
    return np.array([comb(k - 1, n - 1) / comb(candidates, n) for k in range(1, candidates + 1)])


def expected_best(order_by: Sequence[Any], values: Sequence[float], n: int) -> float:
    """The expected value of the candidate that is the highest by `order_by` among n; of equal ones the first wins.

    order_by, values  (N,)  what the choice looks at (numbers, or whatever has an order), and what the chosen is worth
    """
    places = sorted(range(len(order_by)), key=lambda place: (order_by[place], -place))
    return float(best_of_n_weights(len(order_by), n) @ np.array([values[place] for place in places]))


# -- training steps ---------------------------------------------------------------------------------------------------


def over_optimisation(
    steps: Sequence[int], rewards: Sequence[float], scores: Sequence[float]
) -> dict[str, float | int]:
    """Where a policy's oracle score is highest, and what happens to reward and oracle from there to the last step.

    steps, rewards, scores  (T,)  in the order of the steps
    A reward that goes on rising after the oracle's peak while the oracle falls is over-optimisation.
    """
    peak = max(range(len(steps)), key=lambda place: (scores[place], -place))
    return {
        "peak_step": steps[peak],
        "peak_oracle": round(scores[peak], 6),
        "last_step": steps[-1],
        "last_oracle": round(scores[-1], 6),
        "oracle_after_peak": round(scores[-1] - scores[peak], 6),
        "reward_after_peak": round(rewards[-1] - rewards[peak], 6),
    }


# -- scores -----------------------------------------------------------------------------------------------------------


def check_score(model: str | None, value: float, item: str) -> None:
    """UserError naming model and item when a score is infinite or none: compared with others it would look wrong."""
    if not math.isfinite(value):
        raise UserError(
            f"{model} scores {item} with {value}: its logits are not finite; its weights are damaged, or its precision "
            "is too low"
        )
