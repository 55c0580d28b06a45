"""Train a reward model on comparisons, each with its own probability that the chosen response is the better one."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import suppress_seqcls_warning

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import encoding
from synthalign.feedback import comparisons
from synthalign.generation import models, parallel
from synthalign.reward import losses, packing, scoring, training
from synthalign.reward.training_settings import Settings

Pair = dict[str, Any]
"""comparison_id, query_id; prompt, chosen, rejected: messages; p_chosen: in [0, 1]."""


class PairwiseTrainer(RewardTrainer):
    """TRL's trainer with a label probability for each row; TRL 1.16 itself has only a margin."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        training.outputs_in_float32(self.accelerator)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        chosen, rejected = model(inputs["input_ids"], inputs["attention_mask"]).chunk(2)
        self.note((chosen - rejected).detach(), inputs["p_chosen"])
        return losses.pairwise_loss(chosen, rejected, inputs["p_chosen"]).mean()

    def note(self, margin: Tensor, p_chosen: Tensor) -> None:
        """Put what a batch's pairs come to, over all processes, on the curve.

        margin, p_chosen  (B,) rewards of chosen minus rejected, and their labels
        """
        metrics = self._metrics["train"]
        right = (((margin > 0) == (p_chosen > 0.5)) & (margin != 0)).float()  # as in `finish`
        right[p_chosen == 0.5] = 0.5  # such a label says neither
        sums = torch.stack([right.sum(), margin.sum().float(), torch.tensor(len(margin), device=margin.device).float()])
        right_sum, margin_sum, count = self.accelerator.reduce(sums, "sum")
        metrics["accuracy"].append((right_sum / count).item())
        metrics["margin"].append((margin_sum / count).item())


def train(
    pairs: Sequence[Pair],
    *,
    base_model: str | Path,
    folder: str | Path,
    work: Path,
    learning_rate: float,
    settings: Settings,
) -> training.Curve:
    """Train a reward model from a base model on the pairs, write it to `folder`, and return the curve."""
    comparisons.check_labels(pairs)
    rows = tokenized(pairs, models.load_tokenizer(base_model), settings.max_length)
    return fit(
        PairwiseTrainer,
        rows,
        collate,
        lengths=[max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows],
        base_model=base_model,
        folder=folder,
        work=work,
        learning_rate=learning_rate,
        settings=settings,
    )


def fit(
    trainer_class: type[PairwiseTrainer],
    rows: Sequence[dict[str, Any]],
    collate: Callable[..., dict[str, Tensor]],
    *,
    lengths: Sequence[int],
    base_model: str | Path,
    folder: str | Path,
    work: Path,
    learning_rate: float,
    settings: Settings,
) -> training.Curve:
    """Train a new head and the body of a base model on rows of tokens, and write both to `folder`.

    lengths  of each row, in tokens: those of a batch are alike
    collate  what makes a batch of some rows, given the padding token
    """
    tokenizer = models.load_tokenizer(base_model)
    torch.manual_seed(settings.seed)  # the head is new
    with suppress_seqcls_warning():
        model = models.load_reward(base_model, "training", new_head=True)
    scoring.forget_unit(model)
    to_train = training.to_train(model, settings.lora, "SEQ_CLS", seed=settings.seed)
    # transformers' own forward finds the last token by comparing with the padding token; see scoring.py.
    model.forward = to_train.forward = functools.partial(scoring.last_token_scores, model)

    order = training.batch_order(lengths, batch_size=settings.batch_size, epochs=settings.epochs, seed=settings.seed)
    trainer = trainer_class(
        model=to_train,
        args=training.arguments(
            RewardConfig,
            work=work,
            disable_dropout=False,  # the base has none (`to_train`), and an adapter has its own
            steps=len(order) // settings.batch_size,
            batch_size=settings.batch_size,
            learning_rate=learning_rate,
            warmup=settings.warmup,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            max_length=None,
        ),
        data_collator=functools.partial(collate, pad_token_id=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(list(rows)).select(order),
        processing_class=tokenizer,
    )
    curve = training.fit(trainer)
    training.save(trainer, tokenizer, folder, lora=settings.lora, base=base_model)
    return curve


def tokenized(pairs: Sequence[Pair], tokenizer: Any, max_length: int) -> list[dict[str, Any]]:
    """The pairs as rows of tokens, cut from the left to `max_length`, behind a BOS."""
    keep = len(encoding.opening(tokenizer))
    sides = {
        side: encoding.encode(tokenizer, [[*pair["prompt"], *pair[side]] for pair in pairs])
        for side in ("chosen", "rejected")
    }
    return [
        {
            "chosen_ids": encoding.cut(chosen[0] + chosen[1], max_length, keep),
            "rejected_ids": encoding.cut(rejected[0] + rejected[1], max_length, keep),
            "p_chosen": float(pair["p_chosen"]),
        }
        for pair, chosen, rejected in zip(pairs, sides["chosen"], sides["rejected"], strict=True)
    ]


def collate(rows: Sequence[dict[str, Any]], pad_token_id: int) -> dict[str, Tensor]:
    """B rows as a batch: the B chosen dialogues, then the B rejected ones, in one tensor (2B, T)."""
    input_ids, attention_mask = packing.pad(
        [row["chosen_ids"] for row in rows] + [row["rejected_ids"] for row in rows], pad_token_id
    )
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "p_chosen": torch.tensor([row["p_chosen"] for row in rows]),
    }


def choose(
    pairs: Sequence[Pair], *, max_pairs: int, held_out: float, seed: int, whole_queries: bool = False
) -> tuple[list[Pair], list[Pair]]:
    """At most `max_pairs` of the pairs, as (training pairs, held-out pairs).

    held_out       share of the queries whose pairs are kept for measuring; split by query, because pairs of one query
                   share responses and would give the answer away
    whole_queries  draw queries with all of their pairs in place of single pairs

    Both draws go by hashes of the seed and the ids, so a pair stays on its side when other pairs come or go.
    """
    drawn = (training.draw_queries if whole_queries else training.draw)(pairs, max_pairs, seed=seed)
    bound = held_out * 2**64
    kept = {pair["query_id"] for pair in drawn if int(content_id(seed, "query", pair["query_id"]), 16) < bound}
    training_pairs = [pair for pair in drawn if pair["query_id"] not in kept]
    held_out_pairs = [pair for pair in drawn if pair["query_id"] in kept]
    if not training_pairs or not held_out_pairs:
        raise UserError(
            f"{len(drawn)} comparisons make {len(training_pairs)} to train on and {len(held_out_pairs)} held out; both "
            f"are needed: look at the counts of the stage that builds them, or change `held_out` (now {held_out})"
        )
    return training_pairs, held_out_pairs


@dataclass(frozen=True)
class Judged:
    """What a reward model says of pairs that it has not seen; only those with a better side (p_chosen is not 1/2)."""

    queries: list[str]
    """(N,) the query of each pair."""

    correct: list[float]
    """(N,) 1 where the better side has the strictly higher score, else 0."""

    longer: list[float]
    """(N,) 1 where the better side has more characters, 1/2 for equal lengths: what "always the longer" gets."""

    loss: float
    """Mean pairwise loss in nats over all of the pairs; log 2 for a model that knows nothing."""

    reward_mean: float
    reward_std: float
    """Of the raw scores of the distinct responses; the scores of the finished model have mean 0 and deviation 1."""


def finish(folder: str | Path, pairs: Sequence[Pair], *, max_length: int) -> Judged:
    """Judge a trained reward model on held-out pairs, and fix the zero and unit of its scores on their responses."""
    tokenizer, model = models.load_tokenizer(folder), models.load_reward(folder)
    model.to(parallel.device())  # type: ignore[arg-type]
    dialogues = [[*pair["prompt"], *pair[side]] for side in ("chosen", "rejected") for pair in pairs]
    raw = scoring.score(model, tokenizer, dialogues, max_length=max_length)
    distinct = dict(zip((str(dialogue) for dialogue in dialogues), raw, strict=True))
    mean, std = scoring.normalise(folder, list(distinct.values()))

    chosen, rejected = torch.tensor(raw).chunk(2)
    p_chosen = torch.tensor([float(pair["p_chosen"]) for pair in pairs])
    verdicts = [
        (pair["query_id"], (margin > 0) == (p > 0.5) and margin != 0, _longer(pair) if p > 0.5 else 1 - _longer(pair))
        for pair, margin, p in zip(pairs, (chosen - rejected).tolist(), p_chosen.tolist(), strict=True)
        if p != 0.5
    ]
    return Judged(
        queries=[query for query, _, _ in verdicts],
        correct=[float(correct) for _, correct, _ in verdicts],
        longer=[longer for _, _, longer in verdicts],
        loss=losses.pairwise_loss(chosen, rejected, p_chosen).double().mean().item(),
        reward_mean=mean,
        reward_std=std,
    )


def _longer(pair: Pair) -> float:
    """1 when the chosen response has more characters, 1/2 when as many, else 0."""
    chosen, rejected = (sum(len(message["content"]) for message in pair[side]) for side in ("chosen", "rejected"))
    return (chosen > rejected) + 0.5 * (chosen == rejected)
