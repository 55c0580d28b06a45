"""The settings that DITTO and SPIN share, and those of the fine-tuning before DITTO."""

from pydantic import BaseModel, Field

from synthalign.ditto.draws import Fractions
from synthalign.generation.adapters import Repeating


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    iterations: int = Field(gt=0)
    """Sets of samples, each from the policy of that moment."""

    steps_per_iteration: int = Field(gt=0)
    """Steps after each set."""

    negatives: int = Field(gt=0)
    """Samples for every demonstration in a set."""

    pairs_per_demonstration: int = Field(gt=0)
    """Pairs in a batch for every demonstration; all demonstrations are in every batch."""

    fractions: Fractions
    """Shares of a batch by kind of pair; a pool that is too small is taken whole and not made up for."""

    beta: float = Field(gt=0)
    """The price of a nat of distance from the reference."""

    learning_rate: float = Field(gt=0)
    """Of DPO; constant after the warm-up."""

    warmup: float = Field(ge=0, lt=1)
    """Share of all steps in which DPO's learning rate rises."""

    weight_decay: float = Field(ge=0)
    """AdamW's weight decay."""

    max_new_tokens: int = Field(gt=0)
    """Longest sample; a demonstration with a longer output is refused."""

    temperature: float = Field(gt=0)
    """Of the samples."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    device_batch_size: int = Field(gt=0)
    """Pairs that go through the model at once on one device; changes the result in rounding only."""

    seed: int = Field(ge=0)
    """Draws the order of demonstrations, the samples and the pairs."""

    lora: Repeating | None = None
    """Adapters that are trained in place of all weights; null trains all weights."""


class Supervised(BaseModel, frozen=True, extra="forbid", strict=True):
    stop_loss: float = Field(ge=0)
    """The first batch with a loss per token below this ends the fine-tuning; 0 goes on to max_steps."""

    max_steps: int = Field(gt=0)
    """Steps at most."""

    batch_size: int = Field(gt=0)
    """Demonstrations in a step, over all processes."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule."""

    warmup: float = Field(ge=0, lt=1)
    """Share of max_steps in which the learning rate rises."""
