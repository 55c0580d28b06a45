"""Ask the oracle, or people's reward model, how good every policy is, and when PPO pleases its reward alone."""

from statistics import fmean
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.judging import verdicts
from synthalign.judging.policy_report import TRAITS, judged, points_of, report
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none."""

    people: str | None = Field(min_length=1)
    """Where there is no oracle: the folder of the reward model trained on people's pairs, which judges; null for none,
    and then nothing is measured."""

    policies: list[str] = Field(min_length=1)
    """Whose answers to the evaluation questions are scored."""

    curve: str = Field(min_length=1)
    """The member of train_ppo whose answers at every snapshot are scored."""

    differences: dict[str, list[str]]
    """Which of them to compare in every trait, as name: [better, worse]."""

    @model_validator(mode="after")
    def _differences_are_between_two(self) -> Self:
        measures.check_differences(self.differences, self.policies, of="policies")
        return self


def curve_of(snapshots: list[Row], seed: int) -> list[dict[str, float | int]]:
    """The mean reward, oracle points, KL and length of PPO's answers at every snapshot."""
    points = []
    for step in sorted({row["step"] for row in snapshots}):
        rows = [row for row in snapshots if row["step"] == step]
        totals = points_of(rows, "total")
        means = {name: round(fmean(row[name] for row in rows), 6) for name in ("reward", "kl", "tokens")}
        points.append({"step": step} | measures.mean(totals, seed=seed).metrics() | means)
    return points


def by_people(params: Params) -> dict[str, Any]:
    """The policies by people's reward model, the differences between them, and how far PPO went from where it began."""
    from synthalign.judging import people_model  # with torch, which an oracle does not need

    questions = verdicts.eval_questions()
    rows = {policy: tables.rows(f"answers/{policy}") for policy in params.policies}
    asked = {one for given in rows.values() for one in people_model.answered(given, questions, "question_id")}
    model = people_model.PeopleModel.reading(str(params.people), asked)
    answers = {
        policy: [
            row | {"total": model.scores[questions[row["question_id"]], row["text"]]}
            for row in given
            if row["question_id"] in questions
        ]
        for policy, given in rows.items()
    }
    curve = tables.rows(f"ppo_curve/{params.curve}")
    last = [row for row in curve if row["step"] == max(each["step"] for each in curve)]
    return {
        "kl": {"ppo": measures.mean(points_of(last, "kl"), seed=params.seed).metrics()},
        "policies": {name: people_model.policy_report(given, seed=params.seed) for name, given in answers.items()},
        "differences": {
            name: measures.difference(
                people_model.totals(answers[better]), people_model.totals(answers[worse]), seed=params.seed
            ).metrics()
            for name, (better, worse) in params.differences.items()
        },
    }


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    if params.oracle is None:
        of_people = {"people": by_people(params)} if params.people is not None else {}
        stage.write_metrics("score_policies", **of_people)
        stage.write_metrics("plots/ppo_curve")
        return
    oracle = Oracle.load(params.oracle)
    answers = {policy: judged(tables.rows(f"answers/{policy}"), oracle) for policy in params.policies}
    snapshots = judged(tables.rows(f"ppo_curve/{params.curve}"), oracle)
    for name, rows in [*answers.items(), ("ppo_curve", snapshots)]:
        if not rows:
            raise UserError(f"{name}: no answer to an evaluation question that the oracle knows; sample it again")

    policies = {policy: report(rows, params.seed) for policy, rows in answers.items()}
    differences = {
        name: {
            part: measures.difference(
                points_of(answers[better], part), points_of(answers[worse], part), seed=params.seed
            ).metrics()
            for part in ("total", *TRAITS)
        }
        for name, (better, worse) in params.differences.items()
    }
    curve = curve_of(snapshots, params.seed)
    over = measures.over_optimisation(
        [int(point["step"]) for point in curve],
        [point["reward"] for point in curve],
        [point["value"] for point in curve],
    )

    stage.write_metrics(
        "score_policies", policies=policies, differences=differences, ppo_curve=curve, over_optimisation=over
    )
    stage.write_metrics("plots/ppo_curve", ppo_curve=curve)


if __name__ == "__main__":
    stage.run(main, "score_policies", Params)
