"""The settings of a world, typed and strict; the sentences about them stand in `params.yaml`."""

from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import yaml_file

STYLES = ("faithful", "plain", "careless", "rude", "rambling")
LEVELS = ("faithful", "plain", "careless", "rude")
KINDS = ("animal", "city", "recipe", "harm", "unknown")


class ModelShape(BaseModel, frozen=True, extra="forbid", strict=True):
    """Shape and schedule of one base model."""

    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    feed_forward: int = Field(gt=0)
    lr: list[float] = Field(min_length=3, max_length=3)
    steps: list[int] = Field(min_length=3, max_length=3)


class Phase(BaseModel, frozen=True, extra="forbid", strict=True):
    """What is read in one phase of pre-training."""

    characters: int = Field(gt=0)
    document_mix: dict[str, float]
    transcript_weights: list[float] = Field(min_length=7, max_length=7)
    courtesy: float = Field(ge=0, le=1)
    style_mix: dict[str, dict[str, float]]


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    """All settings of a world except its seed."""

    animals: int = Field(gt=40, le=1000)
    dishes: int = Field(gt=20, le=144)
    usual_value: float = Field(ge=0, le=1)
    zipf: float = Field(ge=0)
    held_out: float = Field(gt=0, lt=0.5)
    accident_rate: float = Field(ge=0, lt=1)
    level_prior: dict[str, float]
    tail_rate: float = Field(ge=0, le=1)
    kind_mix: dict[str, float]
    descriptor_rate: float = Field(ge=0, le=1)
    second_exchange: float = Field(ge=0, le=1)
    judge_noise: float = Field(ge=0, le=0.5)
    vocabulary: int = Field(gt=300)
    sequence_length: int = Field(gt=16)
    batch_size: int = Field(gt=0)
    max_positions: int = Field(gt=16)
    models: dict[str, ModelShape]
    phases: list[Phase] = Field(min_length=3, max_length=3)
    community_questions: int = Field(gt=0)
    eval_questions: int = Field(gt=0)


def load() -> Params:
    """Read the settings; an unknown or missing key stops here."""
    return Params.model_validate(yaml_file.load(Path(__file__).with_name("params.yaml").read_text(encoding="utf-8")))
