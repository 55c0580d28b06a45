"""Ask the oracle how good the vanilla configurations are, and how often each filter's labels are right."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field

from synthalign import comparisons, label_measures, measures, stage, tables
from synthalign.errors import UserError
from synthalign.label_measures import Parts
from synthalign.measures import Label
from synthalign.tables import Row
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none, and then nothing is measured."""

    configurations: list[str] = Field(min_length=1)
    """Whose responses to the evaluation queries are scored: those of the ranking, and the probes."""

    differences: dict[str, list[str]]
    """What to compare, as name: [better, worse]: the steps of the ranking, and one change of size, shots or
    demonstrations at a time."""

    filters: list[str] = Field(min_length=1)
    """The tables comparisons/<filter> whose labels are checked: the raw pairs first, then what each filter leaves."""

    others: list[str]
    """Tables of comparisons that are no part of the raw pairs, each checked by itself; <table>_single_order stands for
    the labels that one order of a labeller's options gives."""

    label_differences: dict[str, list[str]]
    """Agreements of `others` to compare, as name: [a, b] for a - b, or [a, b, c, d] for (a - b) - (c - d)."""

    gap_differences: dict[str, list[str]]
    """The same for the mean distance of the oracle's scores within a pair."""


def scored_responses(config: str, questions: dict[str, str], oracle: Oracle) -> list[Row]:
    """The oracle's points for every response of a configuration to the questions."""
    rows = []
    for row in tables.rows(f"responses/{config}"):
        scores = oracle.score(questions.get(row["query_id"], ""), row["text"])
        if scores is not None:
            points = {"helpful": scores.helpful, "harmless": scores.harmless, "honest": scores.honest}
            rows.append(points | {"query_id": row["query_id"], "total": scores.total, "characters": len(row["text"])})
    if not rows:
        raise UserError(f"{tables.path(f'responses/{config}')} answers no evaluation query that the oracle knows")
    return rows


def labels_of(feedback: str, oracle: Oracle) -> list[Label]:
    """Every pair of a comparisons table that the oracle can judge."""
    labels = []
    for row in tables.rows(f"comparisons/{feedback}"):
        chosen, rejected = comparisons.text_of(row["chosen"]), comparisons.text_of(row["rejected"])
        question = comparisons.text_of(row["prompt"])
        one, other = oracle.score(question, chosen), oracle.score(question, rejected)
        if one is not None and other is not None:
            gap, longer = one.total - other.total, len(chosen) - len(rejected)
            labels.append(Label(row["query_id"], row["comparison_id"], gap, longer))
    return labels


def labels_of_others(names: list[str], oracle: Oracle) -> dict[str, list[Label]]:
    """The labels of each table, and those of a single order where a labeller was asked in both."""
    found: dict[str, list[Label]] = {}
    for name in names:
        if labels := labels_of(name, oracle):
            found[name] = labels
            table = tables.read(f"comparisons/{name}")
            if "p_ba" in table.column_names and not table["p_ba"].null_count:
                orders = zip(table["p_ab"].to_pylist(), table["p_ba"].to_pylist(), strict=True)
                by_id = dict(zip(table["comparison_id"].to_pylist(), orders, strict=True))
                found[f"{name}_single_order"] = label_measures.single_order(labels, by_id)
    return found


def differences_of(
    asked: dict[str, list[str]], labels: dict[str, list[Label]], parts: Callable[[list[Label]], Parts], seed: int
) -> dict[str, Any]:
    """a - b, or (a - b) - (c - d), for each name; UserError when a table is not among the others."""
    found = {}
    for name, compared in asked.items():
        if len(compared) not in (2, 4) or not set(compared) <= set(labels):
            raise UserError(
                f"score_comparisons: {name} = {compared}; allowed: two or four of {', '.join(labels)} (of `others`)"
            )
        terms = [(sign, parts(labels[table])) for sign, table in zip((1, -1, -1, 1), compared, strict=False)]
        found[name] = label_measures.combination(terms, seed=seed).metrics()
    return found


def main(params: Params) -> None:
    if params.oracle is None:
        for name in ("score_comparisons", "plots/configurations", "plots/labels"):
            stage.write_metrics(name)
        return
    oracle = Oracle.load(params.oracle)
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    responses = {config: scored_responses(config, questions, oracle) for config in params.configurations}
    labels = labels_of(params.filters[0], oracle)
    kept = {name: frozenset(tables.read(f"comparisons/{name}")["comparison_id"].to_pylist()) for name in params.filters}

    totals = {
        config: measures.by_question([(row["query_id"], row["total"]) for row in rows])
        for config, rows in responses.items()
    }
    configurations = {
        config: measures.mean(totals[config], seed=params.seed).metrics()
        | {name: round(fmean(row[name] for row in rows), 6) for name in ("helpful", "harmless", "honest", "characters")}
        for config, rows in responses.items()
    }
    differences = {
        name: measures.difference(totals[better], totals[worse], seed=params.seed).metrics()
        for name, (better, worse) in params.differences.items()
    }
    agreement = {
        name: part.metrics() for name, part in measures.label_agreement(labels, kept, seed=params.seed).items()
    }
    others, own_labels = {}, labels_of_others(params.others, oracle)
    for name, own in own_labels.items():
        whole = {name: frozenset(label.comparison_id for label in own)}
        figures = measures.label_agreement(own, whole, seed=params.seed)[name].metrics()
        others[name] = {key: figures[key] for key in ("agreement", "ties", "chosen_longer", "pairs")}
        others[name]["gap"] = label_measures.mean_gap(own, seed=params.seed).metrics()
    seed = params.seed
    by_label = differences_of(params.label_differences, own_labels, label_measures.accuracy_parts, seed)
    by_gap = differences_of(params.gap_differences, own_labels, label_measures.gap_parts, seed)

    stage.write_metrics(
        "score_comparisons",
        configurations=configurations,
        differences=differences,
        labels=agreement,
        other_labels=others,
        label_differences=by_label,
        gap_differences=by_gap,
    )
    points = [{"configuration": config} | values for config, values in configurations.items()]
    stage.write_metrics("plots/configurations", configurations=points)
    steps = [{"filter": name} | part | part.pop("agreement") for name, part in agreement.items()]
    stage.write_metrics("plots/labels", labels=steps)


if __name__ == "__main__":
    stage.run(main, "score_comparisons", Params)
