"""RLOO and GRPO by TRL's trainers: several answers to a prompt, each judged against the others, and no value model.

TRL samples with `generate` of transformers and torch's random numbers. Here the answers come from our engine, whose
random numbers belong to the rows: so a run that was killed goes on to the same end, and the first answers are the same
on any number of processes. TRL 1.16 shuffles each process's own answers before it cuts minibatches, so what is learned
from them is not.
"""

import math
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any, Literal, Self

import torch
from datasets import Dataset
from pydantic import BaseModel, Field, model_validator
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from synthalign.core.errors import UserError
from synthalign.dialogue import chat, encoding, endings
from synthalign.generation import attention, models
from synthalign.generation.adapters import Repeating
from synthalign.generation.attention_interface import as_it_reads
from synthalign.generation.generate import generate
from synthalign.policies import one_base, prompting
from synthalign.policies.answering import Row
from synthalign.policies.prompting import Prompt
from synthalign.reward import scoring, training

CURVE = {
    "reward": "reward",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "tokens",
    "completions/clipped_ratio": "without_end_share",
    "frac_reward_zero_std": "groups_of_one_reward",
    "clip_ratio/region_mean": "clip_fraction",
    "loss": "loss",
    "learning_rate": "learning_rate",
}
"""What TRL logs, under our names; kl is a token's mean, not an answer's sum; an empty answer that ends has an end."""

MIN_ANSWERS = 2


class Method(BaseModel, frozen=True, extra="forbid", strict=True):
    """What tells the two from each other."""

    algorithm: Literal["rloo", "grpo"]
    """rloo (Ahmadian et al. 2024): the others' mean is the baseline, KL is in the reward. grpo (Shao et al. 2024): the
    group's mean and deviation, KL is in the loss."""

    kl_coefficient: float = Field(ge=0)
    """beta: what a nat away from the start costs; in the reward of an answer for rloo, in a token's loss for grpo."""

    learning_rate: float = Field(gt=0)
    """AdamW's peak rate; falls to 0 as a cosine."""


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    """What both share."""

    seed: int = Field(ge=0)
    """Chooses prompts, answers and minibatches."""

    steps: int = Field(ge=1)
    """Rollout batches to sample and learn from."""

    rollout_batch: int = Field(ge=1)
    """Answers that are sampled in a step, over all processes."""

    answers: int = Field(ge=MIN_ANSWERS)
    """To each prompt of a rollout batch."""

    minibatch: int = Field(ge=1)
    """Answers per update, over all processes; divides rollout_batch."""

    epochs: int = Field(ge=1)
    """How often the answers of a step are gone through."""

    warmup: float = Field(ge=0, lt=1)
    """Share of the updates in which the learning rate rises."""

    clip: float = Field(gt=0)
    """How far a probability ratio may move before its gradient stops: an answer's for rloo, a token's for grpo."""

    missing_stop_penalty: float
    """The reward of an answer that is empty or does not end by itself, in place of the reward model's score."""

    temperature: float = Field(gt=0)
    """Of the answers; there is no top-p, as the ratio would be of another policy."""

    max_new_tokens: int = Field(ge=1)
    """Where an answer is cut off."""

    lora: Repeating | None = None
    """Adapters that are trained in place of all weights; null trains all weights."""

    @model_validator(mode="after")
    def divides(self) -> Self:
        for key, value in (("minibatch", self.minibatch), ("answers", self.answers)):
            if self.rollout_batch % value:
                raise ValueError(f"rollout_batch = {self.rollout_batch} is not a multiple of {key} = {value}")
        return self


class OurAnswers:
    """What both trainers do otherwise than TRL: the answers are sampled by `generate`, row by row."""

    settings: Settings
    _asked: Sequence[str]

    def _generate(self, prompts: list[str]) -> Any:
        self._asked = prompts
        return super()._generate(prompts)  # type: ignore[misc]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The tokens that answers are sampled behind: TRL's own call keeps an end that the tokenizer adds."""
        trainer: Any = self
        return encoding.tokenize(trainer.processing_class, prompts), None, {}

    def _sampled(self) -> list[list[int]]:
        """The tokens of one answer to each prompt of this process's share."""
        trainer: Any = self
        first = trainer.accelerator.process_index * len(self._asked)
        made = generate(
            one_base.bare(trainer.accelerator.unwrap_model(trainer.model)),
            trainer.processing_class,
            prefix="",
            suffixes=self._asked,
            row_ids=[f"update {trainer.state.global_step}/{first + place}" for place in range(len(self._asked))],
            samples=1,
            seed=self.settings.seed,
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            top_p=1.0,
            stops=chat.STOPS,
        )
        return [one.token_ids for [one] in made]


class OurRLOO(OurAnswers, RLOOTrainer):
    """RLOO on our engine's answers."""

    def _generate_single_turn(self, prompt_ids: Any, images: Any, multimodal_fields: Any) -> list[list[int]]:
        return self._sampled()


class OurGRPO(OurAnswers, GRPOTrainer):
    """GRPO on our engine's answers."""

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> tuple[list[list[int]], None]:
        return self._sampled(), None


def count_from_the_first_token(model: PreTrainedModel) -> None:
    """Have a model that counts padding on the left as positions count them from the first token of the text.

    TRL pads prompts on the left and names no positions. Rotary ones are differences, which padding leaves as they are;
    GPT-2 learned a vector for each place, and would give an answer other probabilities than it was sampled with.

    UserError where padding is told from none even so.
    """
    if _reads_past_padding(model):
        return
    model.base_model.register_forward_pre_hook(_with_positions, with_kwargs=True)
    if not _reads_past_padding(model):
        raise UserError(
            f"{type(model).__name__} says something else behind padding, which TRL puts before the prompts; RLOO and "
            "GRPO cannot train it: take train_ppo or train_rrhf, which put it behind the answers"
        )


def _with_positions(body: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    mask = given.get("attention_mask")
    if mask is not None and given.get("position_ids") is None:
        given["position_ids"] = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    return args, given


@torch.no_grad()
def _reads_past_padding(model: PreTrainedModel) -> bool:
    """Whether a short text has the same hidden states behind padding, but for rounding."""
    ids = torch.tensor([attention.some_tokens(model, 12)], device=model.device)
    mask = torch.tensor([[0] * 4 + [1] * 8], device=model.device)
    with as_it_reads(model):
        padded, alone = (
            model.base_model(input_ids=one, attention_mask=seen, use_cache=False).last_hidden_state[:, -8:].float()
            for one, seen in ((ids, mask), (ids[:, 4:], mask[:, 4:]))
        )
    far = float((padded - alone).abs().max() / alone.abs().max())
    return not far > (1e-3 if model.dtype == torch.float32 else 0.05)  # sampling says what is wrong with no number


def reward_function(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, ends: Set[int], missing_stop_penalty: float
) -> Callable[..., list[float | None]]:
    """The reward of every answer as TRL asks for it; UserError when the reward model gives no finite score.

    ends  tokens that end an answer of the policy (`models.end_tokens`)
    """

    def rewards(
        completions: list[str], completion_ids: list[list[int]], question: list[str], **others: Any
    ) -> list[float | None]:
        answers = [
            chat.ended(text, "eos" if tokens[-1] in ends else "length")
            for text, tokens in zip(completions, completion_ids, strict=True)
        ]
        dialogues = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
            for asked, (text, _) in zip(question, answers, strict=True)
        ]
        scores = scoring.score(model, tokenizer, dialogues)
        return [
            score if endings.is_complete(finish_reason, text) else missing_stop_penalty
            for score, (text, finish_reason) in zip(scores, answers, strict=True)
        ]

    return rewards


def train(
    policy: str | Path,
    start: PreTrainedModel,
    reward_model: PreTrainedModel,
    settings: Settings,
    method: Method,
    *,
    prompts: Sequence[Prompt],
    folder: str | Path,
    work: Path,
) -> tuple[list[Row], Row]:
    """Train the policy in a folder, which is the reference too, and write it to `folder`.

    start    the model of the folder `policy`; it is changed, and written merged, so are the weights below a reward
             model that stands on it
    prompts  what to answer; `rollout_batch / answers` of them in a step, from shuffled passes over all
    work     scratch folder for checkpoints, gone on from if there are any

    Returns the log and the counts of updates, answers and tokens. UserError when a score or the loss is not finite, or
    a batch does not divide among the processes.
    """
    tokenizer = models.load_tokenizer(policy)
    asked = settings.steps * settings.rollout_batch // settings.answers
    chosen = [prompts[place] for place in prompting.draw(len(prompts), 0, asked, seed=settings.seed, name="prompts")]
    rows = [
        {"prompt": chat.prompt([{"role": "user", "content": prompt.question}]), "question": prompt.question}
        for prompt in chosen
    ]
    in_step = settings.epochs * settings.rollout_batch // settings.minibatch
    updates = settings.steps * in_step
    trainer_class, config = (OurRLOO, RLOOConfig) if method.algorithm == "rloo" else (OurGRPO, GRPOConfig)
    special = {"loss_type": "grpo", "scale_rewards": "group"} if method.algorithm == "grpo" else {}
    arguments: Any = training.arguments(
        config,
        work=work,
        steps=updates,
        batch_size=settings.minibatch,
        learning_rate=method.learning_rate,
        warmup=settings.warmup,
        weight_decay=0.0,
        seed=settings.seed,
        num_generations=settings.answers,
        generation_batch_size=settings.rollout_batch,
        num_iterations=settings.epochs,
        epsilon=settings.clip,
        beta=method.kl_coefficient,
        temperature=settings.temperature,
        max_completion_length=settings.max_new_tokens,
        shuffle_dataset=False,
        **special,
    )
    # The answers of a step are not in a checkpoint, so it falls between two steps, and on a point of the curve.
    whole = math.lcm(in_step, training.LOG_EVERY)
    arguments.save_steps = whole * max(1, round(updates / 5 / whole))
    reward_model = reward_model.requires_grad_(False).eval().to(arguments.device)
    if settings.lora is None:
        training.show_reference(start, policy, work)
    count_from_the_first_token(start)
    model = training.without_dropout(training.to_train(start, settings.lora, "CAUSAL_LM", seed=settings.seed))
    ends, penalty = models.end_tokens(start, tokenizer), settings.missing_stop_penalty
    trainer: Any = trainer_class(
        model=model,
        reward_funcs=reward_function(reward_model, tokenizer, ends=ends, missing_stop_penalty=penalty),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.settings = settings
    if trainer.ref_model is not None:
        count_from_the_first_token(trainer.accelerator.unwrap_model(trainer.ref_model))
    if "ref" in getattr(trainer.model, "peft_config", {}):
        trainer.model.delete_adapter("ref")  # TRL's copy of the new adapter; without one it reads the base as reference
    training.fit(trainer)
    training.save(trainer, tokenizer, folder, lora=settings.lora, base=policy)
    log = [
        {"step": entry["step"]} | {ours: entry[theirs] for theirs, ours in CURVE.items() if theirs in entry}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    prompt_tokens = settings.answers * sum(len(prompt.token_ids) for prompt in chosen)
    counts = {
        "updates": trainer.state.global_step,
        "answers": settings.steps * settings.rollout_batch,
        "tokens_sampled": int(trainer.state.num_input_tokens_seen) - prompt_tokens,
    }
    return log, counts
