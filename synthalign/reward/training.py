"""What the trainers share: the order of rows, repeatable arguments, checkpoints to resume from, curve and save.

The order of rows is made here and the trainers read it from front to back. So a batch holds the same rows on one
process or on eight, with or without accumulation, and a resumed run goes on exactly where it stopped.
"""

import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object, get_int_from_env
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from synthalign.core import durable, hardware, launcher, tracking
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.stage import give_up, write_points
from synthalign.generation import adapters, model_folder, parallel, precision
from synthalign.generation.adapters import Lora

Config = TypeVar("Config", bound=TrainingArguments)
Curve = list[dict[str, float]]

LOG_EVERY = 10
"""Steps between two points of the curve; a checkpoint falls on such a step, so that a resumed curve is the same."""

POOL = 16
"""Batches among which rows are exchanged so that a batch holds rows of like length."""

CURVE = ("loss", "accuracy", "margin", "mean_token_accuracy", "rewards/accuracies", "rewards/margins", "learning_rate")


def draw(rows: Sequence[dict[str, Any]], limit: int, *, seed: int) -> list[dict[str, Any]]:
    """At most `limit` comparisons, in an order that hashes of the seed and their ids give: none is drawn for its place
    in the table, and most stay drawn when others come or go."""
    return sorted(rows, key=lambda row: content_id(seed, "pair", row["comparison_id"]))[:limit]


def draw_queries(rows: Sequence[dict[str, Any]], limit: int, *, seed: int) -> list[dict[str, Any]]:
    """Comparisons of whole queries, in an order that hashes of the seed and the queries' ids give, until the next
    query would be more than `limit` comparisons in all."""
    of_query: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        of_query.setdefault(row["query_id"], []).append(row)
    drawn: list[dict[str, Any]] = []
    for query in sorted(of_query, key=lambda query: content_id(seed, "ranking", query)):
        if len(drawn) + len(of_query[query]) > limit:
            break
        drawn += sorted(of_query[query], key=lambda row: str(row["comparison_id"]))
    return drawn


def batch_order(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> list[int]:
    """The rows to train on, one after the other: every `batch_size` of them are a batch.

    lengths  of each row, in tokens

    Each pass over the rows is shuffled anew. Within POOL batches rows are exchanged so that those of one batch have
    like lengths and little is padded. The last batch is filled up with rows of one more pass.
    """
    if not lengths:
        raise UserError("there is no row to train on; look at the counts in metrics/ of the stage that makes them")
    steps = math.ceil(len(lengths) * epochs / batch_size)
    generator = random.Random(seed)
    stream: list[int] = []
    while len(stream) < steps * batch_size:
        once = list(range(len(lengths)))
        generator.shuffle(once)
        stream += once
    ordered: list[int] = []
    for start in range(0, steps * batch_size, POOL * batch_size):
        pool = stream[start : min(start + POOL * batch_size, steps * batch_size)]
        pool.sort(key=lambda row: lengths[row])
        batches = [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
        generator.shuffle(batches)
        ordered += [row for batch in batches for row in batch]
    return ordered


def per_device_batch(batch_size: int, *, processes: int, accumulation: int) -> int:
    """How many rows one process takes at a time, so that all of them together take `batch_size` a step."""
    rows, rest = divmod(batch_size, processes * accumulation)
    if rest or not rows:
        raise UserError(
            f"a batch of {batch_size} rows cannot be divided among {processes} processes × {accumulation} accumulation "
            "steps; set `batch_size` of the stage to a multiple of that, or change the number of processes in "
            "accelerate.yaml"
        )
    return rows


def held_rows(rows: int, most: int | None) -> int:
    """How many of `rows` a device holds at once where it may hold `most`: the largest number that divides them."""
    return max(size for size in range(1, min(rows, most or rows) + 1) if rows % size == 0)


def arguments(
    config: type[Config],
    *,
    work: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup: float,
    weight_decay: float,
    seed: int,
    **special: Any,
) -> Config:
    """Arguments of a TRL trainer under which equal inputs make equal weights.

    config   the trainer's own class of arguments; `special` holds what only that trainer knows
    work     where checkpoints go, about five in a run and one at a time
    steps    optimizer steps of the whole run
    warmup   share of the steps in which the learning rate rises; after them it falls to 0 as a cosine

    Precision, processes and devices come from accelerate.yaml and hardware.yaml; accumulation from the latter and the
    environment variable that accelerate reads for it (ACCELERATE_GRADIENT_ACCUMULATION_STEPS), because none of them is
    part of the method.
    """
    here = hardware.read()
    accumulation = get_int_from_env(["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"], 1)
    whole = per_device_batch(batch_size, processes=parallel.state().num_processes, accumulation=accumulation)
    rows = held_rows(whole, here.device_rows.training)
    accumulation *= whole // rows
    made = config(
        use_cpu=precision.on_cpu(),
        output_dir=str(work),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(warmup * steps),
        weight_decay=weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        seed=seed,
        data_seed=seed,
        full_determinism=torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=here.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if here.gradient_checkpointing else None,
        torch_compile=here.compile,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=LOG_EVERY,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=LOG_EVERY * max(1, math.ceil(steps / 5 / LOG_EVERY)),
        push_to_hub=False,
        **tracking.of_trainer(work),
        **special,
    )
    made._n_gpu = min(made.n_gpu, 1)  # transformers would take all cards in sight, with DataParallel
    return made


def to_train(model: PreTrainedModel, lora: Lora | None, task: adapters.Task, *, seed: int) -> Any:
    """The model as a trainer takes it: with every dropout set to 0, and new adapters where `lora` asks for them.

    Adapters have a dropout of their own, `lora.dropout`.
    """
    model = without_dropout(model)
    return model if lora is None else adapters.attach(model, lora, task, seed)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """The model with every dropout set to 0, so that log-probabilities and rewards repeat (as Huang et al. 2024).

    A model has its rates in modules (`nn.Dropout.p`), as numbers that it hands to functions (`self.dropout`,
    `resid_pdrop`, `layerdrop`), and in the configuration that it reads as it runs; there they stay 0 when it is saved.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _drop_nothing(module)
        if isinstance(config := module.__dict__.get("config"), PreTrainedConfig):
            _drop_nothing(config)
    return model


def show_reference(model: PreTrainedModel, folder: str | Path, work: Path) -> None:
    """Have one of TRL's trainers take the model of `folder` for the reference, where it opens one of its own.

    It opens what the config names. Where `folder` holds adapters that is their base, which would be another policy, so
    the whole model is written to the scratch folder `work` for it.
    """
    if (Path(folder) / model_folder.ADAPTER).exists():
        whole = work / "reference"
        if parallel.state().is_main_process:
            model.save_pretrained(str(whole))
        parallel.state().wait_for_everyone()
        model.config.name_or_path = str(whole)


def _drop_nothing(owner: torch.nn.Module | PreTrainedConfig) -> None:
    """Set the numbers with a rate's name to 0, and those that shake a router (`router_jitter_noise`)."""
    for name, value in vars(owner).items():
        if isinstance(value, float) and ("drop" in name or "jitter" in name):
            vars(owner)[name] = 0.0


def recomputing(model: PreTrainedModel) -> None:
    """In a loop of ours: keep only the inputs of the layers for the backward pass, where hardware.yaml asks for it.

    transformers does so in training mode alone, so that is the model's mode then, without dropout.
    """
    if hardware.read().gradient_checkpointing:
        without_dropout(model).gradient_checkpointing_enable({"use_reentrant": False})
        model.train()


def outputs_in_float32(accelerator: Accelerator) -> None:
    """Have a model that FSDP shards return what it computed, and not that rounded to the type it computes in.

    accelerate asks FSDP for the latter, behind its own conversion to float32; log-probabilities of whole answers and
    rewards are subtracted from each other after that, and near 250 bf16 knows whole numbers alone.
    """
    plugin = accelerator.state.fsdp_plugin if accelerator.distributed_type == DistributedType.FSDP else None
    if plugin is not None and hasattr(plugin.mixed_precision_policy, "output_dtype"):
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, output_dtype=None)


class Watch(TrainerCallback):
    """Put the last step on the curve, keep one checkpoint, and stop a run whose loss is no number: every later step
    would be wasted."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        control.should_log |= state.global_step == state.max_steps

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **others: Any,
    ) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} by step {state.global_step} of {state.max_steps} (it is looked at every "
                f"{LOG_EVERY} steps); try a smaller `learning_rate` (now {args.learning_rate}) or a longer `warmup`"
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Remove the older checkpoints when the newest is on the disk; `save_total_limit` would not wait for that."""
        parallel.state().wait_for_everyone()  # each writes its part
        if state.is_world_process_zero:
            work = Path(str(args.output_dir))
            newest = work / f"checkpoint-{state.global_step}"
            durable.keep(newest)
            for checkpoint in work.glob("checkpoint-*"):
                if checkpoint != newest:
                    shutil.rmtree(checkpoint)


def fit(trainer: Trainer) -> Curve:
    """Train, going on from the last whole checkpoint if there is one, and return the curve.

    A checkpoint is whole when its state, which is written last, is there and all of it can be read. The folder of
    checkpoints stays until `save`.
    """
    trainer.add_callback(Watch())
    work = Path(str(trainer.args.output_dir))
    checkpoint = _last_checkpoint(work)
    if len(set(gather_object([checkpoint]))) > 1:
        raise UserError(
            f"{work}: not every process sees the checkpoint that the others go on from; on several hosts this folder "
            "must be on a file system that they share, or be removed on all of them to begin anew"
        )
    trainer.train(resume_from_checkpoint=checkpoint)
    return [
        {"step": entry["step"]} | {name: round(entry[name], 6) for name in CURVE if name in entry}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def _last_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint: of those with the random numbers of as many processes as there are now, if any is.

    Others may have been killed before their numbers were written, and then the one before is still there; where there
    is none, fewer processes made it.
    """
    newest_first = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    drawn = [path for path in newest_first if len([*path.glob("rng_state*.pth")]) >= launcher.processes()]
    whole = (durable.first_whole(some, last="trainer_state.json") for some in (drawn, newest_first))
    folder = next(filter(None, whole), None)
    if folder is None:
        return None
    print(f"{folder}: going on from here", flush=True)
    return str(folder)


def save(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    lora: Lora | None = None,
    base: str | Path = "",
) -> None:
    """Write the trained model and its tokenizer to `folder`: whole weights of all processes, written by one.

    The checkpoints are given up then.

    lora, base  of adapters, how they are written, and the folder of the model that they are on
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}  # as torch.compile prefixes them
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_torch_compile=False)
    if trainer.is_world_process_zero() and lora is not None:
        adapters.save(model, tokenizer, folder, lora, base, state)
    elif trainer.is_world_process_zero():
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(str(folder), state_dict=state)
        tokenizer.save_pretrained(str(folder))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        give_up(Path(str(trainer.args.output_dir)))


def write_curve(curve: Curve, stage: str, item: str) -> None:
    """Write the curve where `dvc plots` reads it, metrics/plots/<stage>/<item>.json."""
    points = [{name.replace("/", "_"): value for name, value in point.items()} for point in curve]
    write_points(points, f"{stage}/{item}")
