"""Let an oracle, the reward model, a language model and people say which of two policies answers better."""

from functools import partial
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.generation import endpoint, endpoint_requests
from synthalign.judging import annotation, llm_judge, ratings, verdicts, win_rates
from synthalign.reward import scoring
from world.oracle import Oracle

REPLIES = Path(".work/judge_answers/replies.jsonl")
"""What a language model ever replied, whatever run asked; `make clean CONFIRM=1` forgets it."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    pairs: list[list[str]] = Field(min_length=1)
    """The policies to compare, as [a, b]; the win rate is that of a."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none."""

    reward: str | None = Field(min_length=1)
    """The folder of the reward model that judges; null for none, where the stage runs without DVC. It is the one that
    the policies were trained to please, so it shows what they learned and not whether they are better."""

    people: str | None = Field(min_length=1)
    """The folder of the reward model trained on people's pairs, never on ours; null where there is none."""

    batch_size: int = Field(gt=0)
    """Answers scored at a time; does not change the result but for rounding."""

    endpoint: str | None = Field(pattern=r"^data/endpoints/[^/]+\.ya?ml$")
    """The file of the endpoint whose language model judges; null for none."""

    prompt: llm_judge.Prompt
    """How the language model is asked: two scores from 1 to 10, or a letter for the better one or a tie."""

    max_new_tokens: int = Field(gt=0)
    """Of a language model's reply."""

    @field_validator("pairs")
    @classmethod
    def are_of_two(cls, pairs: list[list[str]]) -> list[list[str]]:
        for pair in pairs:
            if len(pair) != 2 or pair[0] == pair[1]:
                raise ValueError(f"{pair} is no pair; a pair is two different policies")
            if sum(set(other) == set(pair) for other in pairs) > 1:
                raise ValueError(f"{pair} is there twice; each pair is judged in both orders, so name it once")
        return pairs


def judges(params: Params, work: Path) -> dict[str, verdicts.Judge]:
    """Who judges, by name; UserError when nobody does, or an endpoint cannot be asked."""
    found: dict[str, verdicts.Judge] = {}
    if params.oracle is not None:
        found["oracle"] = verdicts.by_oracle(Oracle.load(params.oracle))
    if params.reward is not None:
        found["reward"] = verdicts.by_score(partial(scoring.of_answers, params.reward, batch_size=params.batch_size))
    if params.people is not None:
        found["people"] = verdicts.by_score(partial(scoring.of_answers, params.people, batch_size=params.batch_size))
    if params.endpoint is not None:
        asked = endpoint.read(params.endpoint)
        asked.addresses(params.endpoint)
        asked.key(params.endpoint)
        found[f"llm:{asked.model}"] = partial(
            llm_judge.opinions, file=params.endpoint, prompt=params.prompt, max_new_tokens=params.max_new_tokens,
            folder=work, replies=REPLIES,
        )  # fmt: skip
    if not found:
        raise UserError(
            "params.yaml: judge_answers.oracle, judge_answers.reward, judge_answers.people and judge_answers.endpoint "
            "are all null, so nobody judges; name one of them"
        )
    return found


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    work = stage.work_dir("judge_answers", str(params.endpoint))
    found = judges(params, work)
    questions = verdicts.eval_questions()
    answers = {
        policy: verdicts.answers_of(policy, questions) for policy in {name for pair in params.pairs for name in pair}
    }
    duels = verdicts.duels(answers, params.pairs, questions)

    judgements = annotation.recorded(duels)
    for name, judge in found.items():
        judgements += (rows := verdicts.judgements(duels, name, judge))
        if unread := [row["raw"] for row in rows if row["raw"] is not None and row["verdict"] == "unjudged"]:
            example = endpoint_requests.shortened(unread[0])
            print(f"{name}: {len(unread)} of {len(rows)} replies are unjudged, for instance {example!r}")

    tables.write(judgements, "judgements", key=verdicts.KEY, schema=verdicts.SCHEMA)
    stage.write_metrics(
        "judge_answers",
        ratings=ratings.by_judge(judgements, seed=params.seed),
        **win_rates.by_pair(judgements, params.pairs, seed=params.seed),
    )
    stage.give_up(work)


if __name__ == "__main__":
    stage.run(main, "judge_answers", Params)
