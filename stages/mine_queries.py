"""Let a vanilla model write the queries that everything else is about, out of a few seeds."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pydantic import Field

from synthalign.core import code, stage, tables
from synthalign.core.errors import UserError
from synthalign.dialogue import endings
from synthalign.generation import engines, parallel
from synthalign.queries import mining


class Params(mining.Settings, frozen=True, extra="forbid", strict=True):
    model: str = Field(min_length=1)
    """Folder of the vanilla model that writes queries, or file of an endpoint."""

    seed_queries: str = Field(min_length=1)
    """File of seed queries, one a line."""

    eval_questions: str = Field(min_length=1)
    """File of evaluation questions, one a line; no query that resembles one is mined."""

    completions: int = Field(gt=0)
    """Queries written after each prompt, which is read once for all of them."""

    max_new_tokens: int = Field(gt=0)
    """A query that has not ended by then is dropped."""

    temperature: float = Field(ge=0)
    """Of the sampling; 0 would write the same query for the same prompt."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    engine: engines.Engine
    """What continues texts with a model folder."""


def main(params: Params) -> None:
    seeds, eval_questions = mining.read_apart(params.seed_queries, params.eval_questions)
    work = stage.work_dir(
        "mine_queries",
        params,
        *engines.inputs(params.model, params.engine),
        Path(params.seed_queries),
        Path(params.eval_questions),
        *code.of(__file__),
    )

    def written(write: engines.Write, round: int, prompts: Mapping[str, str]) -> list[tuple[str, bool]]:
        made = parallel.generated(
            write,
            folder=work,
            name=f"mine_queries {round + 1}",
            prefix="",
            suffixes=list(prompts.values()),
            row_ids=list(prompts),
            samples=params.completions,
            stops=mining.STOPS,
            **params.model_dump(include={"seed", "max_new_tokens", "temperature", "top_p"}),
        )
        return [(one.text, endings.is_whole(one.finish_reason)) for name in prompts for one in made[name]]

    limits = params.model_dump(include={"min_characters", "max_characters", "keywords", "rouge_threshold"})
    amounts = params.model_dump(include={"target", "max_rounds", "round_size", "shots", "seed"})
    judge, found = mining.Filter(seeds, eval_questions, **limits), mining.Mined()
    with engines.opened(params.model, params.engine, work) as write:
        for number, found in enumerate(mining.rounds(judge, partial(written, write), **amounts), 1):
            if stage.is_main_process():
                told = f"{len(found.accepted)} of {params.target} queries, {len(found.rejected)} rejected"
                print(f"round {number}: {told}")
    if not found.accepted:
        raise UserError(
            f"none of {len(found.rejected)} candidates is a new query: {found.reasons}; look at the "
            f"limits of mine_queries in params.yaml, and at what {params.model} writes: {found.rejected[0][1].text!r}"
        )

    if stage.is_main_process():
        if len(found.accepted) < params.target:
            print(
                f"mine_queries: warning: {len(found.accepted)} of {params.target} queries after max_rounds = "
                f"{params.max_rounds}; {found.reasons}"
            )
        rows, rejected = mining.query_rows(seeds, found.accepted, eval_questions), mining.rejected_rows(found.rejected)
        tables.write(rows, "queries", key="query_id", schema=mining.QUERIES)
        tables.write(rejected, "queries_rejected", key="candidate_id", schema=mining.REJECTED)
        stage.write_metrics(
            "mine_queries",
            seeds=len(seeds),
            accepted=len(found.accepted),
            target=params.target,
            eval_questions=len(eval_questions),
            rejected=found.reasons,
            acceptance_rate=found.acceptance_rate,
            **engines.bill([params.model], work),
        )
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "mine_queries", Params, in_shards=True)
