"""Ask the oracle what critique and revision do to an answer, step by step."""

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.feedback import revision
from synthalign.judging.policy_report import TRAITS
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none, and then nothing is measured."""


def main(params: Params) -> None:
    if params.oracle is None:
        stage.write_metrics("score_revisions")
        return
    oracle = Oracle.load(params.oracle)
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries")}
    rows = tables.rows("revisions")
    steps = max(row["step"] for row in rows)
    found = {
        query: [oracle.score(questions[query], answer) for answer in answers]
        for query, answers in revision.answers_by_step(rows, steps).items()
    }
    known = {query: [one for one in scores if one is not None] for query, scores in found.items()}
    known = {query: scores for query, scores in known.items() if len(scores) == steps + 1}
    if not known:
        raise UserError(f"{tables.path('revisions')}: the oracle knows none of the {len(found)} answered queries")

    def points(step: int, part: str = "total") -> dict[str, float]:
        return {query: getattr(scores[step], part) for query, scores in known.items()}

    def gain(step: int, part: str = "total") -> Interval:
        return measures.difference(points(step, part), points(step - 1, part), seed=params.seed)

    def step_gain(step: int) -> dict[str, float]:
        return measures.paired(points(step), points(step - 1))

    later = range(1, steps + 1)
    stage.write_metrics(
        "score_revisions",
        steps=[
            measures.mean(points(step), seed=params.seed).metrics()
            | {part: measures.mean(points(step, part), seed=params.seed).metrics() for part in TRAITS}
            for step in (0, *later)
        ],
        gains=[gain(step).metrics() | {part: gain(step, part).metrics() for part in TRAITS} for step in later],
        gain=measures.difference(points(steps), points(0), seed=params.seed).metrics(),
        first_over_second=(
            measures.difference(step_gain(1), step_gain(2), seed=params.seed).metrics() if steps > 1 else None
        ),
    )


if __name__ == "__main__":
    stage.run(main, "score_revisions", Params)
