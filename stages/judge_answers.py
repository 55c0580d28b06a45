"""Let judges that trained nothing and the reward model say which of two policies answers each question better."""

from typing import Any

from accelerate import PartialState
from pydantic import BaseModel, Field

from synthalign import judging, models, reward, stage, tables
from synthalign.errors import UserError
from synthalign.judging import Answer
from synthalign.tables import Row
from world.oracle import Oracle

Scores = dict[tuple[str, str], float | None]
"""The score of every (question_id, answer text)."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    pairs: list[list[str]] = Field(min_length=1)
    """The policies to compare, as [a, b]; the win rate is that of a."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none."""

    reward: str | None = Field(min_length=1)
    """The folder of the reward model that judges; null for none. It is the one that the policies were trained to
    please, so it shows what they learned and not whether they are better."""

    batch_size: int = Field(gt=0)
    """Answers scored at a time; does not change the result but for rounding."""


def answers_of(policy: str, questions: dict[str, str]) -> list[Answer]:
    """The policy's answers to the evaluation questions."""
    return [
        Answer(row["question_id"], row["sample_index"], row["text"], row["tokens"])
        for row in tables.rows(f"answers/{policy}")
        if row["question_id"] in questions
    ]


def scores_by_judge(params: Params, answers: dict[str, list[Answer]], questions: dict[str, str]) -> dict[str, Scores]:
    """The scores that each judge gives; the same answer to the same question is scored once, whoever gave it."""
    keys = sorted({(answer.question_id, answer.text) for given in answers.values() for answer in given})
    judges: dict[str, Scores] = {}
    if params.oracle is not None:
        oracle = Oracle.load(params.oracle)
        found = [oracle.score(questions[question_id], text) for question_id, text in keys]
        judges["oracle"] = {
            key: None if scores is None else scores.total for key, scores in zip(keys, found, strict=True)
        }
    if params.reward is not None:
        dialogues = [
            [{"role": "user", "content": questions[question_id]}, {"role": "assistant", "content": text}]
            for question_id, text in keys
        ]
        model, tokenizer = (
            models.load_reward(params.reward).to(PartialState().device),
            models.load_tokenizer(params.reward),
        )
        rewards = reward.score(model, tokenizer, dialogues, batch_size=params.batch_size)
        judges["reward"] = dict(zip(keys, rewards, strict=True))
    if not judges:
        raise UserError("params.yaml: judge_answers.oracle and judge_answers.reward are both null, so nobody judges")
    return judges


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    for pair in params.pairs:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise UserError(f"params.yaml: judge_answers.pairs has {pair}; a pair is two different policies")
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    answers = {policy: answers_of(policy, questions) for policy in {name for pair in params.pairs for name in pair}}
    judges = scores_by_judge(params, answers, questions)

    judgements: list[Row] = []
    metrics: dict[str, dict[str, Any]] = {}
    for policy_a, policy_b in params.pairs:
        matched = judging.matched(answers[policy_a], answers[policy_b], policy_a=policy_a, policy_b=policy_b)
        for judge, scores in judges.items():
            rows = [
                row
                for a, b in matched
                for row in judging.both_orders(
                    question_id=a.question_id,
                    sample_index=a.sample_index,
                    policy_a=policy_a,
                    policy_b=policy_b,
                    judge=judge,
                    score_a=scores[a.question_id, a.text],
                    score_b=scores[b.question_id, b.text],
                )
            ]
            judgements += rows
            summary = judging.summary(rows, matched, seed=params.seed)
            metrics.setdefault(f"{policy_a}_vs_{policy_b}", {})[judge] = summary

    tables.write(judgements, "judgements", key=judging.KEY, schema=judging.SCHEMA)
    stage.write_metrics("judge_answers", **metrics)


if __name__ == "__main__":
    stage.run(main, "judge_answers", Params)
