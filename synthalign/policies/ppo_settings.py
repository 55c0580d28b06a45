"""The hyper-parameters of PPO, with their units and what the papers use."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.generation.adapters import Repeating


class Settings(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Chooses prompts, answers and minibatches."""

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

    turn_ends: bool
    """Whether an answer that another turn follows has ended by itself, as RLCD wants it of a base model."""

    missing_stop_penalty: float
    """The reward of an answer that is empty or does not end by itself, in place of the reward model's score."""

    whiten_rewards: bool
    """Divide token rewards by their deviation in each step; the mean is kept."""

    temperature: float = Field(gt=0)
    """Of the answers, in training and in the snapshots; there is no top-p, as the ratio would be of another policy."""

    max_new_tokens: int = Field(ge=1)
    """Where an answer is cut off."""

    max_gradient_norm: float = Field(gt=0)
    """Each model's gradient is scaled down to this norm."""

    ptx_coefficient: float = Field(ge=0)
    """gamma of PPO-ptx: weight of the loss on pre-training texts, per token; 0 is off (InstructGPT: 27.8)."""

    ptx_batch: int = Field(ge=0)
    """Texts that are read with every minibatch, over all processes."""

    snapshot_every: int = Field(ge=0)
    """Steps between snapshots: answers to the evaluation questions for the over-optimisation curve; the first and the
    last policy always have one, 0 makes no others."""

    checkpoint_every: int = Field(ge=1)
    """Steps between checkpoints to go on from after a crash; does not change the result."""

    device_batch_size: int = Field(ge=1)
    """Rows that go through a model at once on one device; does not change the result but for rounding."""

    lora: Repeating | None = None
    """Adapters that are trained in place of all weights; null trains all weights."""

    @model_validator(mode="after")
    def divides(self) -> Self:
        if self.rollout_batch % self.minibatch:
            raise ValueError(f"rollout_batch = {self.rollout_batch} is not a multiple of minibatch = {self.minibatch}")
        return self

    @model_validator(mode="after")
    def can_be_steered(self) -> Self:
        if self.kl_target is not None and not self.kl_coefficient:
            raise ValueError("kl_coefficient = 0 stays 0 whatever kl_target is; start above 0, or set kl_target: null")
        if self.kl_target is not None and self.kl_horizon <= 0.2 * self.rollout_batch:
            raise ValueError(
                f"kl_horizon = {self.kl_horizon} lets one step of {self.rollout_batch} answers turn the coefficient "
                "negative; it must be above a fifth of rollout_batch (the paper: 10000)"
            )
        return self
