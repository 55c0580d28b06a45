"""Fine-tuning as in `train_sft` beside TRL's SFTTrainer as it comes, from the trainer's making to its last step."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import nn
from trl import SFTConfig, SFTTrainer

from benchmarks.bench import Comparison
from benchmarks.trainers import DEFAULTS, MODEL, SETTINGS, STEPS, WARMUP, community_pairs, compared, timed
from stages.train_sft import labelled
from synthalign.dialogue import encoding
from synthalign.generation import models
from synthalign.reward import training

BATCH, LEARNING_RATE = 32, 1e-3
HELD_OUT = 300
"""Answers that the losses of the two models are taken of."""


def ours(rows: Sequence[dict[str, Any]], work: Path) -> nn.Module:
    """A model fine-tuned as `train_sft` does it."""
    order = training.batch_order([len(row["input_ids"]) for row in rows], batch_size=BATCH, epochs=1, seed=0)
    trainer = SFTTrainer(
        model=training.without_dropout(models.load_causal(MODEL)),
        args=training.arguments(
            SFTConfig,
            work=work / "checkpoints",
            steps=STEPS,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup=WARMUP,
            max_length=None,
            **SETTINGS,
        ),
        train_dataset=Dataset.from_list(list(rows)).select(order),
        processing_class=models.load_tokenizer(MODEL),
    )
    training.fit(trainer)
    shutil.rmtree(work / "checkpoints")  # the next run begins anew
    assert trainer.model is not None
    return trainer.model


def theirs(rows: Sequence[dict[str, Any]], work: Path) -> nn.Module:
    """A model fine-tuned with TRL's defaults."""
    trainer = SFTTrainer(
        model=models.load_causal(MODEL),
        args=SFTConfig(
            output_dir=str(work),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=round(WARMUP * STEPS),
            **SETTINGS,
            **DEFAULTS,
        ),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=models.load_tokenizer(MODEL),
    )
    trainer.train()
    assert trainer.model is not None
    return trainer.model


@torch.no_grad()
def held_out_loss(model: nn.Module, rows: Sequence[dict[str, Any]]) -> float:
    """Mean negative log-likelihood of the answers' tokens in rows that were not trained on, in nats."""
    model.eval()
    losses = []
    for row in rows:
        ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
        answer = labels[0, 1:] >= 0
        losses += F.cross_entropy(model(ids).logits[0, :-1][answer], ids[0, 1:][answer], reduction="none").tolist()
    return fmean(losses)


def compare() -> Comparison:
    tokenizer = models.load_tokenizer(MODEL)
    dialogues = [[*pair["prompt"], *pair["chosen"]] for pair in community_pairs(BATCH * STEPS + HELD_OUT)]
    rows = [labelled(one) for one in encoding.encode(tokenizer, dialogues)]
    rows, held_out = rows[:-HELD_OUT], rows[-HELD_OUT:]
    with TemporaryDirectory() as folder:
        work = Path(folder)
        return compared(
            f"SFT, {STEPS} steps of {BATCH} answers",
            "TRL's SFTTrainer, its defaults",
            sum(len(row["input_ids"]) for row in rows),
            ours=lambda: timed(lambda: ours(rows, work), lambda model: held_out_loss(model, held_out)),
            theirs=lambda: timed(lambda: theirs(rows, work), lambda model: held_out_loss(model, held_out)),
        )
