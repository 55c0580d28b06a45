"""hardware.yaml: what this machine holds and how; of no method, so never in params.yaml and never in a stage's command.

Without the file all is as with its defaults: fp32, nothing recomputed, rows as params.yaml says (docs/hardware.md).
"""

import os
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field

from synthalign.core import yaml_file
from synthalign.core.errors import UserError

FILE = "hardware.yaml"
EXAMPLE = "accelerate/gpu.hardware.yaml"

LOGITS = 1 << 26
"""Of a batch that is read for the log-probability of every token: 268 MB in float32, and as much again for their sums.
Of 49,152 words that is a row of 1,365 tokens."""

Dtype = Literal["auto", "bf16", "fp32"]
"""auto is the type in which a folder has its weights."""

Use = Literal["training", "reading", "copying"]
"""Whether a model is held by a trainer (which may hold frozen ones too), decodes and scores, or is written elsewhere,
for which it keeps the type that its folder has."""

OF_RESULTS = {"weights", "attention", "compile", "tf32", "instructions", "threads"}
"""The keys that may change a number by more than the rows of a batch do."""

S = TypeVar("S", bound=BaseModel)


class Weights(BaseModel, frozen=True, extra="forbid", strict=True):
    """The type in which weights are held."""

    training: Dtype = "fp32"
    """Of all models of a trainer, frozen ones included."""

    reading: Dtype = "fp32"
    """Of models that decode or score."""


class DeviceRows(BaseModel, frozen=True, extra="forbid", strict=True):
    """Rows that a device holds at once, in place of those of params.yaml; results are equal but for rounding."""

    training: int | None = Field(default=None, gt=0)
    """Of a batch with gradients, at most; the rest of an optimizer's step is accumulated."""

    scoring: int | None = Field(default=None, gt=0)
    """Texts that are scored at once."""

    sampling: int | None = Field(default=None, gt=0)
    """Sequences that a worker decodes together."""


class Hardware(BaseModel, frozen=True, extra="forbid", strict=True):
    weights: Weights = Weights()

    gradient_checkpointing: bool = False
    """Keep only the input of every layer for the backward pass and compute the rest again: a third more time."""

    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = None
    """transformers' kernel for training and scoring; null is the model's own choice. A text with a shared prefix is
    decoded by our own attention, whatever stands here."""

    compile: bool = False
    """torch.compile in the trainers of TRL; the first steps take minutes."""

    tf32: bool = False
    """Have a GPU multiply float32 with 10 bits of each number, which is faster; what is in bf16 stays as it was."""

    device_rows: DeviceRows = DeviceRows()

    instructions: Literal["avx2", "native"] = "avx2"
    """Of an x86 processor: those that all have, so that sums round alike, or all of its own. Of no use beside a GPU."""

    threads: int = Field(default=1, gt=0)
    """Of one operation of a trainer without a GPU; with several, sums round as the machine has cores."""

    def of_results(self) -> str:
        """What of it may change a number: text for a hash, empty for the defaults."""
        changed = self.model_dump_json(include=OF_RESULTS, exclude_defaults=True)
        return "" if changed == "{}" else changed

    def fitted(self, settings: S) -> S:
        """Settings of a trainer of ours with the rows that a device holds at most, where the file names any."""
        rows = self.device_rows.training
        return settings if rows is None else settings.model_copy(update={"device_batch_size": rows})


def read() -> Hardware:
    """The hardware.yaml of the current folder, or the file that SYNTHALIGN_HARDWARE names, read once in a process.

    UserError with every wrong key at once, or when the file that is named is not there.
    """
    named = os.environ.get("SYNTHALIGN_HARDWARE")
    if named and not Path(named).exists():
        raise UserError(f"SYNTHALIGN_HARDWARE = {named}: there is no such file; name one as {EXAMPLE}, or unset it")
    return _read(named or FILE, Path.cwd())


@cache
def _read(file: str, folder: Path) -> Hardware:
    return yaml_file.read(file, Hardware, example=EXAMPLE) if (folder / file).exists() else Hardware()
