"""Ask the oracle, or people's reward model, how often the labels of RLCD and RLAIF are right, and how far apart pairs
are."""

from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.measures import Label
from synthalign.judging import label_measures
from synthalign.judging.label_measures import Parts
from synthalign.judging.verdicts import Oracle as Judge
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none."""

    people: str | None = Field(min_length=1)
    """Where there is no oracle: the folder of the reward model trained on people's pairs, which judges; null for none,
    and then nothing is measured."""

    tables: list[str] = Field(min_length=1)
    """The tables of comparisons, each checked by itself; <table>_single_order stands for the labels that one order of
    a labeller's options gives."""

    label_differences: dict[str, list[str]]
    """Agreements to compare, as name: [a, b] for a - b, or [a, b, c, d] for (a - b) - (c - d)."""

    gap_differences: dict[str, list[str]]
    """The same for the mean distance of the oracle's scores within a pair."""

    @model_validator(mode="after")
    def _compares_tables(self) -> Self:
        known = {*self.tables, *(f"{table}_single_order" for table in self.tables)}
        for key in ("label_differences", "gap_differences"):
            for name, compared in getattr(self, key).items():
                if len(compared) not in (2, 4) or not set(compared) <= known:
                    raise ValueError(
                        f"{key}.{name} = {compared}; allowed: two or four of tables ({', '.join(self.tables)}) and of "
                        "<table>_single_order"
                    )
        return self


def labels_by_table(names: list[str], oracle: Judge) -> dict[str, list[Label]]:
    """The labels of each table, and those of a single order where a labeller was asked in both."""
    found: dict[str, list[Label]] = {}
    for name in names:
        if labels := label_measures.labels_of(name, oracle):
            found[name] = labels
            table = tables.read(f"comparisons/{name}")
            if "p_ba" in table.column_names and not (table["p_ab"].null_count or table["p_ba"].null_count):
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
    if not stage.is_main_process():
        return
    if params.oracle is not None:
        stage.write_metrics("score_pairs", **figures(params, Oracle.load(params.oracle)))
        return
    of_people = {}
    if params.people is not None:
        from synthalign.judging.people_model import PeopleModel  # with torch, which an oracle does not need

        asked = {one for table in params.tables for one in label_measures.asked(table)}
        of_people["people"] = figures(params, PeopleModel.reading(params.people, asked))
    stage.write_metrics("score_pairs", **of_people)


def figures(params: Params, oracle: Judge) -> dict[str, Any]:
    """What a judge says of every table, and of the differences between them."""
    labels, seed = labels_by_table(params.tables, oracle), params.seed
    found = {}
    for name, own in labels.items():
        whole = {name: frozenset(label.comparison_id for label in own)}
        agreed = measures.label_agreement(own, whole, seed=seed)[name].metrics()
        found[name] = {key: agreed[key] for key in ("agreement", "ties", "chosen_longer", "pairs")}
        found[name]["gap"] = label_measures.mean_gap(own, seed=seed).metrics()
    compared = {
        "label_differences": (params.label_differences, label_measures.accuracy_parts),
        "gap_differences": (params.gap_differences, label_measures.gap_parts),
    }
    return {"labels": found} | {
        key: differences_of(key, asked, labels, parts, seed) for key, (asked, parts) in compared.items()
    }


if __name__ == "__main__":
    stage.run(main, "score_pairs", Params)
