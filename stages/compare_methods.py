"""All methods on the same evaluation: points of the oracle, wins against the policies they began with, and ratings."""

import functools
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.judging import policy_report, ratings, verdicts, win_rates
from synthalign.judging.policy_report import points_of
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none, and then nothing is compared."""

    baselines: list[str] = Field(min_length=1)
    """The policies that all are compared with; they are in the table too."""

    policies: list[str] = Field(min_length=1)
    """Whose answers to the evaluation questions are compared."""

    differences: dict[str, list[str]]
    """Pairs of policies to compare in points and in wins besides, as name: [one, other]."""

    @model_validator(mode="after")
    def _differences_are_between_two(self) -> Self:
        measures.check_differences(self.differences, [*self.baselines, *self.policies], of="baselines and policies")
        return self


def main(params: Params) -> None:
    known = [*params.baselines, *params.policies]
    if params.oracle is None:
        stage.write_metrics("compare_methods")
        return
    oracle = Oracle.load(params.oracle)
    rows = {policy: policy_report.judged(tables.rows(f"answers/{policy}"), oracle) for policy in known}
    for policy, found in rows.items():
        if not found:
            raise UserError(f"data/answers/{policy}.parquet: no answer that the oracle can judge; sample it again")

    questions = verdicts.eval_questions()
    answers = {policy: verdicts.answers_of(policy, questions) for policy in known}
    judge = verdicts.by_oracle(oracle)

    @functools.cache
    def judged(one: str, other: str) -> list[Row]:
        return verdicts.judgements(verdicts.duels(answers, [(one, other)], questions), "oracle", judge)

    def wins(one: str, other: str) -> dict[str, Any]:
        return win_rates.summary(judged(one, other), seed=params.seed)

    pairs = [(policy, base) for policy in known for base in params.baselines if base != policy]
    once = [pair for place, pair in enumerate(pairs) if pair[::-1] not in pairs[:place]]

    def gains(one: str, other: str) -> dict[str, Any]:
        return {
            part: measures.difference(
                points_of(rows[one], part), points_of(rows[other], part), seed=params.seed
            ).metrics()
            for part in ("total", *policy_report.TRAITS)
        }

    stage.write_metrics(
        "compare_methods",
        policies={
            policy: policy_report.report(rows[policy], params.seed)
            | {"against": {base: wins(policy, base) for one, base in pairs if one == policy}}
            for policy in known
        },
        ratings=ratings.by_judge([row for pair in once for row in judged(*pair)], seed=params.seed),
        differences={
            name: gains(one, other) | {"wins": wins(one, other)} for name, (one, other) in params.differences.items()
        },
    )


if __name__ == "__main__":
    stage.run(main, "compare_methods", Params)
