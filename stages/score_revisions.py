"""Ask the oracle what critique and revision do to an answer, step by step."""

from statistics import fmean

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.feedback import revision
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

    totals = [{query: scores[step].total for query, scores in known.items()} for step in range(steps + 1)]
    stage.write_metrics(
        "score_revisions",
        steps=[
            measures.mean(totals[step], seed=params.seed).metrics()
            | {
                part: round(fmean(getattr(scores[step], part) for scores in known.values()), 6)
                for part in ("helpful", "harmless", "honest")
            }
            for step in range(steps + 1)
        ],
        gains=[
            measures.difference(totals[step], totals[step - 1], seed=params.seed).metrics()
            for step in range(1, steps + 1)
        ],
        gain=measures.difference(totals[-1], totals[0], seed=params.seed).metrics(),
    )


if __name__ == "__main__":
    stage.run(main, "score_revisions", Params)
