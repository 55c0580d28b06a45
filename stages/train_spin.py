"""SPIN, a baseline of DITTO's: demonstrations over samples alone, and the reference is the last iteration's policy.

Chen et al. 2024, Algorithm 1: a demonstration beats every sample, no sample beats another, and the implicit reward is
measured against the policy that wrote the newest samples.  It starts from the model that DITTO starts from.
"""

import shutil
from pathlib import Path

from accelerate import Accelerator
from pydantic import BaseModel, Field

from synthalign import authors, ditto, ditto_training, encoding, generate, models, parallel, sampling, stage
from synthalign.ditto import Fractions
from synthalign.errors import UserError


class Author(BaseModel, frozen=True, extra="forbid", strict=True):
    demonstrations: str = Field(min_length=1)
    """File of fewer than ten demonstrations; the fine-tuned model is that of train_ditto's member of the same name."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    authors: dict[str, Author]
    """The members of the family by name."""

    iterations: int = Field(gt=0)
    """Sets of samples, each from the policy of that moment, which becomes the reference."""

    steps_per_iteration: int = Field(gt=0)
    """Steps after each set."""

    negatives: int = Field(gt=0)
    """Samples for every demonstration in a set."""

    pairs_per_demonstration: int = Field(gt=0)
    """Pairs in a batch for every demonstration."""

    fractions: Fractions
    """Shares of a batch by kind of pair; SPIN has no inter-model pairs."""

    beta: float = Field(gt=0)
    """The price of a nat of distance from the reference."""

    learning_rate: float = Field(gt=0)
    """Constant after the warm-up."""

    warmup: float = Field(ge=0, lt=1)
    """Share of all steps in which the learning rate rises."""

    weight_decay: float = Field(ge=0)
    """AdamW's weight decay."""

    max_new_tokens: int = Field(gt=0)
    """Longest sample."""

    temperature: float = Field(gt=0)
    """Of the samples."""

    top_p: float = Field(gt=0, le=1)
    """Only the most probable tokens that hold this probability together are drawn from."""

    device_batch_size: int = Field(gt=0)
    """Pairs that go through the model at once on one device; changes the result in rounding only."""

    seed: int = Field(ge=0)
    """Draws the samples and the pairs."""


def main(params: Params, name: str) -> None:
    if name not in params.authors:
        raise UserError(f"train_spin has no author {name!r}; it has {', '.join(params.authors)}")
    file, model = params.authors[name].demonstrations, f"models/ditto_sft/{name}"
    demonstrations = authors.load(file)
    code = (__file__, encoding.__file__, ditto.__file__, ditto_training.__file__, generate.__file__, sampling.__file__)
    work = stage.work_dir(
        "train_spin",
        name,
        params.model_dump_json(exclude={"authors", "device_batch_size"}),
        Path(file),
        Path(model),
        *map(Path, code),
    )
    policy, tokenizer = models.load_causal(model), models.load_tokenizer(model)
    accelerator = Accelerator()
    learned = ditto_training.align(
        accelerator,
        policy,
        tokenizer,
        demonstrations,
        folder=work,
        fractions=params.fractions,
        reference="previous",
        **params.model_dump(exclude={"authors", "fractions"}),
    )

    if accelerator.is_main_process:
        shutil.rmtree(f"models/spin/{name}", ignore_errors=True)
        policy.save_pretrained(f"models/spin/{name}")
        tokenizer.save_pretrained(f"models/spin/{name}")
        stage.write_points(learned.log, f"train_spin/{name}")
        stage.write_metrics(f"train_spin/{name}", **ditto_training.summary(learned))
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "train_spin", Params)
