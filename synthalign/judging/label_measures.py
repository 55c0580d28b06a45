"""Tables of labelled pairs against each other: how often labels are right, how far pairs are apart, and differences.

Tables that answer the same queries share what is hard about a query, so a difference draws queries, each with all of
its pairs in all of the tables.  A pair that the oracle finds equally good on both sides is neither right nor wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthalign.core import measures, statistics, tables
from synthalign.core.measures import Label
from synthalign.core.statistics import RESAMPLES, Interval
from synthalign.core.tables import Row
from synthalign.feedback import comparisons
from synthalign.judging.verdicts import Oracle

Parts = list[tuple[str, float, float]]
"""(question, value, counted) of every pair of a table: its figure is the sum of the values by that of the counted."""


def asked(feedback: str) -> set[tuple[str, str]]:
    """Every question of a comparisons table with each of its answers."""
    return {
        (comparisons.text_of(row["prompt"]), comparisons.text_of(row[side]))
        for row in tables.rows(f"comparisons/{feedback}")
        for side in ("chosen", "rejected")
    }


def labels_of(feedback: str, oracle: Oracle) -> list[Label]:
    """Every pair of a comparisons table that the oracle can judge."""
    return labels_of_rows(tables.rows(f"comparisons/{feedback}"), oracle)


def labels_of_rows(rows: Iterable[Row], oracle: Oracle) -> list[Label]:
    """Every one of these comparisons that the oracle can judge."""
    labels = []
    for row in rows:
        chosen, rejected = comparisons.text_of(row["chosen"]), comparisons.text_of(row["rejected"])
        question = comparisons.text_of(row["prompt"])
        one, other = oracle.score(question, chosen), oracle.score(question, rejected)
        if one is not None and other is not None:
            gap, longer = one.total - other.total, len(chosen) - len(rejected)
            labels.append(Label(row["query_id"], row["comparison_id"], gap, longer))
    return labels


def by_configurations(
    labels: Sequence[Label], pairs: Mapping[str, str], kept: Mapping[str, frozenset[str]], *, seed: int
) -> dict[str, dict[str, dict[str, Any] | None]]:
    """How often labels are right for every two configurations, in every part that a filter kept.

    pairs  by comparison id, the two configurations of a comparison, the one that the rule prefers first
    kept   the comparison ids of every part

    None where a part has no pair of the two with a preference.
    """
    found: dict[str, dict[str, dict[str, Any] | None]] = {}
    for name in sorted(set(pairs.values())):
        own = [label for label in labels if label.gap != 0 and pairs[label.comparison_id] == name]
        found[name] = {}
        for part, ids in kept.items():
            inside = [label for label in own if label.comparison_id in ids]
            figure = None
            if inside:
                right = [label.right for label in inside]
                figure = statistics.mean_interval(right, [label.question for label in inside], seed=seed)
            found[name][part] = None if figure is None else {"agreement": figure.metrics(), "pairs": len(inside)}
    return found


def as_a_whole(labels: Sequence[Label], *, seed: int) -> dict[str, Any]:
    """How a table of comparisons fares by itself, no part of it being compared with another."""
    whole = {"": frozenset(label.comparison_id for label in labels)}
    found = measures.label_agreement(labels, whole, seed=seed)[""].metrics()
    return {key: found[key] for key in ("agreement", "ties", "chosen_longer", "pairs")}


def mean_gap(labels: Sequence[Label], *, seed: int) -> Interval:
    """The mean distance of the oracle's scores within a pair, ties included."""
    gaps = [abs(label.gap) for label in labels]
    return statistics.mean_interval(gaps, [label.question for label in labels], seed=seed)


def accuracy_parts(labels: Sequence[Label]) -> Parts:
    """The parts of how often labels are right, among the pairs on which the oracle has a preference."""
    return [(label.question, label.right, float(label.gap != 0)) for label in labels]


def gap_parts(labels: Sequence[Label]) -> Parts:
    """The parts of the mean distance of the oracle's scores within a pair, ties included."""
    return [(label.question, abs(label.gap), 1.0) for label in labels]


def combination(terms: Sequence[tuple[int, Parts]], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The sum of sign x figure over the terms, with a bootstrap over questions.

    terms  (1, a), (-1, b) is the difference a - b, and (1, a), (-1, b), (-1, c), (1, d) how much greater that is than
           c - d

    n is the number of questions with a pair that counts in any of the tables. ValueError when a term has nothing to
    count.
    """
    rows = [(of, *part) for of, (_, parts) in enumerate(terms) for part in parts if part[2]]
    columns = [  # a row of another term adds nothing to this one
        (sign, [value * (of == at) for of, _, value, _ in rows], [counted * (of == at) for of, _, _, counted in rows])
        for at, (sign, _) in enumerate(terms)
    ]
    questions = [question for _, question, _, _ in rows]
    return statistics.ratio_sum_interval(columns, questions, seed=seed, resamples=resamples)


def single_order(labels: Sequence[Label], p_chosen: Mapping[str, Sequence[float]]) -> list[Label]:
    """The labels as one order of the options gives them, once for each order: turned where it prefers the other one.

    p_chosen  by comparison id, each order's probability that the chosen response is the better one

    Both orders count, so that the figure is that of a single order whichever it is. An order that finds both equally
    probable tosses a coin, and is half right.
    """
    return [_turned(label, p) for label in labels for p in p_chosen[label.comparison_id]]


def _turned(label: Label, p: float) -> Label:
    if p < 0.5:
        return replace(label, gap=-label.gap, longer=-label.longer)
    return label if p > 0.5 else replace(label, sure=0.5)
