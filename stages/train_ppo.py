"""Improve the fine-tuned policy against the reward model by PPO: reinforcement learning from synthetic feedback."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import code, hardware, json_lines, launcher, stage, tables, tracking
from synthalign.dialogue import encoding
from synthalign.generation import adapters, models, parallel
from synthalign.policies import answering, checkpoints, one_base, ppo_training, prompting
from synthalign.policies.ppo_settings import Settings

HARDWARE = {"checkpoint_every", "device_batch_size"}
"""Settings that do not change the result, so that a run may go on with others than it began with."""


class Member(BaseModel, frozen=True, extra="forbid", strict=True):
    policy: str = Field(min_length=1)
    """Folder of the fine-tuned model to start from; it is also the reference that the KL is measured against."""

    reward: str = Field(min_length=1)
    """Folder of the reward model, of any size with the policy's tokenizer; the value model starts as a copy of it."""

    steps: int | None = Field(None, ge=1)
    """In place of the family's, as all that follow; what is left out is the family's."""

    learning_rate: float | None = Field(None, ge=0)
    kl_coefficient: float | None = Field(None, ge=0)
    ptx_coefficient: float | None = Field(None, ge=0)
    ptx_batch: int | None = Field(None, ge=0)
    turn_ends: bool | None = None


class Params(Settings, frozen=True, extra="forbid", strict=True):
    policies: dict[str, Member]
    """The members of the family by name."""

    max_prompt_tokens: int = Field(ge=1)
    """Longer prompts are left out; how many is in the metrics."""

    ptx_texts: str = Field(min_length=1)
    """A JSON-lines file of pre-training texts, {"text": ...} a line; read where the coefficient is above 0."""

    ptx_max_tokens: int = Field(ge=2)
    """Where a pre-training text is cut off."""

    @model_validator(mode="after")
    def reads_texts(self) -> Self:
        for name in self.policies:
            settings = self.settings(name)
            if settings.ptx_coefficient and not settings.ptx_batch:
                raise ValueError(f"{name}: ptx_coefficient above 0 needs a ptx_batch above 0")
        return self

    def settings(self, name: str) -> Settings:
        """The family's settings with those of the member in their place."""
        own = self.policies[name].model_dump(exclude={"policy", "reward"}, exclude_none=True)
        return Settings.model_validate(self.model_dump(include=set(Settings.model_fields)) | own)


def main(params: Params, name: str) -> None:
    member = stage.member("train_ppo", "policy", params.policies, name)
    settings = hardware.read().fitted(params.settings(name))
    queries = tables.rows("queries")
    checkpoints.check()
    adapters.check(member.policy, settings.lora, "CAUSAL_LM")
    tokenizer = prompting.tokenizer_of(member.policy, member.reward)
    policy = models.load_causal(member.policy, "training")
    reward_model = one_base.reward_of(policy, settings.lora, folder=member.policy, reward=member.reward)
    learner = one_base.learner(policy, settings.lora, seed=settings.seed)
    prompts, questions = prompting.prompts_of(queries, tokenizer, longest=params.max_prompt_tokens, stage="train_ppo")
    prompting.check_context(reward_model, [*prompts, *questions], settings.max_new_tokens, stage="train_ppo")
    inputs = [Path(member.policy), Path(member.reward), tables.path("queries")]
    ptx_texts: list[list[int]] = []
    if settings.ptx_coefficient:
        models.check_length(member.policy, "train_ppo.ptx_max_tokens", params.ptx_max_tokens)
        inputs.append(Path(params.ptx_texts))
        texts = json_lines.texts(Path(params.ptx_texts))
        rows = encoding.tokenize(tokenizer, [encoding.unmarked(tokenizer, text) for text in texts])
        ptx_texts = [encoding.ended(tokenizer, tokens)[: params.ptx_max_tokens] for tokens in rows]

    said = [settings.model_dump_json(exclude=HARDWARE), f"{params.max_prompt_tokens} {params.ptx_max_tokens}"]
    folder = stage.work_dir("train_ppo", name, *said, launcher.of_results(), *inputs, *code.of(__file__))
    accelerator = parallel.accelerator(**tracking.of_accelerator(folder))
    state = ppo_training.train(
        accelerator,
        policy,
        reward_model,
        tokenizer,
        settings,
        prompts=prompts,
        questions=questions,  # answered at snapshots, never trained on
        ptx_texts=ptx_texts,
        folder=folder,
        report=tracking.started(accelerator, folder),
    )
    tracking.finished(accelerator)

    if not accelerator.is_main_process:
        return
    one_base.save(learner, tokenizer, f"models/ppo/{name}", lora=settings.lora, base=member.policy)
    tables.write(state.curve, f"ppo_curve/{name}", key=("step", "question_id"), schema=answering.CURVE)
    stage.write_points(state.log, f"train_ppo/{name}")
    first, last = (
        answering.average([row for row in state.curve if row["step"] == step]) for step in (0, settings.steps)
    )
    stage.write_metrics(
        f"train_ppo/{name}",
        steps=settings.steps,
        prompts=len(prompts),
        prompts_too_long=sum(row["split"] == "train" for row in queries) - len(prompts),
        kl_coefficient=state.kl_coefficient,
        answers=settings.steps * settings.rollout_batch,
        tokens_sampled=round(sum(row["tokens"] * settings.rollout_batch for row in state.log)),
        questions=len(questions),
        before=first,
        after=last,
    )
    stage.give_up(folder)


if __name__ == "__main__":
    stage.run(main, "train_ppo", Params)
