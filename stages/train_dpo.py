"""Fine-tune a policy on comparisons directly, without a reward model between (DPO)."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from pydantic import BaseModel, Field
from trl import DPOConfig, DPOTrainer

from synthalign import encoding, models, stage, tables, training
from synthalign.errors import UserError


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    comparisons: str = Field(min_length=1)
    """Which comparisons to learn from, as in data/comparisons/."""

    model: str = Field(min_length=1)
    """Folder of the fine-tuned policy to start from, which is the reference as well."""

    max_pairs: int = Field(gt=0)
    """At most so many comparisons, drawn by a hash of their ids."""

    beta: float = Field(gt=0)
    """The price of a nat of distance from the reference: the coefficient of the KL penalty that DPO solves for."""

    learning_rate: float = Field(gt=0)
    """Peak of the cosine schedule; too high a rate wins on the training pairs and breaks the text."""

    epochs: int = Field(gt=0)
    """Passes over the comparisons."""

    batch_size: int = Field(gt=0)
    """Comparisons in an optimizer step, over all processes."""

    warmup: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""

    weight_decay: float = Field(ge=0)
    """AdamW's weight decay."""

    max_length: int = Field(gt=1)
    """Tokens of prompt and response; a longer prompt loses its beginning, a response that is longer is left out."""

    seed: int = Field(ge=0)
    """Draws the order of the comparisons, and which are used."""


class TokenizedDPOTrainer(DPOTrainer):
    """TRL's trainer for rows that are tokens already, by the one tokenization that all models here share."""

    def _prepare_dataset(self, dataset: Dataset, *others: Any) -> Dataset:
        return dataset


def tokenized(pairs: list[tables.Row], tokenizer: Any, max_length: int) -> list[dict[str, list[int]]]:
    """The comparisons as rows of tokens; both responses follow the same prompt tokens, and both fit."""
    dialogues = [[*pair["prompt"], *pair[side]] for pair in pairs for side in ("chosen", "rejected")]
    encoded = encoding.encode(tokenizer, dialogues)
    rows = []
    for (prompt, chosen), (other, rejected) in zip(encoded[::2], encoded[1::2], strict=True):
        shared = min(len(prompt), len(other))  # they differ only if a tokenizer merges across the border
        prompt, chosen, rejected = prompt[:shared], prompt[shared:] + chosen, other[shared:] + rejected
        room = max_length - max(len(chosen), len(rejected))
        if room > 0:
            rows.append({"prompt_ids": prompt[-room:], "chosen_ids": chosen, "rejected_ids": rejected})
    return rows


def main(params: Params) -> None:
    table = tables.path(f"comparisons/{params.comparisons}")
    pairs = tables.rows(f"comparisons/{params.comparisons}")
    work = stage.work_dir(
        "train_dpo",
        params,
        table,
        Path(params.model),
        *map(Path, (__file__, encoding.__file__, training.__file__)),
    )

    tokenizer = models.load_tokenizer(params.model)
    model = training.without_dropout(models.load_causal(params.model))
    drawn = training.draw(pairs, params.max_pairs, seed=params.seed)
    rows = tokenized(drawn, tokenizer, params.max_length)
    if not rows:
        raise UserError(
            f"{table}: none of {len(drawn)} comparisons fits in max_length = {params.max_length} tokens; "
            "look at the table, or raise max_length of train_dpo"
        )
    order = training.batch_order(
        [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows],
        batch_size=params.batch_size,
        epochs=params.epochs,
        seed=params.seed,
    )
    trainer = TokenizedDPOTrainer(
        model=model,
        args=training.arguments(
            DPOConfig,
            work=work,
            steps=len(order) // params.batch_size,
            batch_size=params.batch_size,
            learning_rate=params.learning_rate,
            warmup=params.warmup,
            weight_decay=params.weight_decay,
            seed=params.seed,
            beta=params.beta,
            precompute_ref_log_probs=True,
            max_length=None,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    # The reference's log-probabilities were computed above, once for each comparison; now the order of training.
    assert isinstance(trainer.train_dataset, Dataset)
    trainer.train_dataset = trainer.train_dataset.select(order)
    curve = training.fit(trainer)

    training.save(trainer, tokenizer, "models/dpo")
    if stage.is_main_process():
        stage.write_metrics(
            "train_dpo",
            pairs=len(rows),
            pairs_available=len(pairs),
            too_long=len(drawn) - len(rows),
            steps=len(order) // params.batch_size,
            first_loss=curve[0]["loss"],
            last_loss=curve[-1]["loss"],
            last_accuracy=curve[-1]["rewards/accuracies"],
            last_margin=curve[-1]["rewards/margins"],
        )
        training.write_curve(curve, "train_dpo", "dpo")


if __name__ == "__main__":
    stage.run(main, "train_dpo", Params)
