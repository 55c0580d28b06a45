"""Train a reward model on whole queries: all comparisons of a query are one element of a batch.

Every response is read once, however many comparisons it is in, and a query counts as one, as InstructGPT trains its
reward model (Ouyang et al. 2022, section 3.5).  What is learned of a query is either

    rankings   which of every two is the better one:      1 / C(K, 2) sum_(c, r) -log sigmoid(reward_c - reward_r)
    ratings    how good each of the K responses is:       1 / K sum_k (reward_k - rating_k)^2

A rating is what the comparisons of the query make of the response (Bradley–Terry, as Elo's), with mean 0 in every query
and deviation 1 over all of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from synthalign.core.errors import UserError
from synthalign.feedback import bradley_terry, comparisons
from synthalign.generation import models
from synthalign.reward import losses, packing, pairwise, training
from synthalign.reward.training_settings import Settings

Row = dict[str, Any]
"""responses: tokens of each of K; pairs: [chosen, rejected] as places in them; p_chosen: of each pair; where they are
learned ratings: of each response."""


class QueryTrainer(pairwise.PairwiseTrainer):
    """A batch is some queries: their responses in one tensor, and which of them are compared."""

    def _prepare_dataset(self, dataset: Dataset, *others: Any) -> Dataset:
        return dataset  # its rows are tokens; TRL knows those of pairs alone

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        rewards = model(inputs["input_ids"], inputs["attention_mask"])  # (R,)
        chosen, rejected = rewards[inputs["chosen"]], rewards[inputs["rejected"]]  # (P,)
        self.note((chosen - rejected).detach(), inputs["p_chosen"])
        if "ratings" in inputs:
            loss, query = losses.rating_loss(rewards, inputs["ratings"]), inputs["query_of_response"]
        else:
            loss, query = losses.pairwise_loss(chosen, rejected, inputs["p_chosen"]), inputs["query_of_pair"]
        return losses.of_each_query(loss, query).mean()


def train(
    rows: Sequence[Row],
    *,
    base_model: str | Path,
    folder: str | Path,
    work: Path,
    learning_rate: float,
    settings: Settings,
) -> training.Curve:
    """Train a reward model from a base model on whole queries, write it to `folder`, and return the curve."""
    return pairwise.fit(
        QueryTrainer,
        rows,
        collate,
        lengths=[max(map(len, row["responses"])) for row in rows],
        base_model=base_model,
        folder=folder,
        work=work,
        learning_rate=learning_rate,
        settings=settings,
    )


def of_queries(
    pairs: Sequence[pairwise.Pair], loss: Literal["rankings", "ratings"], base_model: str | Path, max_length: int
) -> list[Row]:
    """The pairs as rows, one for each query; equal responses of a query are one.

    With ratings a query is left out where its comparisons do not put all of its responses on one scale.  UserError
    where none is left, or all responses are equally good.
    """
    comparisons.check_labels(pairs)
    rows: dict[str, Row] = {}
    places: dict[str, dict[tuple[int, ...], int]] = {}
    tokens = pairwise.tokenized(pairs, models.load_tokenizer(base_model), max_length)
    for pair, given in zip(pairs, tokens, strict=True):
        row = rows.setdefault(pair["query_id"], {"responses": [], "pairs": [], "p_chosen": []})
        known = places.setdefault(pair["query_id"], {})
        sides = []
        for side in ("chosen_ids", "rejected_ids"):
            key = tuple(given[side])
            if key not in known:
                known[key] = len(known)
                row["responses"].append(given[side])
            sides.append(known[key])
        row["pairs"].append(sides)
        row["p_chosen"].append(given["p_chosen"])
    return list(rows.values()) if loss == "rankings" else rated(list(rows.values()))


def rated(rows: Sequence[Row]) -> list[Row]:
    """The rows of which the pairs put all responses on one scale, with their ratings."""
    found: list[Row] = []
    for row in rows:
        chosen, rejected = np.array(row["pairs"]).T
        wins = bradley_terry.win_matrix(chosen, rejected, row["p_chosen"], players=len(row["responses"]))
        if len(bradley_terry.groups(wins + wins.T > 0)) == 1:
            names = [str(place) for place in range(len(wins))]
            found.append(row | {"ratings": bradley_terry.strengths(wins, names).tolist()})
    deviation = float(np.std([rating for row in found for rating in row["ratings"]])) if found else 0.0
    if not deviation > 1e-9:
        raise UserError(
            f"of {len(rows)} queries {len(found)} have responses that their comparisons put on one scale, and all of "
            "them are equally good, so there are no ratings to learn; set train_reward.loss to pairs or rankings, or "
            "compare more of the responses with each other"
        )
    return [row | {"ratings": [rating / deviation for rating in row["ratings"]]} for row in found]


def collate(rows: Sequence[Row], pad_token_id: int) -> dict[str, Tensor]:
    """Q queries as a batch of R responses and P pairs.

    input_ids, attention_mask         (R, T)  every response once
    chosen, rejected                  (P,)    places of the pairs' sides in it
    p_chosen, query_of_pair           (P,)
    query_of_response, ratings        (R,)    the latter where they are learned
    """
    input_ids, attention_mask = packing.pad([tokens for row in rows for tokens in row["responses"]], pad_token_id)
    counts = [len(row["responses"]) for row in rows]
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1].tolist()
    pairs = [
        (start + one, start + other) for start, row in zip(starts, rows, strict=True) for one, other in row["pairs"]
    ]
    sides = torch.tensor(pairs)
    batch = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "chosen": sides[:, 0],
        "rejected": sides[:, 1],
        "p_chosen": torch.tensor([p for row in rows for p in row["p_chosen"]]),
        "query_of_pair": torch.tensor([query for query, row in enumerate(rows) for _ in row["pairs"]]),
    }
    if "ratings" in rows[0]:
        batch["query_of_response"] = torch.tensor([query for query, count in enumerate(counts) for _ in range(count)])
        batch["ratings"] = torch.tensor([rating for row in rows for rating in row["ratings"]])
    return batch
