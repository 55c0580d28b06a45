"""Improve the fine-tuned policy against the reward model by PPO: reinforcement learning from synthetic feedback."""

import json
import shutil
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
from accelerate import Accelerator
from pydantic import BaseModel, Field, model_validator

from synthalign import generate, models, ppo, ppo_training, sampling, stage, tables
from synthalign.errors import UserError

CURVE = pa.schema(
    [
        ("step", pa.int32()),
        ("question_id", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("kl", pa.float64()),
    ]
)
"""Answers of the policy to the evaluation questions while it was trained; kl in nats, of one answer."""

HARDWARE = {"checkpoint_every", "device_batch_size"}
"""Settings that do not change the result, so that a run may go on with others than it began with."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Chooses prompts, answers and minibatches."""

    policy: str = Field(min_length=1)
    """Folder of the fine-tuned model to start from; it is also the reference that the KL is measured against."""

    reward: str = Field(min_length=1)
    """Folder of the reward model; the value model starts as a copy of it."""

    steps: int = Field(ge=1)
    """Rollout batches to sample and learn from; too many over-optimise the reward model."""

    rollout_batch: int = Field(ge=1)
    """Answers that are sampled in a step, over all processes."""

    minibatch: int = Field(ge=1)
    """Answers per update, over all processes; divides rollout_batch."""

    epochs: int = Field(ge=1)
    """How often the answers of a step are gone through: 1 in InstructGPT, 4 in Stiennon et al."""

    learning_rate: float = Field(ge=0)
    """Of the policy (AdamW)."""

    value_learning_rate: float = Field(ge=0)
    """Of the value model (AdamW)."""

    schedule: Literal["constant", "linear"]
    """What both rates do after the warm-up; linear falls to 0."""

    warmup_steps: int = Field(ge=0)
    """Steps in which both rates rise from a tenth."""

    clip: float = Field(gt=0)
    """epsilon: how far a token's probability ratio may move before its gradient stops."""

    value_clip: float = Field(gt=0)
    """How far a value may move from the one at sampling before its gradient stops, in units of the reward."""

    discount: float = Field(gt=0, le=1)
    """gamma; 1 because an answer is judged as a whole."""

    gae_lambda: float = Field(ge=0, le=1)
    """lambda of the generalized advantage estimate; 1 trusts the reward alone, 0 the value model alone."""

    kl_coefficient: float = Field(ge=0)
    """beta: what a nat away from the reference costs, in units of the reward, which train_reward fixes at a standard
    deviation of 1; the start value if there is a target."""

    kl_target: float | None = Field(gt=0)
    """Nats per answer that beta is steered to; null keeps beta."""

    kl_horizon: float = Field(gt=0)
    """Answers over which beta is steered; without a target it is not read."""

    missing_stop_penalty: float
    """The reward of an answer that is empty or does not end by itself, in place of the reward model's score."""

    whiten_rewards: bool
    """Divide token rewards by their deviation in each step; the mean is kept."""

    temperature: float = Field(gt=0)
    """Of the answers, in training and in the snapshots; there is no top-p, as the ratio would be of another policy."""

    max_new_tokens: int = Field(ge=1)
    """Where an answer is cut off."""

    max_prompt_tokens: int = Field(ge=1)
    """Longer prompts are left out; how many is in the metrics."""

    max_gradient_norm: float = Field(gt=0)
    """Each model's gradient is scaled down to this norm."""

    ptx_coefficient: float = Field(ge=0)
    """gamma of PPO-ptx: weight of the loss on pre-training texts, per token; 0 is off (InstructGPT: 27.8)."""

    ptx_texts: str | None
    """A JSON-lines file of pre-training texts, {"text": ...} a line; null when the coefficient is 0."""

    ptx_batch: int = Field(ge=0)
    """Texts that are read with every minibatch, over all processes."""

    ptx_max_tokens: int = Field(ge=2)
    """Where a pre-training text is cut off."""

    snapshot_every: int = Field(ge=0)
    """Steps between snapshots: answers to the evaluation questions for the over-optimisation curve; the first and the
    last policy always have one, 0 makes no others."""

    checkpoint_every: int = Field(ge=1)
    """Steps between checkpoints to go on from after a crash; does not change the result."""

    device_batch_size: int = Field(ge=1)
    """Rows that go through a model at once on one device; does not change the result but for rounding."""

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        if self.rollout_batch % self.minibatch:
            raise ValueError(f"rollout_batch = {self.rollout_batch} is not a multiple of minibatch = {self.minibatch}")
        if self.ptx_coefficient and not (self.ptx_texts and self.ptx_batch):
            raise ValueError("ptx_coefficient above 0 needs ptx_texts and a ptx_batch above 0")
        return self


def pretraining_texts(file: Path, tokenizer: models.PreTrainedTokenizerBase, longest: int) -> list[list[int]]:
    """The texts of a JSON-lines file as tokens, each with its end-of-sequence token; UserError names a bad line."""
    texts = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as UTF-8 text: {error}; see ptx_texts in params.yaml") from error
    for number, line in enumerate(lines, start=1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{file}:{number}: not of the form {{"text": ...}}: {line[:80]!r}') from error
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{file}:{number}: text is {text!r}; every line needs one")
        texts.append([*tokenizer(text).input_ids, tokenizer.eos_token_id][:longest])
    if not texts:
        raise UserError(f"{file}: no texts; see ptx_texts in params.yaml")
    return texts


def main(params: Params) -> None:
    queries = tables.rows("queries")
    policy, tokenizer = models.load_causal(params.policy), models.load_tokenizer(params.policy)
    reward_model = models.load_reward(params.reward)
    if models.load_tokenizer(params.reward).get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"{params.policy} and {params.reward} have different vocabularies; the value model, at first the reward "
            "model, reads the policy's tokens; train the reward model from a model of the policy's family"
        )
    prompts, questions = (
        ppo_training.make_prompts(
            [(row["query_id"], row["text"]) for row in queries if row["split"] == split],
            tokenizer,
            longest=params.max_prompt_tokens,
        )
        for split in ("train", "eval")
    )
    if not prompts or not questions:
        raise UserError(
            f"data/queries.parquet: {len(prompts)} train and {len(questions)} eval queries have prompts of at most "
            f"{params.max_prompt_tokens} tokens; raise train_ppo.max_prompt_tokens or look at mine_queries"
        )
    inputs = [Path(params.policy), Path(params.reward), tables.path("queries")]
    ptx_texts: list[list[int]] = []
    if params.ptx_coefficient and params.ptx_texts:
        inputs.append(Path(params.ptx_texts))
        ptx_texts = pretraining_texts(Path(params.ptx_texts), tokenizer, params.ptx_max_tokens)

    code = map(Path, (__file__, ppo_training.__file__, ppo.__file__, generate.__file__, sampling.__file__))
    folder = stage.work_dir("train_ppo", params.model_dump_json(exclude=HARDWARE), *inputs, *code)
    accelerator = Accelerator()
    state = ppo_training.train(
        accelerator,
        policy,
        reward_model,
        tokenizer,
        prompts=prompts,
        questions=questions,  # answered at snapshots, never trained on
        ptx_texts=ptx_texts,
        folder=folder,
        **params.model_dump(exclude={"policy", "reward", "max_prompt_tokens", "ptx_texts", "ptx_max_tokens"}),
    )

    if not accelerator.is_main_process:
        return
    shutil.rmtree("models/ppo", ignore_errors=True)
    policy.save_pretrained("models/ppo")
    tokenizer.save_pretrained("models/ppo")
    tables.write(state.curve, "ppo_curve", key=("step", "question_id"), schema=CURVE)
    plots = Path("metrics/plots/train_ppo.json")
    plots.parent.mkdir(parents=True, exist_ok=True)
    points = ",\n".join(json.dumps(row, allow_nan=False) for row in state.log)
    plots.write_text(f"[\n{points}\n]\n", encoding="utf-8")
    first, last = (
        ppo_training.average([row for row in state.curve if row["step"] == step]) for step in (0, params.steps)
    )
    stage.write_metrics(
        "train_ppo",
        steps=params.steps,
        prompts=len(prompts),
        prompts_too_long=sum(row["split"] == "train" for row in queries) - len(prompts),
        kl_coefficient=state.kl_coefficient,
        questions=len(questions),
        before=first,
        after=last,
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    stage.run(main, "train_ppo", Params)
