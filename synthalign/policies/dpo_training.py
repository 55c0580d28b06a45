"""Train a policy on comparisons by direct preference optimization (Rafailov et al. 2023), with TRL's trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from accelerate.utils import parse_flag_from_env
from datasets import Dataset, load_from_disk
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.dialogue import encoding, endings
from synthalign.generation import models, parallel
from synthalign.generation.adapters import Lora
from synthalign.reward import training
from synthalign.reward.training_settings import Settings

Loss = Literal["sigmoid", "ipo"]
"""What is made of z = beta h, h being how much more than the reference the policy prefers the chosen response: sigmoid
is DPO's -log sigmoid(z) (Eq. 7), ipo (h - 1 / (2 beta))^2 of log-probabilities per token (Azar et al. 2023, Eq. 17)."""


def losses(loss: Loss, label_smoothing: float) -> dict[str, Any]:
    """The loss as DPOConfig has it.

    label_smoothing  epsilon, the share of labels that are taken to be the wrong way round, in [0, .5); of sigmoid alone

    Of sigmoid it is the conservative loss of the paper's released code (trainers.py: preference_loss), whose best
    margin is finite, sigmoid(z) = 1 - epsilon:

        (1 - epsilon) (-log sigmoid(z))  +  epsilon (-log sigmoid(-z))

    DPOConfig's own label_smoothing is without effect on its sigmoid loss (TRL 1.16), and its `robust` loss R divides by
    1 - 2 epsilon and subtracts the flipped term; the above is 2 (1 - epsilon) (-log sigmoid(z)) - (1 - 2 epsilon) R.
    """
    if not label_smoothing:
        return {"loss_type": [loss]}
    return {
        "loss_type": ["sigmoid", "robust"],
        "loss_weights": [2 * (1 - label_smoothing), 2 * label_smoothing - 1],
        "label_smoothing": label_smoothing,
    }


def check(lora: Lora | None) -> None:
    """UserError for adapters where accelerate.yaml has models sharded, before a model loads.

    TRL has the reference read all rows before it shards a model, and FSDP has left that on the CPU; without adapters
    the reference is another model, which TRL shards first.
    """
    if lora is not None and parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise UserError(
            "accelerate.yaml: distributed_type FSDP shards models, and DPO with a `lora` block reads its comparisons "
            "before that with one that is still on the CPU; use accelerate/gpu.yaml, for then one base is on every "
            "device, or set `lora: null`"
        )


def train(
    pairs: Sequence[Row],
    *,
    base_model: str | Path,
    folder: str | Path,
    work: Path,
    beta: float,
    learning_rate: float,
    settings: Settings,
    loss: Loss = "sigmoid",
    label_smoothing: float = 0.0,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[training.Curve, int]:
    """Train the policy in `base_model`, which is the reference too, on the pairs; write it to `folder`.

    beta                   price of a nat of distance from the reference
    loss, label_smoothing  see `losses`
    work                   scratch folder for checkpoints, gone on from if there are any
    callbacks              told of every step, as those of transformers' Trainer

    Returns the curve and how many pairs were trained on.  UserError when none fits, or the loss is not finite.
    """
    tokenizer = models.load_tokenizer(base_model)
    rows = tokenized(pairs, tokenizer, settings.max_length)
    if not rows:
        raise UserError(
            f"none of {len(pairs)} comparisons fits in max_length = {settings.max_length} tokens; look at the table, "
            "or raise max_length"
        )
    rows.sort(key=length)  # so that the reference's pass over them pads little
    order = training.batch_order(
        [length(row) for row in rows], batch_size=settings.batch_size, epochs=settings.epochs, seed=settings.seed
    )
    model = models.load_causal(base_model, "training")
    if settings.lora is None:
        training.show_reference(model, base_model, work)
    trainer = TokenizedDPOTrainer(
        model=training.to_train(model, settings.lora, "CAUSAL_LM", seed=settings.seed),
        args=training.arguments(
            DPOConfig,
            work=work,
            steps=len(order) // settings.batch_size,
            batch_size=settings.batch_size,
            learning_rate=learning_rate,
            warmup=settings.warmup,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            beta=beta,
            **losses(loss, label_smoothing),
            precompute_ref_log_probs=True,
            disable_dropout=False,  # the base has none (`to_train`), and an adapter has its own
            max_length=None,
        ),
        train_dataset=shared(rows, work / "rows"),
        processing_class=tokenizer,
        callbacks=[*callbacks],
    )
    # The reference's log-probabilities were computed above, once for each comparison; now the order of training.
    if settings.lora is not None:
        cast(Any, trainer.model).delete_adapter(
            "ref"
        )  # TRL's copy of the new adapters, which add nothing, as the reference
    assert isinstance(trainer.train_dataset, Dataset)
    trainer.train_dataset = trainer.train_dataset.select(order)
    curve = training.fit(trainer)
    training.save(trainer, tokenizer, folder, lora=settings.lora, base=base_model)
    return curve, len(rows)


def shared(rows: list[dict[str, list[int]]], folder: Path) -> Dataset:
    """The rows as a dataset of files, which all processes read.

    TRL's first process writes the reference's log-probabilities beside these files, and the others read them there; of
    rows in memory each process has a folder of its own.
    """
    if parallel.state().is_main_process:
        Dataset.from_list(rows).save_to_disk(folder)
    parallel.state().wait_for_everyone()
    dataset = load_from_disk(folder)
    assert isinstance(dataset, Dataset)
    return dataset


def length(row: dict[str, list[int]]) -> int:
    """Tokens of the prompt and the longer response."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


class TokenizedDPOTrainer(DPOTrainer):
    """TRL's trainer for rows that are tokens already, by the one tokenization that all models here share."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        training.outputs_in_float32(self.accelerator)

    def _prepare_dataset(self, dataset: Dataset, *others: Any) -> Dataset:
        return dataset


def tokenized(pairs: Sequence[Row], tokenizer: Any, max_length: int) -> list[dict[str, list[int]]]:
    """The comparisons as rows of tokens; both responses follow the same prompt tokens, and both fit.

    A chosen response ends where it is whole, a rejected one where its writer wrote the end (`endings`).
    """
    dialogues = [[*pair["prompt"], *pair[side]] for pair in pairs for side in ("chosen", "rejected")]
    ends = [
        ended
        for pair in pairs
        for ended in (
            endings.is_whole(pair["chosen_finish_reason"]),
            endings.has_end(pair["rejected_finish_reason"]),
        )
    ]
    encoded = encoding.encode(tokenizer, dialogues, ends)
    keep = len(encoding.opening(tokenizer))
    rows = []
    for (prompt, chosen), (other, rejected) in zip(encoded[::2], encoded[1::2], strict=True):
        shared = min(len(prompt), len(other))  # they differ only if a tokenizer merges across the border
        prompt, chosen, rejected = prompt[:shared], prompt[shared:] + chosen, other[shared:] + rejected
        room = max_length - max(len(chosen), len(rejected))
        if room > keep:
            prompt = encoding.cut(prompt, room, keep)
            rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return rows
