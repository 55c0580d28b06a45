"""Ask the oracle, or people's data, how often each reward model ranks right, beside always taking the longer one."""

from functools import partial
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, statistics
from synthalign.judging import scorers
from synthalign.reward import scoring
from world.oracle import Oracle


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

    subject: str
    """The reward model that is compared with every other."""

    upper_bound: str
    """The reward model trained on the oracle's own labels, or on people's."""

    batch_size: int = Field(gt=0)
    """Responses scored at a time; does not change the result but for rounding."""

    @model_validator(mode="after")
    def _compares_rewards(self) -> Self:
        is_measured = self.oracle or self.human_pairs or self.votes
        for key, name in (("subject", self.subject), ("upper_bound", self.upper_bound)):
            if is_measured and name not in self.rewards:
                raise ValueError(f"{key} = {name!r} is none of rewards: {', '.join(self.rewards)}")
        return self


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    files = {"human_pairs": params.human_pairs, "votes": params.votes}
    if params.oracle is None and not any(files.values()):
        stage.write_metrics("score_rewards")
        return
    scored = {
        name: partial(scoring.by_folder, folder, batch_size=params.batch_size)
        for name, folder in params.rewards.items()
    }
    named = params.model_dump(include={"seed", "most", "subject", "upper_bound"})
    of_people = scorers.against_people(files, scored, **named)
    if params.oracle is None:
        stage.write_metrics("score_rewards", **of_people)
        return
    responses = scorers.held_out_responses(params.configurations, Oracle.load(params.oracle))
    pairs = scorers.held_out_pairs(responses)
    rewards = {name: score(scorers.dialogues(responses)) for name, score in scored.items()}

    right = {name: measures.ranks_right(pairs, values) for name, values in rewards.items()}
    longer = measures.longer_right(pairs)
    questions = [pair.question for pair in pairs]
    reports: dict[str, dict[str, Any]] = {"longer": measures.accuracy_report(longer, pairs, {}, seed=params.seed)}
    for name, correct in right.items():
        others = {other: right[other] for other in right if name == params.subject != other}
        reports[name] = scorers.report(
            rewards[name], responses, pairs, {"longer": longer} | others, seed=params.seed
        ) | {
            "ratio_to_upper_bound": statistics.ratio_interval(
                correct, right[params.upper_bound], questions, seed=params.seed
            ).metrics(),
        }
    stage.write_metrics("score_rewards", pairs=len(pairs), responses=len(responses), rewards=reports, **of_people)


if __name__ == "__main__":
    stage.run(main, "score_rewards", Params)
