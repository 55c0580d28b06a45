"""Direct preference optimization as in `train_dpo` beside TRL's DPOTrainer as it comes, from loading to the last step.

Our side also writes the finished model; the other does not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from trl import DPOConfig

from benchmarks.bench import Comparison
from benchmarks.trainers import DEFAULTS, MODEL, SETTINGS, STEPS, WARMUP, community_pairs, compared, mean_loss, timed
from synthalign.core.tables import Row
from synthalign.generation import models
from synthalign.policies import dpo_training
from synthalign.reward.training_settings import Settings

BATCH, LEARNING_RATE, BETA = 16, 1e-4, 0.1


def ours(pairs: Sequence[Row], work: Path) -> Sequence[Mapping[str, float]]:
    """The curve of a run as `train_dpo` makes it."""
    curve, used = dpo_training.train(
        pairs,
        base_model=MODEL,
        folder=work / "trained",
        work=work / "checkpoints",
        beta=BETA,
        learning_rate=LEARNING_RATE,
        settings=Settings(epochs=1, batch_size=BATCH, warmup=WARMUP, max_length=512, **SETTINGS),
    )
    assert used == len(pairs)
    return curve


def theirs(rows: Sequence[dict[str, Any]], work: Path) -> Sequence[Mapping[str, float]]:
    """The curve of a run with TRL's defaults on the same tokens."""
    trainer = dpo_training.TokenizedDPOTrainer(
        model=models.load_causal(MODEL),
        args=DPOConfig(
            output_dir=str(work),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=round(WARMUP * STEPS),
            beta=BETA,
            **SETTINGS,
            **DEFAULTS,
        ),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=models.load_tokenizer(MODEL),
    )
    trainer.train()
    return trainer.state.log_history


def compare() -> Comparison:
    with TemporaryDirectory() as folder:
        work = Path(folder)
        pairs = community_pairs(BATCH * STEPS)
        rows = dpo_training.tokenized(pairs, models.load_tokenizer(MODEL), 512)
        return compared(
            f"DPO, {STEPS} steps of {BATCH} pairs",
            "TRL's DPOTrainer, its defaults",
            sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows),
            ours=lambda: timed(lambda: ours(pairs, work), mean_loss),
            theirs=lambda: timed(lambda: theirs(rows, work), mean_loss),
        )
