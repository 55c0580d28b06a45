"""Ask the oracle how well the other methods' reward models rank held-out responses, and policies taken as rewards."""

from pydantic import BaseModel, Field

from synthalign.core import measures, stage
from synthalign.judging import scorers
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none, and then nothing is measured."""

    configurations: list[str] = Field(min_length=2)
    """Whose responses to the evaluation queries are paired."""

    rewards: dict[str, str]
    """The reward models to test, as name: folder."""

    likelihoods: dict[str, str]
    """Policies to test as reward models, by how likely they find an answer per token (RRHF), as name: folder."""

    batch_size: int = Field(gt=0)
    """Responses scored at a time; does not change the result but for rounding."""


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    if params.oracle is None:
        stage.write_metrics("score_scorers")
        return
    responses = scorers.held_out_responses(params.configurations, Oracle.load(params.oracle))
    pairs = scorers.held_out_pairs(responses)
    against = {"longer": measures.longer_right(pairs)}

    rewards = {
        name: scorers.report(
            scorers.rewards_of(folder, responses, params.batch_size), responses, pairs, against, seed=params.seed
        )
        for name, folder in params.rewards.items()
    }
    likelihoods = {
        name: scorers.report(
            scorers.likelihoods_of(folder, responses, params.batch_size), responses, pairs, against, seed=params.seed
        )
        for name, folder in params.likelihoods.items()
    }
    stage.write_metrics(
        "score_scorers", pairs=len(pairs), responses=len(responses), rewards=rewards, likelihoods=likelihoods
    )


if __name__ == "__main__":
    stage.run(main, "score_scorers", Params)
