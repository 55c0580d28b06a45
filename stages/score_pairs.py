"""Ask the oracle how often the labels of RLCD and RLAIF are right, and how far the answers of their pairs are apart."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.measures import Label
from synthalign.judging import label_measures
from synthalign.judging.label_measures import Parts
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none, and then nothing is measured."""

    tables: list[str] = Field(min_length=1)
    """The tables of comparisons, each checked by itself; <table>_single_order stands for the labels that one order of
    a labeller's options gives."""

    label_differences: dict[str, list[str]]
    """Agreements to compare, as name: [a, b] for a - b, or [a, b, c, d] for (a - b) - (c - d)."""

    gap_differences: dict[str, list[str]]
    """The same for the mean distance of the oracle's scores within a pair."""


def labels_by_table(names: list[str], oracle: Oracle) -> dict[str, list[Label]]:
    """The labels of each table, and those of a single order where a labeller was asked in both."""
    found: dict[str, list[Label]] = {}
    for name in names:
        if labels := label_measures.labels_of(name, oracle):
            found[name] = labels
            table = tables.read(f"comparisons/{name}")
            if "p_ba" in table.column_names and not table["p_ba"].null_count:
                orders = zip(table["p_ab"].to_pylist(), table["p_ba"].to_pylist(), strict=True)
                by_id = dict(zip(table["comparison_id"].to_pylist(), orders, strict=True))
                found[f"{name}_single_order"] = label_measures.single_order(labels, by_id)
    return found


def differences_of(
    key: str,
    asked: dict[str, list[str]],
    labels: dict[str, list[Label]],
    parts: Callable[[list[Label]], Parts],
    seed: int,
) -> dict[str, Any]:
    """a - b, or (a - b) - (c - d), for each name under a key; UserError when a table is not among the others."""
    found = {}
    for name, compared in asked.items():
        if len(compared) not in (2, 4) or not set(compared) <= set(labels):
            raise UserError(
                f"params.yaml: score_pairs.{key}.{name} = {compared}; allowed: two or four of {', '.join(labels)}, "
                "which are score_pairs.tables less those without a question that the oracle knows, and "
                "<table>_single_order of those that were labelled with label_pairs.orders = both"
            )
        terms = [(sign, parts(labels[table])) for sign, table in zip((1, -1, -1, 1), compared, strict=False)]
        found[name] = label_measures.combination(terms, seed=seed).metrics()
    return found


def main(params: Params) -> None:
    if params.oracle is None:
        stage.write_metrics("score_pairs")
        return
    labels, seed = labels_by_table(params.tables, Oracle.load(params.oracle)), params.seed
    found = {}
    for name, own in labels.items():
        whole = {name: frozenset(label.comparison_id for label in own)}
        figures = measures.label_agreement(own, whole, seed=seed)[name].metrics()
        found[name] = {key: figures[key] for key in ("agreement", "ties", "chosen_longer", "pairs")}
        found[name]["gap"] = label_measures.mean_gap(own, seed=seed).metrics()
    stage.write_metrics(
        "score_pairs",
        labels=found,
        label_differences=differences_of(
            "label_differences", params.label_differences, labels, label_measures.accuracy_parts, seed
        ),
        gap_differences=differences_of(
            "gap_differences", params.gap_differences, labels, label_measures.gap_parts, seed
        ),
    )


if __name__ == "__main__":
    stage.run(main, "score_pairs", Params)
