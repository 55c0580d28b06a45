"""Ask the oracle, or people's reward model, how good vanilla configurations are and how often labels are right."""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.judging import accidents, configurations, label_measures
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

    configurations: list[str] = Field(min_length=1)
    """Whose responses to the evaluation queries are scored: those of the ranking, and the probes."""

    differences: dict[str, list[str]]
    """What to compare, as name: [better, worse]: the steps of the ranking, and one change of size, shots or
    demonstrations at a time."""

    filters: list[str] = Field(min_length=1)
    """The tables comparisons/<filter> whose labels are checked: the raw pairs first, then what each filter leaves."""

    others: list[str]
    """Tables of comparisons that are no part of the raw pairs, each checked by itself."""

    @model_validator(mode="after")
    def _differences_are_between_two(self) -> Self:
        measures.check_differences(self.differences, self.configurations, of="configurations")
        return self


TRAITS = ("helpful", "harmless", "honest")


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    plots = ("plots/configurations", "plots/labels")
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    if params.oracle is not None:
        found = figures(params, questions, Oracle.load(params.oracle), TRAITS)
        stage.write_metrics("score_comparisons", **found)
        points = [{"configuration": config} | values for config, values in found["configurations"].items()]
        stage.write_metrics(plots[0], configurations=points)
        steps = [{"filter": name} | part | part.pop("agreement") for name, part in found["labels"].items()]
        stage.write_metrics(plots[1], labels=steps)
        return
    of_people = by_people(params, questions) if params.people is not None else {}
    stage.write_metrics("score_comparisons", **of_people)
    for name in plots:
        stage.write_metrics(name)


def by_people(params: Params, questions: dict[str, str]) -> dict[str, Any]:
    """The same by people's reward model, the agreement for every two configurations, and how often each fails by
    accident."""
    from synthalign.judging import people_model  # with torch, which an oracle does not need

    asked = {one for table in (*params.filters, *params.others) for one in label_measures.asked(table)}
    rows = {config: tables.rows(f"responses/{config}") for config in params.configurations}
    asked |= {one for given in rows.values() for one in people_model.answered(given, questions, "query_id")}
    found = figures(params, questions, people_model.PeopleModel.reading(str(params.people), asked), ())
    failed = {config: accidents.rates(given, seed=params.seed) for config, given in rows.items()}
    return {"people": found, "accidents": failed}


def figures(params: Params, questions: dict[str, str], oracle: Judge, traits: Sequence[str]) -> dict[str, Any]:
    """What a judge says of configurations, of the differences between them, and of the labels."""
    responses = {}
    for config in params.configurations:
        rows = tables.rows(f"responses/{config}")
        responses[config] = configurations.scored(rows, questions, oracle, traits)
        if not responses[config]:
            raise UserError(f"{tables.path(f'responses/{config}')} answers no evaluation query that the oracle knows")
    parts = {name: tables.rows(f"comparisons/{name}") for name in params.filters}
    pairs = {row["comparison_id"]: row for rows in parts.values() for row in rows}  # each once, the raw ones first
    labels = label_measures.labels_of_rows(pairs.values(), oracle)
    kept = {name: frozenset(row["comparison_id"] for row in rows) for name, rows in parts.items()}

    agreement = {
        name: part.metrics() for name, part in measures.label_agreement(labels, kept, seed=params.seed).items()
    }
    others = {
        name: label_measures.as_a_whole(label_measures.labels_of(name, oracle), seed=params.seed)
        for name in params.others
    }

    found = configurations.report(responses, params.differences, traits, seed=params.seed)
    found |= {"labels": agreement, "other_labels": others}
    if params.oracle is None:
        names = {pair: f"{row['chosen_config']}_{row['rejected_config']}" for pair, row in pairs.items()}
        found["by_configurations"] = label_measures.by_configurations(labels, names, kept, seed=params.seed)
    return found


if __name__ == "__main__":
    stage.run(main, "score_comparisons", Params)
