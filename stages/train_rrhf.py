"""Teach a policy to rank its answers as a reward model does, and to write the best of them (RRHF)."""

import shutil
from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from pydantic import BaseModel, Field

from synthalign import answering, generate, models, rrhf, rrhf_training, sampling, stage, tables
from synthalign.errors import UserError
from synthalign.rrhf_training import Settings

HARDWARE = {"checkpoint_every", "device_batch_size"}
"""Settings that do not change the result, so that a run may go on with others than it began with."""


class Member(BaseModel, frozen=True, extra="forbid", strict=True):
    policy: str = Field(min_length=1)
    """Folder of the model to start from; it is also the reference that the KL is measured against."""

    reward: str = Field(min_length=1)
    """Folder of the reward model that ranks the policy's own answers, and scores those to the evaluation questions."""

    source: Literal["policy", "candidates"]
    """Whose answers are ranked: the policy's own, or the candidates of simulate_demonstrations with their rewards."""

    rounds: int = Field(ge=1)
    """How often answers are collected and learned from: 1 is offline, a few iterated, many online."""

    queries: int | None = Field(ge=1)
    """Queries in a round; null takes all."""

    epochs: int = Field(ge=1)
    """Passes over the queries of a round (the paper: 3)."""

    rank_weight: float = Field(ge=0)
    """Weight of the rank loss beside the fine-tuning loss (the paper: 1); 0 leaves fine-tuning on the best."""

    kl_coefficient: float = Field(ge=0)
    """What a nat away from the start costs in the rewards that rank own answers, in deviations of the reward."""

    learning_rate: float = Field(gt=0)
    """AdamW's peak rate; after the warm-up it falls linearly to 0."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    policies: dict[str, Member]
    """The members of the family by name."""

    candidates: str = Field(min_length=1)
    """Whose candidates are ranked where the source is candidates, as in data/candidates/."""

    seed: int = Field(ge=0)
    """Chooses queries, answers and batches."""

    temperatures: list[float] = Field(min_length=1)
    """Of the policy's own answers to a query, one answer each."""

    batch_size: int = Field(ge=1)
    """Queries in an optimizer step, over all processes (the paper: 64)."""

    warmup_steps: int = Field(ge=0)
    """Steps in which the rate rises from a tenth."""

    missing_stop_penalty: float
    """The reward of an own answer that is empty or does not end by itself, in place of the reward model's score."""

    max_new_tokens: int = Field(ge=1)
    """Where an answer is cut off."""

    max_prompt_tokens: int = Field(ge=1)
    """Longer prompts are left out; how many is in the metrics."""

    max_gradient_norm: float = Field(gt=0)
    """The gradient is scaled down to this norm."""

    snapshot_every: int = Field(ge=0)
    """Steps between snapshots: answers to the evaluation questions; the first and last policy always have one."""

    checkpoint_every: int = Field(ge=1)
    """Steps between checkpoints to go on from after a crash; does not change the result."""

    device_batch_size: int = Field(ge=1)
    """Responses that go through a model at once on one device; does not change the result but for rounding."""

    def settings(self, name: str) -> Settings:
        """The family's settings and those of the member."""
        own = self.policies[name].model_dump(exclude={"policy", "reward", "source"})
        return Settings.model_validate(self.model_dump(exclude={"policies", "candidates", "max_prompt_tokens"}) | own)


def main(params: Params, name: str) -> None:
    if name not in params.policies:
        raise UserError(f"train_rrhf has no policy {name!r}; it has {', '.join(params.policies)}")
    member, settings = params.policies[name], params.settings(name)
    policy, tokenizer = models.load_causal(member.policy), models.load_tokenizer(member.policy)
    reward_model = models.load_reward(member.reward)
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
            f"{params.max_prompt_tokens} tokens; raise train_rrhf.max_prompt_tokens or look at mine_queries"
        )
    inputs = [Path(member.policy), Path(member.reward), tables.path("queries")]
    given: list[rrhf_training.Query] | None = None
    samples: list[answering.Row] = []
    dropped: dict[str, int] = {}
    if member.source == "candidates":
        table = tables.path(f"candidates/{params.candidates}")
        inputs.append(table)
        first = [row for row in tables.rows(f"candidates/{params.candidates}") if row["turn"] == 1]
        rows, dropped = rrhf_training.usable(first)
        try:
            given = rrhf_training.from_table(rows, prompts, tokenizer)
        except UserError as error:
            raise UserError(
                f"{table}: {error}; look at simulate_demonstrations, or at what was dropped: {dropped}"
            ) from error
        samples = rrhf_training.table(rows, tokenizer)

    code = map(
        Path,
        (__file__, answering.__file__, generate.__file__, rrhf.__file__, rrhf_training.__file__, sampling.__file__),
    )
    of = f"{member.source} {params.max_prompt_tokens}"
    folder = stage.work_dir("train_rrhf", name, settings.model_dump_json(exclude=HARDWARE), of, *inputs, *code)
    accelerator = Accelerator()
    state = rrhf_training.train(
        accelerator,
        policy,
        reward_model,
        tokenizer,
        settings,
        prompts=prompts,
        questions=questions,  # answered at snapshots, never trained on
        given=given,
        folder=folder,
    )

    if not accelerator.is_main_process:
        return
    samples = samples or state.samples
    shutil.rmtree(f"models/rrhf/{name}", ignore_errors=True)
    policy.save_pretrained(f"models/rrhf/{name}")
    tokenizer.save_pretrained(f"models/rrhf/{name}")
    key = ("round", "query_id", "sample_index")
    tables.write(samples, f"rrhf_samples/{name}", key=key, schema=rrhf_training.SAMPLES)
    tables.write(state.curve, f"rrhf_curve/{name}", key=("step", "question_id"), schema=answering.CURVE)
    stage.write_points(state.log, f"train_rrhf/{name}")
    stage.write_metrics(
        f"train_rrhf/{name}",
        steps=state.step,
        prompts=len(prompts),
        prompts_too_long=sum(row["split"] == "train" for row in queries) - len(prompts),
        questions=len(questions),
        answers=len(state.samples),
        tokens_sampled=sum(row["tokens"] for row in state.samples),
        responses=len(samples),
        dropped=dropped,
        **rrhf_training.summary(state, samples),
    )
    stage.give_up(folder)


if __name__ == "__main__":
    stage.run(main, "train_rrhf", Params)
