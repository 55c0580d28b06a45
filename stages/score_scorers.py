"""Ask the oracle, or people's data, how well other methods' reward models rank, and policies taken as rewards."""

from functools import partial

from pydantic import BaseModel, Field

from synthalign.core import measures, stage
from synthalign.judging import scorers
from synthalign.reward import scoring
from world.oracle import Oracle


class Tuned(BaseModel, frozen=True, extra="forbid", strict=True):
    """A policy and what it was before its training, folders of models."""

    policy: str = Field(min_length=1)
    reference: str = Field(min_length=1)


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none."""

    human_pairs: str | None = Field(min_length=1)
    """A file of people's preferences that nothing was trained on; null leaves it out."""

    votes: str | None = Field(min_length=1)
    """A file of pairs of answers with the verdicts of several people; null leaves it out."""

    most: int | None = Field(gt=0)
    """Pairs of each of these files that are measured, those with the lowest hashes; null for all."""

    configurations: list[str] = Field(min_length=2)
    """Whose responses to the evaluation queries are paired."""

    rewards: dict[str, str]
    """The reward models to test, as name: folder."""

    likelihoods: dict[str, str]
    """Policies to test as reward models, by how likely they find an answer per token (RRHF), as name: folder."""

    implicit_rewards: dict[str, Tuned]
    """Policies to test by how much likelier they find an answer than their reference does (DPO), by name."""

    batch_size: int = Field(gt=0)
    """Responses scored at a time; does not change the result but for rounding."""


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    size = params.batch_size
    rewarding = {name: partial(scoring.by_folder, one, batch_size=size) for name, one in params.rewards.items()}
    liking = {name: partial(scorers.likelihoods_of, one, batch_size=size) for name, one in params.likelihoods.items()}
    implied = {
        name: partial(scorers.implicit_rewards, one.policy, one.reference, batch_size=size)
        for name, one in params.implicit_rewards.items()
    }
    files = {"human_pairs": params.human_pairs, "votes": params.votes}
    named = rewarding | {f"likelihood_{name}": score for name, score in liking.items()}
    named |= {f"implicit_{name}": score for name, score in implied.items()}
    of_people = scorers.against_people(files, named, seed=params.seed, most=params.most)
    if params.oracle is None:
        stage.write_metrics("score_scorers", **of_people)
        return
    responses = scorers.held_out_responses(params.configurations, Oracle.load(params.oracle))
    pairs = scorers.held_out_pairs(responses)
    against = {"longer": measures.longer_right(pairs)}

    asked = scorers.dialogues(responses)
    reports = {
        kind: {
            name: scorers.report(score(asked), responses, pairs, against, seed=params.seed)
            for name, score in scored.items()
        }
        for kind, scored in (("rewards", rewarding), ("likelihoods", liking), ("implicit_rewards", implied))
    }
    stage.write_metrics("score_scorers", pairs=len(pairs), responses=len(responses), **reports, **of_people)


if __name__ == "__main__":
    stage.run(main, "score_scorers", Params)
