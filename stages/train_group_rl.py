"""Improve the fine-tuned policy against the reward model by RLOO or GRPO: answers judged against their siblings."""

from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from pydantic import BaseModel, Field, model_validator

from synthalign import answering, generate, group_training, models, sampling, stage, tables, training
from synthalign.errors import UserError
from synthalign.group_training import Settings


class Member(BaseModel, frozen=True, extra="forbid", strict=True):
    algorithm: Literal["rloo", "grpo"]
    """Which of the two."""

    policy: str = Field(min_length=1)
    """Folder of the fine-tuned model to start from; it is also the reference that the KL is measured against."""

    reward: str = Field(min_length=1)
    """Folder of the reward model."""

    kl_coefficient: float = Field(ge=0)
    """What a nat away from the start costs: in an answer's reward for rloo, in a token's loss for grpo."""

    learning_rate: float = Field(gt=0)
    """AdamW's peak rate."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    policies: dict[str, Member]
    """The members of the family by name."""

    seed: int = Field(ge=0)
    """Chooses prompts, answers and minibatches."""

    steps: int = Field(ge=1)
    """Rollout batches to sample and learn from."""

    rollout_batch: int = Field(ge=1)
    """Answers in a step, over all processes."""

    answers: int = Field(ge=group_training.MIN_ANSWERS)
    """To each prompt of a step; one alone has nothing to be judged against."""

    minibatch: int = Field(ge=1)
    """Answers in an update, over all processes; divides rollout_batch."""

    epochs: int = Field(ge=1)
    """How often the answers of a step are gone through."""

    warmup: float = Field(ge=0, lt=1)
    """Share of the updates in which the learning rate rises."""

    clip: float = Field(gt=0)
    """How far a probability ratio may move before its gradient stops."""

    missing_stop_penalty: float
    """Reward of an answer that is empty or does not end by itself, in place of its score."""

    temperature: float = Field(gt=0)
    """Of the answers, in training and evaluation; there is no top-p, as the ratio would be of another policy."""

    max_new_tokens: int = Field(ge=1)
    """Where an answer is cut off."""

    max_prompt_tokens: int = Field(ge=1)
    """Longer prompts are left out; how many is in the metrics."""

    @model_validator(mode="after")
    def divides(self) -> "Params":
        for name in self.policies:
            self.settings(name)
        return self

    def settings(self, name: str) -> Settings:
        """The family's settings and those of the member."""
        own = self.policies[name].model_dump(exclude={"policy", "reward"})
        return Settings.model_validate(self.model_dump(exclude={"policies", "max_prompt_tokens"}) | own)


def main(params: Params, name: str) -> None:
    if name not in params.policies:
        raise UserError(f"train_group_rl has no policy {name!r}; it has {', '.join(params.policies)}")
    member, settings = params.policies[name], params.settings(name)
    tokenizer, reward_model = models.load_tokenizer(member.policy), models.load_reward(member.reward)
    if models.load_tokenizer(member.reward).get_vocab() != tokenizer.get_vocab():
        raise UserError(f"{member.policy} and {member.reward} have different vocabularies; train both from one family")
    queries = tables.rows("queries")
    prompts, questions = (
        answering.make_prompts(
            [(row["query_id"], row["text"]) for row in queries if row["split"] == split],
            tokenizer,
            longest=params.max_prompt_tokens,
        )
        for split in ("train", "eval")
    )
    if not prompts or not questions:
        raise UserError(
            f"data/queries.parquet: {len(prompts)} train and {len(questions)} eval queries have prompts of at most "
            f"{params.max_prompt_tokens} tokens; raise train_group_rl.max_prompt_tokens or look at mine_queries"
        )
    inputs = [Path(member.policy), Path(member.reward), tables.path("queries")]
    code = (__file__, answering.__file__, generate.__file__, group_training.__file__, sampling.__file__)
    work = stage.work_dir(
        "train_group_rl",
        name,
        settings,
        str(params.max_prompt_tokens),
        *inputs,
        *map(Path, code),
        Path(training.__file__),
    )
    folder = f"models/group_rl/{name}"
    log, counts = group_training.train(member.policy, reward_model, settings, prompts=prompts, folder=folder, work=work)

    accelerator = Accelerator()
    reference = models.load_causal(member.policy).to(accelerator.device)
    curve = [
        row
        for step, policy in ((0, reference), (settings.steps, models.load_causal(folder).to(accelerator.device)))
        for row in answering.snapshot(
            step,
            answering.answers(
                accelerator,
                policy,
                reference,
                reward_model,
                tokenizer,
                questions,
                [f"question/{place}" for place in range(len(questions))],
                seed=settings.seed,
                temperature=settings.temperature,
                max_new_tokens=settings.max_new_tokens,
                device_batch_size=DEVICE_BATCH,
            ),
        )
    ]
    if not accelerator.is_main_process:
        return
    tables.write(curve, f"group_rl_curve/{name}", key=("step", "question_id"), schema=answering.CURVE)
    stage.write_points(log, f"train_group_rl/{name}")
    before, after = (answering.average([row for row in curve if row["step"] == step]) for step in (0, settings.steps))
    stage.write_metrics(
        f"train_group_rl/{name}",
        steps=settings.steps,
        prompts=len(prompts),
        prompts_too_long=sum(row["split"] == "train" for row in queries) - len(prompts),
        questions=len(questions),
        before=before,
        after=after,
        **counts,
    )


DEVICE_BATCH = 32
"""Answers to the evaluation questions that go through a model at once."""


if __name__ == "__main__":
    stage.run(main, "train_group_rl", Params)
