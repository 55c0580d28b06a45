"""Ask the oracle how good the vanilla configurations are, and how often each filter's labels are right."""

from statistics import fmean

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.judging import label_measures
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
    """Tables of comparisons that are no part of the raw pairs, each checked by itself."""


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


def main(params: Params) -> None:
    if params.oracle is None:
        for name in ("score_comparisons", "plots/configurations", "plots/labels"):
            stage.write_metrics(name)
        return
    oracle = Oracle.load(params.oracle)
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    responses = {config: scored_responses(config, questions, oracle) for config in params.configurations}
    labels = label_measures.labels_of(params.filters[0], oracle)
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
    others = {}
    for name in params.others:
        own = label_measures.labels_of(name, oracle)
        whole = {name: frozenset(label.comparison_id for label in own)}
        figures = measures.label_agreement(own, whole, seed=params.seed)[name].metrics()
        others[name] = {key: figures[key] for key in ("agreement", "ties", "chosen_longer", "pairs")}

    stage.write_metrics(
        "score_comparisons",
        configurations=configurations,
        differences=differences,
        labels=agreement,
        other_labels=others,
    )
    points = [{"configuration": config} | values for config, values in configurations.items()]
    stage.write_metrics("plots/configurations", configurations=points)
    steps = [{"filter": name} | part | part.pop("agreement") for name, part in agreement.items()]
    stage.write_metrics("plots/labels", labels=steps)


if __name__ == "__main__":
    stage.run(main, "score_comparisons", Params)
