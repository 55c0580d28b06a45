"""The settings of an RRHF run; see docs/methods/rrhf.md for which variant of the paper has which."""

from pydantic import BaseModel, Field

from synthalign.generation.adapters import Repeating


class Variant(BaseModel, frozen=True, extra="forbid", strict=True):
    """What tells the paper's variants from each other."""

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
    """AdamW's peak rate; after the warm-up it falls linearly to 0 (the paper)."""


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    """What all variants share."""

    seed: int = Field(ge=0)
    """Chooses queries, answers and batches."""

    temperatures: list[float] = Field(min_length=1)
    """Of the policy's own answers to a query, one answer each."""

    beams: int | None = Field(default=None, ge=2)
    """The policy's own answers are the likeliest so many of a beam search (the paper's BP: 4); null draws them."""

    batch_size: int = Field(ge=1)
    """Queries in an optimizer step, over all processes (the paper: 64)."""

    warmup_steps: int = Field(ge=0)
    """Steps in which the rate rises from a tenth."""

    missing_stop_penalty: float
    """The reward of an own answer that is empty or does not end by itself, in place of the reward model's score."""

    max_new_tokens: int = Field(ge=1)
    """Where an answer is cut off."""

    max_gradient_norm: float = Field(gt=0)
    """The gradient is scaled down to this norm."""

    snapshot_every: int = Field(ge=0)
    """Steps between snapshots: answers to the evaluation questions; the first and last policy always have one."""

    checkpoint_every: int = Field(ge=1)
    """Steps between checkpoints to go on from after a crash; does not change the result."""

    device_batch_size: int = Field(ge=1)
    """Responses that go through a model at once on one device; does not change the result but for rounding."""

    lora: Repeating | None = None
    """Adapters that are trained in place of all weights; null trains all weights."""

    @property
    def own_answers(self) -> int:
        """The policy's own answers to a query."""
        return self.beams or len(self.temperatures)
