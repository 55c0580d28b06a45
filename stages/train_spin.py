"""SPIN, a baseline of DITTO's: demonstrations over samples alone, and the reference is the last iteration's policy.

Chen et al. 2024, Algorithm 1: a demonstration beats every sample, no sample beats another, and the implicit reward is
measured against the policy that wrote the newest samples.  It starts from the model that DITTO starts from.
"""

from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import code, hardware, launcher, stage, tracking
from synthalign.ditto import authors, outcome
from synthalign.ditto import training as ditto_training
from synthalign.ditto.settings import Settings
from synthalign.generation import adapters, models, parallel
from synthalign.policies import checkpoints, one_base


class Author(BaseModel, frozen=True, extra="forbid", strict=True):
    demonstrations: str = Field(min_length=1)
    """File of fewer than ten demonstrations; the fine-tuned model is that of train_ditto's member of the same name."""


class Params(Settings, frozen=True, extra="forbid", strict=True):
    authors: dict[str, Author]
    """The members of the family by name."""


def main(params: Params, name: str) -> None:
    file = stage.member("train_spin", "author", params.authors, name).demonstrations
    model = f"models/ditto_sft/{name}"
    checkpoints.check()
    adapters.check(model, params.lora, "CAUSAL_LM")
    demonstrations = authors.load(file)
    work = stage.work_dir(
        "train_spin",
        name,
        params.model_dump_json(exclude={"authors", "device_batch_size"}),
        Path(file),
        Path(model),
        launcher.of_results(),
        *code.of(__file__),
    )
    policy, tokenizer = models.load_causal(model, "training"), models.load_tokenizer(model)
    learner = one_base.learner(policy, params.lora, seed=params.seed)
    accelerator = parallel.accelerator(**tracking.of_accelerator(work))
    learned = ditto_training.align(
        accelerator,
        policy,
        tokenizer,
        demonstrations,
        folder=work,
        fractions=params.fractions,
        reference="previous",
        report=tracking.started(accelerator, work),
        **hardware.read().fitted(params).model_dump(exclude={"authors", "fractions", "lora"}),
    )
    tracking.finished(accelerator)

    if accelerator.is_main_process:
        one_base.save(learner, tokenizer, f"models/spin/{name}", lora=params.lora, base=model)
        stage.write_points(learned.log, f"train_spin/{name}")
        stage.write_metrics(f"train_spin/{name}", **outcome.summary(learned))
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "train_spin", Params)
