"""Ask the oracle how often each reward model ranks held-out responses right, beside always taking the longer one."""

from typing import Any

from accelerate import PartialState
from pydantic import BaseModel, Field

from synthalign import likelihoods, measures, models, reward, stage, statistics, tables
from synthalign.errors import UserError
from synthalign.tables import Row
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
    """Policies to test as reward models, by how likely they find an answer per token, as name: folder."""

    subject: str
    """The reward model that is compared with every other."""

    upper_bound: str
    """The reward model trained on the oracle's own labels."""

    batch_size: int = Field(gt=0)
    """Responses scored at a time; does not change the result but for rounding."""


def held_out_responses(params: Params, oracle: Oracle) -> list[Row]:
    """Every response to an evaluation query that the oracle can judge, with its question and its points."""
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    found = []
    for config in params.configurations:
        for row in tables.rows(f"responses/{config}"):
            question = questions.get(row["query_id"], "")
            scores = oracle.score(question, row["text"])
            if scores is not None:
                found.append(row | {"question": question, "total": scores.total})
    return found


def rewards_of(folder: str, responses: list[Row], batch_size: int) -> list[float]:
    """The reward of every response."""
    dialogues = [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["text"]}]
        for row in responses
    ]
    model, tokenizer = models.load_reward(folder).to(PartialState().device), models.load_tokenizer(folder)
    return reward.score(model, tokenizer, dialogues, batch_size=batch_size)


def likelihoods_of(folder: str, responses: list[Row], batch_size: int) -> list[float]:
    """How likely a policy finds every response, per token."""
    dialogues = [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["text"]}]
        for row in responses
    ]
    model, tokenizer = models.load_causal(folder).to(PartialState().device), models.load_tokenizer(folder)
    return likelihoods.mean_logprobs(model, tokenizer, dialogues, batch_size=batch_size)


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    if params.oracle is None:
        stage.write_metrics("score_rewards")
        return
    missing = {params.subject, params.upper_bound} - set(params.rewards)
    if missing:
        raise UserError(f"params.yaml: score_rewards.rewards has no {sorted(missing)}; it names {list(params.rewards)}")
    responses = held_out_responses(params, Oracle.load(params.oracle))
    texts, totals = [row["text"] for row in responses], [row["total"] for row in responses]
    pairs = measures.held_out_pairs([row["query_id"] for row in responses], texts, totals)
    if not pairs:
        raise UserError(f"the oracle has no preference among {len(responses)} responses to the evaluation queries")

    rewards = {name: rewards_of(folder, responses, params.batch_size) for name, folder in params.rewards.items()}

    right = {name: measures.ranks_right(pairs, values) for name, values in rewards.items()}
    longer = measures.longer_right(pairs)
    questions = [pair.question for pair in pairs]
    reports: dict[str, dict[str, Any]] = {"longer": measures.accuracy_report(longer, pairs, {}, seed=params.seed)}
    for name, correct in right.items():
        others = {other: right[other] for other in right if name == params.subject != other}
        reports[name] = measures.accuracy_report(correct, pairs, {"longer": longer} | others, seed=params.seed) | {
            "correlation_with_length": statistics.correlation(rewards[name], [len(text) for text in texts]),
            "correlation_with_oracle": statistics.correlation(rewards[name], totals),
            "ratio_to_upper_bound": statistics.ratio_interval(
                correct, right[params.upper_bound], questions, seed=params.seed
            ).metrics(),
        }
    policies: dict[str, dict[str, Any]] = {}
    for name, folder in params.likelihoods.items():
        scores = likelihoods_of(folder, responses, params.batch_size)
        correct = measures.ranks_right(pairs, scores)
        policies[name] = {
            **measures.accuracy_report(correct, pairs, {"longer": longer}, seed=params.seed),
            "correlation_with_length": statistics.correlation(scores, [len(text) for text in texts]),
            "correlation_with_oracle": statistics.correlation(scores, totals),
        }
    stage.write_metrics(
        "score_rewards", pairs=len(pairs), responses=len(responses), rewards=reports, likelihoods=policies
    )


if __name__ == "__main__":
    stage.run(main, "score_rewards", Params)
