"""Align a model with one author (DITTO): fine-tune on a few demonstrations, then prefer them to the model's samples.

The author is a member of the family or, by name, the file data/authors/<name>.jsonl that a user has brought.
"""

import shutil
from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import code, hardware, launcher, stage, tables, tracking
from synthalign.ditto import authors, fine_tuning, outcome
from synthalign.ditto import training as ditto_training
from synthalign.ditto.settings import Settings, Supervised
from synthalign.generation import adapters, models, parallel
from synthalign.policies import checkpoints, one_base


class Author(BaseModel, frozen=True, extra="forbid", strict=True):
    demonstrations: str = Field(min_length=1)
    """File of fewer than ten demonstrations, {"prompt": …, "output": …} a line."""


class Params(Settings, frozen=True, extra="forbid", strict=True):
    authors: dict[str, Author]
    """The members of the family by name."""

    model: str = Field(min_length=1)
    """Folder of the model to start from."""

    sft: Supervised
    """How the reference comes about."""


def main(params: Params, name: str) -> None:
    params = hardware.read().fitted(params)
    checkpoints.check()
    adapters.check(params.model, params.lora, "CAUSAL_LM")
    known = {author: one.demonstrations for author, one in params.authors.items()}
    file = authors.file_of(name, known, stage="train_ditto")
    demonstrations = authors.load(file)
    if name not in known:
        authors.asked_of_brought(file, demonstrations)  # sample_ditto would refuse them after all training
    work = stage.work_dir(
        "train_ditto",
        name,
        params.model_dump_json(exclude={"authors", "device_batch_size"}),
        Path(file),
        Path(params.model),
        launcher.of_results(),
        *code.of(__file__),
    )
    accelerator = parallel.accelerator(**tracking.of_accelerator(work))
    shared = params.model_dump(include={"weight_decay", "device_batch_size", "seed", "max_new_tokens"})
    sft, sft_log = fine_tuning.supervised(
        accelerator,
        params.model,
        demonstrations,
        folder=work,
        file=str(file),
        lora=params.lora,
        **params.sft.model_dump(),
        **shared,
    )
    report = tracking.started(accelerator, work)
    if report is not None:
        for row in sft_log:
            report({"step": row["step"], "sft_loss": row["loss"]})
    policy, tokenizer = models.load_causal(sft, "training"), models.load_tokenizer(sft)
    learner = one_base.learner(policy, params.lora, seed=params.seed)
    alone = {"authors", "model", "sft", "fractions", "lora"}
    learned = ditto_training.align(
        accelerator,
        policy,
        tokenizer,
        demonstrations,
        folder=work,
        fractions=params.fractions,
        reference="first",
        report=report and (lambda row: report(row | {"step": len(sft_log) + row["step"]})),  # W&B drops earlier steps
        **params.model_dump(exclude=alone),
    )
    tracking.finished(accelerator)

    if accelerator.is_main_process:
        reference = f"models/ditto_sft/{name}"
        if params.lora:
            shutil.rmtree(reference, ignore_errors=True)
            shutil.copytree(sft, reference, ignore=shutil.ignore_patterns(fine_tuning.LOG))
        else:
            models.save(models.load_causal(sft, "training"), tokenizer, reference)
        one_base.save(learner, tokenizer, f"models/ditto/{name}", lora=params.lora, base=reference)
        tables.write(learned.samples, f"ditto_samples/{name}", key="sample_id", schema=outcome.SAMPLES)
        tables.write(
            learned.pairs,
            f"comparisons/ditto_{name}",
            key=("step", "kind", "comparison_id"),
            schema=outcome.PAIRS,
        )
        stage.write_points(learned.log, f"train_ditto/{name}")
        stage.write_metrics(
            f"train_ditto/{name}",
            demonstrations=len(demonstrations),
            **fine_tuning.supervised_summary(sft_log, params.sft.stop_loss),
            **outcome.summary(learned),
        )
        print(f"models/ditto/{name}: the policy; models/ditto_sft/{name}: its reference", flush=True)
    parallel.finish(work)


if __name__ == "__main__":
    stage.run(main, "train_ditto", Params)
